//! Several changes of one row become one, in the order of keys: a provider then touches each row once, and rows that
//! stand side by side one after the other.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::version::{encoded_version, merge_encoded, removes};
use crate::{Key, Row, Table, TablesError, Write, cells, key};

/// What a batch does to one row; `C` are its data cells.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change<C> {
    /// Sets cells of what is stored.
    Merge(C),
    /// Sets the row, whatever is stored. Not of a versioned row: there a [`Merge`](Self::Merge) of a higher version is
    /// this.
    Replace(C),
    /// Removes the row, if a version is given only one of at most this version.
    Delete(Option<i64>),
}

/// What a batch does to the row with this key.
#[derive(Debug)]
pub(crate) struct RowChange<'w> {
    pub(crate) table: &'static Table,
    pub(crate) key: &'w [u8],
    pub(crate) change: Change<Cow<'w, [u8]>>,
}

/// A change and what is told apart first: eight bytes of its key, behind what the keys of all its table's changes begin with.
struct Prefixed<'w> {
    prefix: u64,
    write: &'w Write,
}

impl Prefixed<'_> {
    /// Which of two changes of one table comes first.
    fn compare(&self, other: &Self) -> Ordering {
        self.prefix.cmp(&other.prefix).then_with(|| self.write.key_bytes().cmp(other.write.key_bytes()))
    }

    fn is_row_of(&self, other: &Self) -> bool {
        let (a, b) = (self.write, other.write);
        self.prefix == other.prefix && a.table() == b.table() && a.key_bytes() == b.key_bytes()
    }
}

/// Changes in the order of tables and keys, those of one row in their own.
pub(crate) struct Sorted<'w>(Vec<Prefixed<'w>>);

impl<'w> Sorted<'w> {
    /// Puts the changes in order.
    pub(crate) fn new(writes: &'w [Write]) -> Self {
        let mut sorted: Vec<_> = writes.iter().map(|write| Prefixed { prefix: 0, write }).collect();
        // Each table's changes come nearly in order, several times: both sorts find that.
        sorted.sort_by_key(|change| change.write.table().id);
        for of_table in sorted.chunk_by_mut(|a, b| a.write.table() == b.write.table()) {
            let shared = shared_length(of_table);
            for change in of_table.iter_mut() {
                change.prefix = prefix(change.write.key_bytes().get(shared..).unwrap_or_default());
            }
            of_table.sort_by(Prefixed::compare);
        }
        Self(sorted)
    }

    /// One change per row, where the changes fit their declarations.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Result<RowChange<'w>, TablesError>> {
        let rows = self.0.chunk_by(Prefixed::is_row_of);
        rows.filter_map(|row| {
            let (first, later) = row.split_first()?;
            let (table, mut change) = (first.write.table(), first.write.change().map(Cow::Borrowed));
            for Prefixed { write, .. } in later {
                change = match change.then(table, write.change()) {
                    Ok(change) => change,
                    Err(reason) => return Some(Err(TablesError::Mismatch { table: table.name, reason })),
                };
            }
            Some(Ok(RowChange { table, key: first.write.key_bytes(), change }))
        })
    }
}

/// With how many bytes all keys begin alike.
fn shared_length(changes: &[Prefixed<'_>]) -> usize {
    let Some((first, others)) = changes.split_first() else { return 0 };
    let first = first.write.key_bytes();
    others.iter().fold(first.len(), |shared, other| {
        let alike = first.iter().zip(other.write.key_bytes()).take_while(|(a, b)| a == b);
        shared.min(alike.count())
    })
}

/// The first eight bytes as a number that sorts as they do; behind shorter ones zeros are thought.
fn prefix(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    for (to, from) in eight.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_be_bytes(eight)
}

impl RowChange<'_> {
    /// The same in values.
    pub(crate) fn decode(&self) -> Result<(&'static Table, Key, Change<Row>), TablesError> {
        let table = self.table;
        let decoded = key::decode(table, self.key).and_then(|key| {
            let cells = |bytes: &Cow<'_, [u8]>| {
                let mut row = Row::with_capacity(table.data_columns().len());
                cells::decode(table.data_columns(), bytes, &mut row).map(|()| row)
            };
            let change = match &self.change {
                Change::Merge(bytes) => Change::Merge(cells(bytes)?),
                Change::Replace(bytes) => Change::Replace(cells(bytes)?),
                Change::Delete(version) => Change::Delete(*version),
            };
            Ok((table, key, change))
        });
        decoded.map_err(|reason| TablesError::Mismatch { table: table.name, reason })
    }
}

impl<C> Change<C> {
    fn map<D>(self, cells: impl FnOnce(C) -> D) -> Change<D> {
        match self {
            Self::Merge(of) => Change::Merge(cells(of)),
            Self::Replace(of) => Change::Replace(cells(of)),
            Self::Delete(version) => Change::Delete(version),
        }
    }
}

impl<'w> Change<Cow<'w, [u8]>> {
    /// This change and then the other.
    fn then(self, table: &Table, later: Change<&'w [u8]>) -> Result<Self, String> {
        let version = |cells: &[u8]| encoded_version(table, cells);
        let merged = |cells: Cow<'w, [u8]>, newer| merge_encoded(table, &cells, newer).map(Cow::Owned);
        Ok(match (self, later) {
            (Self::Merge(cells), Change::Merge(newer)) => Self::Merge(merged(cells, newer)?),
            (Self::Replace(cells), Change::Merge(newer)) => Self::Replace(merged(cells, newer)?),
            (Self::Delete(None), Change::Merge(cells)) => Self::Replace(Cow::Borrowed(cells)),
            (Self::Delete(Some(deleted)), Change::Merge(cells)) if version(cells)? > Some(deleted) => {
                Self::Merge(Cow::Borrowed(cells))
            }
            (Self::Delete(deleted), Change::Merge(_)) => Self::Delete(deleted),
            (Self::Merge(cells), Change::Delete(deleted)) if !removes(deleted, version(&cells)?) => Self::Merge(cells),
            (Self::Delete(earlier), Change::Delete(version)) => Self::Delete(earlier.max(version)),
            (_, later) => later.map(Cow::Borrowed),
        })
    }
}

#[cfg(test)]
mod tests {
    use leadway_domain::{LeadId, Timestamp, WorkspaceId};
    use proptest::collection::vec;
    use proptest::prelude::*;

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

    fn folded(writes: Vec<Write>) -> Vec<Change<Row>> {
        Sorted::new(&writes).rows().map(|row| row.unwrap().decode().unwrap().2).collect()
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
        let names = ["solar_west_coast", "solar_west", "solar_east", "b", "ab", "a"];
        let writes = names.iter().zip((0..6).rev()).map(|(name, n)| slot(name, Some(n)));
        assert_eq!(folded(writes.collect()), [0, 1, 2, 3, 4, 5].map(data));
    }

    proptest! {
        #[test]
        fn changes_are_sorted_as_their_whole_keys_are(
            // Few and short values: many keys are equal, or begin with each other.
            beginning in vec(any::<u8>(), 0..12),
            keys in vec((0usize..2, 0usize..3, vec(0u8..3, 0..6)), 0..40),
        ) {
            let tables = [SlotRow::TABLE, UnroutedRow::TABLE];
            let middles = [&[][..], &[1; 8], &[1; 9]];
            let write = |(n, (table, middle, end)): (usize, (usize, usize, Vec<u8>))| {
                Write::of_bytes(tables[table], [&beginning, middles[middle], &end].concat(), n)
            };
            let writes: Vec<Write> = keys.into_iter().enumerate().map(write).collect();
            let mut expected: Vec<&Write> = writes.iter().collect();
            expected.sort_by_key(|write| (write.table().id, write.key_bytes()));
            let sorted: Vec<&Write> = Sorted::new(&writes).0.iter().map(|change| change.write).collect();
            prop_assert_eq!(sorted, expected);
        }
    }
}
