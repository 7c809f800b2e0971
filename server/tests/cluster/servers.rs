//! Three brokers and a database, and what a node must be told to use them.

use std::sync::OnceLock;

use leadway_servers::{Cassandra, KafkaCluster};
use tokio::sync::{Mutex, MutexGuard};

/// The servers of this test binary. Tests kill and pause them, so one test at a time has them.
pub(crate) struct Servers {
    pub(crate) kafka: KafkaCluster,
    pub(crate) cassandra: Cassandra,
}

/// Takes the servers; starts them for the first that asks.
pub(crate) async fn servers() -> MutexGuard<'static, Servers> {
    static SERVERS: OnceLock<Mutex<Servers>> = OnceLock::new();
    let start = || {
        let cassandra = std::thread::spawn(Cassandra::start);
        let kafka = KafkaCluster::start(3).unwrap_or_else(|e| panic!("{e}"));
        let cassandra = cassandra.join().unwrap().unwrap_or_else(|e| panic!("{e}"));
        Mutex::new(Servers { kafka, cassandra })
    };
    tokio::task::block_in_place(|| SERVERS.get_or_init(start)).lock().await
}

impl Servers {
    /// What stands in the environment of a node. Each test has topics, groups and a keyspace of its own, named `name`.
    pub(crate) fn environment(&self, name: &str) -> Vec<(String, String)> {
        let settings = [
            ("LOG", "kafka".to_owned()),
            ("TABLES", "scylla".to_owned()),
            ("KAFKA__BROKERS", self.kafka.bootstrap()),
            ("KAFKA__TOPIC_PREFIX", format!("{name}.")),
            ("KAFKA__GROUP_PREFIX", format!("{name}-")),
            ("KAFKA__PARTITIONS", "6".to_owned()),
            ("KAFKA__REPLICATION", "3".to_owned()),
            ("KAFKA__MIN_INSYNC", "2".to_owned()),
            ("SEAL_KEY", seal_key()),
            ("SCYLLA__NODES", self.cassandra.contact_point()),
            ("SCYLLA__KEYSPACE", name.to_owned()),
            ("SCYLLA__REPLICATION", "1".to_owned()),
            ("SCYLLA__START_TIMEOUT_MS", "180000".to_owned()),
        ];
        settings.into_iter().map(|(key, value)| (format!("LEADWAY_{key}"), value)).collect()
    }
}

/// The key of every node.
pub(crate) fn seal_key() -> String {
    "5e".repeat(32)
}
