use leadway_eventlog::LogError;

/// Why the submission window cannot be followed any further.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log could not be read; [`Ingest::follow`](crate::Ingest::follow) may be started anew.
    #[error("the submission window cannot follow the log: {0}")]
    Log(#[from] LogError),
}

impl Error {
    /// Whether starting anew can help without anybody's doing.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Log(error) => error.is_transient(),
        }
    }
}
