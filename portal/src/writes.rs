//! Whether anything may still be recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use leadway_eventlog::LogError;

/// Tells the API that its log is not the one it was started with: what it recorded there would get ids that were given
/// before, and would be lost with them. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Writes(Arc<AtomicBool>);

impl Writes {
    /// From now on everything that is no read is refused, until the node is started again.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn are_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Before anything is appended: what was let in earlier comes too late as well.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        let foreign = || LogError::Unavailable("it is not the log that this node was started with".into());
        if self.are_stopped() { Err(foreign()) } else { Ok(()) }
    }
}
