//! What every provider checks before it touches anything: that keys and rows fit the declaration.

use std::collections::BTreeSet;

use crate::cells::Walk;
use crate::version::encoded_version;
use crate::{Applied, Column, ColumnKind, Range, Row, Table, TablesError, Value, key};

/// How long a key may be, encoded: what LMDB takes, 511, less the two bytes that the embedded store may add.
pub(crate) const MAX_KEY_BYTES: usize = 509;

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
    pub(crate) fn fault_of_row(&self, row: &Row) -> Option<String> {
        if row.len() != self.columns.len() {
            return Some(format!("a row has {} cells, not {}", self.columns.len(), row.len()));
        }
        let null = self.columns.iter().zip(row).take(self.key_columns()).find(|(_, cell)| cell.is_none());
        if let Some((column, _)) = null {
            return Some(format!("key column {:?} is null", column.name));
        }
        self.fault_of_kinds(0, row.iter().map(Option::as_ref))
    }

    /// A whole key has a value per key column, each of its column's kind.
    pub(crate) fn fault_of_key(&self, key: &[Value]) -> Option<String> {
        if key.len() != self.key_columns() {
            return Some(format!("a key has {} values, not {}", self.key_columns(), key.len()));
        }
        self.fault_of_kinds(0, key.iter().map(Some))
    }

    /// Versioned cells come with their version, which counts from 1.
    pub(crate) fn check_version(&self, cells: &[u8]) -> Result<(), String> {
        if self.versioned == 0 {
            return Ok(());
        }
        match encoded_version(self, cells)? {
            None if sets_any(self.versioned_columns(), cells)? => {
                Err("versioned columns are set without their version".into())
            }
            Some(version) if version < 1 => Err(format!("version {version} is below the first, 1")),
            _ => Ok(()),
        }
    }

    /// A versioned row is removed by a version: of a table that has no other columns, as those would be left.
    pub(crate) fn check_delete(&self, version: Option<i64>) -> Result<(), String> {
        let whole = self.versioned > 0 && self.versioned == self.data_columns().len();
        match version {
            None if self.versioned > 0 => Err("its rows are versioned: a delete needs a version".into()),
            Some(_) if !whole => Err("a delete has a version, and not all its columns are versioned".into()),
            Some(version) if version < 1 => Err(format!("version {version} is below the first, 1")),
            _ => Ok(()),
        }
    }

    /// The bytes of a whole key that fits.
    pub(crate) fn key_bytes(&self, key: &[Value]) -> Result<Vec<u8>, TablesError> {
        let bytes = key::encode(key);
        match self.fault_of_key(key) {
            Some(fault) => self.mismatch(fault),
            None => self.check_encoded_key(&bytes).or_else(|reason| self.mismatch(reason)).map(|()| bytes),
        }
    }

    /// What else a key must keep. CQL knows no partition key that is nothing but an empty text.
    pub(crate) fn check_encoded_key(&self, key: &[u8]) -> Result<(), String> {
        if self.partition_key == 1
            && self.columns.first().is_some_and(|column| column.kind == ColumnKind::Text)
            && key.starts_with(key::EMPTY_TEXT)
        {
            return Err("a text that is the whole partition key may not be empty".into());
        }
        match key.len() {
            length if length > MAX_KEY_BYTES => Err(format!(
                "a key may take {MAX_KEY_BYTES} bytes, not {length}: shorten the texts in it (a zero byte counts twice)"
            )),
            _ => Ok(()),
        }
    }

    /// A scan names a whole partition key, and bounds that begin a clustering key.
    pub(crate) fn check_scan(&self, partition: &[Value], range: &Range) -> Result<(), TablesError> {
        if partition.len() != self.partition_key {
            let (takes, given) = (self.partition_key, partition.len());
            return self.mismatch(format!("a scan names all {takes} values of the partition key, not {given}"));
        }
        let fits = |first, values: &[Value]| self.fault_of_kinds(first, values.iter().map(Some)).map_or(Ok(()), Err);
        fits(0, partition)
            .and_then(|()| self.check_encoded_key(&key::encode(partition)))
            .or_else(|e| self.mismatch(e))?;
        for bound in [&range.from, &range.before].into_iter().flatten() {
            if bound.len() > self.clustering_key {
                let (takes, given) = (self.clustering_key, bound.len());
                return self.mismatch(format!("a bound has at most {takes} values of the clustering key, not {given}"));
            }
            let whole = || self.check_encoded_key(&key::encode(partition.iter().chain(bound)));
            fits(self.partition_key, bound).and_then(|()| whole()).or_else(|e| self.mismatch(e))?;
        }
        Ok(())
    }

    fn fault_of_kinds<'a>(&self, first: usize, cells: impl Iterator<Item = Option<&'a Value>>) -> Option<String> {
        let mut columns = self.columns.iter().skip(first).zip(cells);
        columns.find_map(|(column, value)| {
            let value = value.filter(|value| value.kind() != column.kind)?;
            Some(format!("column {:?} takes {:?}, not {:?}", column.name, column.kind, value.kind()))
        })
    }

    pub(crate) fn mismatch<T>(&self, reason: String) -> Result<T, TablesError> {
        Err(TablesError::Mismatch { table: self.name, reason })
    }
}

/// Whether any of these columns, the first ones, is set.
fn sets_any(columns: &[Column], cells: &[u8]) -> Result<bool, String> {
    let mut walk = Walk::new(columns, cells)?;
    while let Some(cell) = walk.next_cell()? {
        if cell.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}
