use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the management API.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Whether webhook URLs may name loopback and private addresses. No setting of its own: the server takes it over from
    /// the dispatcher, which checks the resolved address at every delivery.
    #[serde(skip)]
    pub allow_private_targets: bool,
    /// Largest lead, in bytes of JSON. No setting of its own: the server takes it over from ingest.
    #[serde(skip)]
    pub max_lead_bytes: usize,
    /// Whether a rule that is created, changed or imported also routes the unrouted leads that it matches, all of them, in
    /// the background.
    pub retry_unrouted_on_rule_change: bool,
    /// How long a caller waits for the answer to a command (schedule, assign) before it is told where to look, in
    /// milliseconds.
    pub command_timeout_ms: u64,
    /// How long a read waits for the tables to catch up with the log, in milliseconds: for one lead that was only just
    /// accepted. Reconciliation waits ten times as long.
    pub catch_up_timeout_ms: u64,
    /// Largest request body, in bytes.
    pub body_limit_bytes: usize,
    /// Largest body of a rule import, in bytes.
    pub import_limit_bytes: usize,
    /// The rate limit of providers that are made without one, in leads a second; 0 for none.
    pub default_rate_per_second: u32,
    /// Most rules that may exist.
    pub max_rules: usize,
    /// Most rows that one page looks at before it answers with what it found and a cursor.
    pub page_scan_rows: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_private_targets: false,
            max_lead_bytes: 64 << 10,
            retry_unrouted_on_rule_change: false,
            command_timeout_ms: 10_000,
            catch_up_timeout_ms: 3_000,
            body_limit_bytes: 2 << 20,
            import_limit_bytes: 32 << 20,
            default_rate_per_second: 0,
            max_rules: 200_000,
            page_scan_rows: 10_000,
        }
    }
}
