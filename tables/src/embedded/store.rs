//! The LMDB environment: a database per table, so that a table whose keys grow fills its pages; and one of the store's own,
//! with the declarations that it was made with and how far each partition of the log has been applied.
//!
//! Everything here blocks: reads for a few microseconds when the pages are in memory, writes for as long as a batch
//! takes.

use std::collections::HashMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};
use itertools::Itertools;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};

use super::declared::Declared;
use super::strands;
use crate::fold::{Change, RowChange, Sorted};
use crate::version::{encoded_version, merge_encoded, removes};
use crate::{Applied, Inspected, Key, Range, Row, Table, TablesError, Value, Write, cells, key};

/// Where the declarations stand.
const DECLARATIONS: &[u8] = &[0, b'd'];
/// What the keys of positions begin with.
const POSITIONS: &[u8] = &[0, b'p'];
/// After so many rows, about 50 µs, other threads may have the core. Linux lets a thread that computes keep it until the clock's next
/// tick, up to 4 ms, and those that answer requests would wait behind it.
const ROWS_BETWEEN_YIELDS: usize = 32;
/// Bytes of a page of LMDB here, at the least.
const PAGE: u64 = 4_096;
/// A batch of more changes than this most likely has to catch up, and gives way to nobody.
const LARGE: usize = 4_096;

/// Of a file that is larger than memory, the page that is needed comes in, and not 32 around it, for which others would go.
const PAGE_BY_PAGE: EnvFlags = EnvFlags::NO_READ_AHEAD;

type Rows = Database<'static, Bytes, Bytes>;
/// What a walk through rows finds: a key, as it is placed, and cells.
type Entry<'t> = heed::Result<(&'t [u8], &'t [u8])>;

/// Positions by topic and partition.
pub(super) type Positions = HashMap<(Topic, Partition), Offset>;

/// Whose files were found in the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// None: they were made.
    New,
    /// Ours, of these declarations.
    Ours,
    /// Ours, of other declarations.
    OtherDeclarations,
}

/// The open environment.
#[derive(Debug)]
pub(super) struct Store {
    env: Env<WithoutTls>,
    own: Rows,
    /// Those of the tables, in the order of their declarations; empty when the files are of other declarations.
    tables: Vec<Rows>,
    declared: Declared,
}

impl Store {
    /// Opens the folder for writing, making the files if there are none.
    pub(super) fn open(
        folder: &Path,
        map_size: usize,
        readers: u32,
        declared: Declared,
    ) -> Result<(Self, Found), TablesError> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(map_size).max_readers(readers).max_dbs(declared.count());
        let env = open_env(&options, EnvFlags::NO_SYNC | PAGE_BY_PAGE, folder)?;
        // Readers of processes that were killed would keep pages from being used again.
        env.clear_stale_readers().map_err(failed)?;
        let create = |name: Option<&str>| {
            let txn = env.write_txn().map_err(failed)?;
            let made = env.create_databases_and_commit(txn, |opener, txn| {
                opener.create_database::<Bytes, Bytes>(txn, name).map(CommitOrAbort::<_, ()>::Commit)
            });
            made.map_err(failed)?.commit().ok_or_else(|| no_database(folder))
        };
        let own = create(None)?;
        let found = found(&env, own, declared, folder)?;
        let tables = match found {
            Found::OtherDeclarations => Vec::new(),
            Found::New | Found::Ours => declared.names().map(|name| create(Some(name))).collect::<Result<_, _>>()?,
        };
        let store = Self { env, own, tables, declared };
        if found == Found::New {
            store.change(|txn| put(store.own, txn, DECLARATIONS, declared.fingerprint().as_bytes()))?;
        }
        Ok((store, found))
    }

    /// Opens the folder for reading, also while another process writes.
    pub(super) fn open_read_only(folder: &Path, declared: Declared) -> Result<(Self, Found), TablesError> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.max_dbs(declared.count());
        let env = open_env(&options, EnvFlags::READ_ONLY | PAGE_BY_PAGE, folder)?;
        let open = |name: Option<&str>| {
            let txn = env.read_txn().map_err(failed)?;
            let opened = env.open_databases_and_commit(txn, |opener, txn| {
                opener.open_database::<Bytes, Bytes>(txn, name).map(CommitOrAbort::<_, ()>::Commit)
            });
            opened.map_err(failed)?.commit().flatten().ok_or_else(|| no_database(folder))
        };
        let own = open(None)?;
        let found = found(&env, own, declared, folder)?;
        let tables = match found {
            Found::Ours => declared.names().map(|name| open(Some(name))).collect::<Result<_, _>>()?,
            Found::New | Found::OtherDeclarations => Vec::new(),
        };
        Ok((Self { env, own, tables, declared }, found))
    }

    /// The database of a table; rows of tables that the store does not know could not be read back.
    fn rows(&self, table: &Table) -> Result<Rows, TablesError> {
        let found = self.declared.index(table).and_then(|index| self.tables.get(index));
        found.copied().ok_or_else(|| TablesError::Mismatch {
            table: table.name,
            reason: "the store was not opened with it".into(),
        })
    }

    pub(super) fn get(&self, table: &Table, key: &[Value]) -> Result<Option<Row>, TablesError> {
        self.get_in(&*self.read()?, table, key, &mut Vec::new())
    }

    /// Many rows as of one moment.
    pub(super) fn get_all(&self, keys: &[(&'static Table, Key)]) -> Result<Vec<Option<Row>>, TablesError> {
        let (txn, mut placed) = (self.read()?, Vec::new());
        keys.iter().map(|(table, key)| self.get_in(&txn, table, key, &mut placed)).collect()
    }

    /// `placed` is memory for the key.
    fn get_in(
        &self,
        txn: &RoTxn<'_>,
        table: &Table,
        key: &[Value],
        placed: &mut Vec<u8>,
    ) -> Result<Option<Row>, TablesError> {
        let bytes = table.key_bytes(key)?;
        let placed = strands::placed(table, &bytes, placed).map_err(|e| unreadable(table, e))?;
        let stored = self.rows(table)?.get(txn, placed).map_err(failed)?;
        stored.map(|cells| row(table, key.iter().cloned(), cells)).transpose()
    }

    pub(super) fn scan(&self, table: &Table, partition: &[Value], range: &Range) -> Result<Vec<Row>, TablesError> {
        let partition = key::encode(partition);
        let (from, before) = (range.from.as_ref().map(key::encode), range.before.as_ref().map(key::encode));
        if before.as_deref().is_some_and(|before| before <= from.as_deref().unwrap_or_default()) {
            return Ok(Vec::new());
        }
        let (txn, rows) = (self.read()?, self.rows(table)?);
        let first_from = |start: &[u8]| {
            let found = rows.get_greater_than_or_equal_to(&txn, start).map_err(failed)?;
            Ok::<_, TablesError>(found.map(|(key, _)| key.to_vec()))
        };
        let prefixes = strands::of_partition(table, &partition, first_from)?;
        let bounds = prefixes.iter().map(|prefix| {
            let start = [prefix, from.as_deref().unwrap_or_default()].concat();
            let end = before.as_ref().map(|before| [&**prefix, before].concat()).or_else(|| key::after(prefix));
            (start, end)
        });
        let bounds: Vec<_> = bounds.collect();
        let bounds = bounds.iter().map(|(start, end)| {
            (Bound::Included(start.as_slice()), end.as_deref().map_or(Bound::Unbounded, Bound::Excluded))
        });
        // All prefixes are of one length; what follows them says which row comes first.
        let skipped = prefixes.first().map_or(0, Vec::len);
        let row = |entry: Entry<'_>| {
            let (placed, cells) = entry.map_err(failed)?;
            decode_row(table, &strands::key_of(table, placed).map_err(|e| unreadable(table, e))?, cells)
        };
        match range.descending {
            false => {
                let ranges = bounds.map(|bounds| rows.range(&txn, &bounds)).collect::<Result<Vec<_>, _>>();
                merged(ranges.map_err(failed)?, |a, b| a < b, skipped).take(range.limit).map(row).collect()
            }
            true => {
                let ranges = bounds.map(|bounds| rows.rev_range(&txn, &bounds)).collect::<Result<Vec<_>, _>>();
                merged(ranges.map_err(failed)?, |a, b| a > b, skipped).take(range.limit).map(row).collect()
            }
        }
    }

    /// Every row, by table number and key.
    pub(super) fn dump(&self) -> Result<Vec<(String, Row)>, TablesError> {
        let txn = self.read()?;
        let mut all = Vec::new();
        for table in self.declared.by_number() {
            let mut rows = Vec::new();
            for entry in self.rows(table)?.iter(&txn).map_err(failed)? {
                let (placed, cells) = entry.map_err(failed)?;
                rows.push((strands::key_of(table, placed).map_err(|e| unreadable(table, e))?, cells));
            }
            rows.sort_unstable();
            for (key, cells) in rows {
                all.push((table.name.to_owned(), decode_row(table, &key, cells)?));
            }
        }
        Ok(all)
    }

    /// Reads every row of every table. What cannot be read is told, and the next table looked at.
    pub(super) fn inspect(&self) -> Result<Vec<Inspected>, TablesError> {
        self.is_whole()?;
        let txn = self.read()?;
        let mut all = Vec::new();
        for table in self.declared.by_number() {
            let mut found = Inspected { table: table.name, rows: 0, unreadable: 0, reason: None };
            let mut note = |reason: String| {
                found.unreadable += 1;
                found.reason.get_or_insert(reason);
            };
            let mut rows = 0;
            for entry in self.rows(table)?.iter(&txn).map_err(failed)? {
                let read = entry.map_err(failed).and_then(|(placed, cells)| {
                    decode_row(table, &strands::key_of(table, placed).map_err(|e| unreadable(table, e))?, cells)
                });
                match read {
                    Ok(_) => rows += 1,
                    Err(error @ TablesError::Unreadable { .. }) => note(error.to_string()),
                    Err(error) => {
                        note(format!("what follows cannot be read: {error}"));
                        break;
                    }
                }
            }
            found.rows = rows;
            all.push(found);
        }
        Ok(all)
    }

    /// A file that is shorter than its own pages say would end the process that reads it.
    fn is_whole(&self) -> Result<(), TablesError> {
        let (file, pages) = (self.file(), self.env.info().last_page_number as u64 + 1);
        let length = std::fs::metadata(&file).map_err(|e| failed(heed::Error::Io(e)))?.len();
        let needed = pages * PAGE;
        if length >= needed {
            return Ok(());
        }
        Err(TablesError::Unusable(format!(
            "{} has {length} bytes, and its rows need {needed}: it was cut; make the tables anew with `leadway rebuild`",
            file.display()
        )))
    }

    /// How far each partition has been applied.
    pub(super) fn positions(&self) -> Result<Positions, TablesError> {
        let txn = self.read()?;
        let entries = self.own.prefix_iter(&txn, POSITIONS).map_err(failed)?;
        entries.map(|entry| entry.map_err(failed).and_then(|(key, next)| decode_position(key, next))).collect()
    }

    /// How far one partition has been applied.
    pub(super) fn position(&self, topic: Topic, partition: Partition) -> Result<Offset, TablesError> {
        self.position_in(&*self.read()?, topic, partition)
    }

    /// Applies a batch, or nothing of it; tells how many rows it changed.
    pub(super) fn write(&self, writes: &[Write], positions: &[Applied]) -> Result<u64, TablesError> {
        let sorted = Sorted::new(writes);
        self.change(|txn| {
            for position in positions {
                self.advance(txn, *position)?;
            }
            let (mut changed, mut placed) = (0, Vec::new());
            for (n, row) in sorted.rows().enumerate() {
                if writes.len() <= LARGE && n % ROWS_BETWEEN_YIELDS == ROWS_BETWEEN_YIELDS - 1 {
                    std::thread::yield_now();
                }
                changed += u64::from(self.apply(txn, row?, &mut placed)?);
            }
            Ok(changed)
        })
    }

    /// Removes every row and position.
    pub(super) fn clear(&self) -> Result<(), TablesError> {
        self.change(|txn| {
            self.tables.iter().try_for_each(|rows| rows.clear(txn).map_err(failed))?;
            let end = key::after(POSITIONS);
            let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            self.own.delete_range(txn, &(Bound::Included(POSITIONS), end)).map(drop).map_err(failed)
        })
    }

    /// The file with the rows.
    pub(super) fn file(&self) -> PathBuf {
        self.env.path().join("data.mdb")
    }

    /// Makes everything durable.
    pub(super) fn sync(&self) -> Result<(), TablesError> {
        self.env.force_sync().map_err(failed)
    }

    fn read(&self) -> Result<RoTxn<'_, WithoutTls>, TablesError> {
        match self.env.read_txn() {
            // Places of processes that were killed are taken until somebody looks.
            Err(heed::Error::Mdb(MdbError::ReadersFull)) => {
                self.env.clear_stale_readers().map_err(failed)?;
                self.env.read_txn().map_err(failed)
            }
            other => other.map_err(failed),
        }
    }

    /// Does it in one transaction; an error takes everything back.
    fn change<T>(&self, work: impl FnOnce(&mut RwTxn<'_>) -> Result<T, TablesError>) -> Result<T, TablesError> {
        let mut txn = self.env.write_txn().map_err(failed)?;
        let done = work(&mut txn)?;
        txn.commit().map_err(failed)?;
        Ok(done)
    }

    /// Makes one row's change; tells whether there was anything to change. `placed` is memory for its key.
    fn apply(&self, txn: &mut RwTxn<'_>, row: RowChange<'_>, placed: &mut Vec<u8>) -> Result<bool, TablesError> {
        let RowChange { table, key, change } = row;
        let rows = self.rows(table)?;
        let key = strands::placed(table, key, placed).map_err(|e| unreadable(table, e))?;
        match change {
            Change::Delete(None) => rows.delete(txn, key).map_err(failed),
            Change::Delete(version) => {
                let Some(stored) = rows.get(txn, key).map_err(failed)? else { return Ok(false) };
                match removes(version, encoded_version(table, stored).map_err(|e| unreadable(table, e))?) {
                    true => rows.delete(txn, key).map_err(failed),
                    false => Ok(false),
                }
            }
            Change::Replace(cells) => put(rows, txn, key, &cells).map(|()| true),
            // Most rows are new.
            Change::Merge(cells) => match rows.get_or_put(txn, key, &cells).map_err(failed)? {
                None => Ok(true),
                Some(stored) => {
                    let merged = merge_encoded(table, stored, &cells).map_err(|e| unreadable(table, e))?;
                    put(rows, txn, key, &merged).map(|()| true)
                }
            },
        }
    }

    fn advance(&self, txn: &mut RwTxn<'_>, position: Applied) -> Result<(), TablesError> {
        let stored = self.position_in(txn, position.topic, position.partition)?;
        if position.from != stored {
            return Err(TablesError::stale(&position, stored));
        }
        put(self.own, txn, &position_key(position.topic, position.partition), &position.next.0.to_be_bytes())
    }

    fn position_in(&self, txn: &RoTxn<'_>, topic: Topic, partition: Partition) -> Result<Offset, TablesError> {
        let key = position_key(topic, partition);
        let stored = self.own.get(txn, &key).map_err(failed)?;
        stored.map_or(Ok(Offset(0)), |next| decode_position(&key, next).map(|(_, next)| next))
    }
}

fn found(env: &Env<WithoutTls>, own: Rows, declared: Declared, folder: &Path) -> Result<Found, TablesError> {
    let txn = env.read_txn().map_err(failed)?;
    match own.get(&txn, DECLARATIONS).map_err(failed)? {
        Some(stored) if stored == declared.fingerprint().as_bytes() => Ok(Found::Ours),
        Some(_) => Ok(Found::OtherDeclarations),
        None if own.is_empty(&txn).map_err(failed)? => Ok(Found::New),
        None => Err(TablesError::Unusable(format!(
            "{} holds another program's LMDB files: give leadway a data folder of its own",
            folder.display()
        ))),
    }
}

/// The entries of all ranges in the order of what their keys have behind so many bytes.
fn merged<'t>(
    ranges: Vec<impl Iterator<Item = Entry<'t>>>,
    is_first: impl Fn(Option<&[u8]>, Option<&[u8]>) -> bool,
    skipped: usize,
) -> impl Iterator<Item = Entry<'t>> {
    ranges.into_iter().kmerge_by(move |a, b| match (a, b) {
        (Ok((a, _)), Ok((b, _))) => is_first(a.get(skipped..), b.get(skipped..)),
        (Err(_), _) => true,
        (_, Err(_)) => false,
    })
}

fn put(rows: Rows, txn: &mut RwTxn<'_>, key: &[u8], value: &[u8]) -> Result<(), TablesError> {
    rows.put(txn, key, value).map_err(failed)
}

// The two unsafe calls of the crate. `NO_SYNC` gives up durability (see `folder`), and mapping a file asks that nobody
// else changes it: the folder is ours, one writer at a time (`Folder`), and readers come through LMDB's own lock file.
#[allow(unsafe_code)]
fn open_env(
    options: &EnvOpenOptions<WithoutTls>,
    flags: EnvFlags,
    folder: &Path,
) -> Result<Env<WithoutTls>, TablesError> {
    let mut options = options.clone();
    let opened = unsafe {
        options.flags(flags);
        options.open(folder)
    };
    opened.map_err(|error| {
        TablesError::Unusable(format!(
            "the tables in {} cannot be opened: {error}. If their files are damaged, remove the folder: \
             the tables are rebuilt from the log",
            folder.display()
        ))
    })
}

fn no_database(folder: &Path) -> TablesError {
    TablesError::Unusable(format!("there are no tables in {}", folder.display()))
}

fn position_key(topic: Topic, partition: Partition) -> Vec<u8> {
    [POSITIONS, topic.name().as_bytes(), &partition.0.to_be_bytes()].concat()
}

fn decode_position(key: &[u8], next: &[u8]) -> Result<((Topic, Partition), Offset), TablesError> {
    let parts = key.strip_prefix(POSITIONS).and_then(|key| key.split_last_chunk::<4>());
    let named = parts.and_then(|(name, partition)| {
        let topic = Topic::ALL.into_iter().find(|topic| topic.name().as_bytes() == name)?;
        Some((topic, Partition(u32::from_be_bytes(*partition))))
    });
    match (named, <[u8; 8]>::try_from(next)) {
        (Some(named), Ok(next)) => Ok((named, Offset(u64::from_be_bytes(next)))),
        _ => Err(TablesError::Unusable("a position is stored that cannot be read: rebuild the tables".into())),
    }
}

fn decode_row(table: &Table, key: &[u8], cells: &[u8]) -> Result<Row, TablesError> {
    let key = key::decode(table, key).map_err(|e| unreadable(table, e))?;
    row(table, key.into_iter(), cells)
}

fn row(table: &Table, key: impl Iterator<Item = Value>, cells: &[u8]) -> Result<Row, TablesError> {
    let mut row = Row::with_capacity(table.columns.len());
    row.extend(key.map(Some));
    cells::decode(table.data_columns(), cells, &mut row).map_err(|e| unreadable(table, e))?;
    Ok(row)
}

fn unreadable(table: &Table, reason: String) -> TablesError {
    TablesError::Unreadable { table: table.name, reason }
}

/// What an error of LMDB means to the caller.
fn failed(error: heed::Error) -> TablesError {
    match error {
        heed::Error::Mdb(MdbError::MapFull) => {
            TablesError::Full("they have reached embedded.tables.map_bytes; raise it and restart".into())
        }
        heed::Error::Mdb(MdbError::ReadersFull) => {
            TablesError::Unavailable("tables.max_readers reads are under way".into())
        }
        // The writer has grown the file beyond what this process mapped.
        heed::Error::Mdb(MdbError::MapResized) => TablesError::Unavailable("they have grown: open them anew".into()),
        heed::Error::Mdb(MdbError::Panic) => {
            TablesError::Unusable("the tables' file could not be written to its end: restart leadway".into())
        }
        // The disk is full or failing; LMDB tells a write that was cut short as EIO.
        heed::Error::Io(error) => TablesError::Unavailable(format!("{error} (is the disk full?)")),
        other => TablesError::Unusable(format!("the tables' file cannot be used: {other}")),
    }
}
