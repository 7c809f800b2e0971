//! Columns that are versioned: whichever of two changes comes first, the one with the higher version stays.
//!
//! Decisions about one lead may stand in different partitions of the log, and be folded by different nodes at the same
//! moment. So a table may declare that its first data columns are versioned by the first of them.

use crate::{Row, Table, Value};

/// Data cells, those after the key's.
type Cells = [Option<Value>];

/// The version that data cells carry; `None` where they carry none, and in tables without versioned columns.
pub(crate) fn version_of(table: &Table, data: &Cells) -> Option<i64> {
    match data.first() {
        Some(Some(Value::Int(version))) if table.versioned > 0 => Some(*version),
        _ => None,
    }
}

/// Applies an upsert's data cells to those that are stored: sets the cells that are `Some`. Versioned cells are set all,
/// also to nothing, or none of them: when theirs is a lower version.
pub(crate) fn merge(table: &Table, stored: &mut Cells, newer: Row) {
    let wins = version_of(table, &newer).is_some_and(|new| version_of(table, stored).is_none_or(|old| old <= new));
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

/// Whether a delete with this version removes a row with these data cells.
pub(crate) fn removes(table: &Table, version: Option<i64>, data: &Cells) -> bool {
    match (version, version_of(table, data)) {
        (Some(deleted), Some(stored)) => stored <= deleted,
        _ => true,
    }
}
