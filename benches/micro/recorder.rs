//! Tables that keep what scoring writes to them, in the order in which it came.

use std::sync::Arc;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Addressing, Offset, Partition};
use leadway_eventlog::EventLog;
use leadway_scoring::Options;
use leadway_tables::{Applied, Key, LogOfTables, MemoryTables, Range, Row, Table, Tables, TablesError, Value, Write};
use parking_lot::Mutex;

/// Every change that scoring makes of a log.
pub(crate) async fn changes_of(log: Arc<dyn EventLog>) -> Vec<Write> {
    let recorder = Arc::new(Recorder::default());
    // Small batches, as at a usual load: rows that a batch changes often are written more often so.
    let options = Options { batch_records: 200, ..Options::default() };
    leadway_scoring::rebuild(log, recorder.clone(), Addressing::default(), options).await.unwrap();
    std::mem::take(&mut *recorder.changes.lock())
}

#[derive(Default)]
struct Recorder {
    tables: MemoryTables,
    changes: Mutex<Vec<Write>>,
}

#[async_trait]
impl Tables for Recorder {
    async fn get(&self, table: &'static Table, key: &[Value]) -> Result<Option<Row>, TablesError> {
        self.tables.get(table, key).await
    }

    async fn get_all(&self, keys: Vec<(&'static Table, Key)>) -> Result<Vec<Option<Row>>, TablesError> {
        self.tables.get_all(keys).await
    }

    async fn scan(&self, table: &'static Table, partition: &[Value], range: Range) -> Result<Vec<Row>, TablesError> {
        self.tables.scan(table, partition, range).await
    }

    async fn write(&self, writes: Vec<Write>, positions: &[Applied]) -> Result<(), TablesError> {
        self.changes.lock().extend(writes.iter().cloned());
        self.tables.write(writes, positions).await
    }

    async fn applied(&self, topic: Topic, partition: Partition) -> Result<Offset, TablesError> {
        self.tables.applied(topic, partition).await
    }

    async fn wait_applied(&self, topic: Topic, partition: Partition, next: Offset) -> Result<(), TablesError> {
        self.tables.wait_applied(topic, partition, next).await
    }

    async fn positions(&self) -> Result<Vec<(Topic, Partition, Offset)>, TablesError> {
        self.tables.positions().await
    }

    async fn log(&self) -> Result<Option<LogOfTables>, TablesError> {
        self.tables.log().await
    }

    async fn claim(&self, log: &LogOfTables) -> Result<LogOfTables, TablesError> {
        self.tables.claim(log).await
    }

    async fn set_log(&self, log: &LogOfTables) -> Result<(), TablesError> {
        self.tables.set_log(log).await
    }

    async fn clear(&self) -> Result<(), TablesError> {
        self.tables.clear().await
    }

    async fn dump(&self) -> Result<Vec<(String, Row)>, TablesError> {
        self.tables.dump().await
    }

    async fn sync(&self) -> Result<(), TablesError> {
        self.tables.sync().await
    }
}
