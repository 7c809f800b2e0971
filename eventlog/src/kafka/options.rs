//! Settings of the log on Kafka.

use std::path::PathBuf;
use std::time::Duration;

use leadway_domain::Addressing;
use leadway_domain::secret::Secret;

use crate::LogError;

/// Bytes that a record may take beside its data: key, headers and Kafka's own framing.
pub(crate) const RECORD_OVERHEAD: usize = 4 << 10;

/// How records are compressed on their way to the brokers, on their disks, and to the readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// Little work, about half the size.
    Lz4,
    /// More work, smaller: for slow networks and dear disks.
    Zstd,
}

/// How connections to the brokers are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// Not at all.
    Plaintext,
    /// TLS; with `certificate_file` and `key_file` the client proves who it is.
    Tls,
    /// User and password over an open connection.
    SaslPlaintext,
    /// User and password over TLS.
    SaslTls,
}

/// How user and password are presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub enum SaslMechanism {
    /// As they are: only over TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// SCRAM with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// SCRAM with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// Options of the log on Kafka.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Brokers to ask first, `host:port`, with commas between. They name the others.
    pub brokers: String,
    /// What the names of leadway's topics begin with.
    pub topic_prefix: String,
    /// What the names of its consumer groups and transactional ids begin with.
    pub group_prefix: String,
    /// Partitions of every topic but `settings`, 1 to 4096, when the topics are made. Where they exist, their number counts.
    pub partitions: u32,
    /// Replicas of every partition when the topics are made.
    pub replication: u16,
    /// Replicas that must have a record before it counts as written, when the topics are made.
    pub min_insync: u16,
    /// How records are compressed.
    pub compression: Compression,
    /// How connections are protected.
    pub security: Security,
    /// PEM file of the authorities that sign the brokers' certificates; without it those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file of this client's certificate.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of this client's private key.
    pub key_file: Option<PathBuf>,
    /// How user and password are presented.
    pub sasl_mechanism: SaslMechanism,
    /// The user.
    pub user: String,
    /// The password. Better `password_file`, or the environment.
    pub password: Secret,
    /// A file that holds the password, used when `password` is not set. White space around it does not count.
    pub password_file: Option<PathBuf>,
    /// How long to wait at the start for brokers that answer and topics that have leaders, in milliseconds.
    pub start_timeout_ms: u64,
    /// How long an append, a read or a request to a broker may take, in milliseconds, 1000 to 120000. An append that was not
    /// acknowledged by then is answered with an error.
    pub request_timeout_ms: u64,
    /// Bytes of records that may wait for their acknowledgement; what comes on top is refused for the moment.
    pub max_waiting_bytes: usize,
    /// Bytes of one record's data at most. Topics are made so that they take them.
    pub max_record_bytes: usize,
    /// Bytes of the newest records kept in memory for those who follow the log. Older ones are read from the brokers.
    pub tail_bytes: usize,
    /// How long a member of a stage may be silent, in milliseconds, before its partitions are given to others. The brokers
    /// refuse less than their `group.min.session.timeout.ms`, 6000 by default.
    pub session_timeout_ms: u64,
    /// How long a stage may be busy without asking for more, in milliseconds, before its partitions are given to others. Not
    /// less than two session timeouts.
    pub max_busy_ms: u64,
    /// After how many milliseconds the brokers abort a transaction whose member died. Until then readers wait behind it.
    pub transaction_timeout_ms: u64,
    /// How long a record may wait for others to share its way to the broker, in milliseconds.
    pub linger_ms: u64,
    /// How long a broker may wait for more records before it answers who follows the log, in milliseconds. Longer costs less
    /// and delays every lead twice by half of it; 0 answers at every record.
    pub fetch_wait_ms: u64,
    /// How long records gather before a stage is given more of them, in milliseconds, unless its last batch was full: a
    /// transaction costs nearly the same for one record as for hundreds. The first ones after a quiet time do not wait.
    pub gather_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            topic_prefix: "leadway.".into(),
            group_prefix: "leadway-".into(),
            partitions: 12,
            replication: 3,
            min_insync: 2,
            compression: Compression::Lz4,
            security: Security::Plaintext,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            sasl_mechanism: SaslMechanism::ScramSha512,
            user: String::new(),
            password: Secret::default(),
            password_file: None,
            start_timeout_ms: 30_000,
            request_timeout_ms: 10_000,
            max_waiting_bytes: 64 << 20,
            max_record_bytes: 4 << 20,
            tail_bytes: 64 << 20,
            session_timeout_ms: 6_000,
            max_busy_ms: 300_000,
            transaction_timeout_ms: 10_000,
            linger_ms: 3,
            fetch_wait_ms: 15,
            gather_ms: 30,
        }
    }
}

impl Options {
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(crate) fn gather(&self) -> Duration {
        Duration::from_millis(self.gather_ms)
    }

    /// Names the first setting that cannot be.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        let wrong = |message: String| Err(LogError::Unusable(message));
        if self.brokers.trim().is_empty() {
            return wrong("kafka.brokers is not set; name at least one broker as host:port".into());
        }
        if !(1..=Addressing::MAX_PARTITIONS).contains(&self.partitions) {
            return wrong(format!(
                "kafka.partitions is {}; it must be 1 to {}",
                self.partitions,
                Addressing::MAX_PARTITIONS
            ));
        }
        if self.replication == 0 || self.min_insync == 0 || self.min_insync > self.replication {
            let (insync, replication) = (self.min_insync, self.replication);
            return wrong(format!("kafka.min_insync is {insync}; it must be 1 to kafka.replication ({replication})"));
        }
        for (name, prefix) in [("topic_prefix", &self.topic_prefix), ("group_prefix", &self.group_prefix)] {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if prefix.len() > 100 || !prefix.chars().all(allowed) {
                return wrong(format!(
                    "kafka.{name} is {prefix:?}; it takes up to 100 letters, digits, '.', '_' and '-'"
                ));
            }
        }
        let ranges = [
            ("start_timeout_ms", self.start_timeout_ms, 1_000, 600_000),
            ("request_timeout_ms", self.request_timeout_ms, 1_000, 120_000),
            ("max_waiting_bytes", self.max_waiting_bytes as u64, 1 << 20, 1 << 30),
            ("max_record_bytes", self.max_record_bytes as u64, 1 << 10, 64 << 20),
            ("session_timeout_ms", self.session_timeout_ms, 1_000, 300_000),
            ("max_busy_ms", self.max_busy_ms, self.session_timeout_ms * 2, 86_400_000),
            ("transaction_timeout_ms", self.transaction_timeout_ms, 1_000, 900_000),
            ("linger_ms", self.linger_ms, 0, 1_000),
            ("fetch_wait_ms", self.fetch_wait_ms, 0, 1_000),
            ("gather_ms", self.gather_ms, 0, 1_000),
        ];
        for (name, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return wrong(format!("kafka.{name} is {value}; it must be {low} to {high}"));
            }
        }
        if self.sasl() && self.user.is_empty() {
            return wrong("kafka.user is not set, but kafka.security asks for a user and a password".into());
        }
        let scram = self.sasl() && self.sasl_mechanism != SaslMechanism::Plain;
        if cfg!(not(feature = "tls")) && (self.tls() || scram) {
            return wrong(format!(
                "kafka.security is {}, but this leadway was built without TLS and SCRAM for Kafka; build it with \
                 `cargo build --release --features tls`, or take the image, which has them",
                serde_json::to_string(&self.security).unwrap_or_default().trim_matches('"')
            ));
        }
        if self.certificate_file.is_some() != self.key_file.is_some() {
            return wrong("kafka.certificate_file and kafka.key_file go together: set both or none".into());
        }
        Ok(())
    }

    pub(crate) fn sasl(&self) -> bool {
        matches!(self.security, Security::SaslPlaintext | Security::SaslTls)
    }

    pub(crate) fn tls(&self) -> bool {
        matches!(self.security, Security::Tls | Security::SaslTls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_cannot_be_is_named() {
        let good = Options { brokers: "a:9092".into(), ..Options::default() };
        good.check().unwrap();
        let cases = [
            (Options::default(), "kafka.brokers"),
            (Options { partitions: 0, ..good.clone() }, "kafka.partitions"),
            (Options { min_insync: 4, ..good.clone() }, "kafka.min_insync"),
            (Options { topic_prefix: "lead way".into(), ..good.clone() }, "kafka.topic_prefix"),
            (Options { request_timeout_ms: 10, ..good.clone() }, "kafka.request_timeout_ms"),
            (Options { max_busy_ms: 7_000, ..good.clone() }, "kafka.max_busy_ms"),
            (Options { security: Security::SaslTls, ..good.clone() }, "kafka.user"),
            (
                Options { security: Security::Tls, key_file: Some("k".into()), ..good.clone() },
                if cfg!(feature = "tls") {
                    "kafka.certificate_file"
                } else {
                    "kafka.security is tls, but this leadway was built"
                },
            ),
            (Options { key_file: Some("k".into()), ..good }, "kafka.certificate_file"),
        ];
        for (options, setting) in cases {
            let error = options.check().unwrap_err().to_string();
            assert!(error.starts_with(setting), "{error}");
        }
    }
}
