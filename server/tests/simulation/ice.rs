//! Standing still: a process that was stopped (SIGSTOP, a suspended machine, a long pause of the host) and goes on later.

use std::pin::pin;

use tokio::sync::watch;

/// Whether one node stands still. Clones are of the same node.
#[derive(Clone)]
pub(crate) struct Ice(watch::Sender<bool>);

impl Default for Ice {
    fn default() -> Self {
        Self(watch::channel(false).0)
    }
}

impl Ice {
    /// Tells whether it was not frozen already.
    pub(crate) fn freeze(&self) -> bool {
        !self.0.send_replace(true)
    }

    pub(crate) fn thaw(&self) {
        self.0.send_replace(false);
    }

    /// Runs what belongs to the node: it is not polled while the node stands still.
    pub(crate) async fn run<F: Future>(&self, future: F) -> F::Output {
        let mut frozen = self.0.subscribe();
        let mut future = pin!(future);
        loop {
            // The sender lives in `self`.
            frozen.wait_for(|frozen| !frozen).await.unwrap();
            tokio::select! {
                biased;
                _ = frozen.wait_for(|frozen| *frozen) => {}
                output = &mut future => return output,
            }
        }
    }
}
