//! The front for providers, request by request, on the in-memory log.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod arbitrary;
mod auth;
mod bounds;
mod durability;
mod formats;
mod forms;
mod large;
mod leads;
mod log;
mod measured;
mod node;
mod submissions;
mod window;
