use leadway_eventlog::LogError;
use leadway_tables::TablesError;

/// Why scoring cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ScoringError {
    /// The log cannot be read.
    #[error("scoring cannot read the log: {0}")]
    Log(#[from] LogError),
    /// The tables cannot be read or written.
    #[error("scoring cannot use the tables: {0}")]
    Tables(#[from] TablesError),
}

impl ScoringError {
    /// Whether the same step can succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Log(error) => error.is_transient(),
            Self::Tables(error) => error.is_transient(),
        }
    }
}
