//! The "machine" under a simulated node: log and tables that take a moment, so that a crash can fall before or after any
//! write, that refuse some and answer others as if they had, and that stand still with their node.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use leadway_eventlog::{
    Address, EventLog, LogError, Membership, MemoryLog, NewRecord, Position, ReadLimit, Record, Stage, StageEvent,
};
use leadway_tables::{Applied, Key, LogOfTables, MemoryTables, Range, Row, Table, Tables, TablesError, Value, Write};
use parking_lot::Mutex;

use crate::ice::Ice;

/// When things fail; shared by everything of one world.
#[derive(Clone)]
pub(crate) struct Trouble {
    random: Arc<Mutex<fastrand::Rng>>,
    on: Arc<AtomicBool>,
    pub(crate) refused: Arc<AtomicU64>,
    pub(crate) lost_answers: Arc<AtomicU64>,
}

impl Trouble {
    pub(crate) fn new(random: fastrand::Rng) -> Self {
        Self {
            random: Arc::new(Mutex::new(random)),
            on: Arc::new(AtomicBool::new(true)),
            refused: Arc::default(),
            lost_answers: Arc::default(),
        }
    }

    pub(crate) fn end(&self) {
        self.on.store(false, Ordering::SeqCst);
    }

    /// A moment in which the node may die.
    pub(crate) async fn moment(&self) {
        let micros = self.random.lock().u64(0..3_000);
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }

    fn refuses(&self) -> bool {
        let refuses = self.one_in(25);
        self.refused.fetch_add(u64::from(refuses), Ordering::SeqCst);
        refuses
    }

    /// Whether what has landed is answered as if nobody knew.
    fn loses_the_answer(&self) -> bool {
        let loses = self.one_in(100);
        self.lost_answers.fetch_add(u64::from(loses), Ordering::SeqCst);
        loses
    }

    fn one_in(&self, many: u32) -> bool {
        self.on.load(Ordering::SeqCst) && self.random.lock().u32(0..many) == 0
    }
}

#[derive(Clone)]
pub(crate) struct FaultyLog {
    pub(crate) inner: MemoryLog,
    pub(crate) trouble: Trouble,
    pub(crate) ice: Ice,
}

impl FaultyLog {
    async fn write<T>(&self, write: impl Future<Output = Result<T, LogError>>) -> Result<T, LogError> {
        self.trouble.moment().await;
        if self.trouble.refuses() {
            return Err(LogError::Unavailable("the disk is full, says the simulation".into()));
        }
        let written = write.await;
        self.trouble.moment().await;
        if written.is_ok() && self.trouble.loses_the_answer() { Err(LogError::Closed) } else { written }
    }
}

#[async_trait]
impl EventLog for FaultyLog {
    fn partitions(&self, topic: Topic) -> u32 {
        self.inner.partitions(topic)
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Address>, LogError> {
        self.write(self.inner.append(records)).await
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, LogError> {
        self.ice.run(self.inner.read(topic, partition, from, limit)).await
    }

    async fn end(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        self.ice.run(self.inner.end(topic, partition)).await
    }

    fn seen(&self, topic: Topic, partition: Partition) -> Offset {
        self.inner.seen(topic, partition)
    }

    async fn wait(&self, positions: &[Position]) -> Result<(), LogError> {
        self.ice.run(self.inner.wait(positions)).await
    }

    async fn membership(&self, name: &'static str, topic: Topic) -> Result<Box<dyn Membership>, LogError> {
        self.inner.membership(name, topic).await
    }

    async fn stage(&self, name: &'static str, input: Topic, tracked: &[Topic]) -> Result<Box<dyn Stage>, LogError> {
        Ok(Box::new(FaultyStage { inner: self.inner.stage(name, input, tracked).await?, log: self.clone() }))
    }
}

struct FaultyStage {
    inner: Box<dyn Stage>,
    log: FaultyLog,
}

#[async_trait]
impl Stage for FaultyStage {
    fn read_ahead(&mut self) {
        self.inner.read_ahead();
    }

    async fn next(&mut self, limit: ReadLimit) -> Result<StageEvent, LogError> {
        self.inner.next(limit).await
    }

    fn lag(&self) -> u64 {
        self.inner.lag()
    }

    async fn commit(&mut self, outputs: &[NewRecord], progress: &[Position]) -> Result<Vec<Address>, LogError> {
        let log = self.log.clone();
        log.write(self.inner.commit(outputs, progress)).await
    }
}

/// The tables as all nodes share them, with what a provider for many nodes keeps besides: which versions were removed.
#[derive(Clone, Default)]
pub(crate) struct SharedTables {
    pub(crate) inner: MemoryTables,
    removed: Arc<Mutex<HashMap<(u8, Key), i64>>>,
}

impl SharedTables {
    async fn write(&self, mut writes: Vec<Write>, positions: &[Applied]) -> Result<(), TablesError> {
        writes.retain(|write| !self.was_removed(write));
        let removals = writes.iter().filter(|write| write.is_delete()).filter_map(place_and_version);
        let removals: Vec<_> = removals.collect();
        // It takes no time: nobody else writes between looking and noting.
        self.inner.write(writes, positions).await?;
        let mut removed = self.removed.lock();
        for (key, version) in removals {
            let highest = removed.entry(key).or_insert(version);
            *highest = version.max(*highest);
        }
        Ok(())
    }

    fn was_removed(&self, write: &Write) -> bool {
        let Some((place, version)) = place_and_version(write).filter(|_| !write.is_delete()) else { return false };
        self.removed.lock().get(&place).is_some_and(|removed| version <= *removed)
    }
}

/// Which versioned row it changes, and with which version.
fn place_and_version(write: &Write) -> Option<((u8, Key), i64)> {
    Some(((write.table().id, write.key().ok()?), write.version()?))
}

#[derive(Clone)]
pub(crate) struct FaultyTables {
    pub(crate) shared: SharedTables,
    pub(crate) trouble: Trouble,
    pub(crate) ice: Ice,
}

#[async_trait]
impl Tables for FaultyTables {
    async fn get(&self, table: &'static Table, key: &[Value]) -> Result<Option<Row>, TablesError> {
        self.ice.run(self.shared.inner.get(table, key)).await
    }

    async fn scan(&self, table: &'static Table, partition: &[Value], range: Range) -> Result<Vec<Row>, TablesError> {
        self.ice.run(self.shared.inner.scan(table, partition, range)).await
    }

    async fn write(&self, writes: Vec<Write>, positions: &[Applied]) -> Result<(), TablesError> {
        let unavailable = |why: &str| TablesError::Unavailable(format!("{why}, says the simulation"));
        self.trouble.moment().await;
        if self.trouble.refuses() {
            return Err(unavailable("the disk is full"));
        }
        let written = self.shared.write(writes, positions).await;
        self.trouble.moment().await;
        if written.is_ok() && self.trouble.loses_the_answer() { Err(unavailable("the line is dead")) } else { written }
    }

    async fn applied(&self, topic: Topic, partition: Partition) -> Result<Offset, TablesError> {
        self.ice.run(self.shared.inner.applied(topic, partition)).await
    }

    async fn wait_applied(&self, topic: Topic, partition: Partition, next: Offset) -> Result<(), TablesError> {
        self.ice.run(self.shared.inner.wait_applied(topic, partition, next)).await
    }

    async fn positions(&self) -> Result<Vec<(Topic, Partition, Offset)>, TablesError> {
        self.shared.inner.positions().await
    }

    async fn log(&self) -> Result<Option<LogOfTables>, TablesError> {
        self.shared.inner.log().await
    }

    async fn claim(&self, log: &LogOfTables) -> Result<LogOfTables, TablesError> {
        self.shared.inner.claim(log).await
    }

    async fn set_log(&self, log: &LogOfTables) -> Result<(), TablesError> {
        self.shared.inner.set_log(log).await
    }

    async fn clear(&self) -> Result<(), TablesError> {
        self.shared.inner.clear().await
    }

    async fn sync(&self) -> Result<(), TablesError> {
        self.shared.inner.sync().await
    }

    async fn dump(&self) -> Result<Vec<(String, Row)>, TablesError> {
        self.shared.inner.dump().await
    }
}
