//! The stream consumers that keep the tables of results.
//!
//! [`Scoring`] reads every topic of the log and folds its records into the tables of
//! [`leadway_tables::schema`]; nobody else writes them. Each batch of changes is written together with the positions it
//! leads to, so a record is applied exactly once, and [`rebuild`] makes the same tables again from the log alone.
//!
//! Within a partition records are folded in order. Across partitions and topics there is no order, so every fold gives
//! the same rows whichever comes first: each column has one topic that writes it; each sum has a row of its own per
//! partition; and between two decisions about one lead the later decision number wins.
//!
//! One file per topic holds its fold; `batch.rs` is what they write to.

mod ahead;
mod appointments;
mod batch;
mod causes;
mod daily;
mod deliveries;
mod error;
mod events;
mod fold;
mod follower;
mod leads;
mod options;
mod quarantine;
mod rebuild;
mod rows;
mod settings;
mod shelf;
mod sources;
mod stage;
#[cfg(test)]
mod tests;

pub use error::ScoringError;
pub use options::Options;
pub use rebuild::{Summary, rebuild};
pub use stage::Scoring;
