//! Many nodes: real processes, a stage or two each, on three Kafka brokers and Cassandra. They join, leave, are killed and
//! stand still while leads flow, and so do the servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod chaos;
#[path = "../e2e/support.rs"]
#[allow(dead_code)]
mod e2e;
mod load;
mod migrate;
mod nodes;
mod process;
mod rewound;
mod servers;

const PAIRING: e2e::Pairing = e2e::Pairing::Embedded;
