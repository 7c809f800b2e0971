use leadway_domain::Offset;

use crate::Applied;

/// Why the tables could not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TablesError {
    /// The disk is full, the database does not answer: it may be tried again. A write may have been applied nevertheless
    /// when the database is another machine's: see [`Tables`](crate::Tables).
    #[error("the tables cannot be used now: {0}")]
    Unavailable(String),
    /// They have grown as far as they may: reads go on, and writes fail until somebody gives them more room.
    #[error("the tables are full: {0}")]
    Full(String),
    /// The tables do not stand where the batch begins: another writer has applied these positions.
    #[error("the tables stand elsewhere: {0}")]
    Stale(String),
    /// What is stored does not fit the declaration.
    #[error("table {table:?} holds a row that cannot be read: {reason}")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// What was asked does not fit the declaration: a mistake of the caller.
    #[error("table {table:?} cannot do that: {reason}")]
    Mismatch {
        /// The table.
        table: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// The folder or database cannot be used.
    #[error("{0}")]
    Unusable(String),
}

impl TablesError {
    /// The batch begins elsewhere than where the tables stand.
    pub(crate) fn stale(position: &Applied, stored: Offset) -> Self {
        let Applied { topic, partition, from, .. } = position;
        let (topic, partition) = (topic.name(), partition.0);
        Self::Stale(format!("{topic}/{partition} was applied to {}, and the batch begins at {}", stored.0, from.0))
    }

    /// Whether the same call can succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full(_))
    }
}
