//! The embedded provider: tables in an LMDB environment, in a folder that one process writes.
//!
//! A batch is one transaction: rows and positions together, seen whole by every read that begins after it and by none
//! before. It is not synced (see [`folder`] for what happens when the machine crashes). Writes take turns on a thread
//! that may block; reads are done where they are asked for, as they end within microseconds (scans of leads' rows within some tens, as
//! they merge the partitions of the log), unless many rows are asked for.

mod declared;
mod flush;
mod folder;
mod identity;
mod options;
mod read_only;
mod store;
mod strands;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::telemetry::{TABLES_BATCH_SECONDS, TABLES_ROWS};
use leadway_domain::{Offset, Partition};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::check::check_positions;
use crate::waiters::Waiters;
use crate::{Applied, Inspected, Key, LogOfTables, Range, Row, Table, Tables, TablesError, Value, Write};
use declared::Declared;
use flush::Flush;
use folder::Folder;
pub use options::Options;
use store::{Found, Positions, Store};

/// Scans of more rows than this go to a thread that may block: each may stand on a page that must come from the disk.
const INLINE_ROWS: usize = 32;

/// Opens the folder for writing, making it if it is not there.
pub(crate) async fn open(options: Options, tables: &'static [&'static Table]) -> Result<Arc<dyn Tables>, TablesError> {
    let inner = blocking(move || Inner::open(&options, tables, folder::boot_id())).await?;
    Ok(Arc::new(EmbeddedTables { inner: Arc::new(inner), turn: Arc::default() }))
}

/// Opens the folder for reading, also while another process writes.
pub(crate) async fn open_read_only(
    folder: &Path,
    tables: &'static [&'static Table],
) -> Result<Arc<dyn Tables>, TablesError> {
    let folder = folder.to_owned();
    let tables = blocking(move || read_only::ReadOnlyTables::open(&folder, tables, folder::boot_id())).await?;
    Ok(Arc::new(tables))
}

/// Puts the tables in `new` in the place of those in `folder`.
pub(crate) async fn replace(folder: &Path, new: &Path) -> Result<(), TablesError> {
    let (folder, new) = (folder.to_owned(), new.to_owned());
    blocking(move || folder::replace(&folder, &new, folder::boot_id())).await
}

struct EmbeddedTables {
    inner: Arc<Inner>,
    /// Who writes: taken in the order of asking, and kept by the write itself, so that a caller who stops waiting does
    /// not let the next one in too early.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What a write needs. The order of fields is the order of closing: the environment, then the lock on the folder.
struct Inner {
    store: Arc<Store>,
    applied: watch::Sender<Positions>,
    waiters: Waiters,
    folder: Mutex<Folder>,
    flush: Flush,
    /// Whether the last write found no room.
    is_full: AtomicBool,
}

impl Inner {
    fn open(options: &Options, tables: &'static [&'static Table], boot: Option<String>) -> Result<Self, TablesError> {
        let (map_size, readers) = (options.map_size()?, options.readers()?);
        let declared = Declared::new(tables)?;
        let mut folder = Folder::take(&options.folder, boot)?;
        if folder.is_suspect()? {
            tracing::warn!(folder = %folder.path().display(), "the machine stopped before the tables were synced: they are rebuilt from the log");
            folder.discard()?;
        }
        folder.mark()?;
        let (mut store, found) = Store::open(folder.path(), map_size, readers, declared)?;
        if found == Found::OtherDeclarations {
            tracing::warn!(folder = %folder.path().display(), "the tables were made by another version: they are rebuilt from the log");
            drop(store);
            folder.discard()?;
            (store, _) = Store::open(folder.path(), map_size, readers, declared)?;
        }
        let flush = Flush::of(&store.file()).map_err(|e| TablesError::Unusable(format!("the tables' file: {e}")))?;
        Ok(Self {
            applied: watch::Sender::new(store.positions()?),
            store: Arc::new(store),
            waiters: Waiters::default(),
            folder: Mutex::new(folder),
            flush,
            is_full: AtomicBool::new(false),
        })
    }

    fn write(&self, writes: &[Write], positions: &[Applied]) -> Result<(), TablesError> {
        let started = Instant::now();
        self.folder.lock().mark()?;
        let written = self.store.write(writes, positions);
        self.is_full.store(matches!(written, Err(TablesError::Full(_))), Ordering::Relaxed);
        let rows = written?;
        self.applied.send_modify(|applied| {
            applied.extend(positions.iter().map(|p| ((p.topic, p.partition), p.next)));
        });
        metrics::histogram!(TABLES_BATCH_SECONDS).record(started.elapsed());
        metrics::counter!(TABLES_ROWS).increment(rows);
        self.flush.wrote();
        Ok(())
    }

    fn clear(&self) -> Result<(), TablesError> {
        self.folder.lock().mark()?;
        self.store.clear()?;
        self.applied.send_replace(Positions::new());
        Ok(())
    }

    fn sync(&self) -> Result<(), TablesError> {
        self.store.sync()?;
        self.folder.lock().unmark()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.folder.get_mut().is_marked()
            && let Err(error) = self.sync()
        {
            tracing::warn!(%error, "the tables could not be synced when they were closed");
        }
    }
}

impl EmbeddedTables {
    /// Does the work when it is its turn. When the caller stops waiting, work that has begun is done nevertheless.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, TablesError> + Send + 'static,
    ) -> Result<T, TablesError> {
        let turn = self.turn.clone().lock_owned().await;
        let inner = self.inner.clone();
        blocking(move || {
            let done = work(&inner);
            drop((inner, turn));
            done
        })
        .await
    }
}

#[async_trait]
impl Tables for EmbeddedTables {
    async fn get(&self, table: &'static Table, key: &[Value]) -> Result<Option<Row>, TablesError> {
        self.inner.store.get(table, key)
    }

    async fn get_all(&self, keys: Vec<(&'static Table, Key)>) -> Result<Vec<Option<Row>>, TablesError> {
        self.inner.store.get_all(&keys)
    }

    async fn scan(&self, table: &'static Table, partition: &[Value], range: Range) -> Result<Vec<Row>, TablesError> {
        scan(&self.inner.store, table, partition, range).await
    }

    async fn write(&self, writes: Vec<Write>, positions: &[Applied]) -> Result<(), TablesError> {
        writes.iter().try_for_each(Write::check)?;
        check_positions(positions)?;
        let positions = positions.to_vec();
        self.in_turn(move |inner| inner.write(&writes, &positions)).await
    }

    async fn applied(&self, topic: Topic, partition: Partition) -> Result<Offset, TablesError> {
        Ok(self.inner.applied.borrow().get(&(topic, partition)).copied().unwrap_or_default())
    }

    async fn wait_applied(&self, topic: Topic, partition: Partition, next: Offset) -> Result<(), TablesError> {
        let reached = |applied: &Positions| applied.get(&(topic, partition)).copied().unwrap_or_default() >= next;
        if reached(&self.inner.applied.borrow()) {
            return Ok(());
        }
        let _waiting = self.inner.waiters.enter();
        let waited = self.inner.applied.subscribe().wait_for(reached).await.map(drop);
        waited.map_err(|_| TablesError::Unavailable("they are being closed".into()))
    }

    async fn awaited(&self) {
        self.inner.waiters.any().await;
    }

    async fn positions(&self) -> Result<Vec<(Topic, Partition, Offset)>, TablesError> {
        Ok(self.inner.applied.borrow().iter().map(|((topic, partition), next)| (*topic, *partition, *next)).collect())
    }

    async fn log(&self) -> Result<Option<LogOfTables>, TablesError> {
        self.in_turn(|inner| identity::read(inner.folder.lock().path())).await
    }

    async fn claim(&self, log: &LogOfTables) -> Result<LogOfTables, TablesError> {
        let log = log.clone();
        self.in_turn(move |inner| {
            let folder = inner.folder.lock();
            match identity::read(folder.path())? {
                Some(present) => Ok(present),
                None => identity::write(folder.path(), &log).map(|()| log),
            }
        })
        .await
    }

    async fn set_log(&self, log: &LogOfTables) -> Result<(), TablesError> {
        let log = log.clone();
        self.in_turn(move |inner| identity::write(inner.folder.lock().path(), &log)).await
    }

    fn are_full(&self) -> bool {
        self.inner.is_full.load(Ordering::Relaxed)
    }

    async fn clear(&self) -> Result<(), TablesError> {
        self.in_turn(Inner::clear).await
    }

    async fn dump(&self) -> Result<Vec<(String, Row)>, TablesError> {
        let store = self.inner.store.clone();
        blocking(move || store.dump()).await
    }

    async fn inspect(&self) -> Result<Vec<Inspected>, TablesError> {
        let store = self.inner.store.clone();
        blocking(move || store.inspect()).await
    }

    async fn sync(&self) -> Result<(), TablesError> {
        self.in_turn(Inner::sync).await
    }
}

async fn scan(
    store: &Arc<Store>,
    table: &'static Table,
    partition: &[Value],
    range: Range,
) -> Result<Vec<Row>, TablesError> {
    table.check_scan(partition, &range)?;
    if range.limit <= INLINE_ROWS {
        return store.scan(table, partition, &range);
    }
    let (store, partition) = (store.clone(), partition.to_vec());
    blocking(move || store.scan(table, &partition, &range)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TablesError> + Send + 'static,
) -> Result<T, TablesError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(TablesError::Unusable(format!("work on the tables did not end: {error}"))))
}
