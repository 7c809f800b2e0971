//! The leadway binary's parts: a node ([`flow`]), its front ([`http`], [`ops`]) and its tools.

mod census;
mod changes;
mod clocks;
pub mod demo;
pub mod flow;
pub mod http;
pub mod identity;
pub mod inspect;
pub mod logging;
pub mod migrate;
pub mod ops;
pub mod output;
pub mod rebuild;
pub mod reseal;
mod seal_key;
pub mod storage;
pub mod supervise;
pub mod telemetry;
mod totals;
pub mod trace;
pub mod verify;
mod watch;
