//! The providers that keep the contract.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use leadway_domain::record::Topic;
use leadway_eventlog::{EmbeddedOptions, EventLog, KafkaOptions, MemoryLog};

/// Partitions of every topic but `settings`.
pub(crate) const PARTITIONS: u32 = 3;

/// Opens one log, again and again: what was acknowledged is in it every time.
pub(crate) enum Provider {
    Memory(MemoryLog),
    Embedded { options: EmbeddedOptions, _folder: tempfile::TempDir },
    Kafka(Box<KafkaOptions>),
}

impl Provider {
    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryLog::new(PARTITIONS))
    }

    pub(crate) fn memory_shared() -> Self {
        Self::Memory(MemoryLog::shared(PARTITIONS))
    }

    pub(crate) fn embedded() -> Self {
        Self::embedded_with(EmbeddedOptions::default())
    }

    /// With small files and nothing in memory, so that every read goes to the files.
    pub(crate) fn embedded_on_files() -> Self {
        Self::embedded_with(EmbeddedOptions { segment_bytes: 4 << 10, tail_bytes: 0, ..EmbeddedOptions::default() })
    }

    /// Topics and groups of their own on the broker that all tests share.
    pub(crate) fn kafka() -> Self {
        Self::Kafka(Box::new(kafka_options(&leadway_servers::shared_kafka().unwrap().bootstrap())))
    }

    fn embedded_with(options: EmbeddedOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = EmbeddedOptions { folder: folder.path().into(), partitions: PARTITIONS, ..options };
        Self::Embedded { options, _folder: folder }
    }

    pub(crate) async fn open(&self) -> Arc<dyn EventLog> {
        match self {
            Self::Memory(log) => Arc::new(log.clone()),
            Self::Embedded { options, .. } => leadway_eventlog::open(options.clone()).await.unwrap(),
            Self::Kafka(options) => leadway_eventlog::open_kafka((**options).clone(), &Topic::ALL).await.unwrap(),
        }
    }
}

/// Options for topics and groups that nobody else uses.
pub(crate) fn kafka_options(brokers: &str) -> KafkaOptions {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let name = format!("test-{}-", TESTS.fetch_add(1, Ordering::Relaxed));
    KafkaOptions {
        brokers: brokers.to_owned(),
        topic_prefix: name.clone(),
        group_prefix: name,
        partitions: PARTITIONS,
        replication: 1,
        min_insync: 1,
        ..KafkaOptions::default()
    }
}
