use leadway_eventlog::LogError;

/// Why the dispatcher stopped, or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log failed while the dispatcher started, in a way that waiting does not mend, or until the time to drain was
    /// over. [`LogError::Fenced`]: another member has taken over.
    #[error(transparent)]
    Log(#[from] LogError),
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
