//! The match index, the routing decision, and the stage around it.
//!
//! [`Matcher`] follows the settings and keeps a [`MatchIndex`] of their rules. [`decide`] is the decision, pure.
//! [`Router`] is the stage that reads the topic `leads` and writes the topic `appointments`. [`api`] answers
//! questions about routing; it changes nothing.

mod backoff;
mod batch;
mod coverage;
pub mod decide;
mod earlier;
mod error;
mod explain;
mod gaps;
mod history;
mod http;
mod index;
mod matcher;
mod refill;
mod region;
mod slots;
mod stage;
mod standing;
mod submissions;
mod writer;

pub use coverage::{
    Coverage, Gaps, OverlapSample, Overlaps, PausedCoverage, ProductCoverage, WorkspaceCoverage, coverage,
};
pub use error::Error;
pub use explain::{Explanation, OtherRule, RuleSummary, explain};
pub use gaps::Gap;
pub use history::settings_at;
pub use http::{ApiDeps, api};
pub use index::MatchIndex;
pub use matcher::{Matcher, Routing};
pub use slots::{Occupancy, Taken};
pub use stage::{Deps, Options, Router};
pub use writer::IndexWriter;
