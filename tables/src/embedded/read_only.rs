//! Tables that another process may be writing, for tools that look at them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};

use super::declared::Declared;
use super::store::{Found, Store};
use super::{folder, identity};
use crate::{Applied, Inspected, LogOfTables, Range, Row, Table, Tables, TablesError, Value, Write};

/// How long to wait before looking for a position again: no signal crosses processes.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(super) struct ReadOnlyTables {
    store: Arc<Store>,
    folder: PathBuf,
}

impl ReadOnlyTables {
    pub(super) fn open(
        path: &Path,
        tables: &'static [&'static Table],
        boot: Option<String>,
    ) -> Result<Self, TablesError> {
        let refused = |reason: &str| {
            Err(TablesError::Unusable(format!("the tables in {} cannot be read: {reason}", path.display())))
        };
        if !folder::has_tables(path) {
            return refused("there are none; is this the data folder of a server that has run?");
        }
        if folder::is_suspect(path, boot.as_deref())? {
            return refused("the machine stopped before they were synced; start the server, which rebuilds them");
        }
        match Store::open_read_only(path, Declared::new(tables)?)? {
            (store, Found::Ours) => Ok(Self { store: Arc::new(store), folder: path.to_owned() }),
            _ => refused("another version made them; use its program, or start the server, which rebuilds them"),
        }
    }

    fn refuse<T>(&self) -> Result<T, TablesError> {
        Err(TablesError::Unusable("the tables were opened for reading only: only the server writes them".into()))
    }
}

#[async_trait]
impl Tables for ReadOnlyTables {
    async fn get(&self, table: &'static Table, key: &[Value]) -> Result<Option<Row>, TablesError> {
        self.store.get(table, key)
    }

    async fn scan(&self, table: &'static Table, partition: &[Value], range: Range) -> Result<Vec<Row>, TablesError> {
        super::scan(&self.store, table, partition, range).await
    }

    async fn write(&self, _: Vec<Write>, _: &[Applied]) -> Result<(), TablesError> {
        self.refuse()
    }

    async fn applied(&self, topic: Topic, partition: Partition) -> Result<Offset, TablesError> {
        self.store.position(topic, partition)
    }

    async fn wait_applied(&self, topic: Topic, partition: Partition, next: Offset) -> Result<(), TablesError> {
        while self.applied(topic, partition).await? < next {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    async fn positions(&self) -> Result<Vec<(Topic, Partition, Offset)>, TablesError> {
        let positions = self.store.positions()?;
        Ok(positions.into_iter().map(|((topic, partition), next)| (topic, partition, next)).collect())
    }

    async fn log(&self) -> Result<Option<LogOfTables>, TablesError> {
        identity::read(&self.folder)
    }

    async fn claim(&self, _: &LogOfTables) -> Result<LogOfTables, TablesError> {
        self.refuse()
    }

    async fn set_log(&self, _: &LogOfTables) -> Result<(), TablesError> {
        self.refuse()
    }

    async fn clear(&self) -> Result<(), TablesError> {
        self.refuse()
    }

    async fn dump(&self) -> Result<Vec<(String, Row)>, TablesError> {
        let store = self.store.clone();
        super::blocking(move || store.dump()).await
    }

    async fn inspect(&self) -> Result<Vec<Inspected>, TablesError> {
        let store = self.store.clone();
        super::blocking(move || store.inspect()).await
    }

    async fn sync(&self) -> Result<(), TablesError> {
        self.refuse()
    }
}
