//! The event log: the one place where leadway's stages meet.
//!
//! This crate holds the contract ([`EventLog`], [`Stage`]), its providers, and the follower that keeps
//! [`Settings`](leadway_domain::settings::Settings) in memory. Callers know the traits and [`open`]; providers are private.

mod embedded;
mod error;
mod member;
mod memory;
mod record;
mod settings;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};

pub use embedded::Options as EmbeddedOptions;
pub use error::LogError;
pub use memory::{Fault, MemoryLog};
pub use record::{Address, NewRecord, Record, source_of};
pub use settings::SettingsHandle;

/// Opens the embedded log in a folder, making it if it is not there.
pub async fn open(options: EmbeddedOptions) -> Result<Arc<dyn EventLog>, LogError> {
    embedded::open(options).await
}

/// Opens the embedded log in a folder as it is at this moment, for reading only; it may be in use by another process,
/// and nothing is written. Appending, joining a stage and waiting for what is not there yet are
/// [refused](LogError::Unusable).
pub async fn open_read_only(folder: &Path) -> Result<Arc<dyn EventLog>, LogError> {
    embedded::open_read_only(folder).await
}

/// How much one read returns at most. At least one record is returned if there is one.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    /// Records.
    pub records: usize,
    /// Bytes of data.
    pub bytes: usize,
}

impl Default for ReadLimit {
    fn default() -> Self {
        Self { records: 1_000, bytes: 4 << 20 }
    }
}

/// A position in the log: the next record to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// In which topic.
    pub topic: Topic,
    /// In which partition.
    pub partition: Partition,
    /// The next offset to be read.
    pub next: Offset,
}

/// A partitioned, append-only log of records.
///
/// What every provider keeps:
///
/// - **Durable before answered.** When [`append`](Self::append) or [`Stage::commit`] returns `Ok`, the records are on
///   disk after fsync (embedded) or acknowledged by all in-sync replicas (Kafka), and every later read sees them,
///   also after a crash.
/// - **All or nothing.** The records of one call land together or not at all. When a call fails or its caller dies
///   waiting, either may be the case ([`LogError::may_have_landed`]); it is never a part.
/// - **Order.** Within a partition offsets count up from 0; reading returns records in the order of offsets.
///   Embedded and in-memory logs leave no gaps; a reader must not depend on that.
/// - **A key has a home.** Records with the same key go to the same partition of a topic, as long as the number of
///   partitions stays.
/// - **Bounded.** An append that cannot be taken now fails with an error that
///   [can be retried](LogError::is_transient); nothing queues without bound.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// How many partitions the topic has.
    fn partitions(&self, topic: Topic) -> u32;

    /// The partition at which records with this key stand.
    fn partition_of(&self, topic: Topic, key: &str) -> Partition {
        record::partition_of(key, self.partitions(topic))
    }

    /// Appends records, of any topics, and awaits their durability. Returns their addresses in the order given.
    /// Appends that wait at the same moment share one write and one fsync.
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Address>, LogError>;

    /// Reads records of one partition from `from` on. Empty when there are none yet.
    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, LogError>;

    /// The offset that the next record of the partition will get.
    async fn end(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError>;

    /// Waits until at least one of the positions has a record to read. Dropping the future is safe.
    async fn wait(&self, positions: &[Position]) -> Result<(), LogError>;

    /// Joins the stage `name` that consumes `input`. `tracked` are further topics, partitioned like `input`, whose
    /// progress is kept with it though [`Stage::next`] does not deliver their records.
    /// Whoever joins the same stage later shares its partitions (Kafka) or fences the earlier one off (embedded).
    async fn stage(&self, name: &'static str, input: Topic, tracked: &[Topic]) -> Result<Box<dyn Stage>, LogError>;

    /// Bytes on disk; `None` when the log is elsewhere.
    fn disk_bytes(&self) -> Option<u64> {
        None
    }
}

/// What a stage is told next.
#[derive(Debug)]
pub enum StageEvent {
    /// These partitions are this member's from now on, with the progress committed for each topic of the stage
    /// (input first). What the member knew of them before is void.
    Assigned(Vec<Assignment>),
    /// These partitions are no longer this member's: forget them, commits for them fail.
    Revoked(Vec<Partition>),
    /// Records of one partition of the input, in order, each delivered once per assignment.
    Records(Vec<Record>),
}

/// A partition that a member was given.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Which one.
    pub partition: Partition,
    /// Where the stage stands: input first, then the tracked topics.
    pub progress: Vec<Position>,
}

/// One member of a stage.
///
/// Outputs and progress land together or not at all, and a member that lost a partition (or was fenced off) cannot
/// commit for it: [`LogError::Fenced`]. Progress never moves backwards; a commit may leave it where it is.
#[async_trait]
pub trait Stage: Send {
    /// Waits for the next event. Dropping the future is safe: nothing is lost.
    async fn next(&mut self, limit: ReadLimit) -> Result<StageEvent, LogError>;

    /// Appends `outputs` and records `progress` in one atomic step; returns the outputs' addresses in order.
    async fn commit(&mut self, outputs: Vec<NewRecord>, progress: &[Position]) -> Result<Vec<Address>, LogError>;
}
