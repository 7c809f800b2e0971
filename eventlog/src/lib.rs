//! The event log: the one place where leadway's stages meet.
//!
//! This crate holds the contract ([`EventLog`], [`Stage`]), its providers, and the follower that keeps
//! [`Settings`](leadway_domain::settings::Settings) in memory. Callers know the traits and [`open`]; providers are private.

mod embedded;
mod error;
mod identity;
mod inspection;
mod kafka;
mod member;
mod memory;
mod record;
mod settings;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};

pub use embedded::Options as EmbeddedOptions;
pub use embedded::check_record;
pub use error::LogError;
pub use identity::{identify, identity};
pub use inspection::{Damage, Hole, Inspection};
pub use kafka::{Compression, Options as KafkaOptions, SaslMechanism, Security};
pub use memory::{Fault, MemoryLog};
pub use record::{Address, Decoded, NewRecord, Record, source_of};
pub use settings::SettingsHandle;

/// Opens the embedded log in a folder, making it if it is not there.
pub async fn open(options: EmbeddedOptions) -> Result<Arc<dyn EventLog>, LogError> {
    embedded::open(options).await
}

/// Connects to the log on Kafka. Of the topics that do not exist those that `may_make` names are made, as long as no other
/// topic of the log holds records; any other one that is missing is refused, since its records are lost. Where the brokers
/// do not answer, it tries again until the start timeout of the options.
pub async fn open_kafka(options: KafkaOptions, may_make: &[Topic]) -> Result<Arc<dyn EventLog>, LogError> {
    // Of its many steps the caller's future holds a pointer.
    Box::pin(kafka::open(options, may_make)).await
}

/// Opens the embedded log in a folder as it is at this moment, for reading only; it may be in use by another process,
/// and nothing is written. Appending, joining a stage and waiting for what is not there yet are
/// [refused](LogError::Unusable).
pub async fn open_read_only(folder: &Path) -> Result<Arc<dyn EventLog>, LogError> {
    embedded::open_read_only(folder).await
}

/// Reads the whole embedded log in a folder, whatever is wrong with it, and says what that is. Nothing is written.
pub async fn inspect(folder: &Path) -> Result<Inspection, LogError> {
    embedded::inspect_folder(folder).await
}

/// Copies what can be read of the embedded log in `from` to the folder `to`, where no log is: every record to its offset.
/// Where records are lost, others of the kind `record.lost` stand, which readers count and pass over. Returns what was found.
pub async fn salvage(from: &Path, to: &Path) -> Result<Inspection, LogError> {
    embedded::salvage_folder(from, to).await
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

/// Which records a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Of which topic.
    pub topic: Topic,
    /// Which partition.
    pub partition: Partition,
    /// The first offset that can be read: 0, unless somebody deleted records.
    pub first: Offset,
    /// Not below the offset behind the last record; on Kafka above it where transactions left their marks.
    pub end: Offset,
}

/// A partitioned, append-only log of records.
///
/// What every provider keeps:
///
/// - **Durable before answered.** When [`append`](Self::append) or [`Stage::commit`] returns `Ok`, the records are on
///   disk after fsync (embedded) or acknowledged by all in-sync replicas (Kafka), and every later read sees them,
///   also after a crash.
/// - **All or nothing.** The records of one [`Stage::commit`] land together or not at all. When it fails or its caller
///   dies waiting, either may be the case ([`LogError::may_have_landed`]); it is never a part. [`append`](Self::append)
///   promises it record by record: of a call that failed some records may have landed (on Kafka, where they stand on
///   different brokers), those of one partition in the order given. When it answered, all have.
/// - **Order.** Within a partition offsets count up from 0; reading returns records in the order of offsets.
///   Embedded and in-memory logs leave no gaps, Kafka's transactions do; a reader must not depend on it. Where a
///   position says which record is *next*, it is the offset behind a record that exists (or 0), never a gap's.
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

    /// The offset behind the last record of the partition, whoever appended it: a reader that has come so far has
    /// everything that was durable when this was called, and what a transaction that was under way then has committed
    /// (it is waited for). On Kafka it asks the brokers.
    async fn end(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError>;

    /// The end as far as this node knows without asking anybody: at least what it has itself read, been
    /// [woken](Self::wait) for, or [been told](Self::end). For metrics, and for whoever reads on and on.
    fn seen(&self, topic: Topic, partition: Partition) -> Offset;

    /// Waits until at least one of the positions has a record to read. Dropping the future is safe.
    async fn wait(&self, positions: &[Position]) -> Result<(), LogError>;

    /// Joins those who divide the partitions of `topic` among them under the name `name`, without reading: for consumers
    /// that keep their progress elsewhere. Where the log is in this process nobody shares it, and all are this member's.
    async fn membership(&self, _name: &'static str, topic: Topic) -> Result<Box<dyn Membership>, LogError> {
        Ok(Box::new(member::Alone::new(self.partitions(topic))))
    }

    /// Joins the stage `name` that consumes `input`. `tracked` are further topics, partitioned like `input`, whose
    /// progress is kept with it though [`Stage::next`] does not deliver their records.
    /// Whoever joins the same stage later shares its partitions (Kafka) or fences the earlier one off (embedded).
    async fn stage(&self, name: &'static str, input: Topic, tracked: &[Topic]) -> Result<Box<dyn Stage>, LogError>;

    /// Where every partition of every topic begins and ends: for whoever compares that with what is known of the log. An
    /// error that is not [transient](LogError::is_transient) says that what holds the records is gone.
    async fn extents(&self) -> Result<Vec<Extent>, LogError> {
        let mut extents = Vec::new();
        for topic in Topic::ALL {
            for partition in (0..self.partitions(topic)).map(Partition) {
                extents.push(Extent { topic, partition, first: Offset(0), end: self.end(topic, partition).await? });
            }
        }
        Ok(extents)
    }

    /// What holds the records, by name, with an id that changes when somebody deletes it and makes it anew: Kafka's cluster
    /// and its topics. Nothing where the records stand in files, which say by themselves what they are.
    async fn holders(&self) -> Result<BTreeMap<String, String>, LogError> {
        Ok(BTreeMap::new())
    }

    /// Bytes on disk; `None` when the log is elsewhere.
    fn disk_bytes(&self) -> Option<u64> {
        None
    }
}

/// What a stage is told next.
#[derive(Debug)]
pub enum StageEvent {
    /// These partitions are this member's from now on, besides those that it has, with the progress committed for each
    /// topic of the stage (input first). What the member knew of them before is void, and whatever another member
    /// committed for them before can be read.
    Assigned(Vec<Assignment>),
    /// These partitions are no longer this member's: forget them, commits for them fail.
    Revoked(Vec<Partition>),
    /// Records of the input, of one partition or of several, those of each in order. Each is delivered once per assignment.
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

/// A share of a topic's partitions.
#[async_trait]
pub trait Membership: Send {
    /// Waits until this member's partitions are other ones than it was told last; the first call tells the first ones.
    /// Dropping the future is safe. Two members may believe for some moments that a partition is theirs: what they
    /// write must bear it.
    async fn changed(&mut self) -> Result<Vec<Partition>, LogError>;
}

/// One member of a stage.
///
/// Outputs and progress land together or not at all, and a member that lost a partition cannot commit for it:
/// [`LogError::Revoked`] when it goes on with what it has then, [`LogError::Fenced`] when it was taken over for good.
/// Progress never moves backwards; a commit may leave it where it is.
#[async_trait]
pub trait Stage: Send {
    /// From now on [`next`](Self::next) may also give records that are not durable yet, which saves waiting for the disk
    /// twice. What is committed for them lands behind them. Should they never become durable, the member's next commit is
    /// [refused](LogError::Revoked), and the partitions that it has read of are taken away and given back. For a member
    /// whose records have no effect but what it commits. Only the embedded log has something to give early.
    fn read_ahead(&mut self) {}

    /// Waits for the next event. Dropping the future is safe: nothing is lost.
    async fn next(&mut self, limit: ReadLimit) -> Result<StageEvent, LogError>;

    /// How many records of the input, in this member's partitions, it has not been given yet. On Kafka as far as this
    /// node knows, and counting the gaps among them.
    fn lag(&self) -> u64;

    /// Appends `outputs` and records `progress` in one atomic step; returns the outputs' addresses in order. `progress`
    /// names every partition whose records led to the outputs, also where it stays: a member that has lost one of them
    /// is refused.
    async fn commit(&mut self, outputs: &[NewRecord], progress: &[Position]) -> Result<Vec<Address>, LogError>;
}
