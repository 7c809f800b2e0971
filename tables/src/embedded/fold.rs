//! Several changes of one row become one, and a batch is put in the order of its keys: each row is then read and
//! written once, and rows that stand side by side are written side by side.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::key;
use crate::{Row, Table, Write};

/// What a batch does to one row. Cells are those of the data columns.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// Sets cells of what is stored.
    Merge(Row),
    /// Sets the row, whatever is stored.
    Replace(Row),
    /// Removes the row.
    Delete,
}

/// The changes of a batch by encoded key.
pub(super) type Changes = BTreeMap<Vec<u8>, (&'static Table, Change)>;

/// Folds changes that are to be applied in order. They fit their declarations.
pub(super) fn fold(writes: Vec<Write>) -> Changes {
    let mut changes = Changes::new();
    for write in writes {
        let (table, key, change) = match write {
            Write::Upsert { table, mut row } => {
                let data = row.split_off(table.key_columns().min(row.len()));
                (table, key::encode(table, row.iter().flatten()), Change::Merge(data))
            }
            Write::Delete { table, key } => (table, key::encode(table, &key), Change::Delete),
        };
        match changes.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert((table, change));
            }
            Entry::Occupied(mut entry) => entry.get_mut().1.then(change),
        }
    }
    changes
}

impl Change {
    fn then(&mut self, later: Self) {
        match (&mut *self, later) {
            (Self::Merge(cells) | Self::Replace(cells), Self::Merge(newer)) => merge(cells, newer),
            (Self::Delete, Self::Merge(cells)) => *self = Self::Replace(cells),
            (_, later) => *self = later,
        }
    }
}

/// Sets the cells that are `Some` in `newer`.
pub(super) fn merge(cells: &mut Row, newer: Row) {
    for (cell, newer) in cells.iter_mut().zip(newer) {
        if newer.is_some() {
            *cell = newer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key;
    use crate::schema::SlotRow;
    use crate::{TableRow, Value};
    use leadway_domain::{Timestamp, WorkspaceId};

    fn slot(name: &str, taken: Option<i64>) -> Write {
        let mut row = SlotRow::new(WorkspaceId::new(name).unwrap(), Timestamp::UNIX_EPOCH);
        row.taken = taken;
        row.upsert()
    }

    fn gone(name: &str) -> Write {
        SlotRow::delete(key![name.to_owned(), Timestamp::UNIX_EPOCH])
    }

    fn folded(writes: Vec<Write>) -> Vec<Change> {
        fold(writes).into_values().map(|(_, change)| change).collect()
    }

    #[test]
    fn changes_of_one_row_become_one_in_their_order() {
        let taken = |n| vec![Some(Value::Int(n))];
        let cases = [
            (vec![slot("a", Some(1)), slot("a", None), slot("a", Some(2))], Change::Merge(taken(2))),
            (vec![slot("a", Some(1)), slot("a", None)], Change::Merge(taken(1))),
            (vec![slot("a", Some(1)), gone("a")], Change::Delete),
            (vec![gone("a"), slot("a", None)], Change::Replace(vec![None])),
            (vec![gone("a"), slot("a", Some(1)), slot("a", None)], Change::Replace(taken(1))),
            (vec![slot("a", Some(1)), gone("a"), gone("a")], Change::Delete),
        ];
        for (writes, expected) in cases {
            assert_eq!(folded(writes.clone()), [expected], "{writes:?}");
        }
    }

    #[test]
    fn a_batch_is_put_in_the_order_of_its_keys() {
        let data = |n| Change::Merge(vec![Some(Value::Int(n))]);
        assert_eq!(
            folded(vec![slot("b", Some(2)), slot("ab", Some(1)), slot("a", Some(0))]),
            [data(0), data(1), data(2)]
        );
    }
}
