//! A stage on Kafka: its member of the consumer group lives in a thread of its own; this is the stage's end of it.

mod inbox;
mod member;
mod transaction;
mod worker;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leadway_domain::Partition;
use leadway_domain::record::Topic;
use tokio::sync::{mpsc, oneshot};

use self::inbox::Inbox;
use self::worker::Worker;
use super::bell::Bell;
use super::client::Clients;
use super::ends::Ends;
use super::lanes::Lanes;
use super::view::View;
use crate::record::{Address, NewRecord};
use crate::{LogError, Position, ReadLimit, Stage, StageEvent};

/// How long dropping a stage waits for its member to leave the group, so that others need not wait for its silence.
const LEAVING: Duration = Duration::from_secs(1);

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
    /// Input first, then the tracked topics.
    pub(crate) topics: Vec<Topic>,
    pub(crate) clients: Clients,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) view: Arc<View>,
    pub(crate) ends: Arc<Ends>,
}

/// The stage's end.
pub(crate) struct KafkaStage {
    role: Arc<Role>,
    inbox: Arc<Inbox>,
    commits: mpsc::Sender<Commit>,
    bell: Bell,
    left: std::sync::mpsc::Receiver<()>,
}

impl KafkaStage {
    /// Starts a member of the stage's group.
    pub(crate) fn join(role: Role) -> Result<Self, LogError> {
        let name = role.name;
        let role = Arc::new(role);
        let (inbox, bell) = (Arc::new(Inbox::new(role.clients.options.gather())), Bell::default());
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
        Ok(Self { role, inbox, commits, bell, left })
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

#[async_trait]
impl Stage for KafkaStage {
    async fn next(&mut self, limit: ReadLimit) -> Result<StageEvent, LogError> {
        self.bell.ring();
        self.inbox.next(limit).await
    }

    fn lag(&self) -> u64 {
        self.inbox.lag()
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
