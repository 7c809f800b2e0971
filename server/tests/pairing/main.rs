//! The same end-to-end tests with the log on Kafka and the tables on Cassandra.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../e2e/support.rs"]
#[allow(dead_code)]
mod support;

#[path = "../e2e/api.rs"]
mod api;
#[path = "../e2e/commands.rs"]
mod commands;
#[path = "../e2e/delivery.rs"]
mod delivery;
#[path = "../e2e/formats.rs"]
mod formats;
mod identity;
#[path = "../e2e/main_path.rs"]
mod main_path;
#[path = "../e2e/operations.rs"]
mod operations;
#[path = "../e2e/routing.rs"]
mod routing;

const PAIRING: support::Pairing = support::Pairing::KafkaAndCassandra;
