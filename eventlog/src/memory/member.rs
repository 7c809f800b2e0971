//! Members of the stages of a log in memory.

use std::collections::BTreeSet;

use async_trait::async_trait;
use leadway_domain::Partition;
use leadway_domain::record::Topic;

use super::group::{Change, MemberId, Sharing, Told};
use super::{MemoryLog, State};
use crate::member::Rounds;
use crate::{Address, Assignment, LogError, Membership, NewRecord, Position, ReadLimit, Stage, StageEvent};

/// A place among those who divide a stage's partitions. It is left when this is dropped.
pub(super) struct Member {
    log: MemoryLog,
    stage: &'static str,
    partitions: u32,
    id: MemberId,
    told: Told,
}

impl Member {
    pub(super) fn join(log: MemoryLog, stage: &'static str, partitions: u32) -> Self {
        let id = log.regroup(stage, |group| group.join(log.node, log.inner.sharing, partitions));
        Self { log, stage, partitions, id, told: Told::new() }
    }

    /// What has changed since it was told last. Who was thrown out joins again, as somebody new.
    fn told_next(&mut self) -> Option<Change> {
        let (shared, node) = (self.log.inner.sharing == Sharing::Shared, self.log.node);
        let mut state = self.log.inner.state.lock();
        let group = state.groups.entry(self.stage).or_default();
        if shared && !group.has(self.id) && self.told.is_empty() {
            self.id = group.join(node, Sharing::Shared, self.partitions);
            self.log.inner.tick.send_modify(|t| *t += 1);
        }
        if !shared && !group.has(self.id) {
            return None; // its next commit tells
        }
        group.tell(self.id, &mut self.told)
    }

    /// Waits for a change. Dropping the future is safe.
    async fn change(&mut self) -> Result<Change, LogError> {
        let mut tick = self.log.inner.tick.subscribe();
        loop {
            tick.mark_unchanged();
            if let Some(change) = self.told_next() {
                return Ok(change);
            }
            tick.changed().await.map_err(|_| LogError::Closed)?;
        }
    }

    /// Why it may not commit for these positions.
    fn refused(&self, state: &State, progress: &[Position]) -> Option<LogError> {
        let stage = self.stage.to_owned();
        let group = state.groups.get(self.stage);
        if !group.is_some_and(|g| g.has(self.id)) {
            return Some(match self.log.inner.sharing {
                Sharing::Exclusive => LogError::Fenced { stage },
                Sharing::Shared => LogError::Revoked { stage },
            });
        }
        let lost = progress.iter().any(|p| !group.is_some_and(|g| g.owns(self.id, &self.told, p.partition)));
        lost.then_some(LogError::Revoked { stage })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let id = self.id;
        self.log.regroup(self.stage, |group| group.leave(id));
    }
}

pub(super) struct MemoryStage {
    member: Member,
    topics: Vec<Topic>,
    rounds: Rounds,
}

impl MemoryStage {
    pub(super) fn new(member: Member, input: Topic, tracked: &[Topic]) -> Self {
        let topics = [input].into_iter().chain(tracked.iter().copied()).collect();
        Self { member, topics, rounds: Rounds::default() }
    }

    fn assignment(&self, partition: Partition) -> Assignment {
        let state = self.member.log.inner.state.lock();
        let stored = |topic| state.progress.get(&(self.member.stage, topic, partition)).copied().unwrap_or_default();
        let progress = self.topics.iter().map(|&topic| Position { topic, partition, next: stored(topic) });
        Assignment { partition, progress: progress.collect() }
    }

    fn changed(&mut self, change: Change) -> StageEvent {
        match change {
            Change::Lost(partitions) => {
                self.rounds.leave(&partitions);
                StageEvent::Revoked(partitions)
            }
            Change::Gained(partitions) => {
                let assignments: Vec<_> = partitions.into_iter().map(|p| self.assignment(p)).collect();
                self.rounds.take_up(&assignments);
                StageEvent::Assigned(assignments)
            }
        }
    }
}

#[async_trait]
impl Stage for MemoryStage {
    async fn next(&mut self, limit: ReadLimit) -> Result<StageEvent, LogError> {
        let log = self.member.log.clone();
        let mut log = &log;
        tokio::select! {
            biased;
            change = self.member.change() => Ok(self.changed(change?)),
            event = self.rounds.next(&mut log, limit) => event,
        }
    }

    fn lag(&self) -> u64 {
        self.rounds.lag(&self.member.log)
    }

    async fn commit(&mut self, outputs: &[NewRecord], progress: &[Position]) -> Result<Vec<Address>, LogError> {
        let check = |state: &mut State| {
            if let Some(refused) = self.member.refused(state, progress) {
                return Err(refused);
            }
            for p in progress {
                let stored = state.progress.entry((self.member.stage, p.topic, p.partition)).or_default();
                *stored = (*stored).max(p.next);
            }
            Ok(())
        };
        self.member.log.write(check, outputs.to_vec())
    }
}

/// A share without records.
pub(super) struct MemoryShare(pub(super) Member);

#[async_trait]
impl Membership for MemoryShare {
    async fn changed(&mut self) -> Result<Vec<Partition>, LogError> {
        self.0.change().await?;
        // What was lost and what was gained instead are one change here.
        while self.0.told_next().is_some() {}
        let own: BTreeSet<Partition> = self.0.told.keys().copied().collect();
        Ok(own.into_iter().collect())
    }
}
