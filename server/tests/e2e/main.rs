//! End to end: the real server on a free port, scripted clients over real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[allow(dead_code)]
mod support;

mod api;
mod arrows;
mod commands;
mod crash;
mod damage;
mod delivery;
mod folder;
mod formats;
mod front;
mod front_http2;
mod identity;
mod logs;
mod main_path;
mod operations;
mod routing;
mod secrets;
mod tables_full;

const PAIRING: support::Pairing = support::Pairing::Embedded;
