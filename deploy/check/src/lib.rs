//! What the checks of `deploy/` are made of: a real Prometheus that scrapes a running `leadway demo`, and the queries of
//! dashboards and alerts, ready to be asked. The checks themselves are in `tests/deploy.rs`.

mod capacity;
mod expression;
mod process;
mod prometheus;
mod queries;
mod stack;
mod yaml;

pub use capacity::recomputed;
pub use expression::operands;
pub use process::{Program, leadway, repository};
pub use prometheus::{Alert, Answer, Prometheus};
pub use queries::{Query, Source, dashboards};
pub use stack::Stack;
pub use yaml::documents;
