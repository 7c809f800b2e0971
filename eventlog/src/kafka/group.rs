//! A member of a consumer group. What the group decides is data here, to be answered when the member is ready for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use leadway_domain::{Offset, Partition};
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaRespErr;

use super::bell::Bell;
use super::client::{Clients, Context};
use super::lanes::{add, ours};
use super::silence::Silence;

/// How long the group may think: a poll that does not wait may end before what it has to say is there.
const MOMENT: Duration = Duration::from_millis(1);
/// Bytes that the client may fetch ahead: it fetches nothing.
const BUFFERED: usize = 64 << 10;

/// What the group decided about this member's partitions. It waits until it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rebalance {
    /// These are added to them.
    Assigned(Vec<Partition>),
    /// These are taken away, or were lost already.
    Revoked(Vec<Partition>),
}

/// Collects what the group decided.
pub(crate) struct Decisions {
    client: Context,
    waiting: Mutex<VecDeque<Rebalance>>,
    closing: AtomicBool,
}

impl ClientContext for Decisions {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.client.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.client.error(error, reason);
    }
}

impl ConsumerContext for Decisions {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigned = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answered =
                if assigned { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
            if let Err(error) = answered {
                tracing::debug!(%error, "leaving a group");
            }
            return;
        }
        let partitions = partitions(list);
        let decision = if assigned { Rebalance::Assigned(partitions) } else { Rebalance::Revoked(partitions) };
        self.waiting.lock().push_back(decision);
    }
}

/// One member of a group that shares the partitions of one topic. It reads none of them: that is the
/// [reader](super::reader)'s. It leaves when it is dropped.
pub(crate) struct Group {
    consumer: BaseConsumer<Decisions>,
    topic: String,
    /// A decision that was taken up and is not answered yet.
    open: Option<Rebalance>,
    silence: Silence,
}

impl Group {
    /// Joins the group `name`. The bell is rung when it has something to say.
    pub(crate) fn join(clients: &Clients, name: &str, topic: &str, bell: &Bell) -> KafkaResult<Self> {
        let context =
            Decisions { client: clients.context(), waiting: Mutex::default(), closing: AtomicBool::new(false) };
        let mut consumer = BaseConsumer::from_config_and_context(&clients.member(name, BUFFERED), context)?;
        let wake = bell.clone();
        consumer.set_nonempty_callback(move || wake.ring());
        consumer.subscribe(&[topic])?;
        Ok(Self { consumer, topic: topic.to_owned(), open: None, silence: Silence::begin(Instant::now()) })
    }

    /// Takes in the next thing that the group has to say, be it an error; `None` when there is none. It must be called again
    /// and again, or the group drops this member.
    pub(crate) fn poll(&self) -> Option<KafkaResult<()>> {
        self.consumer.poll(MOMENT).map(|polled| polled.map(drop))
    }

    /// The next decision, which must be [answered](Self::assign) before there is another.
    pub(crate) fn decision(&mut self) -> Option<Rebalance> {
        if self.open.is_none() {
            self.open = self.consumer.context().waiting.lock().pop_front();
            match &self.open {
                Some(Rebalance::Assigned(_)) => self.silence.end(),
                // The member asks again at once.
                Some(Rebalance::Revoked(_)) => self.silence = Silence::begin(Instant::now()),
                None => self.complain(),
            }
            return self.open.clone();
        }
        None
    }

    /// A member that waits for ever looks like one that has nothing to do.
    fn complain(&mut self) {
        let Some(waited) = self.silence.overdue(Instant::now()) else { return };
        tracing::warn!(
            topic = self.topic,
            seconds = waited.as_secs(),
            last = self.consumer.context().client.complaints.last(),
            "Kafka's group does not tell this member which partitions are its own; it does no work of that topic meanwhile"
        );
    }

    /// Takes the partitions that were assigned.
    pub(crate) fn assign(&mut self, partitions: &[Partition]) -> KafkaResult<()> {
        self.consumer.incremental_assign(&self.list(partitions, KafkaOffset::End))?;
        self.open = None;
        self.consumer.pause(&self.list(partitions, KafkaOffset::Invalid))
    }

    /// Gives back the partitions that were revoked.
    pub(crate) fn unassign(&mut self, partitions: &[Partition]) -> KafkaResult<()> {
        self.open = None;
        self.consumer.incremental_unassign(&self.list(partitions, KafkaOffset::Invalid))
    }

    /// Whether the group has given this member's partitions to others without waiting for it.
    pub(crate) fn lost(&self) -> bool {
        self.consumer.assignment_lost()
    }

    /// Who this member is in the present generation of the group.
    pub(crate) fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.group_metadata()
    }

    /// What the group has committed for these partitions of these topics, once no open transaction can change it.
    pub(crate) fn committed(
        &self,
        list: TopicPartitionList,
        timeout: Duration,
    ) -> KafkaResult<Vec<(String, Partition, Offset)>> {
        let committed = self.consumer.committed_offsets(list, timeout)?;
        let mut offsets = Vec::new();
        for element in committed.elements() {
            element.error()?;
            let partition = Partition(u32::try_from(element.partition()).unwrap_or(0));
            // What was never committed begins at the beginning.
            offsets.push((element.topic().to_owned(), partition, ours(element.offset()).unwrap_or_default()));
        }
        Ok(offsets)
    }

    fn list(&self, partitions: &[Partition], offset: KafkaOffset) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        partitions.iter().for_each(|partition| add(&mut list, &self.topic, *partition, offset));
        list
    }

    /// Answers a decision as a member does that is going away.
    fn give_in(&mut self, decision: &Rebalance) {
        let answered = match decision {
            Rebalance::Assigned(partitions) => self.assign(partitions),
            Rebalance::Revoked(partitions) => self.unassign(partitions),
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "leaving a group");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The client waits for answers while it is closed.
        self.consumer.context().closing.store(true, Ordering::Release);
        if let Some(open) = self.open.take() {
            self.give_in(&open);
        }
        let waiting: Vec<Rebalance> = self.consumer.context().waiting.lock().drain(..).collect();
        waiting.iter().for_each(|decision| self.give_in(decision));
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    let number = |e: &TopicPartitionListElem<'_>| u32::try_from(e.partition()).ok().map(Partition);
    let mut partitions: Vec<Partition> = list.elements().iter().filter_map(number).collect();
    partitions.sort_unstable();
    partitions
}
