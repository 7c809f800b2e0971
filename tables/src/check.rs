//! What every provider checks before it touches anything: that keys and rows fit the declaration.

use std::collections::BTreeSet;

use crate::version::version_of;
use crate::{Applied, Range, Row, Table, TablesError, Value, Write};

/// How long a key may be, encoded: what LMDB takes.
pub(crate) const MAX_KEY_BYTES: usize = 511;

impl Write {
    /// Whether the change fits its table's declaration.
    pub(crate) fn check(&self) -> Result<(), TablesError> {
        match self {
            Self::Upsert { table, row } => table.check_row(row),
            Self::Delete { table, key, version } => {
                table.check_key(key)?;
                table.check_delete(*version)
            }
        }
    }
}

/// Positions go forward, and each partition comes once.
pub(crate) fn check_positions(positions: &[Applied]) -> Result<(), TablesError> {
    let wrong = |reason| Err(TablesError::Mismatch { table: "positions", reason });
    let mut seen = BTreeSet::new();
    for position in positions {
        if position.next <= position.from {
            return wrong(format!("{position:?} does not go forward"));
        }
        if i64::try_from(position.next.0).is_err() {
            return wrong(format!("{position:?} is beyond the largest offset, {}", i64::MAX));
        }
        if !seen.insert((position.topic, position.partition)) {
            return wrong(format!("{position:?} comes twice"));
        }
    }
    Ok(())
}

impl Table {
    /// A row has a cell per column, key cells are never null, and each cell is of its column's kind.
    pub(crate) fn check_row(&self, row: &Row) -> Result<(), TablesError> {
        if row.len() != self.columns.len() {
            return self.mismatch(format!("a row has {} cells, not {}", self.columns.len(), row.len()));
        }
        for (column, cell) in self.columns.iter().zip(row).take(self.key_columns()) {
            if cell.is_none() {
                return self.mismatch(format!("key column {:?} is null", column.name));
            }
        }
        self.check_kinds(0, row.iter().map(Option::as_ref))?;
        self.check_key_bytes(row.iter().take(self.key_columns()).flatten())?;
        self.check_partition_text(row.iter().take(self.partition_key).flatten())?;
        self.check_version(row)
    }

    /// Versioned cells come with their version, which counts from 1.
    fn check_version(&self, row: &Row) -> Result<(), TablesError> {
        let data = row.get(self.key_columns()..).unwrap_or_default();
        let versioned = data.iter().take(self.versioned).any(Option::is_some);
        match version_of(self, data) {
            None if versioned => self.mismatch("versioned columns are set without their version".into()),
            Some(version) if version < 1 => self.mismatch(format!("version {version} is below the first, 1")),
            _ => Ok(()),
        }
    }

    /// A versioned row is removed by a version: of a table that has no other columns, as those would be left.
    fn check_delete(&self, version: Option<i64>) -> Result<(), TablesError> {
        let whole = self.versioned > 0 && self.versioned == self.data_columns().len();
        match version {
            None if self.versioned > 0 => self.mismatch("its rows are versioned: a delete needs a version".into()),
            Some(_) if !whole => self.mismatch("a delete has a version, and not all its columns are versioned".into()),
            Some(version) if version < 1 => self.mismatch(format!("version {version} is below the first, 1")),
            _ => Ok(()),
        }
    }

    /// A whole key has a value per key column, each of its column's kind.
    pub(crate) fn check_key(&self, key: &[Value]) -> Result<(), TablesError> {
        if key.len() != self.key_columns() {
            return self.mismatch(format!("a key has {} values, not {}", self.key_columns(), key.len()));
        }
        self.check_kinds(0, key.iter().map(Some))?;
        self.check_key_bytes(key.iter())?;
        self.check_partition_text(key.iter().take(self.partition_key))
    }

    /// A scan names a whole partition key, and bounds that begin a clustering key.
    pub(crate) fn check_scan(&self, partition: &[Value], range: &Range) -> Result<(), TablesError> {
        if partition.len() != self.partition_key {
            let (takes, given) = (self.partition_key, partition.len());
            return self.mismatch(format!("a scan names all {takes} values of the partition key, not {given}"));
        }
        self.check_kinds(0, partition.iter().map(Some))?;
        self.check_key_bytes(partition.iter())?;
        self.check_partition_text(partition.iter())?;
        for bound in [&range.from, &range.before].into_iter().flatten() {
            if bound.len() > self.clustering_key {
                let (takes, given) = (self.clustering_key, bound.len());
                return self.mismatch(format!("a bound has at most {takes} values of the clustering key, not {given}"));
            }
            self.check_kinds(self.partition_key, bound.iter().map(Some))?;
            self.check_key_bytes(partition.iter().chain(bound))?;
        }
        Ok(())
    }

    fn check_kinds<'a>(&self, first: usize, cells: impl Iterator<Item = Option<&'a Value>>) -> Result<(), TablesError> {
        for (column, value) in self.columns.iter().skip(first).zip(cells) {
            if let Some(value) = value.filter(|v| v.kind() != column.kind) {
                let (name, takes) = (column.name, column.kind);
                return self.mismatch(format!("column {name:?} takes {takes:?}, not {:?}", value.kind()));
            }
        }
        Ok(())
    }

    fn check_key_bytes<'a>(&self, values: impl Iterator<Item = &'a Value>) -> Result<(), TablesError> {
        match encoded_len(values) {
            len if len > MAX_KEY_BYTES => self.mismatch(format!(
                "a key may take {MAX_KEY_BYTES} bytes, not {len}: shorten the texts in it (a zero byte counts twice)"
            )),
            _ => Ok(()),
        }
    }

    /// CQL knows no partition key that is nothing but an empty text.
    fn check_partition_text<'a>(&self, mut values: impl Iterator<Item = &'a Value>) -> Result<(), TablesError> {
        match values.next() {
            Some(Value::Text(text)) if text.is_empty() && self.partition_key == 1 => {
                self.mismatch("a text that is the whole partition key may not be empty".into())
            }
            _ => Ok(()),
        }
    }

    fn mismatch<T>(&self, reason: String) -> Result<T, TablesError> {
        Err(TablesError::Mismatch { table: self.name, reason })
    }
}

/// The length of the key that the embedded store makes of these values.
pub(crate) fn encoded_len<'a>(values: impl Iterator<Item = &'a Value>) -> usize {
    let table_id = 1;
    let values = values.map(|value| match value {
        Value::Text(text) => text.len() + text.bytes().filter(|b| *b == 0).count() + 2,
        Value::Int(_) | Value::Money(_) | Value::Timestamp(_) => 8,
        Value::Date(_) => 4,
        Value::Bool(_) => 1,
        Value::Uuid(_) => 16,
    });
    table_id + values.sum::<usize>()
}
