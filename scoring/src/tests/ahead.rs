use std::sync::Mutex;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use leadway_tables::schema::QuarantineRow;
use leadway_tables::{
    Applied, Key, LogOfTables, MemoryTables, Range, Row, Table, TableRow, Tables, TablesError, Value, Write,
};

use super::{history, positions, read};
use crate::fold::Context;
use crate::follower::fold_all;
use crate::options::Options;
use crate::rows::Rows;

/// Tables that note which are read row by row.
#[derive(Default)]
struct Watched {
    tables: MemoryTables,
    asked: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl Tables for Watched {
    async fn get(&self, table: &'static Table, key: &[Value]) -> Result<Option<Row>, TablesError> {
        self.asked.lock().unwrap().push(table.name);
        self.tables.get(table, key).await
    }

    async fn get_all(&self, keys: Vec<(&'static Table, Key)>) -> Result<Vec<Option<Row>>, TablesError> {
        self.tables.get_all(keys).await
    }

    async fn scan(&self, table: &'static Table, partition: &[Value], range: Range) -> Result<Vec<Row>, TablesError> {
        self.tables.scan(table, partition, range).await
    }

    async fn write(&self, writes: Vec<Write>, positions: &[Applied]) -> Result<(), TablesError> {
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

/// Each of these would be a request of its own, after the other.
#[tokio::test]
async fn folds_find_every_row_read_ahead_but_those_of_the_quarantine() {
    let log = history::random(5, 60).await.log;
    let tables = Watched::default();
    let context = Context { addressing: Default::default(), options: Options::default() };
    loop {
        let mut folded = 0;
        for position in positions(&log, &tables).await {
            let Some((records, to)) = read(&log, position, 50).await else { continue };
            let batch = fold_all(&tables, &mut Rows::default(), &context, &records, false).await.unwrap();
            tables.write(batch.writes, &[to]).await.unwrap();
            folded += records.len();
        }
        if folded == 0 {
            break;
        }
    }
    assert!(tables.dump().await.unwrap().len() > 60);
    let asked: Vec<_> =
        tables.asked.lock().unwrap().iter().copied().filter(|t| *t != QuarantineRow::table().name).collect();
    assert_eq!(asked, Vec::<&str>::new());
}
