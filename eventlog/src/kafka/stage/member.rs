//! A member of a stage's group: which partitions are its own, and where the stage stands in them.

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
use super::super::ends::Answer;
use super::super::group::{Group, Rebalance};
use super::super::lanes::add;
use super::Role;
use super::inbox::Inbox;
use crate::{Assignment, Position};

/// How long one question for committed offsets may take: commits for other partitions wait meanwhile.
const COMMITTED: Duration = Duration::from_millis(300);
/// How long a stage has to commit what it was given of partitions that go to others: what it has done and not committed is
/// done again by them.
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
        Self {
            role,
            inbox,
            group,
            identity: None,
            unknown_since: Instant::now(),
            owned: BTreeMap::new(),
            assigning: None,
            leaving: None,
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

    /// Takes in what the group has to say.
    pub(super) fn poll(&mut self) -> Result<(), Broken> {
        loop {
            let polled = self.group.poll();
            let quiet = polled.is_none();
            if let Some(Err(error)) = polled {
                self.trouble(error)?;
            }
            let mut decided = false;
            while let Some(decision) = self.group.decision() {
                self.decide(decision)?;
                decided = true;
            }
            if quiet && !decided {
                return Ok(());
            }
        }
    }

    fn trouble(&self, error: KafkaError) -> Result<(), Broken> {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return Err(error.into());
        }
        let told = refused("sharing a topic", &error);
        if told.is_transient() {
            tracing::debug!(stage = self.role.name, %error, "sharing a topic");
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

    /// Learns where the stage stands in what was assigned, and lets it begin there.
    pub(super) fn finish_assigning(&mut self) -> Result<(), Broken> {
        let Some(mut assigning) = self.assigning.take() else { return Ok(()) };
        if !self.learn(&mut assigning) {
            self.assigning = Some(assigning);
            return Ok(());
        }
        let assignments = assigning.known.unwrap_or_default();
        self.group.assign(&assigning.partitions)?;
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
                assigning.ends = self.role.reader.ask_ends();
                return false;
            }
        };
        match answer {
            Ok(Ok(ends)) => {
                self.role.reader.take_place(&ends, self.role.input, &assigning.partitions);
                true
            }
            Err(TryRecvError::Empty) => false,
            Ok(Err(_)) | Err(TryRecvError::Closed) => {
                assigning.ends = None;
                false
            }
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
