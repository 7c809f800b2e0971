//! The statements of a table, as CQL.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::bind::Bind;
use super::client::Statement;
use crate::{Column, Range, Table, TablesError, Value};

/// The statements of the declared tables.
pub(super) struct Statements {
    keyspace: String,
    tables: HashMap<u8, TableCql>,
}

/// The statements of one table.
pub(super) struct TableCql {
    pub(super) table: &'static Table,
    /// Sets cells of the columns without versions: keys, cells, the write's timestamp.
    pub(super) set_plain: Arc<str>,
    /// Sets cells of the versioned columns: keys, cells, the version.
    pub(super) set_versioned: Arc<str>,
    /// Removes a row: the write's timestamp or the version, keys.
    pub(super) delete: Arc<str>,
    get: Arc<str>,
    all: Arc<str>,
    select: String,
}

impl Statements {
    pub(super) fn new(keyspace: &str, tables: &'static [&'static Table]) -> Self {
        let of = |table: &&'static Table| (table.id, TableCql::new(keyspace, table));
        Self { keyspace: keyspace.to_owned(), tables: tables.iter().map(of).collect() }
    }

    pub(super) fn keyspace(&self) -> &str {
        &self.keyspace
    }

    /// The statements of a table that was declared when the tables were opened.
    pub(super) fn of(&self, table: &Table) -> Result<&TableCql, TablesError> {
        match self.tables.get(&table.id) {
            Some(cql) if cql.table.name == table.name && cql.table.columns.len() == table.columns.len() => Ok(cql),
            _ => Err(TablesError::Mismatch { table: table.name, reason: "the store was not opened with it".into() }),
        }
    }

    /// The declared table of this name.
    pub(super) fn named(&self, name: &str) -> Option<&'static Table> {
        self.tables.values().map(|cql| cql.table).find(|table| table.name == name)
    }

    /// All of them, by number.
    pub(super) fn all(&self) -> Vec<&TableCql> {
        let mut all: Vec<&TableCql> = self.tables.values().collect();
        all.sort_unstable_by_key(|cql| cql.table.id);
        all
    }
}

impl TableCql {
    fn new(keyspace: &str, table: &'static Table) -> Self {
        let name = format!("\"{keyspace}\".\"{}\"", table.name);
        let keys = table.columns.get(..table.key_columns()).unwrap_or_default();
        let plain = table.data_columns().get(table.versioned..).unwrap_or_default();
        let insert = |columns: &[Column]| {
            let columns: Vec<Column> = keys.iter().chain(columns).copied().collect();
            let markers = vec!["?"; columns.len()].join(", ");
            format!("INSERT INTO {name} ({}) VALUES ({markers}) USING TIMESTAMP ?", names(&columns)).into()
        };
        let whole_key = keys.iter().map(|c| format!("\"{}\" = ?", c.name)).collect::<Vec<_>>().join(" AND ");
        let columns = names(table.columns);
        let partition = keys.get(..table.partition_key).unwrap_or_default();
        let partition = partition.iter().map(|c| format!("\"{}\" = ?", c.name)).collect::<Vec<_>>().join(" AND ");
        Self {
            table,
            set_plain: insert(plain),
            set_versioned: insert(table.versioned_columns()),
            delete: format!("DELETE FROM {name} USING TIMESTAMP ? WHERE {whole_key}").into(),
            get: format!("SELECT {columns} FROM {name} WHERE {whole_key}").into(),
            all: format!("SELECT {columns} FROM {name}").into(),
            select: format!("SELECT {columns} FROM {name} WHERE {partition}"),
        }
    }

    /// Asks for the row with this key.
    pub(super) fn get(&self, key: &[Value]) -> Statement {
        Statement::new(self.get.clone(), key.iter().cloned().map(Bind::Value).collect())
    }

    /// Asks for every row.
    pub(super) fn all(&self) -> Statement {
        Statement::new(self.all.clone(), Vec::new())
    }

    /// Asks for rows of a partition. Bounds compare as tuples: all columns of a key ascend.
    pub(super) fn scan(&self, partition: &[Value], range: &Range) -> Statement {
        let clustering = self.table.columns.get(self.table.partition_key..self.table.key_columns());
        let clustering = clustering.unwrap_or_default();
        let mut cql = self.select.clone();
        let mut values: Vec<Bind> = partition.iter().cloned().map(Bind::Value).collect();
        for (bound, comparison) in [(&range.from, ">="), (&range.before, "<")] {
            let Some(bound) = bound.as_ref().filter(|bound| !bound.is_empty()) else { continue };
            let columns = names(clustering.get(..bound.len()).unwrap_or_default());
            let _ = write!(cql, " AND ({columns}) {comparison} ({})", vec!["?"; bound.len()].join(", "));
            values.extend(bound.iter().cloned().map(Bind::Value));
        }
        if range.descending && !clustering.is_empty() {
            let order: Vec<String> = clustering.iter().map(|c| format!("\"{}\" DESC", c.name)).collect();
            let _ = write!(cql, " ORDER BY {}", order.join(", "));
        }
        cql.push_str(" LIMIT ?");
        values.push(Bind::Int(i32::try_from(range.limit).unwrap_or(i32::MAX)));
        Statement::new(cql, values)
    }
}

/// `"a", "b"`: quoted, as a name may be a word of CQL.
pub(super) fn names(columns: &[Column]) -> String {
    columns.iter().map(|c| format!("\"{}\"", c.name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;
    use crate::schema::{ALL, AppointmentRow, DailyRow, UnroutedRow};

    #[test]
    fn versioned_columns_have_a_statement_of_their_own() {
        let all = Statements::new("ks", ALL);
        let unrouted = all.of(UnroutedRow::TABLE).unwrap();
        assert_eq!(
            &*unrouted.set_plain,
            "INSERT INTO \"ks\".\"unrouted\" (\"shard\", \"lead_id\") VALUES (?, ?) USING TIMESTAMP ?"
        );
        let appointments = all.of(AppointmentRow::TABLE).unwrap();
        let (plain, versioned) = (&appointments.set_plain, &appointments.set_versioned);
        assert!(plain.contains("forward_status") && !plain.contains("decision"), "{plain}");
        assert!(!versioned.contains("forward_status") && versioned.contains("decision"), "{versioned}");
    }

    #[test]
    fn bounds_of_a_scan_are_compared_as_tuples() {
        let all = Statements::new("ks", ALL);
        let range = Range::last(5).from(key![3_i64, "b".to_owned()]).before(key![9_i64]);
        let scan = all.of(DailyRow::TABLE).unwrap().scan(&[Value::Date(1)], &range);
        assert!(
            scan.cql.contains("(\"quarter\", \"provider_id\") >= (?, ?) AND (\"quarter\") < (?) ORDER BY"),
            "{}",
            scan.cql
        );
        assert_eq!((scan.values.len(), scan.values.last()), (5, Some(&Bind::Int(5))));
    }
}
