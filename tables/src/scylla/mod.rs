//! The provider on ScyllaDB, or Apache Cassandra: tables that many nodes read and write.
//!
//! Rows are typed columns, as `cqlsh` shows them. A batch is written so that it counts once, whatever dies in between: see
//! [`write`].

mod batch;
mod bind;
mod client;
mod connect;
mod failure;
mod identity;
mod migrate;
mod options;
mod patience;
mod positions;
mod redo;
mod rows;
mod schema;
mod statements;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod wait;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::telemetry::{TABLES_BATCH_SECONDS, TABLES_ROWS};
use leadway_domain::{Clock, Offset, Partition, Timestamp};
use scylla::value::CqlValue;
use tokio::time::Instant;
use uuid::Uuid;

use crate::check::check_positions;
use crate::{Applied, Key, LogOfTables, Range, Row, Table, Tables, TablesError, Value, Write};
use batch::Stamps;
use client::{Cells, Client, Statement};
use identity::Identity;
pub use options::{Consistency, Options};
use positions::{PositionsCql, read_completed};
use statements::Statements;
use wait::Progress;
use write::Writer;

/// Rows that a scan asks for as one answer; more are read page by page.
const ONE_ANSWER: usize = 1_000;

/// Connects and makes the schema what the declarations need.
pub(crate) async fn open(
    options: Options,
    tables: &'static [&'static Table],
    clock: Clock,
    seed: u64,
) -> Result<Arc<dyn Tables>, TablesError> {
    let tables = ScyllaTables::open(options, tables, clock, seed).await?;
    Ok(Arc::new(tables))
}

struct ScyllaTables {
    client: Arc<Client>,
    statements: Arc<Statements>,
    positions: Arc<PositionsCql>,
    writer: Writer,
    progress: Progress,
    identity: Identity,
}

impl ScyllaTables {
    async fn open(
        options: Options,
        tables: &'static [&'static Table],
        clock: Clock,
        seed: u64,
    ) -> Result<Self, TablesError> {
        options.check()?;
        let session = connect::connect(&options).await?;
        migrate::migrate(&session, &options, tables).await?;
        let client = Arc::new(Client::new(session, &options));
        let statements = Arc::new(Statements::new(&options.keyspace, tables));
        let positions = Arc::new(PositionsCql::new(&options.keyspace));
        let stamps = Stamps::new(clock, seed);
        let writer = Writer::new(client.clone(), statements.clone(), positions.clone(), stamps);
        let progress = Progress::new(client.clone(), positions.clone());
        let identity = Identity::new(&options.keyspace);
        let tables = Self { client, statements, positions, writer, progress, identity };
        tables.finish_emptying(&options).await?;
        Ok(tables)
    }

    /// Empties the tables if that was cut off. Waits for the answer as long as a start may take: a database that was just given
    /// many tables may be slow.
    async fn finish_emptying(&self, options: &Options) -> Result<(), TablesError> {
        let deadline = Instant::now() + options.start_timeout();
        if !self.client.rows_by(deadline, &self.positions.marked_clearing()).await?.is_empty() {
            tracing::warn!("the tables were being emptied when that was cut off: it is done now");
            self.empty().await?;
        }
        Ok(())
    }

    /// The claims go last: until then a mark among them tells that the tables are being emptied.
    async fn empty(&self) -> Result<(), TablesError> {
        self.client.rows(&self.positions.mark_clearing()).await?;
        let declared = self.statements.all().into_iter().map(|cql| cql.table.name);
        for name in declared.chain(schema::OWN_TABLES) {
            self.client.truncate(self.statements.keyspace(), name).await?;
        }
        self.writer.forget();
        self.progress.forget();
        Ok(())
    }
}

fn row_of(table: &'static Table, cells: Cells) -> Result<Row, TablesError> {
    bind::row(table.columns, cells).map_err(|reason| TablesError::Unreadable { table: table.name, reason })
}

/// The moment at which a time-based UUID was made.
fn time_of(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
}

#[async_trait]
impl Tables for ScyllaTables {
    async fn clock(&self) -> Result<Option<Timestamp>, TablesError> {
        let rows = self.client.rows(&Statement::new("SELECT now() FROM system.local", Vec::new())).await?;
        match rows.first().and_then(|row| row.first()) {
            Some(Some(CqlValue::Timeuuid(now))) => Ok(time_of(*now.as_ref())),
            _ => Err(TablesError::Unusable("the database does not say what time it is".into())),
        }
    }

    async fn get(&self, table: &'static Table, key: &[Value]) -> Result<Option<Row>, TablesError> {
        table.key_bytes(key)?;
        let question = self.statements.of(table)?.get(key);
        let rows = self.client.answers.awaited(self.client.rows(&question)).await?;
        rows.into_iter().next().map(|cells| row_of(table, cells)).transpose()
    }

    async fn get_all(&self, keys: Vec<(&'static Table, Key)>) -> Result<Vec<Option<Row>>, TablesError> {
        let (mut tables, mut questions) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        for (table, key) in keys {
            table.key_bytes(&key)?;
            questions.push(self.statements.of(table)?.get(&key));
            tables.push(table);
        }
        let answers = self.client.answers.awaited(self.client.rows_each(questions)).await?;
        let found = tables.into_iter().zip(answers);
        found.map(|(table, rows)| rows.into_iter().next().map(|cells| row_of(table, cells)).transpose()).collect()
    }

    async fn scan(&self, table: &'static Table, partition: &[Value], range: Range) -> Result<Vec<Row>, TablesError> {
        table.check_scan(partition, &range)?;
        if range.limit == 0 || range.before.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Vec::new());
        }
        let question = self.statements.of(table)?.scan(partition, &range);
        let rows = match range.limit <= ONE_ANSWER {
            true => self.client.answers.awaited(self.client.rows(&question)).await?,
            false => self.client.answers.awaited(self.client.all_rows(&question)).await?,
        };
        rows.into_iter().map(|cells| row_of(table, cells)).collect()
    }

    async fn write(&self, writes: Vec<Write>, positions: &[Applied]) -> Result<(), TablesError> {
        writes.iter().try_for_each(Write::check)?;
        check_positions(positions)?;
        let started = Instant::now();
        let changes = rows::changes(&writes)?;
        drop(writes);
        let rows = self.writer.write(changes, positions).await?;
        self.progress.tell(positions.iter().map(|p| ((p.topic, p.partition), p.next)));
        metrics::histogram!(TABLES_BATCH_SECONDS).record(started.elapsed());
        metrics::counter!(TABLES_ROWS).increment(rows);
        Ok(())
    }

    async fn applied(&self, topic: Topic, partition: Partition) -> Result<Offset, TablesError> {
        self.progress.of((topic, partition)).await
    }

    async fn wait_applied(&self, topic: Topic, partition: Partition, next: Offset) -> Result<(), TablesError> {
        self.progress.wait((topic, partition), next).await
    }

    async fn positions(&self) -> Result<Vec<(Topic, Partition, Offset)>, TablesError> {
        let complete = read_completed(self.client.rows(&self.positions.completed()).await?)?;
        Ok(complete.into_iter().map(|((topic, partition), next)| (topic, partition, next)).collect())
    }

    async fn log(&self) -> Result<Option<LogOfTables>, TablesError> {
        self.identity.get(&self.client).await
    }

    async fn claim(&self, log: &LogOfTables) -> Result<LogOfTables, TablesError> {
        self.identity.claim(&self.client, log).await
    }

    async fn set_log(&self, log: &LogOfTables) -> Result<(), TablesError> {
        self.identity.set(&self.client, log).await
    }

    async fn clear(&self) -> Result<(), TablesError> {
        self.empty().await
    }

    async fn dump(&self) -> Result<Vec<(String, Row)>, TablesError> {
        let mut all = Vec::new();
        for cql in self.statements.all() {
            let cells = self.client.all_rows(&cql.all()).await?;
            let mut rows: Vec<Row> =
                cells.into_iter().map(|cells| row_of(cql.table, cells)).collect::<Result<_, _>>()?;
            rows.sort_by(|a, b| a.iter().take(cql.table.key_columns()).cmp(b.iter().take(cql.table.key_columns())));
            all.extend(rows.into_iter().map(|row| (cql.table.name.to_owned(), row)));
        }
        Ok(all)
    }

    async fn sync(&self) -> Result<(), TablesError> {
        Ok(())
    }
}
