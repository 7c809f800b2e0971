//! Making keyspace and tables, and adding columns, while other nodes may do the same.

use std::sync::Arc;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::policies::load_balancing::{LoadBalancingPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::unprepared::Statement;
use scylla::value::{CqlValue, Row};
use tokio::time::Instant;

use super::client::pauses;
use super::failure::Failure;
use super::options::Options;
use super::schema::{Existing, ExistingColumn, Schema, keyspace, plan};
use crate::{Table, TablesError};

/// How long a change of the schema, or the emptying of a table, may take.
const SLOW: Duration = Duration::from_secs(60);

/// Makes keyspace and tables what the declarations need.
pub(super) async fn migrate(session: &Session, options: &Options, tables: &[&Table]) -> Result<(), TablesError> {
    let deadline = Instant::now() + options.start_timeout();
    for pause in pauses() {
        let failure = match step(session, options, tables).await {
            Ok(true) => return Ok(()),
            Ok(false) => None,
            Err(Step::Wrong(error)) => return Err(error),
            Err(Step::Failed(failure)) => Some(failure),
        };
        if let Some(failure) = failure.filter(|_| Instant::now() + pause >= deadline) {
            return Err(failure.into());
        }
        if Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(pause).await;
    }
    Err(TablesError::Unavailable("the database's schema does not become what it should be in time".into()))
}

enum Step {
    Wrong(TablesError),
    Failed(Failure),
}

impl From<Failure> for Step {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Reads the schema and does what is missing; tells whether nothing was. A statement that fails is looked at again: another
/// node may have done the same.
async fn step(session: &Session, options: &Options, tables: &[&Table]) -> Result<bool, Step> {
    let coordinator = coordinator(session);
    let name = options.keyspace.as_str();
    let missing = match read(session, name).await? {
        None => vec![keyspace(options, is_scylla(session).await?)],
        Some(existing) => plan(name, tables, &existing).map_err(Step::Wrong)?,
    };
    for statement in &missing {
        tracing::info!(keyspace = name, statement, "changing the database's schema");
        run(session, statement, coordinator.clone()).await?;
    }
    if !missing.is_empty() {
        session.await_schema_agreement().await.map_err(|e| Failure::Transient(e.to_string()))?;
    }
    Ok(missing.is_empty())
}

/// Carries out a statement that may take long.
pub(super) async fn run(session: &Session, cql: &str, on: Option<Arc<dyn LoadBalancingPolicy>>) -> Result<(), Failure> {
    let mut statement = Statement::new(cql);
    statement.set_request_timeout(Some(SLOW));
    statement.set_load_balancing_policy(on);
    session.query_unpaged(statement, ()).await?;
    Ok(())
}

/// One node for all changes of the schema, the same one whoever asks: it makes of two that come at once one after the
/// other, where nodes of Cassandra would make two tables of one name.
fn coordinator(session: &Session) -> Option<Arc<dyn LoadBalancingPolicy>> {
    let state = session.get_cluster_state();
    let usable = state.get_nodes_info().iter().filter(|node| node.is_connected());
    let first = usable.min_by_key(|node| node.host_id)?;
    Some(SingleTargetLoadBalancingPolicy::new(NodeIdentifier::HostId(first.host_id), None))
}

/// The keyspace's tables; `None` when there is no such keyspace.
async fn read(session: &Session, keyspace: &str) -> Result<Option<Schema>, Failure> {
    let of_keyspace = |what: &str, table: &str| {
        format!("SELECT {what} FROM system_schema.{table} WHERE keyspace_name = '{keyspace}'")
    };
    if ask(session, of_keyspace("keyspace_name", "keyspaces")).await?.is_empty() {
        return Ok(None);
    }
    let mut schema = Schema::new();
    for row in ask(session, of_keyspace("table_name, comment", "tables")).await? {
        let [name, comment] = &texts(row)[..] else { continue };
        schema.insert(name.clone(), Existing { comment: comment.clone(), ..Existing::default() });
    }
    for row in ask(session, of_keyspace("table_name, column_name, kind, type, position", "columns")).await? {
        let position = match row.columns.last() {
            Some(Some(CqlValue::Int(position))) => *position,
            _ => return Err(Failure::unexpected("a column without a position")),
        };
        let [table, name, kind, typ] = &texts(row)[..] else { continue };
        let column = ExistingColumn { kind: kind.clone(), position, typ: typ.clone() };
        schema.entry(table.clone()).or_default().columns.insert(name.clone(), column);
    }
    Ok(Some(schema))
}

async fn is_scylla(session: &Session) -> Result<bool, Failure> {
    let own = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'system_schema' \
               AND table_name = 'scylla_tables'";
    Ok(!ask(session, own.to_owned()).await?.is_empty())
}

async fn ask(session: &Session, question: String) -> Result<Vec<Row>, Failure> {
    let answer = session.query_unpaged(question, ()).await?;
    let rows = answer.into_rows_result().map_err(Failure::unexpected)?;
    let rows = rows.rows::<Row>().map_err(Failure::unexpected)?;
    rows.map(|row| row.map_err(Failure::unexpected)).collect()
}

/// The row's texts, in order; nothing stands for an empty one.
fn texts(row: Row) -> Vec<String> {
    let text = |cell| match cell {
        Some(CqlValue::Text(text)) => Some(text),
        None => Some(String::new()),
        _ => None,
    };
    row.columns.into_iter().filter_map(text).collect()
}
