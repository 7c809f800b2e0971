//! Lanes: one number for each partition of each topic, so that per-partition state lives in plain vectors.

use leadway_domain::Partition;
use leadway_domain::record::Topic;

/// Numbers the partitions of all topics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes {
    partitions: u32,
}

impl Lanes {
    pub(crate) fn new(partitions: u32) -> Self {
        Self { partitions: partitions.max(1) }
    }

    /// Partitions of the topic; `settings` always has one.
    pub(crate) fn partitions(self, topic: Topic) -> u32 {
        if topic == Topic::Settings { 1 } else { self.partitions }
    }

    /// How many lanes there are.
    pub(crate) fn count(self) -> usize {
        Topic::ALL.iter().map(|&t| self.partitions(t) as usize).sum()
    }

    /// The lane of a partition; `None` when the topic has no such partition.
    pub(crate) fn of(self, topic: Topic, partition: Partition) -> Option<usize> {
        if partition.0 >= self.partitions(topic) {
            return None;
        }
        let before = match usize::from(code(topic)) {
            0 => 0,
            code => 1 + (code - 1) * self.partitions as usize,
        };
        Some(before + partition.0 as usize)
    }

    /// Every partition, in the order of lanes.
    pub(crate) fn all(self) -> impl Iterator<Item = (Topic, Partition)> {
        let topics = (0..Topic::ALL.len() as u8).filter_map(topic_of);
        topics.flat_map(move |topic| (0..self.partitions(topic)).map(move |p| (topic, Partition(p))))
    }
}

/// The topic's number in stored bytes: never changes its meaning; a new topic gets the next number.
pub(crate) fn code(topic: Topic) -> u8 {
    match topic {
        Topic::Settings => 0,
        Topic::Leads => 1,
        Topic::Appointments => 2,
        Topic::Deliveries => 3,
        Topic::Quarantine => 4,
    }
}

/// The topic with this number in stored bytes.
pub(crate) fn topic_of(number: u8) -> Option<Topic> {
    Topic::ALL.into_iter().find(|&t| code(t) == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_a_lane_of_its_own() {
        let lanes = Lanes::new(3);
        let numbers: Vec<usize> = lanes.all().filter_map(|(t, p)| lanes.of(t, p)).collect();
        assert_eq!(numbers, (0..lanes.count()).collect::<Vec<_>>());
        assert_eq!(lanes.count(), 1 + 3 * (Topic::ALL.len() - 1));
    }

    #[test]
    fn a_partition_that_is_not_there_has_no_lane() {
        let lanes = Lanes::new(3);
        assert_eq!(lanes.of(Topic::Leads, Partition(3)), None);
        assert_eq!(lanes.of(Topic::Settings, Partition(1)), None);
    }
}
