//! Real servers for tests and trials: Apache Kafka (KRaft) and Apache Cassandra, run as plain Java processes on 127.0.0.1.
//!
//! ```no_run
//! # fn main() -> Result<(), leadway_servers::Error> {
//! let kafka = leadway_servers::KafkaCluster::start(3)?;
//! let cassandra = leadway_servers::Cassandra::start()?;
//! println!("{} {}", kafka.bootstrap(), cassandra.contact_point());
//! kafka.kill(1)?; // as `kill -9`
//! kafka.restart(1)?; // same data, same port
//! # Ok(())
//! # }
//! ```
//!
//! A server belongs to the process that started it: it is killed and its folder removed when the value is dropped, and also
//! when the process ends in any other way, `kill -9` included (see `process`). [`detached`] starts servers that stay.
//!
//! Starting returns when the server answers. Everything blocks; inside an async test call it through `spawn_blocking`.

mod cassandra;
pub mod detached;
mod error;
mod folder;
mod jars;
mod java;
mod kafka;
mod node;
mod ports;
mod process;
mod shared;
mod tls;

pub use cassandra::{Cassandra, CassandraOptions};
pub use error::{Error, Result};
pub use jars::{Jars, fetch};
pub use kafka::{KafkaCluster, KafkaOptions};
pub use shared::{shared_cassandra, shared_kafka};
pub use tls::Credentials;
