//! The thread of a stage's member. It does one thing at a time: what the group decides, or a commit. So a partition cannot be
//! given away while a commit for it is half-way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leadway_domain::Partition;
use leadway_domain::telemetry::{LOG_COMMIT_SECONDS, LOG_COMMITS, LOG_FAILURES};
use rdkafka::topic_partition_list::TopicPartitionList;
use tokio::sync::mpsc;

use super::super::appender::count_records;
use super::super::bell::Bell;
use super::super::client::refused;
use super::super::group::Group;
use super::super::lanes::{add, kafka};
use super::inbox::Inbox;
use super::member::{Broken, Member};
use super::transaction::{Failed, Transactions, Work};
use super::{Commit, Role};
use crate::record::Address;
use crate::{LogError, Position};

/// How long the thread sleeps at most.
const NAP: Duration = Duration::from_millis(50);
/// The same while an answer is about to come.
const SHORT_NAP: Duration = Duration::from_millis(2);
/// Pause before what failed is tried again.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Worker {
    role: Arc<Role>,
    inbox: Arc<Inbox>,
    queue: mpsc::Receiver<Commit>,
    bell: Bell,
    /// The same for the whole life of the member: a new producer ends what the former left open.
    transactional_id: String,
    connection: Connection,
    /// The commit that is to be done next.
    commit: Option<Commit>,
}

/// How far this member has come with the brokers.
enum Connection {
    None,
    /// The producer fences off what its id left open.
    Opening(Transactions),
    Open(Box<Member>, Transactions),
}

/// When the thread has something to do again.
enum Next {
    Now,
    /// An answer is about to come that rings no bell.
    Soon,
    Rung,
}

impl Worker {
    pub(super) fn new(role: Arc<Role>, inbox: Arc<Inbox>, queue: mpsc::Receiver<Commit>, bell: Bell) -> Self {
        let transactional_id = format!("{}{}-{}", role.clients.options.group_prefix, role.name, unique());
        Self { role, inbox, queue, bell, transactional_id, connection: Connection::None, commit: None }
    }

    pub(super) fn run(mut self) {
        while !self.inbox.closed() {
            if self.commit.is_none() {
                self.commit = self.queue.try_recv().ok();
            }
            let turned = match std::mem::replace(&mut self.connection, Connection::None) {
                Connection::None => self.open(),
                Connection::Opening(transactions) => self.join(transactions),
                Connection::Open(mut member, mut transactions) => {
                    let turned = self.turn(&mut member, &mut transactions);
                    self.connection = Connection::Open(member, transactions);
                    turned
                }
            };
            let next = turned.unwrap_or_else(|Broken(reason)| self.start_over(&reason));
            self.answer_late();
            match next {
                Next::Now => {}
                Next::Soon => self.bell.wait(SHORT_NAP),
                Next::Rung => self.bell.wait(NAP),
            }
        }
        if let Connection::Open(member, mut transactions) = self.connection {
            drop(member);
            // Only spares readers the wait for the brokers to do it.
            if let Err(error) = transactions.ready() {
                tracing::debug!(?error, "a transaction was left open");
            }
        }
    }

    fn open(&mut self) -> Result<Next, Broken> {
        self.connection = Connection::Opening(Transactions::open(&self.role.clients, &self.transactional_id)?);
        Ok(Next::Now)
    }

    /// Joins the group once the producer is ready: whoever has partitions can commit for them.
    fn join(&mut self, transactions: Transactions) -> Result<Next, Broken> {
        let role = &*self.role;
        match transactions.init() {
            Ok(true) => {}
            Ok(false) => {
                self.connection = Connection::Opening(transactions);
                return Ok(Next::Now);
            }
            Err(error) => {
                let told = refused("beginning transactions", &error);
                if !told.is_transient() {
                    self.inbox.failed(told);
                }
                return Err(error.into());
            }
        }
        let group = Group::join(&role.clients, role.name, role.lanes.topics.name(role.input), &self.bell)?;
        let member = Box::new(Member::new(self.role.clone(), self.inbox.clone(), group));
        self.connection = Connection::Open(member, transactions);
        Ok(Next::Now)
    }

    /// Gives up everything; the next turn begins anew. What the group has committed tells where.
    fn start_over(&mut self, reason: &str) -> Next {
        tracing::warn!(stage = self.role.name, reason, "a member of a stage begins anew");
        if let Connection::Open(member, _) = std::mem::replace(&mut self.connection, Connection::None) {
            let lost: Vec<Partition> = member.owned.keys().copied().collect();
            if !lost.is_empty() {
                self.inbox.revoked(&lost);
            }
        }
        self.bell.wait(PAUSE);
        Next::Now
    }

    fn turn(&mut self, member: &mut Member, transactions: &mut Transactions) -> Result<Next, Broken> {
        match transactions.ready() {
            Ok(true) => self.commit_waiting(member, transactions)?,
            Ok(false) => {}
            Err(Failed::Broken(reason)) => return Err(Broken(reason)),
            Err(error) => tracing::debug!(?error, "a transaction cannot be aborted yet"),
        }
        // A stage that has been busy for very long may hang: the group is to give its partitions to others.
        let alive = self.inbox.busy() < Duration::from_millis(self.role.clients.options.max_busy_ms / 2);
        if alive {
            member.poll()?;
        }
        member.finish_leaving()?;
        member.finish_assigning()?;
        if member.unknown() > self.unknown_limit() {
            return Err(Broken("the group does not know this member any more".into()));
        }
        Ok(if self.commit.is_some() || member.is_changing() { Next::Soon } else { Next::Rung })
    }

    fn unknown_limit(&self) -> Duration {
        Duration::from_millis(self.role.clients.options.session_timeout_ms * 3)
    }

    /// Commits what waits, if it is known who may.
    fn commit_waiting(&mut self, member: &mut Member, transactions: &mut Transactions) -> Result<(), Broken> {
        let Some(commit) = self.commit.take() else { return Ok(()) };
        if !self.inbox.owns(&commit.partitions) {
            self.answer(commit, Err(self.revoked()));
            return Ok(());
        }
        let identity = match &member.identity {
            Some(identity) if !member.group.lost() => identity,
            _ => {
                self.commit = Some(commit);
                return Ok(());
            }
        };
        let started = Instant::now();
        let progress = advanced(&member.owned, &commit.progress, self.inbox.any_owned());
        let mut offsets = TopicPartitionList::new();
        for position in &progress {
            add(&mut offsets, self.role.lanes.topics.name(position.topic), position.partition, kafka(position.next));
        }
        let topics = &self.role.lanes.topics;
        let work = Work { topics, outputs: &commit.outputs, offsets: &offsets, member: identity };
        let done = transactions.commit(&work, || !self.inbox.closed());
        match done {
            Ok(addresses) => {
                metrics::histogram!(LOG_COMMIT_SECONDS).record(started.elapsed());
                metrics::counter!(LOG_COMMITS).increment(1);
                count_records(&commit.outputs);
                for stored in progress {
                    let owned = member.owned.get_mut(&stored.partition).into_iter().flatten();
                    owned.filter(|p| p.topic == stored.topic).for_each(|p| p.next = stored.next);
                }
                self.role.reader.written(&addresses);
                self.answer(commit, Ok(addresses));
                Ok(())
            }
            Err(failed) => {
                if failed.is_failure() {
                    metrics::counter!(LOG_FAILURES).increment(1);
                }
                self.not_committed(member, commit, failed)
            }
        }
    }

    fn not_committed(&mut self, member: &mut Member, commit: Commit, failed: Failed) -> Result<(), Broken> {
        match failed {
            Failed::Transient(error) => self.answer(commit, Err(error)),
            Failed::Final(error) => self.answer(commit, Err(error)),
            Failed::NotOfTheGroup => {
                // Either the group has a new generation, of which the next assignment tells, or it has dropped this member,
                // of which the next revocation tells. The commit waits for one of them.
                member.identity = None;
                member.unknown_since = Instant::now();
                self.commit = Some(commit);
            }
            Failed::Broken(reason) => {
                let lost: Vec<Partition> = std::mem::take(&mut member.owned).into_keys().collect();
                self.inbox.revoked(&lost);
                self.answer(commit, Err(self.revoked()));
                return Err(Broken(reason));
            }
        }
        Ok(())
    }

    /// A commit that waited too long for the group or the brokers may be tried again.
    fn answer_late(&mut self) {
        if let Some(commit) = self.commit.take_if(|commit| Instant::now() >= commit.deadline) {
            let last = self.role.clients.complaints.last().map(|last| format!(" ({last})")).unwrap_or_default();
            let error =
                LogError::Unavailable(format!("stage {}: Kafka's group is being arranged{last}", self.role.name));
            self.answer(commit, Err(error));
        }
    }

    fn answer(&self, commit: Commit, answer: Result<Vec<Address>, LogError>) {
        // Nobody listens when the stage went away; it has been done or not all the same.
        let _gone = commit.answer.send(answer);
    }

    fn revoked(&self) -> LogError {
        LogError::Revoked { stage: self.role.name.to_owned() }
    }
}

/// What no other member has.
fn unique() -> uuid::Uuid {
    uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 0, 0))
}

/// What is to be committed: never less than what is. Without progress the present one of a partition is committed again, so
/// that the brokers check whether this member is still of the group.
fn advanced(
    owned: &BTreeMap<Partition, Vec<Position>>,
    progress: &[Position],
    any: Option<Partition>,
) -> Vec<Position> {
    if progress.is_empty() {
        return any.and_then(|p| owned.get(&p)).and_then(|positions| positions.first()).copied().into_iter().collect();
    }
    let stored = |p: &Position| {
        let positions = owned.get(&p.partition).into_iter().flatten();
        positions.filter(|o| o.topic == p.topic).map(|o| o.next).max().unwrap_or_default()
    };
    progress.iter().map(|p| Position { next: p.next.max(stored(p)), ..*p }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadway_domain::Offset;
    use leadway_domain::record::Topic;

    fn at(partition: u32, next: u64) -> Position {
        Position { topic: Topic::Leads, partition: Partition(partition), next: Offset(next) }
    }

    #[test]
    fn what_is_committed_never_moves_back_and_is_never_nothing() {
        let owned = BTreeMap::from([(Partition(1), vec![at(1, 7)]), (Partition(2), vec![at(2, 0)])]);
        assert_eq!(advanced(&owned, &[at(1, 3), at(2, 4)], None), [at(1, 7), at(2, 4)]);
        assert_eq!(advanced(&owned, &[], Some(Partition(1))), [at(1, 7)]);
    }
}
