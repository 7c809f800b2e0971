//! Reading every partition of every topic, each in order, all of them fairly.

use std::sync::Arc;

use leadway_domain::Partition;
use leadway_domain::record::Topic;
use leadway_domain::telemetry::STAGE_LAG;
use leadway_eventlog::{EventLog, LogError, Position, ReadLimit, Record};
use leadway_tables::{Applied, Tables, TablesError};

/// The name of this stage in metrics.
const STAGE: &str = "scoring";

/// Few records have fewer bytes of data.
const SMALLEST_RECORD: usize = 128;

/// The log's partitions and how far each has been applied.
pub(crate) struct Sources {
    log: Arc<dyn EventLog>,
    positions: Vec<Position>,
    /// Which partition is read first: moves on at every reading.
    turn: usize,
}

/// Records to be folded into one write.
pub(crate) struct Gathered {
    /// In order within each partition.
    pub(crate) records: Vec<Record>,
    /// Where the partitions stand when these records are applied.
    pub(crate) applied: Vec<Applied>,
    /// Whether more waited than fits.
    pub(crate) more: bool,
}

impl Sources {
    /// Nothing yet: [`own`](Self::own) tells what is read.
    pub(crate) fn new(log: Arc<dyn EventLog>) -> Self {
        Self { positions: Vec::new(), log, turn: 0 }
    }

    /// Reads these partitions of every topic from now on, and no others. Where they begin is not known before
    /// [`seek_applied`](Self::seek_applied).
    pub(crate) fn own(&mut self, partitions: &[Partition]) {
        self.positions.clear();
        for topic in Topic::ALL {
            let count = self.log.partitions(topic);
            let own = partitions.iter().filter(|p| p.0 < count);
            self.positions.extend(own.map(|&partition| Position { topic, partition, next: Default::default() }));
        }
    }

    /// Reads every partition of every topic from its beginning.
    pub(crate) fn own_all(&mut self) {
        let most = Topic::ALL.into_iter().map(|topic| self.log.partitions(topic)).max().unwrap_or(0);
        self.own(&(0..most).map(Partition).collect::<Vec<_>>());
    }

    /// Goes to where the tables stand.
    pub(crate) async fn seek_applied(&mut self, tables: &dyn Tables) -> Result<(), TablesError> {
        for position in &mut self.positions {
            position.next = tables.applied(position.topic, position.partition).await?;
        }
        Ok(())
    }

    /// Waits until there is a record to read.
    pub(crate) async fn wait(&self) -> Result<(), LogError> {
        match self.positions.is_empty() {
            true => std::future::pending().await,
            false => self.log.wait(&self.positions).await,
        }
    }

    /// Where every partition ends now.
    pub(crate) async fn ends(&self) -> Result<Vec<Position>, LogError> {
        let mut ends = self.positions.clone();
        for end in &mut ends {
            end.next = self.log.end(end.topic, end.partition).await?;
        }
        Ok(ends)
    }

    /// Whether everything before `ends` has been applied.
    pub(crate) fn reached(&self, ends: &[Position]) -> bool {
        self.positions.iter().zip(ends).all(|(position, end)| position.next >= end.next)
    }

    /// Reads what is there, up to `limit`. Each partition gets its share of what those that have less than theirs leave, so
    /// that a flood of leads does not delay the answer to a command.
    pub(crate) async fn gather(&mut self, limit: ReadLimit) -> Result<Gathered, LogError> {
        let waiting = |p: &Position| self.log.seen(p.topic, p.partition).0.saturating_sub(p.next.0);
        let mut sources: Vec<(u64, Position)> =
            self.positions.iter().map(|p| (waiting(p), *p)).filter(|(waiting, _)| *waiting > 0).collect();
        if !sources.is_empty() {
            let first = self.turn % sources.len();
            sources.rotate_left(first);
        }
        self.turn = self.turn.wrapping_add(1);
        sources.sort_by_key(|(waiting, _)| *waiting);
        let known = sources.iter().map(|(waiting, _)| waiting).sum::<u64>();
        let most = usize::try_from(known).unwrap_or(usize::MAX).min(limit.records).min(limit.bytes / SMALLEST_RECORD);
        let (mut records, mut applied, mut left) = (Vec::with_capacity(most), Vec::new(), limit);
        for (read, (_, position)) in sources.iter().enumerate() {
            let sharers = sources.len() - read;
            if left.records == 0 || left.bytes == 0 {
                break;
            }
            let share = ReadLimit { records: left.records.div_ceil(sharers), bytes: left.bytes.div_ceil(sharers) };
            let part = self.log.read(position.topic, position.partition, position.next, share).await?;
            let Some(last) = part.last() else { continue };
            let Position { topic, partition, next: from } = *position;
            applied.push(Applied { topic, partition, from, next: last.next() });
            left.records = left.records.saturating_sub(part.len());
            left.bytes = left.bytes.saturating_sub(part.iter().map(|r| r.data.len()).sum());
            records.extend(part);
        }
        let read = applied.iter().map(|a| a.next.0 - a.from.0).sum::<u64>();
        Ok(Gathered { records, applied, more: read < known })
    }

    /// Goes on behind what was applied.
    pub(crate) fn advance(&mut self, applied: &[Applied]) {
        for position in &mut self.positions {
            let to = applied.iter().find(|a| a.topic == position.topic && a.partition == position.partition);
            position.next = to.map_or(position.next, |a| a.next);
        }
    }

    /// Tells how many records are known and not yet applied.
    pub(crate) fn report_lag(&self) {
        for topic in Topic::ALL {
            let own = self.positions.iter().filter(|p| p.topic == topic);
            let lag: u64 = own.map(|p| self.log.seen(topic, p.partition).0.saturating_sub(p.next.0)).sum();
            metrics::gauge!(STAGE_LAG, "stage" => STAGE, "topic" => topic.name()).set(lag as f64);
        }
    }
}
