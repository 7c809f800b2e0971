//! Domain types and pure decisions of leadway.
//!
//! Nothing here does I/O, knows a runtime or reads a clock: a decision is a function of state and
//! input, so that every test can move time and replay any history.

pub mod clock;
mod digits;
pub mod formula;
pub mod histogram;
pub mod hours;
pub mod id;
pub mod intake;
pub mod lead;
pub mod money;
pub mod phone;
pub mod problem;
pub mod record;
pub mod seal;
pub mod secret;
pub mod settings;
pub mod submission;
pub mod target;
pub mod telemetry;
pub mod text;
pub mod zip;

pub use clock::Clock;
pub use id::{Addressing, ContactId, LeadId, Offset, Partition, ProviderId, RuleId, WorkspaceId};
pub use jiff::Timestamp;
pub use money::Money;
pub use phone::Phone;
pub use zip::{Zip, ZipDirectory};
