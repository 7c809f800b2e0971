//! The in-memory log with a gate before its writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use leadway_eventlog::{Address, EventLog, LogError, MemoryLog, NewRecord, Position, ReadLimit, Record, Stage};
use tokio::sync::watch;

/// Appends wait while the gate is shut.
#[derive(Clone)]
pub(crate) struct GatedLog {
    pub(crate) memory: MemoryLog,
    shut: Arc<watch::Sender<bool>>,
    arrived: Arc<watch::Sender<usize>>,
    reads_fail: Arc<AtomicBool>,
    leads_read: Arc<AtomicUsize>,
}

impl GatedLog {
    pub(crate) fn new() -> Self {
        Self {
            memory: MemoryLog::new(4),
            shut: Arc::new(watch::channel(false).0),
            arrived: Arc::new(watch::channel(0).0),
            reads_fail: Arc::default(),
            leads_read: Arc::default(),
        }
    }

    pub(crate) fn shut(&self) {
        self.shut.send_replace(true);
        self.arrived.send_replace(0);
    }

    pub(crate) fn open(&self) {
        self.shut.send_replace(false);
    }

    pub(crate) fn fail_reads(&self) {
        self.reads_fail.store(true, Ordering::SeqCst);
    }

    /// How many records of leads were read since this was last asked.
    pub(crate) fn leads_read(&self) -> usize {
        self.leads_read.swap(0, Ordering::SeqCst)
    }

    /// Waits until so many appends stand at the gate.
    pub(crate) async fn arrivals(&self, count: usize) {
        self.arrived.subscribe().wait_for(|arrived| *arrived >= count).await.unwrap();
    }
}

#[async_trait]
impl EventLog for GatedLog {
    fn partitions(&self, topic: Topic) -> u32 {
        self.memory.partitions(topic)
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Address>, LogError> {
        self.arrived.send_modify(|arrived| *arrived += 1);
        self.shut.subscribe().wait_for(|shut| !shut).await.map_err(|_| LogError::Closed)?;
        self.memory.append(records).await
    }

    async fn read(&self, t: Topic, p: Partition, from: Offset, limit: ReadLimit) -> Result<Vec<Record>, LogError> {
        if t == Topic::Leads && self.reads_fail.load(Ordering::SeqCst) {
            return Err(LogError::Unavailable("the test refused it".into()));
        }
        let records = self.memory.read(t, p, from, limit).await?;
        if t == Topic::Leads {
            self.leads_read.fetch_add(records.len(), Ordering::SeqCst);
        }
        Ok(records)
    }

    async fn end(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        self.memory.end(topic, partition).await
    }

    fn seen(&self, topic: Topic, partition: Partition) -> Offset {
        self.memory.seen(topic, partition)
    }

    async fn wait(&self, positions: &[Position]) -> Result<(), LogError> {
        self.memory.wait(positions).await
    }

    async fn stage(&self, name: &'static str, input: Topic, tracked: &[Topic]) -> Result<Box<dyn Stage>, LogError> {
        self.memory.stage(name, input, tracked).await
    }
}
