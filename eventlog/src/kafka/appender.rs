//! Appending outside of stages: one idempotent producer for the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use leadway_domain::Partition;
use leadway_domain::record::Topic;
use leadway_domain::telemetry::{KAFKA_APPEND_SECONDS, LOG_COMMIT_SECONDS, LOG_COMMITS, LOG_FAILURES, LOG_RECORDS};
use parking_lot::Mutex;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};

use super::client::{Clients, refused};
use super::codec;
use super::flight::{Arrivals, Flight, Waiting, board};
use super::lanes::Lanes;
use crate::LogError;
use crate::record::{Address, NewRecord};

/// How long dropping the log waits for records on their way.
const CLOSING: Duration = Duration::from_secs(1);
/// How long the thread that takes in acknowledgements waits at a time. What comes is taken in at once; the library spins
/// through the last millisecond.
const SERVE: Duration = Duration::from_secs(1);

/// Appends records and counts what waits.
pub(crate) struct Appender {
    clients: Clients,
    lanes: Arc<Lanes>,
    producer: ArcSwapOption<Served>,
    /// Held while a producer that can no longer be used is replaced.
    replacing: Mutex<()>,
    waiting: Arc<AtomicUsize>,
}

impl Appender {
    pub(crate) fn new(clients: Clients, lanes: Arc<Lanes>) -> Result<Self, LogError> {
        let producer = ArcSwapOption::from_pointee(Served::start(&clients)?);
        Ok(Self { clients, lanes, producer, replacing: Mutex::default(), waiting: Arc::default() })
    }

    /// Appends the records to the partitions beside them. The records land also when the caller goes away.
    pub(crate) async fn append(&self, records: Vec<(NewRecord, Partition)>) -> Result<Vec<Address>, LogError> {
        let waiting = self.admit(records.iter().map(|(r, _)| codec::size(r)).sum())?;
        let started = tokio::time::Instant::now();
        let (flight, landed) = Flight::new(records.iter().map(|(r, p)| (r.topic, *p)), Some(waiting));
        let producer = self.producer.load_full().ok_or(LogError::Closed)?;
        board(&flight, &self.lanes.topics, &records, |message| producer.0.send(message).map_err(|(error, _)| error));
        count_records(&records);
        drop(records);
        let landed = landed.await.map_err(|_| LogError::Closed)?;
        metrics::histogram!(LOG_COMMIT_SECONDS).record(started.elapsed());
        metrics::histogram!(KAFKA_APPEND_SECONDS).record(started.elapsed());
        metrics::counter!(LOG_COMMITS).increment(1);
        landed.map_err(|code| {
            metrics::counter!(LOG_FAILURES).increment(1);
            self.replace_if_broken(&producer);
            self.failed(code)
        })
    }

    fn admit(&self, bytes: usize) -> Result<Waiting, LogError> {
        let limit = self.clients.options.max_waiting_bytes;
        let admitted = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            // A call that is larger than the whole bound goes alone.
            (waiting == 0 || waiting + bytes <= limit).then_some(waiting + bytes)
        });
        match admitted {
            Ok(_) => Ok(Waiting { total: self.waiting.clone(), bytes }),
            Err(waiting) => {
                let last = self.clients.complaints.last().map(|last| format!(" ({last})")).unwrap_or_default();
                Err(LogError::Unavailable(format!(
                    "{waiting} bytes wait for Kafka's acknowledgement, of {limit} that may (kafka.max_waiting_bytes){last}"
                )))
            }
        }
    }

    /// What a record's failure says of the whole call. What went to the network may have landed.
    fn failed(&self, code: RDKafkaErrorCode) -> LogError {
        use RDKafkaErrorCode as Code;
        let error = KafkaError::MessageProduction(code);
        match code {
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => refused("appending", &error),
            Code::MessageSizeTooLarge | Code::InvalidMessageSize => {
                let limit = self.clients.options.max_record_bytes;
                LogError::TooLarge { topic: None, bytes: limit.saturating_add(1), limit }
            }
            _ => {
                tracing::warn!(%error, "records were not acknowledged; whether they landed is not known");
                LogError::Closed
            }
        }
    }

    /// A producer that met a fatal error takes nothing more: the next call gets a new one.
    fn replace_if_broken(&self, used: &Arc<Served>) {
        let Some((code, reason)) = used.0.client().fatal_error() else { return };
        let _one_at_a_time = self.replacing.lock();
        if !self.producer.load().as_ref().is_some_and(|present| Arc::ptr_eq(present, used)) {
            return;
        }
        match Served::start(&self.clients) {
            Ok(new) => {
                tracing::warn!(%code, reason, "the Kafka producer broke and was replaced");
                self.producer.store(Some(Arc::new(new)));
            }
            Err(error) => tracing::error!(%error, "the Kafka producer broke and cannot be replaced yet"),
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        let Some(producer) = self.producer.swap(None) else { return };
        if let Err(error) = producer.0.flush(CLOSING) {
            tracing::warn!(%error, "records were still waiting for their acknowledgement when the log was closed");
        }
    }
}

/// A producer, and a thread that takes in its acknowledgements until this is dropped.
struct Served(Arc<BaseProducer<Arrivals>>, Arc<AtomicBool>);

impl Served {
    fn start(clients: &Clients) -> Result<Self, LogError> {
        let producer = BaseProducer::from_config_and_context(&clients.producer(), Arrivals(clients.context()))
            .map_err(|e| LogError::Unusable(format!("Kafka: these settings cannot be used: {e}")))?;
        let (producer, stop) = (Arc::new(producer), Arc::new(AtomicBool::new(false)));
        let served = Self(producer.clone(), stop.clone());
        let serve = move || {
            while !stop.load(Ordering::Acquire) {
                producer.poll(SERVE);
            }
        };
        let thread = std::thread::Builder::new().name("kafka-appender".into());
        thread.spawn(serve).map_err(|e| LogError::Unusable(format!("a thread cannot be started: {e}")))?;
        Ok(served)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // The thread has the producer too, and closes it: that waits for threads of the library.
        self.1.store(true, Ordering::Release);
    }
}

/// Counts records that were sent, by topic.
pub(crate) fn count_records(records: &[(NewRecord, Partition)]) {
    for topic in Topic::ALL {
        let count = records.iter().filter(|(record, _)| record.topic == topic).count();
        if count > 0 {
            metrics::counter!(LOG_RECORDS, "topic" => topic.name()).increment(count as u64);
        }
    }
}
