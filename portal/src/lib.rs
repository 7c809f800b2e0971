//! The management API: everything an operator sees and changes, over HTTP.
//!
//! Two kinds of requests. *Settings* (providers, workspaces, rules, products, keys) are checked against the snapshot in
//! memory and appended to the topic `settings` by one writer (`change`). *Results* (leads, appointments, billing …)
//! are read from the tables; what people ask to be done with a lead goes into the log as a command whose answer is
//! awaited (`command`). Nothing here decides about routing or delivery.

// `key!` makes a `Vec`, because ranges own their keys; reads only borrow one.
#![allow(clippy::useless_vec)]

mod analytics;
mod answers;
mod api;
mod appointments;
mod audit;
mod auth;
mod billing;
mod change;
mod command;
mod completion;
mod contacts;
mod daily;
mod descent;
mod docs;
mod error;
mod events;
mod fields;
mod first_start;
mod idempotency;
mod keys;
mod leads;
mod lists_csv;
mod margin;
mod metrics;
mod options;
mod page;
mod path;
mod positions;
mod posting;
mod problem;
mod products;
mod provider_keys;
mod providers;
mod quarantine;
mod query;
mod random;
mod reads;
mod reconciliation;
mod release;
mod reseal;
mod retry;
mod retry_rules;
mod revert;
mod rotation;
mod rule_check;
mod rule_filter;
mod rules;
mod rules_bulk;
mod rules_csv;
mod rules_export;
mod rules_import;
mod rules_report;
mod shapes;
mod span;
mod state;
mod undelivered;
mod unrouted;
mod webhook_url;
mod workspaces;
mod writes;

pub use api::api;
pub use auth::behind_key;
pub use error::Error;
pub use first_start::{FirstStart, first_start};
pub use options::Options;
pub use random::Random;
pub use reseal::{replace_lost_key, reseal};
pub use state::Deps;
pub use writes::Writes;
