//! Several changes of one row become one, in the order of keys: a provider then touches each row once, and rows that
//! stand side by side one after the other.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::version::{merge, removes, version_of};
use crate::{Key, Row, Table, Write};

/// What a batch does to one row. Cells are those of the data columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// Sets cells of what is stored.
    Merge(Row),
    /// Sets the row, whatever is stored. Not of a versioned row: there a [`Merge`](Self::Merge) of a higher version is
    /// this.
    Replace(Row),
    /// Removes the row, if a version is given only one of at most this version.
    Delete(Option<i64>),
}

/// The changes of a batch by key.
pub(crate) type Changes<K> = BTreeMap<K, (&'static Table, Change)>;

/// Folds changes that are to be applied in order. They fit their declarations. `key` makes the map's keys, which differ
/// for different rows.
pub(crate) fn fold<K: Ord>(writes: Vec<Write>, key: impl Fn(&'static Table, Key) -> K) -> Changes<K> {
    let mut changes = Changes::new();
    for write in writes {
        let (table, values, change) = match write {
            Write::Upsert { table, mut row } => {
                let data = row.split_off(table.key_columns().min(row.len()));
                (table, row.into_iter().flatten().collect(), Change::Merge(data))
            }
            Write::Delete { table, key, version } => (table, key, Change::Delete(version)),
        };
        match changes.entry(key(table, values)) {
            Entry::Vacant(entry) => {
                entry.insert((table, change));
            }
            Entry::Occupied(mut entry) => entry.get_mut().1.then(table, change),
        }
    }
    changes
}

impl Change {
    fn then(&mut self, table: &Table, later: Self) {
        match (&mut *self, later) {
            (Self::Merge(cells) | Self::Replace(cells), Self::Merge(newer)) => merge(table, cells, newer),
            (Self::Delete(None), Self::Merge(cells)) => *self = Self::Replace(cells),
            (Self::Delete(Some(deleted)), Self::Merge(cells)) if version_of(table, &cells) > Some(*deleted) => {
                *self = Self::Merge(cells);
            }
            (Self::Delete(Some(_)), Self::Merge(_)) => {}
            (Self::Merge(cells), Self::Delete(version)) if !removes(table, version, cells) => {}
            (Self::Delete(earlier), Self::Delete(version)) => *earlier = (*earlier).max(version),
            (_, later) => *self = later,
        }
    }
}

#[cfg(test)]
mod tests {
    use leadway_domain::{LeadId, Timestamp, WorkspaceId};

    use super::*;
    use crate::key;
    use crate::schema::{SlotRow, UnroutedRow};
    use crate::{TableRow, Value};

    fn slot(name: &str, taken: Option<i64>) -> Write {
        let mut row = SlotRow::new(WorkspaceId::new(name).unwrap(), Timestamp::UNIX_EPOCH);
        row.taken = taken;
        row.upsert()
    }

    fn gone(name: &str) -> Write {
        SlotRow::delete(key![name.to_owned(), Timestamp::UNIX_EPOCH])
    }

    fn folded(writes: Vec<Write>) -> Vec<Change> {
        fold(writes, |table, key| (table.id, key)).into_values().map(|(_, change)| change).collect()
    }

    #[test]
    fn changes_of_one_row_become_one_in_their_order() {
        let taken = |n| vec![Some(Value::Int(n))];
        let cases = [
            (vec![slot("a", Some(1)), slot("a", None), slot("a", Some(2))], Change::Merge(taken(2))),
            (vec![slot("a", Some(1)), slot("a", None)], Change::Merge(taken(1))),
            (vec![slot("a", Some(1)), gone("a")], Change::Delete(None)),
            (vec![gone("a"), slot("a", None)], Change::Replace(vec![None])),
            (vec![gone("a"), slot("a", Some(1)), slot("a", None)], Change::Replace(taken(1))),
            (vec![slot("a", Some(1)), gone("a"), gone("a")], Change::Delete(None)),
        ];
        for (writes, expected) in cases {
            assert_eq!(folded(writes.clone()), [expected], "{writes:?}");
        }
    }

    #[test]
    fn of_versioned_changes_the_highest_version_is_left_in_any_order() {
        let put = |version| {
            let mut row = UnroutedRow::new(0, LeadId(1));
            (row.decision, row.code) = (Some(version), (version % 2 == 0).then(|| format!("{version}")));
            row.upsert()
        };
        let delete = |version| UnroutedRow::delete_version(key![0i64, LeadId(1)], version);
        let cases = [
            (vec![put(1), put(3)], put(3)),
            (vec![put(2), put(3)], put(3)),
            (vec![put(1), delete(2)], delete(2)),
            (vec![put(1), delete(2), put(3)], put(3)),
            (vec![delete(2), delete(4), put(3)], delete(4)),
        ];
        for (writes, last) in cases {
            let reversed = writes.iter().rev().cloned().collect();
            assert_eq!(folded(writes.clone()), folded(vec![last.clone()]), "{writes:?}");
            assert_eq!(folded(reversed), folded(vec![last]), "the other way round: {writes:?}");
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
