//! The settings, followed from the log and kept in memory.

use std::sync::Arc;

use arc_swap::ArcSwap;
use leadway_domain::record::Topic;
use leadway_domain::seal::Keyring;
use leadway_domain::settings::{Settings, SettingsChange};
use leadway_domain::{Offset, Partition};
use tokio::sync::watch;

use crate::{EventLog, LogError, Position, ReadLimit};

/// The present [`Settings`], kept by a task of its own; cheap to clone, and reading never waits.
#[derive(Clone)]
pub struct SettingsHandle {
    current: Arc<ArcSwap<Settings>>,
    applied: watch::Receiver<Offset>,
}

impl SettingsHandle {
    /// Reads the topic `settings` to its end, then follows it for as long as a handle lives. Nothing that is sealed can be
    /// opened: this is for those who have no use for secrets.
    pub async fn follow(log: Arc<dyn EventLog>) -> Result<Self, LogError> {
        Self::follow_with(log, Keyring::default()).await
    }

    /// The same, opening what is sealed with these keys.
    pub async fn follow_with(log: Arc<dyn EventLog>, ring: Keyring) -> Result<Self, LogError> {
        let settings = Settings::with_keys(ring);
        let current = Arc::new(ArcSwap::from_pointee(settings.clone()));
        let (sender, applied) = watch::channel(Offset(0));
        let mut follower = Follower { log, settings, current: current.clone(), next: Offset(0), sender };
        let end = follower.log.end(Topic::Settings, Partition(0)).await?;
        while follower.next < end {
            follower.step().await?;
        }
        tokio::spawn(follower.run());
        Ok(Self { current, applied })
    }

    /// The settings at this moment. They do not change under the caller.
    pub fn load(&self) -> Arc<Settings> {
        self.current.load_full()
    }

    /// Waits until the change at `offset` is in force here.
    pub async fn wait_for(&self, offset: Offset) -> Result<(), LogError> {
        let mut applied = self.applied.clone();
        applied.wait_for(|next| *next > offset).await.map(drop).map_err(|_| LogError::Closed)
    }

    /// Wakes at every change; the value is the next offset of `settings` to be read.
    pub fn changes(&self) -> watch::Receiver<Offset> {
        self.applied.clone()
    }
}

struct Follower {
    log: Arc<dyn EventLog>,
    settings: Settings,
    current: Arc<ArcSwap<Settings>>,
    next: Offset,
    sender: watch::Sender<Offset>,
}

impl Follower {
    async fn run(mut self) {
        let pause = std::time::Duration::from_millis(200);
        while !self.sender.is_closed() {
            let position = [Position { topic: Topic::Settings, partition: Partition(0), next: self.next }];
            let sender = self.sender.clone();
            let waited = tokio::select! {
                waited = self.log.wait(&position) => waited,
                () = sender.closed() => return,
            };
            let stepped = match waited {
                Ok(()) => self.step().await,
                Err(e) => Err(e),
            };
            match stepped {
                Ok(()) => {}
                Err(LogError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, "settings cannot be followed; trying again");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn step(&mut self) -> Result<(), LogError> {
        let records = self.log.read(Topic::Settings, Partition(0), self.next, ReadLimit::default()).await?;
        for record in &records {
            match record.decode::<SettingsChange>() {
                Ok(change) if change.counts_at(record.address.offset) => self.settings.apply(&change.change),
                Ok(_) => {}
                Err(error) => {
                    metrics::counter!(leadway_domain::telemetry::UNREADABLE_RECORDS, "topic" => Topic::Settings.name())
                        .increment(1);
                    tracing::error!(%error, offset = record.address.offset.0, "a change of settings was set aside");
                }
            }
            self.next = record.next();
        }
        self.current.store(Arc::new(self.settings.clone()));
        self.sender.send_replace(self.next);
        Ok(())
    }
}
