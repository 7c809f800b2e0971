//! Which log the tables are made of: one row, changed by conditional writes alone, so that all nodes agree.

use scylla::value::CqlValue;

use super::bind::Bind;
use super::client::{Cells, Client, Statement};
use crate::{LogOfTables, TablesError, Value};

/// The key of the row.
const KEY: Bind = Bind::Int(0);

/// The row that says it.
pub(super) struct Identity {
    get: String,
    claim: String,
    replace: String,
}

impl Identity {
    pub(super) fn new(keyspace: &str) -> Self {
        let table = format!("\"{keyspace}\".log_identity");
        Self {
            get: format!("SELECT log FROM {table} WHERE k = ?"),
            claim: format!("INSERT INTO {table} (k, log) VALUES (?, ?) IF NOT EXISTS"),
            replace: format!("UPDATE {table} SET log = ? WHERE k = ? IF EXISTS"),
        }
    }

    /// What is stored.
    pub(super) async fn get(&self, client: &Client) -> Result<Option<LogOfTables>, TablesError> {
        let rows = client.settled_rows(&Statement::new(self.get.as_str(), vec![KEY])).await?;
        rows.into_iter().next().map(read).transpose()
    }

    /// Stores it where nothing is stored; tells what is then. A write that failed may have been made: what counts is what
    /// is read afterwards.
    pub(super) async fn claim(&self, client: &Client, log: &LogOfTables) -> Result<LogOfTables, TablesError> {
        let claim = Statement::new(self.claim.as_str(), vec![KEY, text(log)?]);
        self.conditionally(client, claim).await?;
        let stored = self.get(client).await?;
        stored.ok_or_else(|| TablesError::Unavailable("the database did not keep which log the tables are of".into()))
    }

    /// Stores it whatever is stored.
    pub(super) async fn set(&self, client: &Client, log: &LogOfTables) -> Result<(), TablesError> {
        if self.claim(client, log).await? != *log {
            let replace = Statement::new(self.replace.as_str(), vec![text(log)?, KEY]);
            self.conditionally(client, replace).await?;
        }
        Ok(())
    }

    /// Does no harm when it is carried out more than once.
    async fn conditionally(&self, client: &Client, statement: Statement) -> Result<bool, TablesError> {
        let statements = [statement];
        client.until_answered(|| client.try_conditional(&statements)).await
    }
}

fn text(log: &LogOfTables) -> Result<Bind, TablesError> {
    let text = serde_json::to_string(log).map_err(|e| TablesError::Unusable(format!("the log's identity: {e}")))?;
    Ok(Bind::Value(Value::Text(text)))
}

fn read(row: Cells) -> Result<LogOfTables, TablesError> {
    let unreadable = |reason: String| TablesError::Unusable(format!("table log_identity cannot be read: {reason}"));
    match row.into_iter().next().flatten() {
        Some(CqlValue::Text(text)) => serde_json::from_str(&text).map_err(|error| unreadable(error.to_string())),
        _ => Err(unreadable("it says nothing".into())),
    }
}
