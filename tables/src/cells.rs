//! A row's data cells as bytes: how many columns, a bit for each that is set, then the set ones in turn.
//!
//! Columns after the last one that is set are not counted, so equal rows have equal bytes whatever happened to them,
//! and a row that was stored before columns were added at the end reads as one in which they are null.

use uuid::Uuid;

use crate::reader::Reader;
use crate::{Column, ColumnKind, Row, Value, ValueRef};

/// The bytes of these cells.
pub(crate) fn encode(cells: &[Option<Value>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    put_header(&mut bytes, cells.iter().map(Option::is_some));
    cells.iter().flatten().for_each(|value| put(&mut bytes, value.as_ref()));
    bytes
}

/// Appends what cells begin with: which of them are set.
pub(crate) fn put_header(bytes: &mut Vec<u8>, set: impl DoubleEndedIterator<Item = bool> + ExactSizeIterator + Clone) {
    let counted = set.clone().rposition(|is_set| is_set).map_or(0, |last| last + 1);
    put_varint(bytes, counted as u64);
    let first = bytes.len();
    bytes.resize(first + counted.div_ceil(8), 0);
    let bits = bytes.get_mut(first..).unwrap_or_default();
    for (index, is_set) in set.take(counted).enumerate() {
        if let Some(eight) = bits.get_mut(index / 8) {
            *eight |= u8::from(is_set) << (index % 8);
        }
    }
}

/// Appends a cell that is set.
pub(crate) fn put(bytes: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Text(text) => {
            put_varint(bytes, text.len() as u64);
            bytes.extend(text.as_bytes());
        }
        ValueRef::Int(number) | ValueRef::Money(number) | ValueRef::Timestamp(number) => {
            put_varint(bytes, zigzag(number));
        }
        ValueRef::Date(number) => put_varint(bytes, zigzag(i64::from(number))),
        ValueRef::Bool(value) => bytes.push(u8::from(value)),
        ValueRef::Uuid(id) => bytes.extend(id.as_bytes()),
    }
}

/// The cells one by one, each as its bytes; `None` where none is set.
pub(crate) struct Walk<'a> {
    columns: std::iter::Enumerate<std::slice::Iter<'a, Column>>,
    set: &'a [u8],
    reader: Reader<'a>,
}

impl<'a> Walk<'a> {
    /// Through the cells of these columns.
    pub(crate) fn new(columns: &'a [Column], bytes: &'a [u8]) -> Result<Self, String> {
        let mut reader = Reader::new(bytes);
        let counted = reader.length()?;
        let set = reader.take(counted.div_ceil(8))?;
        Ok(Self { columns: columns.iter().enumerate(), set, reader })
    }

    /// The next column's cell; `None` after the last column.
    pub(crate) fn next_cell(&mut self) -> Result<Option<Option<&'a [u8]>>, String> {
        let Some((index, column)) = self.columns.next() else { return Ok(None) };
        let is_set = self.set.get(index / 8).is_some_and(|bits| bits >> (index % 8) & 1 == 1);
        match is_set {
            true => take_bytes(&mut self.reader, column.kind).map(|bytes| Some(Some(bytes))),
            false => Ok(Some(None)),
        }
    }
}

/// The number of the first column, an integer's; `None` where it is not set.
pub(crate) fn first_number(columns: &[Column], bytes: &[u8]) -> Result<Option<i64>, String> {
    match Walk::new(columns, bytes)?.next_cell()?.flatten() {
        Some(cell) => Ok(Some(unzigzag(Reader::new(cell).varint()?))),
        None => Ok(None),
    }
}

fn take_bytes<'a>(reader: &mut Reader<'a>, kind: ColumnKind) -> Result<&'a [u8], String> {
    match kind {
        ColumnKind::Text => reader.taken(|reader| {
            let length = reader.length()?;
            reader.take(length).map(drop)
        }),
        ColumnKind::Int | ColumnKind::Money | ColumnKind::Timestamp | ColumnKind::Date => {
            reader.taken(|reader| reader.varint().map(drop))
        }
        ColumnKind::Bool => reader.take(1),
        ColumnKind::Uuid => reader.take(16),
    }
}

/// Appends a cell per column to `row`; tells what is wrong with bytes that are none. Cells of columns that are not
/// declared are passed over.
pub(crate) fn decode(columns: &[Column], bytes: &[u8], row: &mut Row) -> Result<(), String> {
    let mut reader = Reader::new(bytes);
    let counted = reader.length()?;
    let set = reader.take(counted.div_ceil(8))?;
    for (index, column) in columns.iter().enumerate() {
        let is_set = set.get(index / 8).is_some_and(|bits| bits >> (index % 8) & 1 == 1);
        row.push(match is_set {
            true => Some(take_value(&mut reader, column.kind).map_err(|e| format!("{}: {e}", column.name))?),
            false => None,
        });
    }
    match counted <= columns.len() && !reader.is_empty() {
        true => Err("it goes on after the last cell".into()),
        false => Ok(()),
    }
}

fn take_value(reader: &mut Reader<'_>, kind: ColumnKind) -> Result<Value, String> {
    Ok(match kind {
        ColumnKind::Text => {
            let length = reader.length()?;
            let text = std::str::from_utf8(reader.take(length)?).map_err(|e| e.to_string())?;
            Value::Text(text.to_owned())
        }
        ColumnKind::Int => Value::Int(unzigzag(reader.varint()?)),
        ColumnKind::Money => Value::Money(unzigzag(reader.varint()?)),
        ColumnKind::Date => {
            Value::Date(i32::try_from(unzigzag(reader.varint()?)).map_err(|_| "a day is too far away".to_owned())?)
        }
        ColumnKind::Timestamp => Value::Timestamp(unzigzag(reader.varint()?)),
        ColumnKind::Bool => Value::Bool(reader.bool()?),
        ColumnKind::Uuid => Value::Uuid(Uuid::from_bytes(reader.array()?)),
    })
}

/// Appends an unsigned LEB128 number.
pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Small numbers of either sign become small numbers.
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::samples::{ALL_KINDS, value_of};

    fn columns() -> &'static [Column] {
        &ALL_KINDS.columns[ALL_KINDS.key_columns()..]
    }

    fn row() -> impl Strategy<Value = Row> {
        columns().iter().map(|c| proptest::option::of(value_of(c.kind))).collect::<Vec<_>>()
    }

    fn decoded(columns: &[Column], bytes: &[u8]) -> Result<Row, String> {
        let mut row = Row::new();
        decode(columns, bytes, &mut row).map(|()| row)
    }

    #[test]
    fn equal_rows_have_equal_bytes_however_many_columns_are_null() {
        assert_eq!(encode(&vec![None; 40]), [0]);
        let one = Some(Value::Bool(true));
        assert_eq!(encode(&[one.clone(), None, None]), encode(&[one]));
    }

    #[test]
    fn a_cell_that_is_cut_off_or_followed_by_more_is_refused() {
        let bytes = encode(&[Some(Value::Text("abc".into()))]);
        assert!(decoded(columns(), &bytes).is_ok());
        assert!(decoded(columns(), &bytes[..bytes.len() - 1]).is_err());
        assert!(decoded(columns(), &[bytes, vec![0]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn cells_decode_to_what_was_encoded(row in row()) {
            prop_assert_eq!(decoded(columns(), &encode(&row)), Ok(row));
        }

        #[test]
        fn rows_outlive_columns_added_at_the_end(row in row(), before in 0usize..6) {
            let old = encode(&row[..before]);
            let mut expected = row[..before].to_vec();
            expected.resize(columns().len(), None);
            prop_assert_eq!(decoded(columns(), &old), Ok(expected));
            prop_assert_eq!(decoded(&columns()[..before], &encode(&row)), Ok(row[..before].to_vec()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(row) = decoded(columns(), &bytes) {
                prop_assert_eq!(decoded(columns(), &encode(&row)), Ok(row));
            }
        }
    }
}
