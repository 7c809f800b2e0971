//! The one writer of settings.

use std::sync::Arc;
use std::time::Duration;

use leadway_domain::problem::Problem;
use leadway_domain::record::Topic;
use leadway_domain::settings::{Change, Settings, SettingsChange};
use leadway_domain::{Clock, Offset, Partition, Timestamp};
use leadway_eventlog::{Address, EventLog, LogError, NewRecord, SettingsHandle};
use tokio::sync::{Mutex, MutexGuard};

use crate::Writes;
use crate::problem::Refusal;

/// How long a change that is durable may take to be in force here.
const IN_FORCE: Duration = Duration::from_secs(10);

/// Checks and appends changes of settings one at a time, so that each is checked against all that came before it, and
/// answers when the change is in force here, so that a caller reads its own writes.
pub(crate) struct SettingsWriter {
    log: Arc<dyn EventLog>,
    settings: SettingsHandle,
    clock: Clock,
    writes: Writes,
    turn: Mutex<()>,
}

/// The writer's turn: nobody else changes settings while it is held.
pub(crate) struct Turn<'w> {
    writer: &'w SettingsWriter,
    _turn: MutexGuard<'w, ()>,
    /// As all changes before this one left them.
    pub(crate) settings: Arc<Settings>,
    /// The time of the change.
    pub(crate) now: Timestamp,
    /// The end of the topic that these settings come to.
    end: Offset,
}

/// What a decision about settings comes to.
pub(crate) struct Decided<T> {
    /// What is to be changed; an empty batch changes nothing and is not written.
    pub(crate) change: Change,
    /// What the caller is told.
    pub(crate) answer: T,
}

impl<T> Decided<T> {
    pub(crate) fn new(change: Change, answer: T) -> Self {
        Self { change, answer }
    }
}

impl SettingsWriter {
    pub(crate) fn new(log: Arc<dyn EventLog>, settings: SettingsHandle, clock: Clock, writes: Writes) -> Self {
        Self { log, settings, clock, writes, turn: Mutex::default() }
    }

    /// Decides against the settings as they are now, and makes it so. `decide` is pure: it gets the settings and the time.
    pub(crate) async fn change<T, E>(
        &self,
        actor: &str,
        decide: impl FnOnce(&Settings, Timestamp) -> Result<Decided<T>, E>,
    ) -> Result<T, Refusal>
    where
        Refusal: From<E>,
    {
        let turn = self.turn().await?;
        let decided = decide(&turn.settings, turn.now)?;
        turn.carry_out(actor, decided).await
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Address>, LogError> {
        self.writes.check()?;
        self.log.append(records).await
    }

    /// Waits for the turn, for decisions that need more than the settings.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, Refusal> {
        let turn = self.turn.lock().await;
        let end = self.catch_up().await?;
        Ok(Turn { writer: self, _turn: turn, settings: self.settings.load(), now: self.clock.now(), end })
    }

    /// Waits for what another node, or a caller that went away while its append was under way, has written; tells how far
    /// that is.
    async fn catch_up(&self) -> Result<Offset, Refusal> {
        let end = self.log.end(Topic::Settings, Partition(0)).await?;
        let Some(last) = end.0.checked_sub(1).map(Offset) else { return Ok(end) };
        match tokio::time::timeout(IN_FORCE, self.settings.wait_for(last)).await {
            Ok(done) => Ok(done.map(|()| end)?),
            Err(_) => Err(Problem::unavailable("The settings are behind the log; nothing was changed.", 5).into()),
        }
    }

    /// The change is durable whatever happens here: a caller is not told that it failed.
    async fn in_force(&self, offset: Offset) {
        if !matches!(tokio::time::timeout(IN_FORCE, self.settings.wait_for(offset)).await, Ok(Ok(()))) {
            tracing::warn!(offset = offset.0, "a change of settings is durable but not in force here yet");
        }
    }
}

impl Turn<'_> {
    /// Makes the change durable, and gives the answer when it is in force here. Where another node was faster the change
    /// does not count, and the caller is told to try again.
    pub(crate) async fn carry_out<T>(self, actor: &str, decided: Decided<T>) -> Result<T, Refusal> {
        let Decided { change, answer } = decided;
        if change.singles().is_empty() {
            return Ok(answer);
        }
        let record = SettingsChange::new(&self.settings, actor, self.now, change).only_at(self.end);
        let addresses = self.writer.append(vec![NewRecord::of(&record, self.now)]).await?;
        if let Some(address) = addresses.first() {
            if !record.counts_at(address.offset) {
                return Err(Problem::unavailable(
                    "The settings were changed at the same moment; nothing was changed.",
                    1,
                )
                .into());
            }
            self.writer.in_force(address.offset).await;
        }
        Ok(answer)
    }
}
