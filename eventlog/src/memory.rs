//! The log in memory: the contract without a disk, for simulations and tests.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::member::Rounds;
use crate::record::placed_partition;
use crate::{Address, EventLog, LogError, NewRecord, Position, ReadLimit, Record, Stage, StageEvent};

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
pub struct MemoryLog(Arc<Inner>);

struct Inner {
    partitions: u32,
    state: Mutex<State>,
    faults: Mutex<Option<FaultSource>>,
    tick: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    records: HashMap<(Topic, Partition), Vec<Record>>,
    progress: HashMap<(&'static str, Topic, Partition), Offset>,
    /// Which member of a stage is the present one.
    generations: HashMap<&'static str, u64>,
}

impl MemoryLog {
    /// An empty log with so many partitions in each topic but `settings`.
    pub fn new(partitions: u32) -> Self {
        let (tick, _) = watch::channel(0);
        Self(Arc::new(Inner { partitions, state: Mutex::default(), faults: Mutex::default(), tick }))
    }

    /// Asks `faults` before every write from now on.
    pub fn set_faults(&self, faults: impl FnMut() -> Fault + Send + 'static) {
        *self.0.faults.lock() = Some(Box::new(faults));
    }

    /// Writes succeed again.
    pub fn clear_faults(&self) {
        *self.0.faults.lock() = None;
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
        let fault = self.0.faults.lock().as_mut().map_or(Fault::None, |f| f());
        if fault == Fault::Refuse {
            return Err(LogError::Unavailable("the test refused it".into()));
        }
        let addresses = {
            let mut state = self.0.state.lock();
            check(&mut state)?;
            records.into_iter().map(|r| state.push(r, self.0.partitions)).collect()
        };
        self.0.tick.send_modify(|t| *t += 1);
        if fault == Fault::LandAndClose { Err(LogError::Closed) } else { Ok(addresses) }
    }
}

impl State {
    fn push(&mut self, new: NewRecord, partitions: u32) -> Address {
        let count = if new.topic == Topic::Settings { 1 } else { partitions };
        let partition = placed_partition(&new, count);
        let records = self.records.entry((new.topic, partition)).or_default();
        let address = Address { topic: new.topic, partition, offset: Offset(records.len() as u64) };
        records.push(Record {
            address,
            key: new.key,
            kind: new.kind.into(),
            id: new.id,
            time: new.time,
            data: new.data,
        });
        address
    }

    fn end(&self, topic: Topic, partition: Partition) -> Offset {
        Offset(self.records.get(&(topic, partition)).map_or(0, Vec::len) as u64)
    }
}

#[async_trait]
impl EventLog for MemoryLog {
    fn partitions(&self, topic: Topic) -> u32 {
        if topic == Topic::Settings { 1 } else { self.0.partitions }
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
        let state = self.0.state.lock();
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
        Ok(self.0.state.lock().end(topic, partition))
    }

    async fn wait(&self, positions: &[Position]) -> Result<(), LogError> {
        let mut tick = self.0.tick.subscribe();
        loop {
            tick.mark_unchanged();
            {
                let state = self.0.state.lock();
                if positions.iter().any(|p| state.end(p.topic, p.partition) > p.next) {
                    return Ok(());
                }
            }
            tick.changed().await.map_err(|_| LogError::Closed)?;
        }
    }

    async fn stage(&self, name: &'static str, input: Topic, tracked: &[Topic]) -> Result<Box<dyn Stage>, LogError> {
        let mut state = self.0.state.lock();
        let generation = state.generations.entry(name).or_default();
        *generation += 1;
        let generation = *generation;
        let mut positions = Rounds::positions(input, tracked, self.partitions(input));
        for p in &mut positions {
            p.next = state.progress.get(&(name, p.topic, p.partition)).copied().unwrap_or_default();
        }
        drop(state);
        let rounds = Rounds::new(&positions, 1 + tracked.len());
        Ok(Box::new(MemoryStage { log: self.clone(), name, generation, rounds }))
    }
}

struct MemoryStage {
    log: MemoryLog,
    name: &'static str,
    generation: u64,
    rounds: Rounds,
}

#[async_trait]
impl Stage for MemoryStage {
    async fn next(&mut self, limit: ReadLimit) -> Result<StageEvent, LogError> {
        self.rounds.next(&self.log, limit).await
    }

    async fn commit(&mut self, outputs: Vec<NewRecord>, progress: &[Position]) -> Result<Vec<Address>, LogError> {
        let (name, generation) = (self.name, self.generation);
        let check = |state: &mut State| {
            if state.generations.get(name) != Some(&generation) {
                return Err(LogError::Fenced { stage: name.to_owned() });
            }
            for p in progress {
                let stored = state.progress.entry((name, p.topic, p.partition)).or_default();
                *stored = (*stored).max(p.next);
            }
            Ok(())
        };
        self.log.write(check, outputs)
    }
}
