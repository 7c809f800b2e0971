use std::time::Duration;

use jiff::SignedDuration;
use leadway_eventlog::ReadLimit;

/// How scoring keeps the tables.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How many records one write to the tables folds at most; at least 1.
    pub batch_records: usize,
    /// How many bytes of records one write to the tables folds at most.
    pub batch_bytes: usize,
    /// How long after one write to the tables the next one begins, in milliseconds, so that it folds more records: each
    /// write costs something, whatever it holds. It begins at once when somebody waits for what it writes, when there are
    /// more records than one write folds, and when nothing was written for so long.
    pub linger_ms: u64,
    /// How many refused leads of one provider are kept; the oldest make room for new ones.
    pub quarantine_max_per_provider: u32,
    /// How long a refused lead is kept, in days. It goes when the next one of the same provider comes.
    pub quarantine_max_age_days: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch_records: 6_000,
            batch_bytes: 4 << 20,
            linger_ms: 100,
            quarantine_max_per_provider: 10_000,
            quarantine_max_age_days: 30,
        }
    }
}

impl Options {
    pub(crate) fn read_limit(&self) -> ReadLimit {
        ReadLimit { records: self.batch_records.max(1), bytes: self.batch_bytes.max(1) }
    }

    pub(crate) fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms)
    }

    pub(crate) fn quarantine_max_age(&self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.quarantine_max_age_days))
    }
}
