//! The API as its callers see it, over a log and tables in memory. Rows stand in the tables as scoring writes them.

// clippy.toml allows these in test functions; here the helpers around them fail the test in the same way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::useless_vec)]

#[path = "api/access.rs"]
mod access;
#[path = "api/arbitrary.rs"]
mod arbitrary;
#[path = "api/bulk_rules.rs"]
mod bulk_rules;
#[path = "api/commands.rs"]
mod commands;
#[path = "api/credentials.rs"]
mod credentials;
#[path = "api/description.rs"]
mod description;
#[path = "api/lists.rs"]
mod lists;
#[path = "api/lists_csv.rs"]
mod lists_csv;
#[path = "api/lost_answers.rs"]
mod lost_answers;
#[path = "api/money.rs"]
mod money;
#[path = "api/quarantine.rs"]
mod quarantine;
#[path = "api/revert.rs"]
mod revert;
#[path = "api/rules.rs"]
mod rules;
#[path = "api/settings.rs"]
mod settings;
#[path = "api/world.rs"]
mod world;
