/// Why the tables could not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TablesError {
    /// The disk is full, the database does not answer: it may be tried again. Nothing was changed.
    #[error("the tables cannot be used now: {0}")]
    Unavailable(String),
    /// Another writer has applied these positions already.
    #[error("positions were applied already: {0}")]
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
    /// Whether the same call can succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
