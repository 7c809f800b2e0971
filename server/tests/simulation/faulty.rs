//! The "machine" under a simulated node: log and tables that take a moment, so that a crash can fall before or after any
//! write, and that refuse some.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use leadway_eventlog::{
    Address, EventLog, LogError, MemoryLog, NewRecord, Position, ReadLimit, Record, Stage, StageEvent,
};
use leadway_tables::{Applied, MemoryTables, Range, Row, Table, Tables, TablesError, Value, Write};
use parking_lot::Mutex;

/// When things fail; shared by everything of one world.
#[derive(Clone)]
pub(crate) struct Trouble {
    random: Arc<Mutex<fastrand::Rng>>,
    on: Arc<AtomicBool>,
    pub(crate) refused: Arc<AtomicU64>,
}

impl Trouble {
    pub(crate) fn new(random: fastrand::Rng) -> Self {
        Self { random: Arc::new(Mutex::new(random)), on: Arc::new(AtomicBool::new(true)), refused: Arc::default() }
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
        let refuses = self.on.load(Ordering::SeqCst) && self.random.lock().u32(0..25) == 0;
        self.refused.fetch_add(u64::from(refuses), Ordering::SeqCst);
        refuses
    }
}

#[derive(Clone)]
pub(crate) struct FaultyLog {
    pub(crate) inner: MemoryLog,
    pub(crate) trouble: Trouble,
}

impl FaultyLog {
    async fn write<T>(&self, write: impl Future<Output = Result<T, LogError>>) -> Result<T, LogError> {
        self.trouble.moment().await;
        if self.trouble.refuses() {
            return Err(LogError::Unavailable("the disk is full, says the simulation".into()));
        }
        let written = write.await;
        self.trouble.moment().await;
        written
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
        self.inner.read(topic, partition, from, limit).await
    }

    async fn end(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        self.inner.end(topic, partition).await
    }

    async fn wait(&self, positions: &[Position]) -> Result<(), LogError> {
        self.inner.wait(positions).await
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
    async fn next(&mut self, limit: ReadLimit) -> Result<StageEvent, LogError> {
        self.inner.next(limit).await
    }

    async fn commit(&mut self, outputs: Vec<NewRecord>, progress: &[Position]) -> Result<Vec<Address>, LogError> {
        let log = self.log.clone();
        log.write(self.inner.commit(outputs, progress)).await
    }
}

#[derive(Clone)]
pub(crate) struct FaultyTables {
    pub(crate) inner: MemoryTables,
    pub(crate) trouble: Trouble,
}

#[async_trait]
impl Tables for FaultyTables {
    async fn get(&self, table: &'static Table, key: &[Value]) -> Result<Option<Row>, TablesError> {
        self.inner.get(table, key).await
    }

    async fn scan(&self, table: &'static Table, partition: &[Value], range: Range) -> Result<Vec<Row>, TablesError> {
        self.inner.scan(table, partition, range).await
    }

    async fn write(&self, writes: Vec<Write>, positions: &[Applied]) -> Result<(), TablesError> {
        self.trouble.moment().await;
        if self.trouble.refuses() {
            return Err(TablesError::Unavailable("the disk is full, says the simulation".into()));
        }
        let written = self.inner.write(writes, positions).await;
        self.trouble.moment().await;
        written
    }

    async fn compare_and_set(
        &self,
        table: &'static Table,
        expected: Option<Row>,
        row: Row,
    ) -> Result<bool, TablesError> {
        self.inner.compare_and_set(table, expected, row).await
    }

    async fn applied(&self, topic: Topic, partition: Partition) -> Result<Offset, TablesError> {
        self.inner.applied(topic, partition).await
    }

    async fn wait_applied(&self, topic: Topic, partition: Partition, next: Offset) -> Result<(), TablesError> {
        self.inner.wait_applied(topic, partition, next).await
    }

    async fn clear(&self) -> Result<(), TablesError> {
        self.inner.clear().await
    }

    async fn sync(&self) -> Result<(), TablesError> {
        self.inner.sync().await
    }

    async fn dump(&self) -> Result<Vec<(String, Row)>, TablesError> {
        self.inner.dump().await
    }
}
