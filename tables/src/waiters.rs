//! Who waits for positions: so that a writer who gathers changes knows when somebody wants to see them.

use tokio::sync::watch;

/// Counts those who wait.
#[derive(Debug)]
pub(crate) struct Waiters(watch::Sender<usize>);

/// Somebody who waits, until dropped.
pub(crate) struct Waiting<'a>(&'a Waiters);

impl Default for Waiters {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Waiters {
    /// One more.
    pub(crate) fn enter(&self) -> Waiting<'_> {
        self.0.send_modify(|waiting| *waiting += 1);
        Waiting(self)
    }

    /// Waits until somebody waits.
    pub(crate) async fn any(&self) {
        // The sender is here: it does not end.
        let _ = self.0.subscribe().wait_for(|waiting| *waiting > 0).await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|waiting| *waiting -= 1);
    }
}
