//! Wakes a thread that waits for one of several things.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Rung by whoever has something for the thread; a ring while it is busy is not lost.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    pub(crate) fn ring(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_one();
    }

    /// Waits until it is rung, so long at most.
    pub(crate) fn wait(&self, at_most: Duration) {
        let mut rung = self.0.0.lock();
        if !*rung {
            self.0.1.wait_for(&mut rung, at_most);
        }
        *rung = false;
    }
}
