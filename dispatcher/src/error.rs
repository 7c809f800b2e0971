use leadway_eventlog::LogError;
use leadway_tables::TablesError;

/// Why the dispatcher stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log failed in a way that waiting does not mend, or failed until the time to drain was over.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The tables failed in a way that waiting does not mend.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// A setting cannot be used.
    #[error("dispatcher.{field} {rule}")]
    Setting {
        /// Which one.
        field: &'static str,
        /// What is allowed.
        rule: &'static str,
    },
    /// The HTTP client cannot be made, most often because the system has no root certificates.
    #[error("the HTTP client cannot be made: {0}; are the system's root certificates installed?")]
    Client(String),
}

impl Error {
    /// Whether starting the stage anew can help; not when another member took it over or a setting is wrong.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Log(error) => !matches!(error, LogError::Fenced { .. }),
            Self::Tables(error) => error.is_transient(),
            Self::Setting { .. } | Self::Client(_) => false,
        }
    }
}
