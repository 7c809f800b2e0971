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
mod lanes;
mod membership;
mod options;
mod silence;
mod stage;
mod topic_settings;
mod topics;
mod view;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use tokio::time::{Instant, timeout, timeout_at};

use self::appender::Appender;
use self::client::Clients;
use self::cold::Cold;
use self::ends::Ends;
use self::follower::Follower;
use self::lanes::{Lane, Lanes};
use self::stage::{KafkaStage, Role};
use self::view::{Plan, Start, View, too_late};
use crate::record::placed_partition;
use crate::{Address, EventLog, LogError, Membership, NewRecord, Position, ReadLimit, Record, Stage};

pub use options::{Compression, Options, SaslMechanism, Security};

/// How often whoever waits shows that it still does: what nobody waits for is not followed for long.
const STILL_WAITING: Duration = Duration::from_secs(10);

/// Connects to Kafka, and makes the topics that are missing.
pub(crate) async fn open(options: Options) -> Result<Arc<dyn EventLog>, LogError> {
    options.check()?;
    let clients = Clients::new(options)?;
    let topics = topics::open(&clients).await?;
    let lanes = Arc::new(Lanes::new(topics));
    let view = Arc::new(View::new(lanes.count(), clients.options.tail_bytes));
    let log = KafkaLog {
        appender: Appender::new(clients.clone(), lanes.clone())?,
        ends: Arc::new(Ends::start(&clients, lanes.clone())?),
        follower: Follower::start(&clients, lanes.clone(), view.clone())?,
        cold: Cold::start(&clients, &lanes)?,
        clients,
        lanes,
        view,
    };
    Ok(Arc::new(log))
}

struct KafkaLog {
    appender: Appender,
    ends: Arc<Ends>,
    follower: Follower,
    cold: Cold,
    clients: Clients,
    lanes: Arc<Lanes>,
    view: Arc<View>,
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

impl KafkaLog {
    fn deadline(&self) -> Instant {
        Instant::now() + self.clients.options.request_timeout()
    }

    /// Follows these lanes from now on.
    async fn follow(&self, lanes: &[Lane]) -> Result<(), LogError> {
        let missing = self.view.not_followed(lanes);
        if !missing.is_empty() {
            let ends = self.ends.of(missing).await?;
            self.follower.follow(self.view.follow(&ends));
        }
        Ok(())
    }

    fn late(&self, doing: &str) -> LogError {
        too_late(doing, self.clients.complaints.last())
    }
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
        for address in &addresses {
            if let Some(lane) = self.lanes.of(address.topic, address.partition) {
                self.view.written(lane, address.offset.next());
            }
        }
        Ok(addresses)
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, LogError> {
        let Some(lane) = self.lanes.of(topic, partition) else { return Ok(Vec::new()) };
        let deadline = self.deadline();
        let mut ticks = self.view.ticks();
        loop {
            ticks.mark_unchanged();
            match self.view.plan(lane, from, limit) {
                Plan::Records(records) => return Ok(records),
                Plan::Behind => {
                    let tick = timeout_at(deadline, ticks.changed()).await;
                    tick.map_err(|_| self.late("reading what was just written"))?.map_err(|_| LogError::Closed)?;
                }
                Plan::Cold { due } => {
                    let records = self.cold.read(lane, from, limit, due).await?;
                    if let Some(last) = records.last() {
                        self.view.noticed(lane, last.next());
                    }
                    return Ok(records);
                }
            }
        }
    }

    async fn end(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        let Some(lane) = self.lanes.of(topic, partition) else { return Ok(Offset(0)) };
        let deadline = self.deadline();
        let mut ticks = self.view.ticks();
        self.follow(&[lane]).await?;
        let ends = self.ends.of(vec![lane]).await?;
        let until = ends.first().map_or(Offset(0), |end| end.at);
        loop {
            ticks.mark_unchanged();
            if let Some(end) = self.view.end(lane, until) {
                return Ok(end);
            }
            let tick = timeout_at(deadline, ticks.changed()).await;
            tick.map_err(|_| self.late("looking for the end of a partition"))?.map_err(|_| LogError::Closed)?;
        }
    }

    fn seen(&self, topic: Topic, partition: Partition) -> Offset {
        self.lanes.of(topic, partition).map_or(Offset(0), |lane| self.view.seen(lane))
    }

    async fn wait(&self, positions: &[Position]) -> Result<(), LogError> {
        let start = |p: &Position| Some(Start { lane: self.lanes.of(p.topic, p.partition)?, at: p.next });
        let wanted: Vec<Start> = positions.iter().filter_map(start).collect();
        let lanes: Vec<Lane> = wanted.iter().map(|start| start.lane).collect();
        let mut ticks = self.view.ticks();
        loop {
            ticks.mark_unchanged();
            if self.view.has_any(&wanted) {
                return Ok(());
            }
            self.follow(&lanes).await?;
            if let Ok(tick) = timeout(STILL_WAITING, ticks.changed()).await {
                tick.map_err(|_| LogError::Closed)?;
            }
        }
    }

    async fn membership(&self, name: &'static str, topic: Topic) -> Result<Box<dyn Membership>, LogError> {
        let topic = self.lanes.topics.name(topic).to_owned();
        Ok(Box::new(membership::Member::join(self.clients.clone(), name, topic)?))
    }

    async fn stage(&self, name: &'static str, input: Topic, tracked: &[Topic]) -> Result<Box<dyn Stage>, LogError> {
        let topics = [input].into_iter().chain(tracked.iter().copied()).collect();
        let role = Role {
            name,
            topics,
            clients: self.clients.clone(),
            lanes: self.lanes.clone(),
            view: self.view.clone(),
            ends: self.ends.clone(),
        };
        Ok(Box::new(KafkaStage::join(role)?))
    }
}
