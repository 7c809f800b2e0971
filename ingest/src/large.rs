//! Large bodies: read on threads of their own, few at a time, so that small ones never wait behind them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::gate::Gate;
use crate::refusal::Refusal;

/// Bodies of more than so many bytes, unpacked, are large.
pub(crate) const LARGE: usize = 64 << 10;

/// The turns of all providers.
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    max_per_provider: usize,
}

/// A large body's turn: while it is held, the body may be read.
pub(crate) struct Turn {
    _permits: [OwnedSemaphorePermit; 2],
    _waited: Waiting,
}

struct Waiting(Arc<Gate>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.large_under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turns {
    /// `at_once` bodies are read at one moment; `max_per_provider` of one provider are read or wait.
    pub(crate) fn new(at_once: usize, max_per_provider: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(at_once)), max_per_provider }
    }

    /// Waits for a turn. First among the bodies of the same provider, then, with few of each, among all.
    pub(crate) async fn wait(&self, gate: &Arc<Gate>) -> Result<Turn, Refusal> {
        let before = gate.large_under_way.fetch_add(1, Ordering::Relaxed);
        let waited = Waiting(Arc::clone(gate));
        if before >= self.max_per_provider {
            return Err(Refusal::TooManyAtOnce { limit: self.max_per_provider });
        }
        let own = Arc::clone(&gate.large).acquire_owned().await.map_err(|_| Refusal::Stopping)?;
        let all = Arc::clone(&self.all).acquire_owned().await.map_err(|_| Refusal::Stopping)?;
        Ok(Turn { _permits: [own, all], _waited: waited })
    }
}

/// How many large bodies are read at one moment.
pub(crate) fn at_once(setting: usize) -> usize {
    match setting {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
        set => set,
    }
}
