//! One server for all tests of a binary: started by the first that asks, ended with the process.

use std::sync::OnceLock;

use crate::cassandra::{Cassandra, CassandraOptions};
use crate::error::{Error, Result};
use crate::kafka::KafkaCluster;

/// One broker that every test of this process shares. Do not kill or pause it: other tests use it at the same moment.
///
/// # Errors
/// What the first start said, each time.
pub fn shared_kafka() -> std::result::Result<&'static KafkaCluster, &'static Error> {
    static KAFKA: OnceLock<Result<KafkaCluster>> = OnceLock::new();
    KAFKA.get_or_init(|| KafkaCluster::start(1)).as_ref()
}

/// A Cassandra that every test of this process shares; take a keyspace per test. Do not kill or pause it.
///
/// # Errors
/// What the first start said, each time.
pub fn shared_cassandra() -> std::result::Result<&'static Cassandra, &'static Error> {
    static CASSANDRA: OnceLock<Result<Cassandra>> = OnceLock::new();
    // Each test has a keyspace of its own, and each of its tables takes about a megabyte.
    let roomy = CassandraOptions { heap_mib: 2_048, ..CassandraOptions::default() };
    CASSANDRA.get_or_init(|| Cassandra::start_with(&roomy)).as_ref()
}
