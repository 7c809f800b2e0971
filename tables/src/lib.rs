//! Tables: what leadway's results are kept in.
//!
//! A table is declared once ([`table!`], in [`schema`]) with typed columns, a partition key and a clustering key, and
//! every provider serves it. This crate holds the contract ([`Tables`]), the declarations and the providers; callers
//! know the trait and [`open`].

mod cell;
mod cells;
mod check;
mod day;
mod declare;
mod embedded;
mod error;
mod fold;
mod identity;
mod key;
mod memory;
mod reader;
#[cfg(test)]
mod samples;
pub mod schema;
mod scylla;
mod value;
mod version;
mod waiters;
mod write;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Clock, Offset, Partition, Timestamp};

pub use cell::{Cell, CellRef};
pub use day::Day;
pub use declare::{Json, JsonText, TableRow, get, get_all, scan};
pub use embedded::Options as EmbeddedOptions;
pub use error::TablesError;
pub use identity::LogOfTables;
pub use memory::MemoryTables;
pub use scylla::{Consistency as ScyllaConsistency, Options as ScyllaOptions};
pub use value::{Column, ColumnKind, Table, Value, ValueRef};
pub use write::{Upsert, Write};

/// Opens the embedded tables in a folder, making them if they are not there.
pub async fn open(options: EmbeddedOptions) -> Result<Arc<dyn Tables>, TablesError> {
    open_declared(options, schema::ALL).await
}

/// Opens embedded tables of other declarations than [`schema::ALL`].
pub async fn open_declared(
    options: EmbeddedOptions,
    tables: &'static [&'static Table],
) -> Result<Arc<dyn Tables>, TablesError> {
    embedded::open(options, tables).await
}

/// Puts the tables of the folder `new` in the place of those in `folder`, at once: a crash leaves the ones or the others.
/// Neither may be open; `new` is gone afterwards.
pub async fn replace(folder: &Path, new: &Path) -> Result<(), TablesError> {
    embedded::replace(folder, new).await
}

/// Opens the embedded tables in a folder for reading only, also while a server has them open: for tools. Writes are
/// refused; waiting for a position looks again and again.
pub async fn open_read_only(folder: &Path) -> Result<Arc<dyn Tables>, TablesError> {
    open_declared_read_only(folder, schema::ALL).await
}

/// Opens embedded tables of other declarations than [`schema::ALL`] for reading only.
pub async fn open_declared_read_only(
    folder: &Path,
    tables: &'static [&'static Table],
) -> Result<Arc<dyn Tables>, TablesError> {
    embedded::open_read_only(folder, tables).await
}

/// Opens the tables on ScyllaDB, or on Apache Cassandra: makes keyspace and tables that are not there and adds columns
/// that are missing. `seed` makes this node's batches differ from those of all others.
pub async fn open_scylla(options: ScyllaOptions, clock: Clock, seed: u64) -> Result<Arc<dyn Tables>, TablesError> {
    open_declared_scylla(options, schema::ALL, clock, seed).await
}

/// Opens tables of other declarations than [`schema::ALL`] on ScyllaDB.
pub async fn open_declared_scylla(
    options: ScyllaOptions,
    tables: &'static [&'static Table],
    clock: Clock,
    seed: u64,
) -> Result<Arc<dyn Tables>, TablesError> {
    scylla::open(options, tables, clock, seed).await
}

/// One cell per column, in the order of declaration; `None` where nothing is stored.
pub type Row = Vec<Option<Value>>;

/// The values of a row's key columns: the partition key, then the clustering key, in the order of declaration.
pub type Key = Vec<Value>;

/// How far the log has been applied to the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Applied {
    /// Of which topic.
    pub topic: Topic,
    /// Of which partition.
    pub partition: Partition,
    /// What was not applied yet before the batch: where the tables must stand for it to be taken.
    pub from: Offset,
    /// The first offset that is not applied yet after it: above `from`.
    pub next: Offset,
}

/// Which rows of one partition a scan returns, by their clustering key.
#[derive(Clone, Debug, Default)]
pub struct Range {
    /// Rows whose clustering key is at or after this prefix, in ascending order of keys.
    pub from: Option<Key>,
    /// Rows whose clustering key is before this prefix.
    pub before: Option<Key>,
    /// Whether the last rows come first.
    pub descending: bool,
    /// How many at most.
    pub limit: usize,
}

impl Range {
    /// The first `limit` rows.
    pub fn first(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// The last `limit` rows, last first.
    pub fn last(limit: usize) -> Self {
        Self { limit, descending: true, ..Self::default() }
    }

    /// Only from this clustering key (or prefix of one) on.
    pub fn from(mut self, key: Key) -> Self {
        self.from = Some(key);
        self
    }

    /// Only before this clustering key (or prefix of one).
    pub fn before(mut self, key: Key) -> Self {
        self.before = Some(key);
        self
    }
}

/// What a look at all rows of a table found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Which table.
    pub table: &'static str,
    /// Rows that can be read.
    pub rows: u64,
    /// Rows that cannot.
    pub unreadable: u64,
    /// What is wrong with the first of these.
    pub reason: Option<String>,
}

/// Typed, partitioned tables.
///
/// What every provider keeps:
///
/// - **A batch is atomic** with the positions it carries, for whoever sees its positions: once [`applied`](Self::applied)
///   tells them every read finds all of it, and after a crash it is completed or was never there. Until they are told, a
///   read may find a part of it (in tables that many nodes write). It need not be durable when [`write`](Self::write)
///   returns: the log repeats what a crash cut off, from the position that is stored.
/// - **Each position once.** A batch is refused ([`TablesError::Stale`]) and changes nothing unless every stored position
///   equals the `from` that it names. So of two writers that read the same records one is refused.
/// - **Unknown is not nothing.** A write that failed as [`TablesError::Unavailable`] may have been applied, or be applied
///   later. Who tries again with the same positions is then told that they are stale, and finds in `applied` where the
///   tables stand.
/// - **Reads see writes** that returned before them. A scan returns rows of one partition in the order of their
///   clustering keys: numbers and moments by value, text by bytes, UUIDs of one version by bytes (UUIDs of different
///   versions, and those of version 1, have an order of the provider's).
/// - **Versions win, not order.** Of two upserts the one with the higher version sets the versioned columns, all of them,
///   whichever comes first; two with one version say the same. A delete with a version removes what equal and lower
///   versions made. That it also beats those that come later is kept where many nodes write; a provider with one writer
///   does not remember what was removed, so a writer first looks whether a higher version was decided.
/// - **What does not fit is refused** before anything is touched ([`TablesError::Mismatch`]): a row has a cell per column,
///   each of its column's kind; key cells are never null; a key takes at most 509 bytes; a text that is a whole partition
///   key is not empty; a scan names the whole partition key; positions go forward and come once.
#[async_trait]
pub trait Tables: Send + Sync + 'static {
    /// The row with this whole key.
    async fn get(&self, table: &'static Table, key: &[Value]) -> Result<Option<Row>, TablesError>;

    /// The rows with these whole keys, in the order of the keys. For who needs many: where a read is a request to another
    /// machine, many are under way at once.
    async fn get_all(&self, keys: Vec<(&'static Table, Key)>) -> Result<Vec<Option<Row>>, TablesError> {
        let mut rows = Vec::with_capacity(keys.len());
        for (table, key) in keys {
            rows.push(self.get(table, &key).await?);
        }
        Ok(rows)
    }

    /// Rows of one partition.
    async fn scan(&self, table: &'static Table, partition: &[Value], range: Range) -> Result<Vec<Row>, TablesError>;

    /// Applies the changes in order, and the positions, as one.
    async fn write(&self, writes: Vec<Write>, positions: &[Applied]) -> Result<(), TablesError>;

    /// How far this partition has been applied.
    async fn applied(&self, topic: Topic, partition: Partition) -> Result<Offset, TablesError>;

    /// Waits until the partition has been applied up to `next` (exclusive). Dropping the future is safe.
    async fn wait_applied(&self, topic: Topic, partition: Partition, next: Offset) -> Result<(), TablesError>;

    /// Waits until somebody in this process waits for a position that is not applied yet: a writer who gathers changes
    /// then writes what it has. A provider that cannot tell never answers.
    async fn awaited(&self) {
        std::future::pending().await
    }

    /// Every position that is stored.
    async fn positions(&self) -> Result<Vec<(Topic, Partition, Offset)>, TablesError>;

    /// Which log the tables are made of; `None` as long as nobody has said so.
    async fn log(&self) -> Result<Option<LogOfTables>, TablesError>;

    /// Says which log the tables are made of, unless somebody has; returns what holds then, on every node the same.
    async fn claim(&self, log: &LogOfTables) -> Result<LogOfTables, TablesError>;

    /// Says which log the tables are made of, whatever was said before. Durable when it returns; [`clear`](Self::clear) leaves it.
    async fn set_log(&self, log: &LogOfTables) -> Result<(), TablesError>;

    /// Whether the last write failed because there is no room left ([`TablesError::Full`]): reads show what was written
    /// before, until somebody gives the tables more room. A provider that cannot tell says no.
    fn are_full(&self) -> bool {
        false
    }

    /// Removes every row and position.
    async fn clear(&self) -> Result<(), TablesError>;

    /// Every row, with its table's name, in the order of table numbers and keys. Takes as much memory as the tables are
    /// large: for tools, and for tests that compare two histories.
    async fn dump(&self) -> Result<Vec<(String, Row)>, TablesError>;

    /// What time it is where the tables are; `None` where that is this machine.
    async fn clock(&self) -> Result<Option<Timestamp>, TablesError> {
        Ok(None)
    }

    /// Reads every row, and tells of each table how many there are and what cannot be read. Nothing is told where a database
    /// looks after its own files.
    async fn inspect(&self) -> Result<Vec<Inspected>, TablesError> {
        Ok(Vec::new())
    }

    /// Makes everything written so far durable. It stays so until the next write: after that, a provider may answer a
    /// crash of the machine by starting empty, and the log rebuilds the tables.
    async fn sync(&self) -> Result<(), TablesError>;
}
