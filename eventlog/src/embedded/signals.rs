//! How the writer wakes those who wait.

use leadway_domain::record::Topic;
use tokio::sync::watch;

use super::view::Reading;

/// The writer's side. When it goes, whoever waits is told that the log has closed.
pub(crate) struct Signals {
    /// By topic.
    durable: Vec<watch::Sender<()>>,
    ahead: Vec<watch::Sender<()>>,
    withdrawn: watch::Sender<u64>,
}

/// The side of those who wait; of a log that is only read it hears nothing.
#[derive(Clone, Default)]
pub(crate) struct Listeners {
    durable: Vec<watch::Receiver<()>>,
    ahead: Vec<watch::Receiver<()>>,
    /// How many frames were withdrawn; `None` where nobody writes.
    pub(crate) withdrawn: Option<watch::Receiver<u64>>,
}

pub(crate) fn signals() -> (Signals, Listeners) {
    let of_topics = || Topic::ALL.iter().map(|_| watch::channel(())).unzip();
    let ((durable, hears_durable), (ahead, hears_ahead)) = (of_topics(), of_topics());
    let (withdrawn, hears_withdrawn) = watch::channel(0);
    let listeners = Listeners { durable: hears_durable, ahead: hears_ahead, withdrawn: Some(hears_withdrawn) };
    (Signals { durable, ahead, withdrawn }, listeners)
}

impl Signals {
    /// There are records that those who read so can see: how many, by topic.
    pub(crate) fn records(&self, reading: Reading, counts: &[u64]) {
        let wakers = match reading {
            Reading::Durable => &self.durable,
            Reading::Ahead => &self.ahead,
        };
        for (waker, _) in wakers.iter().zip(counts).filter(|(_, count)| **count > 0) {
            waker.send_replace(());
        }
    }

    /// A frame that was shown to those who read ahead is withdrawn.
    pub(crate) fn withdraw(&self) {
        self.withdrawn.send_modify(|count| *count += 1);
    }

    /// How many were.
    pub(crate) fn withdrawn(&self) -> u64 {
        *self.withdrawn.borrow()
    }
}

impl Listeners {
    /// Hears of a topic's records.
    pub(crate) fn records(&self, reading: Reading, topic: u8) -> Option<watch::Receiver<()>> {
        let wakers = match reading {
            Reading::Durable => &self.durable,
            Reading::Ahead => &self.ahead,
        };
        wakers.get(usize::from(topic)).cloned()
    }
}
