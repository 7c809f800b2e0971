//! A change of one row, encoded once: where it is made.

use std::cell::{Cell, RefCell};

use bytes::{Bytes, BytesMut};

use crate::cell::CellRef;
use crate::fold::Change;
use crate::{Key, Row, Table, TablesError, Value, cells, key};

/// One change of one row: an upsert sets the columns that it has and leaves the others as they are, and makes the row if
/// it is not there; a delete removes the row, if it is there. What does not fit the table's declaration is refused when
/// it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    table: &'static Table,
    kind: Kind,
    /// The key, as `key.rs` has it, and the data cells of an upsert, as `cells.rs` has them.
    bytes: Bytes,
    key_length: usize,
    /// What does not fit.
    fault: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Upsert,
    Delete(Option<i64>),
}

impl Write {
    /// Sets the columns that are `Some`; those of the key all are.
    pub fn upsert(table: &'static Table, row: &Row) -> Self {
        let (key, data) = row.split_at_checked(table.key_columns()).unwrap_or_default();
        let mut bytes = key::encode(key.iter().flatten());
        let key_length = bytes.len();
        bytes.extend(cells::encode(data));
        Self {
            table,
            kind: Kind::Upsert,
            bytes: bytes.into(),
            key_length,
            fault: table.fault_of_row(row).map(String::into),
        }
    }

    /// Removes the row with this whole key. A version is given only of a table whose data columns are all versioned, and
    /// there always: a row of a higher version stays.
    pub fn delete(table: &'static Table, key: &[Value], version: Option<i64>) -> Self {
        let (bytes, fault) = (key::encode(key), table.fault_of_key(key).map(String::into));
        Self { table, kind: Kind::Delete(version), key_length: bytes.len(), bytes: bytes.into(), fault }
    }

    /// Of which table.
    pub fn table(&self) -> &'static Table {
        self.table
    }

    /// The row's key.
    pub fn key(&self) -> Result<Key, TablesError> {
        key::decode(self.table, self.key_bytes()).map_err(|reason| self.mismatch(reason))
    }

    /// The version with which it sets versioned columns or removes the row; `None` if it does neither.
    pub fn version(&self) -> Option<i64> {
        match self.kind {
            Kind::Upsert => crate::version::encoded_version(self.table, self.cell_bytes()).ok().flatten(),
            Kind::Delete(version) => version,
        }
    }

    /// Whether it removes the row.
    pub fn is_delete(&self) -> bool {
        matches!(self.kind, Kind::Delete(_))
    }

    pub(crate) fn key_bytes(&self) -> &[u8] {
        self.bytes.get(..self.key_length).unwrap_or_default()
    }

    pub(crate) fn cell_bytes(&self) -> &[u8] {
        self.bytes.get(self.key_length..).unwrap_or_default()
    }

    pub(crate) fn change(&self) -> Change<&[u8]> {
        match self.kind {
            Kind::Upsert => Change::Merge(self.cell_bytes()),
            Kind::Delete(version) => Change::Delete(version),
        }
    }

    /// Whether the change fits its table's declaration.
    pub(crate) fn check(&self) -> Result<(), TablesError> {
        if let Some(fault) = &self.fault {
            return Err(self.mismatch(fault.to_string()));
        }
        let checked = self.table.check_encoded_key(self.key_bytes()).and_then(|()| match self.kind {
            Kind::Upsert => self.table.check_version(self.cell_bytes()),
            Kind::Delete(version) => self.table.check_delete(version),
        });
        checked.map_err(|reason| self.mismatch(reason))
    }

    fn mismatch(&self, reason: String) -> TablesError {
        TablesError::Mismatch { table: self.table.name, reason }
    }

    /// With these bytes as its key, and a number to tell it from others.
    #[cfg(test)]
    pub(crate) fn of_bytes(table: &'static Table, key: Vec<u8>, number: usize) -> Self {
        let key_length = key.len();
        let bytes = [key, number.to_be_bytes().into()].concat().into();
        Self { table, kind: Kind::Upsert, bytes, key_length, fault: None }
    }
}

/// Upserts that are made one after the other share memory of this size: one allocation for some hundred of them.
const CHUNK: usize = 64 << 10;

thread_local! {
    /// Where an upsert is put together.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// What is left of the chunk that the last one went to.
    static LEFT: RefCell<BytesMut> = RefCell::default();
}

/// The same bytes in a chunk; large ones on their own.
fn in_chunk(bytes: &[u8]) -> Bytes {
    if bytes.len() > CHUNK / 4 {
        return Bytes::copy_from_slice(bytes);
    }
    LEFT.with_borrow_mut(|left| {
        if left.capacity() < bytes.len() {
            *left = BytesMut::with_capacity(CHUNK);
        }
        left.extend_from_slice(bytes);
        left.split().freeze()
    })
}

/// Makes an upsert, cell by cell: for [`table!`](crate::table), which gives them in the order of the columns, each of its
/// column's kind.
#[derive(Debug)]
pub struct Upsert {
    table: &'static Table,
    bytes: Vec<u8>,
    key_length: usize,
}

impl Upsert {
    /// Of a row of this table.
    pub fn of(table: &'static Table) -> Self {
        Self { table, bytes: SCRATCH.take(), key_length: 0 }
    }

    /// The next cell of the key.
    pub fn key(&mut self, cell: &impl CellRef) {
        cell.with(|value| key::put(&mut self.bytes, value));
    }

    /// The key is complete; which data cells follow.
    pub fn set(&mut self, set: &[bool]) {
        self.key_length = self.bytes.len();
        cells::put_header(&mut self.bytes, set.iter().copied());
    }

    /// The next data cell that is set.
    pub fn cell(&mut self, cell: Option<&impl CellRef>) {
        if let Some(cell) = cell {
            cell.with(|value| cells::put(&mut self.bytes, value));
        }
    }

    /// The change.
    pub fn done(self) -> Write {
        let Self { table, mut bytes, key_length } = self;
        let write = Write { table, kind: Kind::Upsert, bytes: in_chunk(&bytes), key_length, fault: None };
        bytes.clear();
        SCRATCH.set(bytes);
        write
    }
}

#[cfg(test)]
mod tests {
    use leadway_domain::LeadId;

    use crate::TableRow;
    use crate::schema::UnroutedRow;

    #[test]
    fn changes_that_share_memory_hold_what_was_written_to_each() {
        let lengths = [0, 1, 700, super::CHUNK / 5, super::CHUNK, super::CHUNK + 1, 3].into_iter().cycle();
        let rows: Vec<UnroutedRow> = (0..100)
            .zip(lengths)
            .map(|(n, length)| {
                let text = char::from(b'a' + n as u8 % 26).to_string().repeat(length);
                UnroutedRow { reason: Some(text), ..UnroutedRow::new(0, LeadId(n)) }
            })
            .collect();
        let changes: Vec<_> = rows.iter().map(UnroutedRow::upsert).collect();
        for (row, change) in rows.iter().zip(changes) {
            assert_eq!(change, super::Write::upsert(UnroutedRow::TABLE, &row.to_row()), "{}", row.lead_id);
        }
    }
}
