//! Numbers for the partitions of all topics.

use std::time::Duration;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use super::topics::Topics;
use crate::LogError;

/// How long a new client waits for the brokers.
const MEETING: Duration = Duration::from_secs(2);

/// One partition of one topic, as a number from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lane(pub(crate) usize);

/// The topics' names and all their partitions.
pub(crate) struct Lanes {
    pub(crate) topics: Topics,
    all: Vec<(Topic, Partition)>,
}

impl Lanes {
    pub(crate) fn new(topics: Topics) -> Self {
        let of = |topic| (0..topics.partitions(topic)).map(move |n| (topic, Partition(n)));
        let all = Topic::ALL.into_iter().flat_map(of).collect();
        Self { all, topics }
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Lane> {
        (0..self.all.len()).map(Lane).collect()
    }

    pub(crate) fn of(&self, topic: Topic, partition: Partition) -> Option<Lane> {
        self.all.binary_search(&(topic, partition)).ok().map(Lane)
    }

    /// As [`of`](Self::of), with an error that says which partition there is not.
    pub(crate) fn expect(&self, topic: Topic, partition: Partition) -> Result<Lane, LogError> {
        self.of(topic, partition).ok_or_else(|| {
            let (name, count) = (topic.name(), self.topics.partitions(topic));
            LogError::Unusable(format!("topic {name} has no partition {}: it has {count}", partition.0))
        })
    }

    pub(crate) fn place(&self, lane: Lane) -> Option<(Topic, Partition)> {
        self.all.get(lane.0).copied()
    }

    /// The lane of what Kafka calls so.
    pub(crate) fn of_kafka(&self, topic: &str, partition: i32) -> Option<Lane> {
        self.of(self.topics.of_name(topic)?, Partition(u32::try_from(partition).ok()?))
    }

    /// Lets a new client find the topics and their brokers before somebody waits for it; it takes up to a second.
    pub(crate) fn meet<C: ConsumerContext>(&self, consumer: &BaseConsumer<C>) {
        for topic in Topic::ALL {
            if let Err(error) = consumer.fetch_metadata(Some(self.topics.name(topic)), MEETING) {
                tracing::debug!(%error, "a Kafka client has not met the brokers yet");
                return;
            }
        }
    }

    /// Adds a lane to one of Kafka's lists.
    pub(crate) fn add(&self, list: &mut TopicPartitionList, lane: Lane, offset: KafkaOffset) {
        let Some((topic, partition)) = self.place(lane) else { return };
        add(list, self.topics.name(topic), partition, offset);
    }
}

/// Adds a partition to one of Kafka's lists.
pub(crate) fn add(list: &mut TopicPartitionList, topic: &str, partition: Partition, offset: KafkaOffset) {
    let number = i32::try_from(partition.0).unwrap_or(i32::MAX);
    // Fails for offsets that Kafka cannot have only; it stands in the list without one then.
    if let Err(error) = list.add_partition_offset(topic, number, offset) {
        tracing::error!(%error, topic, number, "an offset cannot be");
    }
}

/// An offset as Kafka has it.
pub(crate) fn kafka(offset: Offset) -> KafkaOffset {
    KafkaOffset::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX))
}

/// An offset as Kafka told it, if it is one.
pub(crate) fn ours(offset: KafkaOffset) -> Option<Offset> {
    match offset {
        KafkaOffset::Offset(n) => u64::try_from(n).ok().map(Offset),
        _ => None,
    }
}
