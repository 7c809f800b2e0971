//! Which log the tables are made of.

use std::collections::BTreeMap;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Which log the tables are made of, as they keep it beside their rows. Fields that a later version adds are kept by none
/// that does not know them: whoever changes it writes all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOfTables {
    /// The log's identity.
    pub id: Uuid,
    /// Whether the log has it, too. At the first start the tables get it before the log does: until then a log without
    /// identity may be theirs.
    #[serde(default)]
    pub settled: bool,
    /// What holds the log's records, by name: Kafka's cluster and its topics.
    #[serde(default)]
    pub holders: BTreeMap<String, String>,
    /// Where partitions begin whose oldest records were deleted, as the operator has accepted it: `leads/3`.
    #[serde(default)]
    pub begins: BTreeMap<String, Offset>,
}

impl LogOfTables {
    /// A log that may not have its identity yet.
    pub fn unsettled(id: Uuid) -> Self {
        Self { id, ..Self::default() }
    }

    /// Where the partition may begin.
    pub fn begin(&self, topic: Topic, partition: Partition) -> Offset {
        self.begins.get(&place(topic, partition)).copied().unwrap_or_default()
    }

    /// The partition may begin there.
    pub fn accept_begin(&mut self, topic: Topic, partition: Partition, at: Offset) {
        self.begins.insert(place(topic, partition), at);
    }
}

fn place(topic: Topic, partition: Partition) -> String {
    format!("{}/{}", topic.name(), partition.0)
}
