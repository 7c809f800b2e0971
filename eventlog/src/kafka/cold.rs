//! Reading records that are no longer, or not yet, in this node's memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use parking_lot::Mutex;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::client::{Clients, Context, refused};
use super::codec;
use super::lanes::{Lane, Lanes, add, kafka, ours};
use super::view::{too_late, within};
use crate::record::Record;
use crate::{LogError, ReadLimit};

/// Threads that read, each with a client of its own.
const THREADS: usize = 2;
/// Reads that may wait for a thread.
const QUEUE: usize = 256;
/// Bytes that a read takes along beyond what it was asked for, if they have come already.
const AHEAD: usize = 1 << 20;
/// How long a thread waits for the next thing at a time.
const POLL: Duration = Duration::from_millis(50);
/// How long the question where a partition begins may take.
const WATERMARKS: Duration = Duration::from_secs(2);

struct Job {
    lane: Lane,
    from: Offset,
    limit: ReadLimit,
    /// The read is not over before this.
    until: Offset,
    deadline: std::time::Instant,
    answer: oneshot::Sender<Result<Vec<Record>, LogError>>,
}

/// Reads old records.
pub(crate) struct Cold {
    threads: Vec<mpsc::Sender<Job>>,
    ahead: Mutex<Ahead>,
    clients: Clients,
}

impl Cold {
    /// Starts the threads; they end when this is dropped.
    pub(crate) fn start(clients: &Clients, lanes: &Arc<Lanes>) -> Result<Self, LogError> {
        let mut threads = Vec::new();
        for _ in 0..THREADS {
            let (jobs, queue) = mpsc::channel(QUEUE);
            let mut config = clients.consumer("reader", AHEAD);
            // Somebody waits for the answer, and for the end of a partition too.
            config.set("fetch.min.bytes", "1").set("fetch.wait.max.ms", "10");
            config.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
            let consumer = BaseConsumer::from_config_and_context(&config, clients.context())
                .map_err(|e| LogError::Unusable(format!("Kafka: these settings cannot be used: {e}")))?;
            let thread = std::thread::Builder::new().name("kafka-reader".into());
            let reader = Reader { consumer, lanes: lanes.clone() };
            thread
                .spawn(move || reader.run(queue))
                .map_err(|e| LogError::Unusable(format!("a thread cannot be started: {e}")))?;
            threads.push(jobs);
        }
        let ahead = Mutex::new(Ahead::new(clients.options.tail_bytes / 2));
        Ok(Self { threads, ahead, clients: clients.clone() })
    }

    /// The records from `from` on; empty when there are none. Everything that was there when this was called, and everything
    /// before `until`, is found.
    pub(crate) async fn read(
        &self,
        lane: Lane,
        from: Offset,
        limit: ReadLimit,
        until: Offset,
    ) -> Result<Vec<Record>, LogError> {
        if let Some(records) = self.ahead.lock().take(lane, from, limit) {
            return Ok(records);
        }
        let deadline = Instant::now() + self.clients.options.request_timeout();
        let late = || too_late("reading", self.clients.complaints.last());
        let (answer, answered) = oneshot::channel();
        let job = Job { lane, from, limit, until, deadline: deadline.into_std(), answer };
        let thread = self.threads.get(lane.0 % THREADS).ok_or(LogError::Closed)?;
        timeout_at(deadline, thread.send(job)).await.map_err(|_| late())?.map_err(|_| LogError::Closed)?;
        // The thread keeps the deadline too; a little later it is not only late.
        let answered = timeout_at(deadline + POLL * 4, answered).await.map_err(|_| late())?;
        let records = answered.map_err(|_| LogError::Closed)??;
        let wanted = within(records.iter(), limit);
        if let Some(last) = wanted.last() {
            self.ahead.lock().keep(lane, last.next(), records.into_iter().skip(wanted.len()).collect());
        }
        Ok(wanted)
    }
}

/// Records that reads brought along: whoever reads on from there gets them without another read.
struct Ahead {
    /// The records from an offset on, which is not that of the first of them where a transaction left its mark.
    parts: BTreeMap<Lane, (Offset, Vec<Record>)>,
    bytes: usize,
    most_bytes: usize,
}

impl Ahead {
    fn new(most_bytes: usize) -> Self {
        Self { parts: BTreeMap::new(), bytes: 0, most_bytes }
    }

    /// The next records from `from` on, if they are here; they are not kept any longer.
    fn take(&mut self, lane: Lane, from: Offset, limit: ReadLimit) -> Option<Vec<Record>> {
        let (begin, _) = *self.parts.get(&lane)?;
        if begin < from {
            self.remove(lane);
        }
        if begin != from {
            return None;
        }
        let mut part = self.remove(lane);
        let wanted = within(part.iter(), limit);
        part.drain(..wanted.len());
        self.keep(lane, wanted.last()?.next(), part);
        Some(wanted)
    }

    fn keep(&mut self, lane: Lane, from: Offset, records: Vec<Record>) {
        self.remove(lane);
        let bytes: usize = records.iter().map(|r| r.data.len()).sum();
        if !records.is_empty() && self.bytes + bytes <= self.most_bytes {
            self.bytes += bytes;
            self.parts.insert(lane, (from, records));
        }
    }

    fn remove(&mut self, lane: Lane) -> Vec<Record> {
        let (_, records) = self.parts.remove(&lane).unwrap_or_default();
        self.bytes -= records.iter().map(|r| r.data.len()).sum::<usize>();
        records
    }
}

struct Reader {
    consumer: BaseConsumer<Context>,
    lanes: Arc<Lanes>,
}

impl Reader {
    fn run(self, mut queue: mpsc::Receiver<Job>) {
        self.lanes.meet(&self.consumer);
        while let Some(job) = queue.blocking_recv() {
            if job.answer.is_closed() {
                continue;
            }
            let Some((topic, partition)) = self.lanes.place(job.lane) else { continue };
            let records = self.read(&job, topic, partition);
            if let Err(error) = self.consumer.unassign() {
                tracing::debug!(%error, "a partition was read and cannot be left");
            }
            let _gone = job.answer.send(records);
        }
    }

    fn read(&self, job: &Job, topic: Topic, partition: Partition) -> Result<Vec<Record>, LogError> {
        self.assign(topic, partition, job.from)?;
        let (mut records, mut size) = (Vec::new(), 0);
        loop {
            let enough = records.len() >= job.limit.records.max(1) || size >= job.limit.bytes.max(1);
            if enough && size >= AHEAD + job.limit.bytes {
                return Ok(records);
            }
            let wait = if enough { Duration::ZERO } else { POLL };
            match self.consumer.poll(wait) {
                Some(Ok(message)) if self.lanes.of_kafka(message.topic(), message.partition()) == Some(job.lane) => {
                    size += message.payload_len().max(1);
                    records.push(codec::read(topic, &message));
                }
                Some(Err(KafkaError::PartitionEOF(_)))
                    if self.position(job.lane).max(Some(job.from)) >= Some(job.until) =>
                {
                    return Ok(records);
                }
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset))) => {
                    // There is no such offset: either the partition does not go so far, or it begins later by now.
                    match self.first(topic, partition)? {
                        first if first > job.from => self.assign(topic, partition, first)?,
                        _ => return Ok(records),
                    }
                }
                Some(Err(error)) if is_final(&error) => return Err(refused("reading", &error)),
                None if enough => return Ok(records),
                _ if std::time::Instant::now() >= job.deadline && records.is_empty() => {
                    return Err(too_late("reading", None));
                }
                _ if std::time::Instant::now() >= job.deadline => return Ok(records),
                _ => {}
            }
        }
    }

    fn assign(&self, topic: Topic, partition: Partition, from: Offset) -> Result<(), LogError> {
        let mut list = TopicPartitionList::with_capacity(1);
        add(&mut list, self.lanes.topics.name(topic), partition, kafka(from));
        self.consumer.assign(&list).map_err(|e| refused("reading", &e))
    }

    /// The first offset that the partition still has.
    fn first(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        let number = i32::try_from(partition.0).unwrap_or(i32::MAX);
        let asked = self.consumer.fetch_watermarks(self.lanes.topics.name(topic), number, WATERMARKS);
        let (low, _) = asked.map_err(|e| refused("asking where a partition begins", &e))?;
        Ok(Offset(u64::try_from(low).unwrap_or(0)))
    }

    fn position(&self, lane: Lane) -> Option<Offset> {
        let positions = self.consumer.position().ok()?;
        let elements = positions.elements();
        let own = elements.iter().find(|e| self.lanes.of_kafka(e.topic(), e.partition()) == Some(lane))?;
        ours(own.offset())
    }
}

fn is_final(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{GroupAuthorizationFailed, TopicAuthorizationFailed};
    matches!(error.rdkafka_error_code(), Some(TopicAuthorizationFailed | GroupAuthorizationFailed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;
    use leadway_domain::Timestamp;

    #[test]
    fn whoever_reads_on_gets_what_came_along_also_behind_the_mark_of_a_transaction() {
        let record = |offset: u64| {
            let address = Address { topic: Topic::Leads, partition: Partition(0), offset: Offset(offset) };
            let (key, kind, data, decoded) = ("".into(), "test".into(), vec![b'x'; 100].into(), Default::default());
            Record { address, key, kind, id: Default::default(), time: Timestamp::UNIX_EPOCH, data, decoded }
        };
        let (lane, limit) = (Lane(0), ReadLimit { records: 2, bytes: 1_000 });
        let mut ahead = Ahead::new(1_000);
        ahead.keep(lane, Offset(5), [6, 7, 9, 10].map(record).to_vec());
        let mut read = |from: u64| {
            let records = ahead.take(lane, Offset(from), limit)?;
            Some(records.iter().map(|r| r.address.offset.0).collect::<Vec<_>>())
        };
        assert_eq!(read(4), None, "nobody knows what stands between");
        assert_eq!(read(5), Some(vec![6, 7]));
        assert_eq!(read(8), Some(vec![9, 10]), "offset 8 is a mark");
        assert_eq!(read(11), None);
        assert_eq!(ahead.bytes, 0);
        ahead.keep(lane, Offset(0), (0..11).map(record).collect());
        assert!(ahead.take(lane, Offset(0), limit).is_none(), "more than may be kept");
    }
}
