//! Settings of the tables on ScyllaDB.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use leadway_domain::secret::Secret;

use crate::TablesError;

/// How many replicas take part in a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Most replicas of the nodes' own data centre. All leadway nodes must then name the same `local_datacenter`.
    LocalQuorum,
    /// Most replicas of all data centres together.
    Quorum,
}

/// Settings of the tables on ScyllaDB (or Apache Cassandra).
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Nodes to ask first, `host:port`, with commas between. They name the others.
    pub nodes: String,
    /// The keyspace, which is made if it is not there.
    pub keyspace: String,
    /// Replicas of every row in each data centre, when the keyspace is made.
    pub replication: u16,
    /// Replicas of every row by data centre, when the keyspace is made; stands instead of `replication` when not empty.
    pub datacenters: BTreeMap<String, u16>,
    /// The data centre whose nodes are asked; without it all are.
    pub local_datacenter: Option<String>,
    /// How many replicas take part in a read or a write.
    pub consistency: Consistency,
    /// The user; empty where the database asks for none.
    pub user: String,
    /// The password. Better `password_file`, or the environment.
    pub password: Secret,
    /// A file that holds the password, used when `password` is not set. White space around it does not count.
    pub password_file: Option<PathBuf>,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// PEM file of the authorities that sign the nodes' certificates; without it Mozilla's. A node's certificate must name
    /// the address by which it is reached.
    pub ca_file: Option<PathBuf>,
    /// PEM file of this client's certificate.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of this client's private key.
    pub key_file: Option<PathBuf>,
    /// How long to wait at the start for a database that answers, in milliseconds.
    pub start_timeout_ms: u64,
    /// How long a request may take, tries again included, in milliseconds, 1000 to 120000. One that was not answered by
    /// then fails, and whoever asked may try again.
    pub request_timeout_ms: u64,
    /// Requests that may be under way at one moment; others wait for their turn.
    pub max_concurrent_requests: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: String::new(),
            keyspace: "leadway".into(),
            replication: 3,
            datacenters: BTreeMap::new(),
            local_datacenter: None,
            consistency: Consistency::LocalQuorum,
            user: String::new(),
            password: Secret::default(),
            password_file: None,
            tls: false,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            start_timeout_ms: 30_000,
            request_timeout_ms: 10_000,
            max_concurrent_requests: 256,
        }
    }
}

impl Options {
    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(super) fn start_timeout(&self) -> Duration {
        Duration::from_millis(self.start_timeout_ms)
    }

    pub(super) fn node_list(&self) -> impl Iterator<Item = &str> {
        self.nodes.split(',').map(str::trim).filter(|node| !node.is_empty())
    }

    /// The password, from wherever it is set.
    pub(super) fn read_password(&self) -> Result<String, TablesError> {
        match &self.password_file {
            Some(file) if self.password.is_empty() => {
                let read = std::fs::read_to_string(file);
                read.map(|text| text.trim().to_owned()).map_err(|error| {
                    let file = file.display();
                    TablesError::Unusable(format!("scylla.password_file {file} cannot be read: {error}"))
                })
            }
            _ => Ok(self.password.expose().to_owned()),
        }
    }

    /// Names the first setting that cannot be.
    pub(super) fn check(&self) -> Result<(), TablesError> {
        let wrong = |message: String| Err(TablesError::Unusable(message));
        if self.node_list().next().is_none() {
            return wrong("scylla.nodes is not set; name at least one node as host:port".into());
        }
        let keyspace = &self.keyspace;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let begins = keyspace.starts_with(|c: char| c.is_ascii_lowercase());
        if !begins || keyspace.len() > 48 || !keyspace.chars().all(allowed) {
            return wrong(format!(
                "scylla.keyspace is {keyspace:?}; it takes up to 48 lower-case letters, digits and '_', a letter first"
            ));
        }
        for (name, factor) in
            self.datacenters.iter().map(|(name, n)| (name.as_str(), *n)).chain([("", self.replication)])
        {
            let named = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if factor == 0 || !name.chars().all(named) {
                return wrong(format!(
                    "scylla.replication and scylla.datacenters take data centres' names and at least 1, not {name:?} {factor}"
                ));
            }
        }
        let ranges = [
            ("start_timeout_ms", self.start_timeout_ms, 1_000, 600_000),
            ("request_timeout_ms", self.request_timeout_ms, 1_000, 120_000),
            ("max_concurrent_requests", self.max_concurrent_requests as u64, 1, 32_768),
        ];
        for (name, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return wrong(format!("scylla.{name} is {value}; it must be {low} to {high}"));
            }
        }
        if cfg!(not(feature = "tls")) && self.tls {
            return wrong(
                "scylla.tls is true, but this leadway was built without TLS for ScyllaDB; build it with \
                 `cargo build --release --features tls`, or take the image, which has it"
                    .into(),
            );
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            return wrong("scylla.certificate_file and scylla.key_file go together: set both or none".into());
        }
        if !self.tls && (self.ca_file.is_some() || self.key_file.is_some()) {
            return wrong("scylla.ca_file, certificate_file and key_file say nothing without scylla.tls = true".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_cannot_be_is_named() {
        let good = Options { nodes: "a:9042, b:9042".into(), ..Options::default() };
        good.check().unwrap();
        assert_eq!(good.node_list().collect::<Vec<_>>(), ["a:9042", "b:9042"]);
        let cases = [
            (Options { nodes: " ,".into(), ..good.clone() }, "scylla.nodes"),
            (Options { keyspace: "Lead\"way".into(), ..good.clone() }, "scylla.keyspace"),
            (Options { replication: 0, ..good.clone() }, "scylla.replication"),
            (Options { datacenters: [("x'".to_owned(), 3)].into(), ..good.clone() }, "scylla.replication"),
            (Options { request_timeout_ms: 10, ..good.clone() }, "scylla.request_timeout_ms"),
            (Options { max_concurrent_requests: 0, ..good.clone() }, "scylla.max_concurrent_requests"),
            (Options { ca_file: Some("c".into()), ..good.clone() }, "scylla.ca_file"),
            (
                Options { tls: true, key_file: Some("k".into()), ..good },
                if cfg!(feature = "tls") {
                    "scylla.certificate_file"
                } else {
                    "scylla.tls is true, but this leadway was built"
                },
            ),
        ];
        for (options, setting) in cases {
            let error = options.check().unwrap_err().to_string();
            assert!(error.starts_with(setting), "{error}");
        }
    }
}
