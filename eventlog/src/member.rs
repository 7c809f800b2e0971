//! What a member of a stage does in both providers: told its assignment first, then given records in rounds.

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};

use crate::{Assignment, EventLog, LogError, Membership, Position, ReadLimit, Record, StageEvent};

/// The only member: every partition is its own, from the first moment to the last.
pub(crate) struct Alone(Option<Vec<Partition>>);

impl Alone {
    pub(crate) fn new(partitions: u32) -> Self {
        Self(Some((0..partitions).map(Partition).collect()))
    }
}

#[async_trait]
impl Membership for Alone {
    async fn changed(&mut self) -> Result<Vec<Partition>, LogError> {
        match self.0.take() {
            Some(partitions) => Ok(partitions),
            None => std::future::pending().await,
        }
    }
}

/// Where a member's records come from.
pub(crate) trait Source: Send {
    /// Records of one partition from there on, none when there are none yet. It does not wait for some.
    fn ready(
        &mut self,
        from: &Position,
        limit: ReadLimit,
    ) -> impl Future<Output = Result<Vec<Record>, LogError>> + Send;

    /// Waits until at least one of the positions has a record to read.
    fn wait(&mut self, positions: &[Position]) -> impl Future<Output = Result<(), LogError>> + Send;
}

impl<L: EventLog> Source for &L {
    async fn ready(&mut self, from: &Position, limit: ReadLimit) -> Result<Vec<Record>, LogError> {
        self.read(from.topic, from.partition, from.next, limit).await
    }

    async fn wait(&mut self, positions: &[Position]) -> Result<(), LogError> {
        EventLog::wait(*self, positions).await
    }
}

/// By partition, from positions in the order of [`Rounds::positions`].
fn assignments(progress: &[Position], topics: usize) -> Vec<Assignment> {
    let assignment = |progress: &[Position]| {
        let partition = progress.first()?.partition;
        Some(Assignment { partition, progress: progress.to_vec() })
    };
    progress.chunks(topics.max(1)).filter_map(assignment).collect()
}

/// Where a member stands in each partition of its input.
#[derive(Default)]
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
        let mut rounds = Self::default();
        rounds.begin(assignments(progress, topics));
        rounds
    }

    /// Takes away the partitions of which more was returned than has come to `progress`, and gives them back; returns them.
    pub(crate) fn go_back(&mut self, progress: &[Position], topics: usize) -> Vec<Partition> {
        let mut again = assignments(progress, topics);
        again.retain(|assignment| assignment.progress.iter().take(1).all(|to| !self.positions.contains(to)));
        let lost: Vec<Partition> = again.iter().map(|assignment| assignment.partition).collect();
        self.leave(&lost);
        self.begin(again);
        lost
    }

    fn begin(&mut self, assignments: Vec<Assignment>) {
        self.take_up(&assignments);
        self.assignments.get_or_insert_default().extend(assignments);
    }

    /// Reads these partitions too.
    pub(crate) fn take_up(&mut self, assignments: &[Assignment]) {
        self.positions.extend(assignments.iter().filter_map(|a| a.progress.first().copied()));
    }

    /// Reads these partitions no longer.
    pub(crate) fn leave(&mut self, partitions: &[Partition]) {
        self.positions.retain(|position| !partitions.contains(&position.partition));
    }

    /// Records of the input that were not returned yet.
    pub(crate) fn lag(&self, log: &dyn EventLog) -> u64 {
        let behind = |p: &Position| log.seen(p.topic, p.partition).0.saturating_sub(p.next.0);
        self.positions.iter().map(behind).sum()
    }

    /// The next event. Safe to drop: a position moves on only when its records are returned.
    pub(crate) async fn next(&mut self, source: &mut impl Source, limit: ReadLimit) -> Result<StageEvent, LogError> {
        match self.assignments.take() {
            Some(assignments) => Ok(StageEvent::Assigned(assignments)),
            None => self.records(source, limit).await.map(StageEvent::Records),
        }
    }

    /// The next records. Safe to drop as [`next`](Self::next) is.
    pub(crate) async fn records(
        &mut self,
        source: &mut impl Source,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, LogError> {
        loop {
            let (records, moved) = self.gather(source, limit).await?;
            if !records.is_empty() {
                self.turn = self.turn.wrapping_add(1);
                for position in &mut self.positions {
                    let to = moved.iter().find(|to| to.partition == position.partition);
                    position.next = to.map_or(position.next, |to| to.next);
                }
                return Ok(records);
            }
            source.wait(&self.positions).await?;
        }
    }

    /// What there is, of one partition after the other, beginning with another one each time; and where that leads.
    async fn gather(
        &self,
        source: &mut impl Source,
        limit: ReadLimit,
    ) -> Result<(Vec<Record>, Vec<Position>), LogError> {
        let (mut records, mut moved, mut left) = (Vec::new(), Vec::new(), limit);
        let first = self.turn % self.positions.len().max(1);
        let (before, from) = self.positions.split_at_checked(first).unwrap_or_default();
        for position in from.iter().chain(before) {
            if left.records == 0 || left.bytes == 0 {
                break;
            }
            let part = source.ready(position, left).await?;
            let Some(last) = part.last() else { continue };
            moved.push(Position { next: last.next(), ..*position });
            left.records = left.records.saturating_sub(part.len());
            left.bytes = left.bytes.saturating_sub(part.iter().map(|r| r.data.len()).sum());
            records.extend(part);
        }
        Ok((records, moved))
    }
}
