//! Tests of the folds: cases by kind of record, and properties of random histories.

mod ahead;
mod cases;
mod fixtures;
mod history;
mod properties;
mod quarantine_cases;
mod running;

use futures::FutureExt;
use leadway_domain::LeadId;
use leadway_eventlog::{EventLog, NewRecord, Position, ReadLimit, Record};
use leadway_tables::schema::AppointmentEventRow;
use leadway_tables::{Applied, MemoryTables, Row, TableRow, Tables, TablesError};

use crate::fold::Context;
use crate::follower::fold_all;
use crate::options::Options;
use crate::rows::Rows;
use crate::sources::Sources;

/// Log and tables of one test, with what was applied so far.
struct Bench {
    log: leadway_eventlog::MemoryLog,
    tables: MemoryTables,
    options: Options,
}

impl Bench {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        Self { log: leadway_eventlog::MemoryLog::new(2), tables: MemoryTables::default(), options }
    }

    /// Appends the records and applies all that is not applied yet, as one batch. Returns how many were set aside.
    async fn tell(&self, records: Vec<NewRecord>) -> usize {
        self.log.append(records).await.unwrap();
        let mut sources = Sources::new(std::sync::Arc::new(self.log.clone()));
        sources.own_all();
        sources.seek_applied(&self.tables).await.unwrap();
        let gathered = sources.gather(ReadLimit { records: 10_000, bytes: 100 << 20 }).await.unwrap();
        apply(&self.tables, &self.options, &gathered.records, &gathered.applied).await.unwrap()
    }

    fn rows<R: TableRow>(&self) -> Vec<R> {
        rows(&self.tables)
    }

    /// The one row of its table.
    fn row<R: TableRow + std::fmt::Debug>(&self) -> R {
        let mut all = self.rows::<R>();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// What is told of a lead.
    async fn history(&self, id: LeadId) -> Vec<AppointmentEventRow> {
        leadway_tables::schema::history(&self.tables, Default::default(), id, None, 100).await.unwrap()
    }
}

/// Folds and writes; returns how many records were set aside.
async fn apply(
    tables: &MemoryTables,
    options: &Options,
    records: &[Record],
    applied: &[Applied],
) -> Result<usize, TablesError> {
    let context = Context { addressing: Default::default(), options: options.clone() };
    let folded = fold_all(tables, &mut Rows::default(), &context, records, false).await?;
    tables.write(folded.writes, applied).await?;
    Ok(folded.set_aside.len())
}

/// Every row of every table, in the order of keys.
fn dump(tables: &MemoryTables) -> Vec<(String, Row)> {
    tables.dump().now_or_never().unwrap().unwrap()
}

/// Every row of a table, in the order of keys.
fn rows<R: TableRow>(tables: &MemoryTables) -> Vec<R> {
    let all = dump(tables).into_iter().filter(|(name, _)| name == R::table().name);
    all.map(|(_, row)| R::from_row(&row).unwrap()).collect()
}

/// Reads up to `count` records at a position, and says what to store with them.
async fn read(log: &dyn EventLog, at: Position, count: usize) -> Option<(Vec<Record>, Applied)> {
    let limit = ReadLimit { records: count, bytes: usize::MAX };
    let records = log.read(at.topic, at.partition, at.next, limit).await.unwrap();
    let Position { topic, partition, next: from } = at;
    let next = records.last()?.next();
    Some((records, Applied { topic, partition, from, next }))
}

async fn positions(log: &dyn EventLog, tables: &dyn Tables) -> Vec<Position> {
    let mut all = Vec::new();
    for topic in leadway_domain::record::Topic::ALL {
        for partition in (0..log.partitions(topic)).map(leadway_domain::Partition) {
            all.push(Position { topic, partition, next: tables.applied(topic, partition).await.unwrap() });
        }
    }
    all
}
