use leadway_eventlog::LogError;
use leadway_tables::TablesError;

/// Why the router stopped. Everything that was not committed is decided again by the next one.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The log refused, or another member took the stage over.
    #[error("router: {0}")]
    Log(#[from] LogError),
    /// The tables cannot be read.
    #[error("router: {0}")]
    Tables(#[from] TablesError),
}

impl Error {
    /// Whether the same call can succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Log(e) => e.is_transient(),
            Self::Tables(e) => e.is_transient(),
        }
    }
}
