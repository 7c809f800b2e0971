//! The log in memory: the contract without a disk, for simulations and tests.

mod group;
mod member;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::member::Alone;
use crate::record::placed_partition;
use crate::{Address, Decoded, EventLog, LogError, Membership, NewRecord, Position, ReadLimit, Record, Stage};
use group::{Group, Sharing};
use member::{Member, MemoryShare, MemoryStage};

/// What a test makes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it succeeds.
    None,
    /// It fails and nothing has landed, as on a full disk.
    Refuse,
    /// It lands, but the caller never learns: the process died in between.
    LandAndClose,
}

type FaultSource = Box<dyn FnMut() -> Fault + Send>;

/// A log in memory; clones are the same log. It outlives the "processes" of a simulation: what was appended stays while
/// everything else is dropped.
#[derive(Clone)]
pub struct MemoryLog {
    inner: Arc<Inner>,
    /// On which node those who join by this clone are.
    node: u32,
}

struct Inner {
    partitions: u32,
    sharing: Sharing,
    state: Mutex<State>,
    faults: Mutex<Option<FaultSource>>,
    tick: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    records: HashMap<(Topic, Partition), Vec<Record>>,
    progress: HashMap<(&'static str, Topic, Partition), Offset>,
    groups: HashMap<&'static str, Group>,
}

impl MemoryLog {
    /// An empty log with so many partitions in each topic but `settings`. Whoever joins a stage fences the earlier member
    /// off, as in the embedded log.
    pub fn new(partitions: u32) -> Self {
        Self::empty(partitions, Sharing::Exclusive)
    }

    /// An empty log like that of [`new`](Self::new), but those who join a stage divide its partitions among them, as on
    /// Kafka. They leave when they are dropped.
    pub fn shared(partitions: u32) -> Self {
        Self::empty(partitions, Sharing::Shared)
    }

    fn empty(partitions: u32, sharing: Sharing) -> Self {
        let (tick, _) = watch::channel(0);
        let inner = Inner { partitions, sharing, state: Mutex::default(), faults: Mutex::default(), tick };
        Self { inner: Arc::new(inner), node: 0 }
    }

    /// The same log, as the node of this number sees it.
    pub fn of_node(&self, node: u32) -> Self {
        Self { inner: self.inner.clone(), node }
    }

    /// A node stands still, and answers nobody, or goes on. Its members keep their partitions meanwhile, and none of the
    /// others gets any, unless it is [thrown out](Self::expel).
    pub fn stand_still(&self, node: u32, still: bool) {
        self.regroup_all(|group| group.stand_still(node, still));
    }

    /// Throws every member on a node out of its stage, as Kafka does with those that it has not heard of for too long.
    /// Their partitions are the others' from now on, and they are told at their next call.
    pub fn expel(&self, node: u32) {
        self.regroup_all(|group| group.expel(node));
    }

    fn regroup_all(&self, change: impl FnMut(&mut Group)) {
        self.inner.state.lock().groups.values_mut().for_each(change);
        self.inner.tick.send_modify(|t| *t += 1);
    }

    fn regroup<T>(&self, stage: &'static str, change: impl FnOnce(&mut Group) -> T) -> T {
        let changed = change(self.inner.state.lock().groups.entry(stage).or_default());
        self.inner.tick.send_modify(|t| *t += 1);
        changed
    }

    /// Asks `faults` before every write from now on.
    pub fn set_faults(&self, faults: impl FnMut() -> Fault + Send + 'static) {
        *self.inner.faults.lock() = Some(Box::new(faults));
    }

    /// Writes succeed again.
    pub fn clear_faults(&self) {
        *self.inner.faults.lock() = None;
    }

    fn write(
        &self,
        check: impl FnOnce(&mut State) -> Result<(), LogError>,
        records: Vec<NewRecord>,
    ) -> Result<Vec<Address>, LogError> {
        for record in &records {
            let count = self.partitions(record.topic);
            let partition = placed_partition(record, count);
            if partition.0 >= count {
                let topic = record.topic.name();
                return Err(LogError::Unusable(format!(
                    "topic {topic} has no partition {}: it has {count}",
                    partition.0
                )));
            }
        }
        let fault = self.inner.faults.lock().as_mut().map_or(Fault::None, |f| f());
        if fault == Fault::Refuse {
            return Err(LogError::Unavailable("the test refused it".into()));
        }
        let addresses = {
            let mut state = self.inner.state.lock();
            check(&mut state)?;
            records.into_iter().map(|r| state.push(r, self.inner.partitions)).collect()
        };
        self.inner.tick.send_modify(|t| *t += 1);
        if fault == Fault::LandAndClose { Err(LogError::Closed) } else { Ok(addresses) }
    }
}

impl State {
    fn push(&mut self, new: NewRecord, partitions: u32) -> Address {
        let count = if new.topic == Topic::Settings { 1 } else { partitions };
        let partition = placed_partition(&new, count);
        let records = self.records.entry((new.topic, partition)).or_default();
        let address = Address { topic: new.topic, partition, offset: Offset(records.len() as u64) };
        // What is read is what was written, as after a restart: bytes.
        records.push(Record { decoded: Decoded::default(), ..new.at(address) });
        address
    }

    fn end(&self, topic: Topic, partition: Partition) -> Offset {
        Offset(self.records.get(&(topic, partition)).map_or(0, Vec::len) as u64)
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    fn partitions(&self, topic: Topic) -> u32 {
        if topic == Topic::Settings { 1 } else { self.inner.partitions }
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Address>, LogError> {
        self.write(|_| Ok(()), records)
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, LogError> {
        let state = self.inner.state.lock();
        let Some(records) = state.records.get(&(topic, partition)) else { return Ok(Vec::new()) };
        let mut bytes = 0;
        let within = |r: &&Record| {
            let first = bytes == 0;
            bytes += r.data.len().max(1);
            first || bytes <= limit.bytes
        };
        Ok(records.iter().skip(from.0 as usize).take(limit.records.max(1)).take_while(within).cloned().collect())
    }

    async fn end(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        Ok(self.inner.state.lock().end(topic, partition))
    }

    fn seen(&self, topic: Topic, partition: Partition) -> Offset {
        self.inner.state.lock().end(topic, partition)
    }

    async fn wait(&self, positions: &[Position]) -> Result<(), LogError> {
        let mut tick = self.inner.tick.subscribe();
        loop {
            tick.mark_unchanged();
            {
                let state = self.inner.state.lock();
                if positions.iter().any(|p| state.end(p.topic, p.partition) > p.next) {
                    return Ok(());
                }
            }
            tick.changed().await.map_err(|_| LogError::Closed)?;
        }
    }

    async fn membership(&self, name: &'static str, topic: Topic) -> Result<Box<dyn Membership>, LogError> {
        let partitions = self.partitions(topic);
        Ok(match self.inner.sharing {
            Sharing::Exclusive => Box::new(Alone::new(partitions)),
            Sharing::Shared => Box::new(MemoryShare(Member::join(self.clone(), name, partitions))),
        })
    }

    async fn stage(&self, name: &'static str, input: Topic, tracked: &[Topic]) -> Result<Box<dyn Stage>, LogError> {
        let member = Member::join(self.clone(), name, self.partitions(input));
        Ok(Box::new(MemoryStage::new(member, input, tracked)))
    }
}

#[cfg(test)]
mod tests;
