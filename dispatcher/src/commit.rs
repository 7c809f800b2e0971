//! Putting outcomes and progress into the log, together.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use leadway_domain::record::{DeliveryRecord, Outcome, Topic};
use leadway_domain::{Offset, Timestamp};
use leadway_eventlog::{Address, LogError, NewRecord, Position, Stage};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::outcome::{Place, Settled};
use crate::schedule::later;
use crate::stage::{PAUSE, Running};

/// One commit holds at most so many outcomes, and stops growing at so many bytes.
const MAX_RECORDS: usize = 256;
const MAX_BYTES: usize = 1 << 20;
/// So long after one commit of outcomes the next one begins, unless so many have gathered: nothing waits for them but the
/// books, and a commit costs as much for one as for many. The first after a quiet time does not wait: what is not
/// committed when a node crashes, or loses a partition, is delivered again.
const GATHER: Duration = Duration::from_millis(10);
const ENOUGH: usize = 256;

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    /// All of it is in the log.
    Done,
    /// A partition of it is another member's by now, and nothing has landed. The stage tells which one; what belongs to
    /// the others is committed after that.
    Revoked,
}

impl Running {
    /// Whether outcomes have gathered long enough, or progress is to be committed.
    pub(crate) fn commit_is_due(&self, now: Timestamp) -> bool {
        // A clock that was set back makes nothing wait.
        let waited = now < self.last_commit || now >= later(self.last_commit, GATHER);
        waited && !self.outbox.is_empty() || self.outbox.len() >= ENOUGH || self.progress_due
    }

    /// When outcomes have gathered long enough.
    pub(crate) fn next_commit(&self) -> Option<Timestamp> {
        self.outbox.front().map(|_| later(self.last_commit, GATHER))
    }

    /// Commits every outcome there is, and progress alone when it is time for that. While the log cannot take them it
    /// tries again, and nothing new is taken meanwhile. Attempts go on, and what ends is for the next commit.
    pub(crate) async fn commit(&mut self, stage: &mut dyn Stage, stop: &CancellationToken) -> Result<Landing, Error> {
        let mut left = self.outbox.len();
        if left > 0 {
            self.last_commit = self.clock.now();
        }
        while left > 0 {
            let waiting = self.outbox.len();
            let (settled, outputs) = self.batch();
            left = left.saturating_sub(waiting - self.outbox.len());
            let positions = self.moved(&settled);
            let drain = self.options.drain();
            let addresses = match self.while_sending(land(stage, &outputs, &positions, drain, stop)).await {
                Err(Error::Log(LogError::Revoked { .. })) => {
                    settled.into_iter().rev().for_each(|settled| self.outbox.push_front(settled));
                    return Ok(self.revoked(&positions));
                }
                landed => landed?,
            };
            self.progress_due = false;
            for (settled, address) in settled.into_iter().zip(addresses) {
                self.landed(settled, address.offset);
            }
        }
        if std::mem::take(&mut self.progress_due) {
            let positions = self.moved(&[]);
            if !positions.is_empty() {
                let drain = self.options.drain();
                match self.while_sending(land(stage, &[], &positions, drain, stop)).await {
                    Err(Error::Log(LogError::Revoked { .. })) => return Ok(self.revoked(&positions)),
                    landed => landed.map(drop)?,
                }
            }
        }
        Ok(Landing::Done)
    }

    /// Finds out whether the partitions are still this member's: names the position of each to the log.
    pub(crate) async fn prove(&mut self, stage: &mut dyn Stage, stop: &CancellationToken) -> Result<Landing, Error> {
        self.partitions.values_mut().for_each(|owned| owned.committed = None);
        self.progress_due = true;
        self.commit(stage, stop).await
    }

    fn revoked(&mut self, positions: &[Position]) -> Landing {
        for position in positions {
            if let Some(owned) = self.partitions.get_mut(&position.partition) {
                owned.committed = None;
            }
        }
        self.progress_due = true;
        Landing::Revoked
    }

    /// Takes the next outcomes out of the outbox, as records; their appointments no longer hold the watermark back.
    fn batch(&mut self) -> (Vec<Settled>, Vec<NewRecord>) {
        let (mut settled, mut outputs, mut bytes, mut taken) = (Vec::new(), Vec::new(), 0, 0);
        for next in &self.outbox {
            if outputs.len() >= MAX_RECORDS || bytes >= MAX_BYTES {
                break;
            }
            taken += 1;
            let record = NewRecord::of(&next.record, next.record.at).in_partition(next.source.partition);
            bytes += record.data.len();
            outputs.push(record);
        }
        let mut current = Vec::with_capacity(outputs.len());
        let taken: Vec<Settled> = self.outbox.drain(..taken).collect();
        for (next, output) in taken.into_iter().zip(outputs) {
            match self.partitions.get_mut(&next.source.partition) {
                Some(owned) if owned.assignment == next.source.assignment => {
                    if let Place::Log(offset) = next.source.place {
                        owned.progress.resolve(offset);
                    }
                    settled.push(next);
                    current.push(output);
                }
                // The partition was another's meanwhile: whoever has it now makes the attempt again.
                _ => self.let_go(&next),
            }
        }
        (settled, current)
    }

    /// Drops an outcome that is not this member's to tell. If the partition has come back to it, its scans may have passed
    /// over the row while the attempt was under way.
    fn let_go(&mut self, settled: &Settled) {
        let id = &settled.record.workspace_id;
        self.lanes.left(settled.record.appointment_id, settled.source.assignment);
        if self.partitions.contains_key(&settled.source.partition)
            && let Some(lane) = self.lanes.get(id)
        {
            lane.rows.begin_again();
            self.scans.at(id, self.clock.now());
        }
    }

    /// The positions that differ from those committed last, and those of the partitions that have outcomes.
    fn moved(&mut self, settled: &[Settled]) -> Vec<Position> {
        let mut moved = Vec::new();
        for (&partition, owned) in &mut self.partitions {
            let positions = owned.progress.positions();
            if owned.committed != Some(positions) || settled.iter().any(|s| s.source.partition == partition) {
                owned.committed = Some(positions);
                moved.push(Position { topic: Topic::Appointments, partition, next: positions.watermark });
                moved.push(Position { topic: Topic::Deliveries, partition, next: positions.outcomes_from });
            }
        }
        moved
    }

    /// An outcome is in the log.
    fn landed(&mut self, settled: Settled, offset: Offset) {
        let Settled { record, failure, source } = settled;
        self.lanes.left(record.appointment_id, source.assignment);
        if let Some(owned) = self.partitions.get_mut(&source.partition) {
            owned.progress.landed(offset);
            if let Place::Row(_) = source.place {
                owned.ended.note(record.appointment_id, offset);
            }
        }
        if let Some(due_at) = due_at(&record.outcome) {
            if let Some(lane) = self.lanes.get(&record.workspace_id) {
                lane.rows.expect(due_at, offset);
            }
            // Scoring has to see it first: a row that is due at once is looked for after a pause.
            self.scans.at(&record.workspace_id, due_at.max(later(record.at, PAUSE / 4)));
        }
        self.count(&record, failure.as_deref());
    }

    /// Tests say nothing about how clients and the pipeline do. What a client's answer holds is not for the log.
    fn count(&mut self, record: &DeliveryRecord, failure: Option<&str>) {
        if record.test {
            return;
        }
        if let Some(lane) = self.lanes.get(&record.workspace_id) {
            lane.tally.count(&record.workspace_id, record);
        }
        match record.outcome {
            Outcome::Delivered => self.meters.delivered(record),
            Outcome::GivenUp => {
                let (appointment, error) = (record.appointment_id.0, failure.unwrap_or_default());
                tracing::warn!(workspace = %record.workspace_id, appointment, attempts = record.attempts, error, "given up");
            }
            Outcome::Retry { .. } | Outcome::Held { .. } => {}
        }
    }
}

async fn land(
    stage: &mut dyn Stage,
    outputs: &[NewRecord],
    positions: &[Position],
    drain: Duration,
    stop: &CancellationToken,
) -> Result<Vec<Address>, Error> {
    let backoff = ExponentialBuilder::new().with_min_delay(Duration::from_millis(20)).with_max_delay(PAUSE * 10);
    let mut pauses = backoff.without_max_times().build();
    let mut deadline = None;
    let mut told = false;
    loop {
        let error = match stage.commit(outputs, positions).await {
            Ok(addresses) => return Ok(addresses),
            Err(error) if error.is_transient() => error,
            Err(error) => return Err(error.into()),
        };
        if !told {
            told = true;
            tracing::warn!(%error, outcomes = outputs.len(), "outcomes cannot be committed; trying again");
        }
        // A node that stops does not wait for its log for ever: what has no outcome is delivered again.
        if stop.is_cancelled() && *deadline.get_or_insert(Instant::now() + drain) <= Instant::now() {
            return Err(error.into());
        }
        tokio::time::sleep(pauses.next().unwrap_or(PAUSE)).await;
    }
}

fn due_at(outcome: &Outcome) -> Option<Timestamp> {
    match outcome {
        Outcome::Retry { due_at, .. } | Outcome::Held { due_at, .. } => Some(*due_at),
        Outcome::Delivered | Outcome::GivenUp => None,
    }
}
