//! The log on Kafka: a topic for each of leadway's topics, transactions for the commits of stages, consumer groups to divide
//! their partitions.
//!
//! Every librdkafka client has a thread here that serves it ([`ends`], [`follower`], [`cold`], [`stage`], [`membership`]);
//! callers talk to the threads and never wait in the library.

mod appender;
mod bell;
mod client;
mod codec;
mod cold;
mod ends;
mod flight;
mod follower;
mod group;
mod health;
mod inventory;
mod lanes;
mod membership;
mod options;
mod reader;
mod silence;
mod stage;
mod topic_ids;
mod topic_settings;
mod topics;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};

use self::appender::Appender;
use self::client::Clients;
use self::health::Health;
use self::inventory::Inventory;
use self::lanes::Lanes;
use self::reader::Reader;
use self::stage::{KafkaStage, Role};
use crate::record::placed_partition;
use crate::{Address, EventLog, Extent, LogError, Membership, NewRecord, Position, ReadLimit, Record, Stage};

pub use options::{Compression, Options, SaslMechanism, Security};

/// Connects to Kafka, and makes those of the topics in `may_make` that are missing.
pub(crate) async fn open(options: Options, may_make: &[Topic]) -> Result<Arc<dyn EventLog>, LogError> {
    options.check()?;
    let clients = Clients::new(options)?;
    let topics = topics::open(&clients, may_make).await?;
    let inventory = Inventory::new(&clients, &topics);
    let lanes = Arc::new(Lanes::new(topics));
    let log = KafkaLog {
        appender: Appender::new(clients.clone(), lanes.clone())?,
        reader: Arc::new(Reader::start(&clients, &lanes)?),
        _health: Health::watch(&clients, lanes.clone())?,
        inventory,
        clients,
        lanes,
    };
    log.reader.find_begins().await?;
    Ok(Arc::new(log))
}

struct KafkaLog {
    appender: Appender,
    reader: Arc<Reader>,
    _health: Health,
    inventory: Inventory,
    clients: Clients,
    lanes: Arc<Lanes>,
}

/// Checks new records, and finds the partition of each.
fn place(lanes: &Lanes, clients: &Clients, records: Vec<NewRecord>) -> Result<Vec<(NewRecord, Partition)>, LogError> {
    let limit = clients.options.max_record_bytes;
    let mut placed = Vec::with_capacity(records.len());
    for record in records {
        let partition = placed_partition(&record, lanes.topics.partitions(record.topic));
        lanes.expect(record.topic, partition)?;
        let bytes = record.data.len() + record.key.len();
        if bytes > limit {
            return Err(LogError::TooLarge { topic: Some(record.topic), bytes, limit });
        }
        placed.push((record, partition));
    }
    Ok(placed)
}

#[async_trait]
impl EventLog for KafkaLog {
    fn partitions(&self, topic: Topic) -> u32 {
        self.lanes.topics.partitions(topic)
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Address>, LogError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let records = place(&self.lanes, &self.clients, records)?;
        let addresses = self.appender.append(records).await?;
        self.reader.written(&addresses);
        Ok(addresses)
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, LogError> {
        self.reader.read(topic, partition, from, limit).await
    }

    async fn end(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        self.reader.end(topic, partition).await
    }

    fn seen(&self, topic: Topic, partition: Partition) -> Offset {
        self.reader.seen(topic, partition)
    }

    async fn wait(&self, positions: &[Position]) -> Result<(), LogError> {
        self.reader.wait(positions).await
    }

    async fn membership(&self, name: &'static str, topic: Topic) -> Result<Box<dyn Membership>, LogError> {
        let topic = self.lanes.topics.name(topic).to_owned();
        Ok(Box::new(membership::Member::join(self.clients.clone(), name, topic)?))
    }

    async fn stage(&self, name: &'static str, input: Topic, tracked: &[Topic]) -> Result<Box<dyn Stage>, LogError> {
        let topics = [input].into_iter().chain(tracked.iter().copied()).collect();
        let role = Role {
            name,
            input,
            topics,
            clients: self.clients.clone(),
            lanes: self.lanes.clone(),
            reader: self.reader.clone(),
        };
        Ok(Box::new(KafkaStage::join(role)?))
    }
    async fn extents(&self) -> Result<Vec<Extent>, LogError> {
        self.reader.extents().await
    }

    async fn holders(&self) -> Result<BTreeMap<String, String>, LogError> {
        self.inventory.holders().await
    }
}
