//! What a member of a stage does in both providers: told its assignment first, then given records in rounds.

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};

use crate::{Assignment, EventLog, LogError, Position, ReadLimit, StageEvent};

/// Where a member stands in each partition of its input.
pub(crate) struct Rounds {
    assignments: Option<Vec<Assignment>>,
    positions: Vec<Position>,
    turn: usize,
}

impl Rounds {
    /// The start of every partition of a stage's topics: by partition, the input first.
    pub(crate) fn positions(input: Topic, tracked: &[Topic], partitions: u32) -> Vec<Position> {
        let of_partition = |partition| {
            let topics = [input].into_iter().chain(tracked.iter().copied());
            topics.map(move |topic| Position { topic, partition, next: Offset(0) })
        };
        (0..partitions).map(Partition).flat_map(of_partition).collect()
    }

    /// Goes on from `progress`, in the order of [`Self::positions`] with so many `topics` for each partition.
    pub(crate) fn new(progress: &[Position], topics: usize) -> Self {
        let assignment = |progress: &[Position]| {
            let partition = progress.first()?.partition;
            Some(Assignment { partition, progress: progress.to_vec() })
        };
        let assignments: Vec<_> = progress.chunks(topics.max(1)).filter_map(assignment).collect();
        let positions = assignments.iter().filter_map(|a| a.progress.first().copied()).collect();
        Self { assignments: Some(assignments), positions, turn: 0 }
    }

    /// The next event. Safe to drop: a position moves on only when its records are returned.
    pub(crate) async fn next(&mut self, log: &dyn EventLog, limit: ReadLimit) -> Result<StageEvent, LogError> {
        if let Some(assignments) = self.assignments.take() {
            return Ok(StageEvent::Assigned(assignments));
        }
        loop {
            for _ in 0..self.positions.len() {
                self.turn = (self.turn + 1) % self.positions.len();
                let Some(position) = self.positions.get_mut(self.turn) else { continue };
                let records = log.read(position.topic, position.partition, position.next, limit).await?;
                if let Some(last) = records.last() {
                    position.next = last.next();
                    return Ok(StageEvent::Records(records));
                }
            }
            log.wait(&self.positions).await?;
        }
    }
}
