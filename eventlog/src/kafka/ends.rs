//! Where partitions end, asked from the brokers. Calls of one moment share a request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use leadway_domain::Offset;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::client::{Clients, Context, refused};
use super::lanes::{Lane, Lanes, ours};
use super::view::{Start, too_late};
use crate::LogError;

/// Calls that may wait for their turn.
const QUEUE: usize = 1_024;
/// Pause before a request that failed is made again.
const PAUSE: Duration = Duration::from_millis(50);

/// Which end of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    Begin,
    End,
}

struct Ask {
    lanes: Vec<Lane>,
    edge: Edge,
    answer: oneshot::Sender<Result<Vec<Start>, LogError>>,
}

/// Asks where partitions end.
pub(crate) struct Ends {
    asks: mpsc::Sender<Ask>,
    clients: Clients,
}

impl Ends {
    /// Starts the thread that asks; it ends when this is dropped.
    pub(crate) fn start(clients: &Clients, lanes: Arc<Lanes>) -> Result<Self, LogError> {
        let mut config = clients.admin();
        // The end with the records of open transactions: who waits until they are decided has all that was committed
        // when it asked, though the brokers mark a transaction as committed only after they said that it is.
        config.set("isolation.level", "read_uncommitted");
        let consumer = BaseConsumer::from_config_and_context(&config, clients.context())
            .map_err(|e| LogError::Unusable(format!("Kafka: these settings cannot be used: {e}")))?;
        let (asks, queue) = mpsc::channel(QUEUE);
        let timeout = clients.options.request_timeout();
        let thread = std::thread::Builder::new().name("kafka-ends".into());
        let run = move || Asker { consumer, lanes, timeout }.run(queue);
        thread.spawn(run).map_err(|e| LogError::Unusable(format!("a thread cannot be started: {e}")))?;
        Ok(Self { asks, clients: clients.clone() })
    }

    /// Asks without waiting for the answer; `None` when too many wait already.
    pub(crate) fn ask(&self, lanes: Vec<Lane>) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(Ask { lanes, edge: Edge::End, answer }).ok()?;
        Some(answered)
    }

    /// The offset that the next record or mark gets, in each of the lanes.
    pub(crate) async fn of(&self, lanes: Vec<Lane>) -> Result<Vec<Start>, LogError> {
        self.edges(lanes, Edge::End).await
    }

    /// The first offset that is still there, in each of the lanes.
    pub(crate) async fn begins(&self, lanes: Vec<Lane>) -> Result<Vec<Start>, LogError> {
        self.edges(lanes, Edge::Begin).await
    }

    async fn edges(&self, lanes: Vec<Lane>, edge: Edge) -> Result<Vec<Start>, LogError> {
        let deadline = Instant::now() + self.clients.options.request_timeout();
        let late = || too_late("asking where a partition ends", self.clients.complaints.last());
        loop {
            let (answer, answered) = oneshot::channel();
            let ask = Ask { lanes: lanes.clone(), edge, answer };
            timeout_at(deadline, self.asks.send(ask)).await.map_err(|_| late())?.map_err(|_| LogError::Closed)?;
            match timeout_at(deadline, answered).await.map_err(|_| late())?.map_err(|_| LogError::Closed)? {
                Err(error) if error.is_transient() && Instant::now() + PAUSE < deadline => sleep(PAUSE).await,
                other => return other,
            }
        }
    }
}

/// An answer that is on its way.
pub(crate) type Answer = oneshot::Receiver<Result<Vec<Start>, LogError>>;

struct Asker {
    consumer: BaseConsumer<Context>,
    lanes: Arc<Lanes>,
    timeout: Duration,
}

impl Asker {
    fn run(self, mut queue: mpsc::Receiver<Ask>) {
        self.lanes.meet(&self.consumer);
        while let Some(first) = queue.blocking_recv() {
            let mut asks = vec![first];
            while let Ok(next) = queue.try_recv() {
                asks.push(next);
            }
            asks.retain(|ask| !ask.answer.is_closed());
            if asks.is_empty() {
                continue;
            }
            let (begins, ends): (Vec<Ask>, Vec<Ask>) = asks.into_iter().partition(|ask| ask.edge == Edge::Begin);
            self.answer(ends, KafkaOffset::End);
            self.answer(begins, KafkaOffset::Beginning);
            // Serves what the client has to say; nothing is fetched here.
            while self.consumer.poll(Duration::ZERO).is_some() {}
        }
    }

    /// Answers all who ask for the same edge with one request.
    fn answer(&self, asks: Vec<Ask>, edge: KafkaOffset) {
        if asks.is_empty() {
            return;
        }
        let lanes: BTreeSet<Lane> = asks.iter().flat_map(|ask| ask.lanes.iter().copied()).collect();
        let doing =
            if edge == KafkaOffset::End { "asking where a partition ends" } else { "asking where a partition begins" };
        let found = self.ask(&lanes, edge).map_err(|e| refused(doing, &e));
        for ask in asks {
            let own = |found: &BTreeMap<Lane, Offset>| {
                let at = |lane: &Lane| found.get(lane).map(|at| Start { lane: *lane, at: *at });
                ask.lanes.iter().filter_map(at).collect()
            };
            let _gone = ask.answer.send(found.as_ref().map(own).map_err(Clone::clone));
        }
    }

    fn ask(&self, lanes: &BTreeSet<Lane>, edge: KafkaOffset) -> Result<BTreeMap<Lane, Offset>, KafkaError> {
        let mut list = TopicPartitionList::with_capacity(lanes.len());
        for lane in lanes {
            self.lanes.add(&mut list, *lane, edge);
        }
        let answer = self.consumer.offsets_for_times(list, self.timeout)?;
        let mut ends = BTreeMap::new();
        for element in answer.elements() {
            element.error()?;
            let lane = self.lanes.of_kafka(element.topic(), element.partition());
            let (Some(lane), Some(end)) = (lane, ours(element.offset())) else {
                return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition));
            };
            ends.insert(lane, end);
        }
        Ok(ends)
    }
}
