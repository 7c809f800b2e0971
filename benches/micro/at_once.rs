//! Where ingest and the dispatcher end, for benches of them: what comes next answers at once and keeps nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use leadway_dispatcher::{Answer, SendError, Transport, WebhookRequest};
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use leadway_eventlog::{Address, EventLog, LogError, NewRecord, Position, ReadLimit, Record, Stage};

use crate::PARTITIONS;

/// A log that says that it has everything.
#[derive(Default)]
pub(crate) struct LogAtOnce {
    next: AtomicU64,
}

#[async_trait]
impl EventLog for LogAtOnce {
    fn partitions(&self, _topic: Topic) -> u32 {
        PARTITIONS
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Address>, LogError> {
        let place = |record: &NewRecord| {
            let (topic, offset) = (record.topic, Offset(self.next.fetch_add(1, Ordering::Relaxed)));
            Address { topic, partition: self.partition_of(topic, &record.key), offset }
        };
        Ok(records.iter().map(place).collect())
    }

    async fn read(&self, _: Topic, _: Partition, _: Offset, _: ReadLimit) -> Result<Vec<Record>, LogError> {
        Ok(Vec::new())
    }

    async fn end(&self, _: Topic, _: Partition) -> Result<Offset, LogError> {
        Ok(Offset(0))
    }

    fn seen(&self, _: Topic, _: Partition) -> Offset {
        Offset(0)
    }

    async fn wait(&self, _: &[Position]) -> Result<(), LogError> {
        std::future::pending().await
    }

    async fn stage(&self, _: &'static str, _: Topic, _: &[Topic]) -> Result<Box<dyn Stage>, LogError> {
        Err(LogError::Closed)
    }
}

/// Clients that take everything.
pub(crate) struct ClientsAtOnce;

#[async_trait]
impl Transport for ClientsAtOnce {
    async fn send(&self, _: WebhookRequest) -> Result<Answer, SendError> {
        Ok(Answer { status: 200, body: Bytes::from_static(br#"{"status": "received"}"#), ..Answer::default() })
    }
}
