use leadway_domain::seal::SealError;
use leadway_eventlog::LogError;

/// Why the portal could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log refused the first settings; [`LogError::is_transient`] tells whether trying again can help.
    #[error("the first settings cannot be written: {0}")]
    Log(#[from] LogError),
    /// The operating system gives no random bits, without which no key can be made.
    #[error("the operating system gives no random bits: {0}")]
    Random(#[from] getrandom::Error),
    /// Secrets cannot be sealed or opened.
    #[error("the settings' secrets: {0}")]
    Seal(#[from] SealError),
    /// The admin key given cannot be used.
    #[error("LEADWAY_ADMIN_KEY {rule}")]
    AdminKey {
        /// The rule it breaks, and the way out.
        rule: &'static str,
    },
}
