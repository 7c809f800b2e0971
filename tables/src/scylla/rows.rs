//! The changes of a batch as requests.
//!
//! Everything is written with a timestamp that belongs to the change, not to the moment of writing: the batch's for what
//! has one writer, the version for versioned columns. So a request may come twice, late, or from two nodes, and what
//! stands there in the end is the same.

use super::bind::Bind;
use super::client::Statement;
use super::statements::{Statements, TableCql};
use crate::fold::{Change, Sorted};
use crate::version::version_of;
use crate::{Key, Row, Table, TablesError, Value, Write};

/// Most statements of one request.
const MAX_STATEMENTS: usize = 64;
/// Most bytes of one request, unless a single row is larger.
const MAX_BYTES: usize = 64 << 10;

/// What a batch does to one row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RowChange {
    pub(super) table: &'static Table,
    pub(super) key: Key,
    pub(super) change: Change<Row>,
}

/// What these changes do, row by row.
pub(super) fn changes(writes: &[Write]) -> Result<Vec<RowChange>, TablesError> {
    let sorted = Sorted::new(writes);
    let rows = sorted.rows().map(|row| row?.decode());
    rows.map(|row| row.map(|(table, key, change)| RowChange { table, key, change })).collect()
}

/// The requests that make these changes, which are in the order of keys. Each is of one partition.
pub(super) fn requests(
    statements: &Statements,
    changes: &[RowChange],
    timestamp: i64,
) -> Result<Vec<Vec<Statement>>, TablesError> {
    let mut requests: Vec<Vec<Statement>> = Vec::new();
    let (mut last, mut bytes) = (None, 0);
    for RowChange { table, key, change } in changes {
        let partition = (table.id, key.get(..table.partition_key).unwrap_or_default());
        for statement in of(statements.of(table)?, key, change, timestamp) {
            let size = statement.size();
            match requests.last_mut() {
                Some(request)
                    if last == Some(partition) && request.len() < MAX_STATEMENTS && bytes + size <= MAX_BYTES =>
                {
                    request.push(statement);
                    bytes += size;
                }
                _ => {
                    requests.push(vec![statement]);
                    bytes = size;
                }
            }
            last = Some(partition);
        }
    }
    Ok(requests)
}

/// The statements of one change.
fn of(cql: &TableCql, key: &Key, change: &Change<Row>, timestamp: i64) -> Vec<Statement> {
    match change {
        Change::Merge(cells) => set(cql, key, cells, timestamp),
        Change::Replace(cells) => {
            // Of the same moment the delete would win: see `Timestamps`.
            let mut both = vec![delete(cql, key, timestamp - 1)];
            both.extend(set(cql, key, cells, timestamp));
            both
        }
        Change::Delete(version) => vec![delete(cql, key, version.unwrap_or(timestamp))],
    }
}

fn set(cql: &TableCql, key: &Key, cells: &Row, timestamp: i64) -> Vec<Statement> {
    let (versioned, plain) = cells.split_at_checked(cql.table.versioned).unwrap_or_default();
    let mut statements = Vec::with_capacity(2);
    if let Some(version) = version_of(cql.table, cells) {
        // Nothing stands below the first version that would have to be emptied.
        let empty = if version > 1 { Bind::Null } else { Bind::Unset };
        statements.push(insert(&cql.set_versioned, key, versioned, &empty, version));
    }
    if statements.is_empty() || plain.iter().any(Option::is_some) {
        statements.push(insert(&cql.set_plain, key, plain, &Bind::Unset, timestamp));
    }
    statements
}

fn insert(cql: &std::sync::Arc<str>, key: &Key, cells: &[Option<Value>], empty: &Bind, timestamp: i64) -> Statement {
    let cells = cells.iter().map(|cell| cell.clone().map_or_else(|| empty.clone(), Bind::Value));
    let values = key.iter().cloned().map(Bind::Value).chain(cells).chain([Bind::Long(timestamp)]);
    Statement::new(cql.clone(), values.collect())
}

fn delete(cql: &TableCql, key: &Key, timestamp: i64) -> Statement {
    let values = [Bind::Long(timestamp)].into_iter().chain(key.iter().cloned().map(Bind::Value));
    Statement::new(cql.delete.clone(), values.collect())
}

#[cfg(test)]
mod tests {
    use leadway_domain::{LeadId, Timestamp, WorkspaceId};

    use super::*;
    use crate::schema::{ALL, AppointmentRow, SlotRow};
    use crate::{TableRow, key};

    fn of_writes(writes: Vec<Write>) -> Vec<Vec<Statement>> {
        requests(&Statements::new("ks", ALL), &changes(&writes).unwrap(), 1_000).unwrap()
    }

    fn slot(workspace: &str, second: i64) -> SlotRow {
        let at = Timestamp::from_second(second).unwrap();
        SlotRow { taken: Some(1), ..SlotRow::new(WorkspaceId::new(workspace).unwrap(), at) }
    }

    #[test]
    fn a_request_is_of_one_partition_and_bounded() {
        let mut writes: Vec<Write> = (0..100).map(|n| slot("a", n).upsert()).collect();
        writes.extend([slot("b", 1).upsert(), slot("c", 1).upsert()]);
        let sizes: Vec<usize> = of_writes(writes).iter().map(Vec::len).collect();
        assert_eq!(sizes, [64, 36, 1, 1]);
    }

    #[test]
    fn what_is_left_out_is_left_alone_except_below_a_later_version() {
        let empties = |version| {
            let row = AppointmentRow { decision: Some(version), ..AppointmentRow::new(0, LeadId(1)) };
            let requests = of_writes(vec![row.upsert()]);
            assert_eq!((requests.len(), requests[0].len()), (1, 1));
            assert_eq!(requests[0][0].values.last(), Some(&Bind::Long(version)), "its timestamp is the version");
            requests[0][0].values[3].clone()
        };
        assert_eq!((empties(1), empties(2)), (Bind::Unset, Bind::Null));
        let plain = AppointmentRow { forward_attempts: Some(1), ..AppointmentRow::new(0, LeadId(1)) };
        let requests = of_writes(vec![plain.upsert()]);
        assert!(!requests[0][0].values.contains(&Bind::Null));
        assert_eq!(requests[0][0].values.last(), Some(&Bind::Long(1_000)));
    }

    #[test]
    fn a_row_that_is_replaced_is_removed_a_moment_before() {
        let gone = SlotRow::delete(key![WorkspaceId::new("a").unwrap(), Timestamp::from_second(1).unwrap()]);
        let requests = of_writes(vec![gone, slot("a", 1).upsert()]);
        let [delete, insert] = &requests[0][..] else { panic!("{requests:?}") };
        assert_eq!((delete.values.first(), insert.values.last()), (Some(&Bind::Long(999)), Some(&Bind::Long(1_000))));
    }
}
