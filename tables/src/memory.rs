//! Tables in memory: the contract without a disk, for simulations and tests.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::check::check_positions;
use crate::fold::{Change, Sorted};
use crate::version::{merge, removes, version_of};
use crate::waiters::Waiters;
use crate::{Applied, Key, LogOfTables, Range, Row, Table, Tables, TablesError, Value, Write};

/// Tables in memory; clones are the same tables.
#[derive(Clone)]
pub struct MemoryTables(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    failing: Mutex<Option<Box<dyn FnMut() -> bool + Send>>>,
    tick: watch::Sender<u64>,
    waiters: Waiters,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<u8, (&'static Table, BTreeMap<Key, Row>)>,
    applied: HashMap<(Topic, Partition), Offset>,
    log: Option<LogOfTables>,
}

impl Default for MemoryTables {
    fn default() -> Self {
        let (tick, _) = watch::channel(0);
        Self(Arc::new(Inner { state: Mutex::default(), failing: Mutex::default(), tick, waiters: Waiters::default() }))
    }
}

impl MemoryTables {
    /// Asks `failing` before every write from now on whether it is to fail.
    pub fn set_faults(&self, failing: impl FnMut() -> bool + Send + 'static) {
        *self.0.failing.lock() = Some(Box::new(failing));
    }

    /// Writes succeed again.
    pub fn clear_faults(&self) {
        *self.0.failing.lock() = None;
    }
}

impl State {
    fn table(&self, table: &Table) -> Option<&BTreeMap<Key, Row>> {
        self.rows.get(&table.id).map(|(_, rows)| rows)
    }

    fn table_mut(&mut self, table: &'static Table) -> &mut BTreeMap<Key, Row> {
        &mut self.rows.entry(table.id).or_insert_with(|| (table, BTreeMap::new())).1
    }

    /// Refuses a batch that begins elsewhere than where the tables stand.
    fn check_stand(&self, positions: &[Applied]) -> Result<(), TablesError> {
        for position in positions {
            let stored = self.applied.get(&(position.topic, position.partition)).copied().unwrap_or_default();
            if position.from != stored {
                return Err(TablesError::stale(position, stored));
            }
        }
        Ok(())
    }

    fn apply(&mut self, table: &'static Table, key: Key, change: Change<Row>) {
        let rows = self.table_mut(table);
        let key_cells = || key.iter().cloned().map(Some);
        let data = |row: &Row| row.get(table.key_columns()..).unwrap_or_default().to_vec();
        match change {
            Change::Merge(newer) => {
                let mut cells = rows.get(&key).map_or_else(|| vec![None; newer.len()], data);
                merge(table, &mut cells, newer);
                let row = key_cells().chain(cells).collect();
                rows.insert(key, row);
            }
            Change::Replace(cells) => {
                let row = key_cells().chain(cells).collect();
                rows.insert(key, row);
            }
            Change::Delete(version) => {
                if rows.get(&key).is_some_and(|row| removes(version, version_of(table, &data(row)))) {
                    rows.remove(&key);
                }
            }
        }
    }
}

#[async_trait]
impl Tables for MemoryTables {
    async fn get(&self, table: &'static Table, key: &[Value]) -> Result<Option<Row>, TablesError> {
        table.key_bytes(key)?;
        Ok(self.0.state.lock().table(table).and_then(|rows| rows.get(key)).cloned())
    }

    async fn scan(&self, table: &'static Table, partition: &[Value], range: Range) -> Result<Vec<Row>, TablesError> {
        table.check_scan(partition, &range)?;
        let state = self.0.state.lock();
        let Some(rows) = state.table(table) else { return Ok(Vec::new()) };
        let prefixed = |prefix: &Option<Key>| prefix.as_ref().map(|p| [partition, p].concat());
        let start = prefixed(&range.from).unwrap_or_else(|| partition.to_vec());
        let before = prefixed(&range.before);
        let inside = rows
            .range((Bound::Included(start), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(partition) && before.as_ref().is_none_or(|b| *key < b));
        let rows = inside.map(|(_, row)| row.clone());
        Ok(match range.descending {
            false => rows.take(range.limit).collect(),
            true => {
                let mut all: Vec<Row> = rows.collect();
                all.reverse();
                all.truncate(range.limit);
                all
            }
        })
    }

    async fn write(&self, writes: Vec<Write>, positions: &[Applied]) -> Result<(), TablesError> {
        writes.iter().try_for_each(Write::check)?;
        check_positions(positions)?;
        if self.0.failing.lock().as_mut().is_some_and(|f| f()) {
            return Err(TablesError::Unavailable("the test refused it".into()));
        }
        let changes: Vec<_> = Sorted::new(&writes).rows().map(|row| row?.decode()).collect::<Result<_, _>>()?;
        {
            let mut state = self.0.state.lock();
            state.check_stand(positions)?;
            for (table, key, change) in changes {
                state.apply(table, key, change);
            }
            state.applied.extend(positions.iter().map(|p| ((p.topic, p.partition), p.next)));
        }
        self.0.tick.send_modify(|t| *t += 1);
        Ok(())
    }

    async fn applied(&self, topic: Topic, partition: Partition) -> Result<Offset, TablesError> {
        Ok(self.0.state.lock().applied.get(&(topic, partition)).copied().unwrap_or_default())
    }

    async fn wait_applied(&self, topic: Topic, partition: Partition, next: Offset) -> Result<(), TablesError> {
        let mut tick = self.0.tick.subscribe();
        if self.applied(topic, partition).await? >= next {
            return Ok(());
        }
        let _waiting = self.0.waiters.enter();
        loop {
            tick.mark_unchanged();
            if self.applied(topic, partition).await? >= next {
                return Ok(());
            }
            tick.changed().await.map_err(|_| TablesError::Unavailable("the tables are closed".into()))?;
        }
    }

    async fn awaited(&self) {
        self.0.waiters.any().await;
    }

    async fn positions(&self) -> Result<Vec<(Topic, Partition, Offset)>, TablesError> {
        let state = self.0.state.lock();
        Ok(state.applied.iter().map(|((topic, partition), next)| (*topic, *partition, *next)).collect())
    }

    async fn log(&self) -> Result<Option<LogOfTables>, TablesError> {
        Ok(self.0.state.lock().log.clone())
    }

    async fn claim(&self, log: &LogOfTables) -> Result<LogOfTables, TablesError> {
        Ok(self.0.state.lock().log.get_or_insert_with(|| log.clone()).clone())
    }

    async fn set_log(&self, log: &LogOfTables) -> Result<(), TablesError> {
        self.0.state.lock().log = Some(log.clone());
        Ok(())
    }

    async fn clear(&self) -> Result<(), TablesError> {
        let mut state = self.0.state.lock();
        *state = State { log: state.log.take(), ..State::default() };
        drop(state);
        self.0.tick.send_modify(|t| *t += 1);
        Ok(())
    }

    async fn sync(&self) -> Result<(), TablesError> {
        Ok(())
    }

    async fn dump(&self) -> Result<Vec<(String, Row)>, TablesError> {
        let state = self.0.state.lock();
        let rows = state.rows.values().flat_map(|(table, rows)| rows.values().map(|row| (table.name.to_owned(), row)));
        Ok(rows.map(|(table, row)| (table, row.clone())).collect())
    }
}
