//! Columns that are versioned: whichever of two changes comes first, the one with the higher version stays.
//!
//! Decisions about one lead may stand in different partitions of the log, and be folded by different nodes at the same
//! moment. So a table may declare that its first data columns are versioned by the first of them.

use crate::cells::{Walk, first_number, put_header};
use crate::{Row, Table, Value};

/// The version that data cells carry; `None` where they carry none, and in tables without versioned columns.
pub(crate) fn version_of(table: &Table, data: &[Option<Value>]) -> Option<i64> {
    match data.first() {
        Some(Some(Value::Int(version))) if table.versioned > 0 => Some(*version),
        _ => None,
    }
}

/// The same of encoded cells.
pub(crate) fn encoded_version(table: &Table, cells: &[u8]) -> Result<Option<i64>, String> {
    if table.versioned == 0 {
        return Ok(None);
    }
    first_number(table.data_columns(), cells)
}

/// Applies an upsert's data cells to those that are stored: sets the cells that are `Some`. Versioned cells are set all,
/// also to nothing, or none of them: when theirs is a lower version.
pub(crate) fn merge(table: &Table, stored: &mut [Option<Value>], newer: Row) {
    let wins = wins(version_of(table, stored), version_of(table, &newer));
    for (index, (cell, newer)) in stored.iter_mut().zip(newer).enumerate() {
        let sets = match index < table.versioned {
            true => wins,
            false => newer.is_some(),
        };
        if sets {
            *cell = newer;
        }
    }
}

/// The same of encoded cells, which stay encoded.
pub(crate) fn merge_encoded(table: &Table, stored: &[u8], newer: &[u8]) -> Result<Vec<u8>, String> {
    let wins = wins(encoded_version(table, stored)?, encoded_version(table, newer)?);
    let (mut old, mut new) = (Walk::new(table.data_columns(), stored)?, Walk::new(table.data_columns(), newer)?);
    let mut cells = Vec::with_capacity(table.data_columns().len());
    while let (Some(stored), Some(newer)) = (old.next_cell()?, new.next_cell()?) {
        let sets = match cells.len() < table.versioned {
            true => wins,
            false => newer.is_some(),
        };
        cells.push(if sets { newer } else { stored });
    }
    let mut bytes = Vec::with_capacity(stored.len() + newer.len());
    put_header(&mut bytes, cells.iter().map(Option::is_some));
    cells.into_iter().flatten().for_each(|cell| bytes.extend(cell));
    Ok(bytes)
}

fn wins(stored: Option<i64>, newer: Option<i64>) -> bool {
    newer.is_some_and(|newer| stored.is_none_or(|stored| stored <= newer))
}

/// Whether a delete with this version removes a row of that version.
pub(crate) fn removes(deleted: Option<i64>, stored: Option<i64>) -> bool {
    deleted.zip(stored).is_none_or(|(deleted, stored)| stored <= deleted)
}
