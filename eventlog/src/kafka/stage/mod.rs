//! A stage on Kafka: its member of the consumer group lives in a thread of its own; this is the stage's end of it, which reads
//! what the node's [reader](super::reader) has of the member's partitions.

mod inbox;
mod member;
mod reads;
mod transaction;
mod worker;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leadway_domain::Partition;
use leadway_domain::record::Topic;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use self::inbox::Inbox;
pub(crate) use self::reads::Node;
use self::reads::Reads;
use self::worker::Worker;
use super::bell::Bell;
use super::client::Clients;
use super::lanes::Lanes;
use super::reader::Reader;
use crate::member::{Rounds, Source};
use crate::record::{Address, NewRecord, Record};
use crate::{LogError, Position, ReadLimit, Stage, StageEvent};

/// How long dropping a stage waits for its member to leave the group, so that others need not wait for its silence.
const LEAVING: Duration = Duration::from_secs(1);

/// Pause before a read that failed is made again.
const PAUSE: Duration = Duration::from_millis(200);

/// A commit on its way to the thread.
struct Commit {
    /// Each with the partition that it goes to.
    outputs: Vec<(NewRecord, Partition)>,
    progress: Vec<Position>,
    /// The stage's partitions that it is about.
    partitions: BTreeSet<Partition>,
    deadline: std::time::Instant,
    answer: oneshot::Sender<Result<Vec<Address>, LogError>>,
}

/// What a stage's member needs to know.
pub(crate) struct Role {
    pub(crate) name: &'static str,
    pub(crate) input: Topic,
    /// Input first, then the tracked topics.
    pub(crate) topics: Vec<Topic>,
    pub(crate) clients: Clients,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) reader: Arc<Reader>,
}

/// The stage's end.
pub(crate) struct KafkaStage {
    role: Arc<Role>,
    inbox: Arc<Inbox>,
    rounds: Rounds,
    reads: Reads<Reader>,
    gathering: Gathering,
    commits: mpsc::Sender<Commit>,
    bell: Bell,
    left: std::sync::mpsc::Receiver<()>,
}

impl KafkaStage {
    /// Starts a member of the stage's group.
    pub(crate) fn join(role: Role) -> Result<Self, LogError> {
        let name = role.name;
        let role = Arc::new(role);
        let (inbox, bell) = (Arc::new(Inbox::default()), Bell::default());
        let (commits, queue) = mpsc::channel(1);
        let (leaving, left) = std::sync::mpsc::channel();
        let worker = Worker::new(role.clone(), inbox.clone(), queue, bell.clone());
        let thread = std::thread::Builder::new().name(format!("kafka-{name}"));
        let run = move || {
            worker.run();
            // Nobody listens when the stage did not wait.
            let _gone = leaving.send(());
        };
        thread.spawn(run).map_err(|e| LogError::Unusable(format!("a thread cannot be started: {e}")))?;
        let gathering = Gathering::new(role.clients.options.gather());
        let reads = Reads::new(role.reader.clone());
        Ok(Self { role, inbox, rounds: Rounds::default(), reads, gathering, commits, bell, left })
    }

    fn check(&self, outputs: Vec<NewRecord>, progress: &[Position]) -> Result<Vec<(NewRecord, Partition)>, LogError> {
        for position in progress {
            self.role.lanes.expect(position.topic, position.partition)?;
            if !self.role.topics.contains(&position.topic) {
                let (name, topic) = (self.role.name, position.topic.name());
                return Err(LogError::Unusable(format!("stage {name} keeps no progress of topic {topic}")));
            }
        }
        super::place(&self.role.lanes, &self.role.clients, outputs)
    }
}

/// How long records gather before a stage is given more of them.
struct Gathering {
    time: Duration,
    until: Instant,
}

impl Gathering {
    fn new(time: Duration) -> Self {
        Self { time, until: Instant::now() }
    }

    /// These were given. Where they are as many as the stage takes at once, more are there already, and need not gather.
    fn after(&mut self, given: &[Record], limit: ReadLimit) {
        let full = given.len() >= limit.records || given.iter().map(|r| r.data.len()).sum::<usize>() >= limit.bytes;
        self.until = Instant::now() + if full { Duration::ZERO } else { self.time };
    }
}

/// The next records, once they have gathered. Reads that may succeed later are made again: only the group tells whose
/// partitions these are.
async fn gathered(
    rounds: &mut Rounds,
    source: &mut impl Source,
    gathering: &Gathering,
    limit: ReadLimit,
) -> Result<Vec<Record>, LogError> {
    sleep_until(gathering.until).await;
    loop {
        match rounds.records(source, limit).await {
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "reading for a stage");
                sleep(PAUSE).await;
            }
            read => return read,
        }
    }
}

#[async_trait]
impl Stage for KafkaStage {
    async fn next(&mut self, limit: ReadLimit) -> Result<StageEvent, LogError> {
        let _asking = self.inbox.asking();
        loop {
            let read = tokio::select! {
                biased;
                event = self.inbox.event() => {
                    let event = event?;
                    match &event {
                        StageEvent::Assigned(assignments) => self.rounds.take_up(assignments),
                        StageEvent::Revoked(partitions) => self.rounds.leave(partitions),
                        StageEvent::Records(_) => {}
                    }
                    return Ok(event);
                }
                read = gathered(&mut self.rounds, &mut self.reads, &self.gathering, limit) => read?,
            };
            self.gathering.after(&read, limit);
            let (records, gone) = self.inbox.give(read);
            self.rounds.leave(&gone);
            if !records.is_empty() {
                return Ok(StageEvent::Records(records));
            }
        }
    }

    fn lag(&self) -> u64 {
        self.inbox.lag(|partition| self.role.reader.seen(self.role.input, partition))
    }

    async fn commit(&mut self, outputs: &[NewRecord], progress: &[Position]) -> Result<Vec<Address>, LogError> {
        let outputs = self.check(outputs.to_vec(), progress)?;
        self.inbox.touch();
        let (answer, answered) = oneshot::channel();
        let commit = Commit {
            outputs,
            progress: progress.to_vec(),
            partitions: progress.iter().map(|p| p.partition).collect(),
            deadline: std::time::Instant::now() + self.role.clients.options.request_timeout(),
            answer,
        };
        self.commits.send(commit).await.map_err(|_| LogError::Closed)?;
        self.bell.ring();
        let answered = answered.await.unwrap_or(Err(LogError::Closed));
        self.inbox.touch();
        answered
    }
}

impl Drop for KafkaStage {
    fn drop(&mut self) {
        self.inbox.close();
        self.bell.ring();
        // Leaving takes milliseconds when the brokers answer; when they do not, the group finds out by itself.
        let _left_or_late = self.left.recv_timeout(LEAVING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Assignment, EventLog, MemoryLog};
    use leadway_domain::{Offset, Timestamp};

    #[tokio::test(start_paused = true)]
    async fn records_gather_after_others_were_given_unless_those_were_a_batch() {
        let log = MemoryLog::new(1);
        let limit = ReadLimit { records: 2, bytes: 10_000 };
        let append = async |count: usize| {
            let record = NewRecord {
                topic: Topic::Leads,
                partition: None,
                key: "k".into(),
                kind: "test".into(),
                id: Default::default(),
                time: Timestamp::UNIX_EPOCH,
                data: "x".into(),
                decoded: Default::default(),
            };
            log.append(vec![record; count]).await.unwrap();
        };
        let (mut rounds, mut gathering) = (Rounds::default(), Gathering::new(Duration::from_millis(20)));
        let position = Position { topic: Topic::Leads, partition: Partition(0), next: Offset(0) };
        rounds.take_up(&[Assignment { partition: Partition(0), progress: vec![position] }]);
        let start = Instant::now();
        let mut given = Vec::new();
        for count in [1, 3, 0, 1] {
            append(count).await;
            let records = gathered(&mut rounds, &mut &log, &gathering, limit).await.unwrap();
            gathering.after(&records, limit);
            given.push((records.len(), start.elapsed().as_millis()));
        }
        // The first do not wait, the next ones do; what a full batch left does not, and what comes after that does again.
        assert_eq!(given, [(1, 0), (2, 20), (1, 20), (1, 40)]);
    }
}
