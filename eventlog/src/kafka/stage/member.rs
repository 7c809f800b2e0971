//! A member of a stage's group: which partitions are its own, and what it reads of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::oneshot::error::TryRecvError;

use super::super::client::refused;
use super::super::codec;
use super::super::ends::Answer;
use super::super::group::{Group, Rebalance};
use super::super::lanes::{add, kafka};
use super::Role;
use super::inbox::Inbox;
use crate::{Assignment, Position, Record};

/// Records taken in before the thread looks around.
const BATCH: usize = 1_000;
/// How long one question for committed offsets may take: commits for other partitions wait meanwhile.
const COMMITTED: Duration = Duration::from_millis(300);
/// How often the member's lag is measured.
const MEASURE: Duration = Duration::from_secs(1);
/// How long a stage has to commit what it was given of partitions that go to others: what it has done and not committed is
/// done again by them. The library fetches nothing of the member's other partitions meanwhile.
const HANDOVER: Duration = Duration::from_secs(1);

/// One member.
pub(super) struct Member {
    role: Arc<Role>,
    inbox: Arc<Inbox>,
    pub(super) group: Group,
    /// Who this member is in the group, as of the last assignment; `None` after the group did not know it.
    pub(super) identity: Option<ConsumerGroupMetadata>,
    pub(super) unknown_since: Instant,
    /// What is committed of each partition that is this member's: input first.
    pub(super) owned: BTreeMap<Partition, Vec<Position>>,
    /// Partitions that were assigned and whose committed offsets are not known yet.
    assigning: Option<Assigning>,
    /// Partitions that the group wants back and that are not given back yet.
    leaving: Option<Leaving>,
    fetching: bool,
    measured: Instant,
    /// How far the member's partitions go, asked and not answered yet.
    ends: Option<Answer>,
}

/// What has to be known before partitions are the stage's.
struct Assigning {
    partitions: Vec<Partition>,
    /// How far all topics went when the former members had committed for the last time. Their commits count before the
    /// brokers have marked them everywhere: readers here must wait for the marks.
    ends: Option<Answer>,
    known: Option<Vec<Assignment>>,
}

/// Partitions that the stage is given nothing more of, and may commit for until then.
struct Leaving {
    partitions: Vec<Partition>,
    until: Instant,
}

/// Why the member has to begin anew.
pub(super) struct Broken(pub(super) String);

impl From<KafkaError> for Broken {
    fn from(error: KafkaError) -> Self {
        Self(error.to_string())
    }
}

impl Member {
    pub(super) fn new(role: Arc<Role>, inbox: Arc<Inbox>, group: Group) -> Self {
        let now = Instant::now();
        Self {
            role,
            inbox,
            group,
            identity: None,
            unknown_since: now,
            owned: BTreeMap::new(),
            assigning: None,
            leaving: None,
            fetching: true,
            measured: now,
            ends: None,
        }
    }

    /// How long the group has not known this member though it has partitions.
    pub(super) fn unknown(&self) -> Duration {
        if self.identity.is_some() || self.owned.is_empty() { Duration::ZERO } else { self.unknown_since.elapsed() }
    }

    /// Whether partitions come or go.
    pub(super) fn is_changing(&self) -> bool {
        self.assigning.is_some() || self.leaving.is_some()
    }

    /// Takes in records and decisions of the group; tells whether there may be more.
    pub(super) fn poll(&mut self) -> Result<bool, Broken> {
        let mut records = Vec::new();
        let mut wait = Duration::ZERO;
        while records.len() < BATCH {
            let polled = self.group.poll(wait);
            let quiet = polled.is_none();
            match polled {
                Some(Ok(message)) => {
                    if let Some(topic) = self.role.topics.first() {
                        records.push(codec::read(*topic, &message));
                    }
                }
                Some(Err(error)) => self.trouble(error)?,
                None => {}
            }
            let mut decided = false;
            while let Some(decision) = self.group.decision() {
                // What came before the decision is delivered, or dropped, before it.
                self.deliver(std::mem::take(&mut records));
                self.decide(decision)?;
                decided = true;
            }
            if quiet && !decided {
                // A poll that does not wait may end at an event that is no record: look once more.
                if !wait.is_zero() || !records.is_empty() {
                    break;
                }
                wait = Duration::from_millis(1);
            }
        }
        let more = records.len() >= BATCH;
        self.deliver(records);
        self.fetch_or_pause()?;
        Ok(more)
    }

    fn deliver(&self, mut records: Vec<Record>) {
        let leaves = |p: &Partition| self.leaving.as_ref().is_some_and(|leaving| leaving.partitions.contains(p));
        records.retain(|record| {
            let partition = &record.address.partition;
            self.owned.contains_key(partition) && !leaves(partition)
        });
        if !records.is_empty() {
            self.inbox.records(records);
        }
    }

    fn fetch_or_pause(&mut self) -> Result<(), Broken> {
        let fetch = self.inbox.wants(self.fetching);
        if fetch != self.fetching {
            self.fetching = fetch;
            self.group.pause(self.owned.keys().copied(), !fetch)?;
        }
        Ok(())
    }

    fn trouble(&self, error: KafkaError) -> Result<(), Broken> {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return Err(error.into());
        }
        let told = refused("reading for a stage", &error);
        if told.is_transient() {
            tracing::debug!(stage = self.role.name, %error, "reading for a stage");
        } else {
            self.inbox.failed(told);
        }
        Ok(())
    }

    fn decide(&mut self, decision: Rebalance) -> Result<(), Broken> {
        match decision {
            Rebalance::Assigned(partitions) => {
                self.identify();
                self.assigning = Some(Assigning { partitions, ends: None, known: None });
                Ok(())
            }
            Rebalance::Revoked(partitions) => {
                if !self.group.lost() {
                    // Nobody else has them before they are given back, and the group has a new generation already.
                    self.identify();
                    self.inbox.leaving(&partitions);
                }
                self.leaving = Some(Leaving { partitions, until: Instant::now() + HANDOVER });
                self.finish_leaving()
            }
        }
    }

    /// Notes who this member is in the present generation. At this moment and not at a commit: when the group drops this
    /// member later, the client forgets who it was, and brokers let those commit who do not say who they are.
    fn identify(&mut self) {
        let identity = self.group.metadata();
        self.identity = if self.group.lost() { None } else { identity };
        self.unknown_since = Instant::now();
    }

    /// Gives back what the group wants back, once the stage has committed all that it was given of it, or its time is over.
    pub(super) fn finish_leaving(&mut self) -> Result<(), Broken> {
        let Some(leaving) = self.leaving.take() else { return Ok(()) };
        let committed = |p: &Partition| {
            let next = self.owned.get(p).and_then(|positions| positions.first()).map(|position| position.next);
            next.is_none_or(|next| next >= self.inbox.given(*p))
        };
        let over = self.group.lost() || Instant::now() >= leaving.until;
        if !over && !leaving.partitions.iter().all(committed) {
            self.leaving = Some(leaving);
            return Ok(());
        }
        let lost = leaving.partitions.iter().copied().filter(|p| self.owned.remove(p).is_some()).collect::<Vec<_>>();
        if !lost.is_empty() {
            self.inbox.revoked(&lost);
        }
        Ok(self.group.unassign(&leaving.partitions)?)
    }

    /// Learns where the stage stands in what was assigned, and begins to read there.
    pub(super) fn finish_assigning(&mut self) -> Result<(), Broken> {
        let Some(mut assigning) = self.assigning.take() else { return Ok(()) };
        if !self.learn(&mut assigning) {
            self.assigning = Some(assigning);
            return Ok(());
        }
        let assignments = assigning.known.unwrap_or_default();
        let start = |a: &Assignment| (a.partition, kafka(a.progress.first().map_or(Offset(0), |p| p.next)));
        self.group.assign(&assignments.iter().map(start).collect::<Vec<_>>())?;
        if !self.fetching {
            self.group.pause(assigning.partitions.iter().copied(), true)?;
        }
        if !assignments.is_empty() {
            self.owned.extend(assignments.iter().map(|a| (a.partition, a.progress.clone())));
            self.inbox.assigned(assignments);
        }
        Ok(())
    }

    /// Whether everything is known that the stage is to be told.
    fn learn(&self, assigning: &mut Assigning) -> bool {
        if assigning.partitions.is_empty() {
            return true;
        }
        if assigning.known.is_none() {
            match self.committed(&assigning.partitions) {
                Ok(assignments) => assigning.known = Some(assignments),
                Err(error) => {
                    let told = refused("reading committed offsets", &error);
                    if told.is_transient() {
                        tracing::debug!(stage = self.role.name, %error, "committed offsets are not known yet");
                    } else {
                        self.inbox.failed(told);
                    }
                    return false;
                }
            }
        }
        let answer = match assigning.ends.as_mut() {
            Some(answer) => answer.try_recv(),
            None => {
                assigning.ends = self.role.ends.ask(self.role.lanes.all());
                return false;
            }
        };
        match answer {
            Ok(Ok(ends)) => {
                self.role.view.due(&ends);
                true
            }
            Err(TryRecvError::Empty) => false,
            Ok(Err(_)) | Err(TryRecvError::Closed) => {
                assigning.ends = None;
                false
            }
        }
    }

    /// Asks now and then how far the member's partitions go.
    pub(super) fn measure(&mut self) {
        if let Some(answer) = self.ends.as_mut() {
            match answer.try_recv() {
                Err(TryRecvError::Empty) => return,
                Ok(Ok(ends)) => {
                    let read: BTreeMap<Partition, Offset> = self.group.positions().into_iter().collect();
                    for end in ends {
                        if let Some((_, partition)) = self.role.lanes.place(end.lane) {
                            let read = read.get(&partition).copied().unwrap_or_default();
                            self.inbox.measured(partition, end.at, read);
                        }
                    }
                }
                Ok(Err(_)) | Err(TryRecvError::Closed) => {}
            }
            self.ends = None;
        }
        if self.measured.elapsed() > MEASURE && !self.owned.is_empty() {
            self.measured = Instant::now();
            let Some(input) = self.role.topics.first() else { return };
            let lanes = self.owned.keys().filter_map(|p| self.role.lanes.of(*input, *p)).collect();
            self.ends = self.role.ends.ask(lanes);
        }
    }

    fn committed(&self, partitions: &[Partition]) -> Result<Vec<Assignment>, KafkaError> {
        let mut list = TopicPartitionList::new();
        for topic in &self.role.topics {
            for partition in partitions {
                add(&mut list, self.role.lanes.topics.name(*topic), *partition, KafkaOffset::Invalid);
            }
        }
        let committed = self.group.committed(list, COMMITTED)?;
        let position = |topic: &Topic, partition: Partition| {
            let name = self.role.lanes.topics.name(*topic);
            let found = committed.iter().find(|(t, p, _)| t == name && *p == partition);
            Position { topic: *topic, partition, next: found.map_or(Offset(0), |(_, _, next)| *next) }
        };
        let assignment = |&partition: &Partition| {
            let progress = self.role.topics.iter().map(|topic| position(topic, partition)).collect();
            Assignment { partition, progress }
        };
        Ok(partitions.iter().map(assignment).collect())
    }
}
