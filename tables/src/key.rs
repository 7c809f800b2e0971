//! Keys as bytes that sort as their values do: each key column in turn.
//!
//! A number takes as many bytes as it needs: first comes how many, so that larger numbers sort later, then the number,
//! big-endian. UUIDs and booleans are their bytes. Text ends with `00 01` and a zero byte in it becomes `00 FF`: so a text
//! sorts before every longer one that begins with it, and no key of one partition begins with another partition's key.

use uuid::Uuid;

use crate::reader::Reader;
use crate::{ColumnKind, Table, Value, ValueRef};

const ZERO: u8 = 0x00;
const END: u8 = 0x01;
const ESCAPED: u8 = 0xFF;
/// What the number 0 begins with; others begin with how many bytes follow above it, negative ones below it.
const NOTHING: u8 = 0x80;

/// The bytes of a text of no characters.
pub(crate) const EMPTY_TEXT: &[u8] = &[ZERO, END];

/// The bytes of a key, or of the first values of one.
pub(crate) fn encode<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    values.into_iter().for_each(|value| put(&mut bytes, value.as_ref()));
    bytes
}

/// Appends one value of a key.
pub(crate) fn put(bytes: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Text(text) => put_text(bytes, text),
        ValueRef::Int(number) | ValueRef::Money(number) | ValueRef::Timestamp(number) => put_number(bytes, number),
        ValueRef::Date(number) => put_number(bytes, i64::from(number)),
        ValueRef::Bool(value) => bytes.push(u8::from(value)),
        ValueRef::Uuid(id) => bytes.extend(id.as_bytes()),
    }
}

/// The values of a whole key; tells what is wrong with bytes that are none.
pub(crate) fn decode(table: &Table, bytes: &[u8]) -> Result<Vec<Value>, String> {
    let mut reader = Reader::new(bytes);
    let mut values = Vec::with_capacity(table.columns.len());
    for column in table.columns.iter().take(table.key_columns()) {
        values.push(take(&mut reader, column.kind)?);
    }
    match reader.is_empty() {
        true => Ok(values),
        false => Err("the key is too long".into()),
    }
}

/// The first `columns` values of a key and the others, still encoded.
pub(crate) fn split<'k>(table: &Table, bytes: &'k [u8], columns: usize) -> Result<(&'k [u8], &'k [u8]), String> {
    let mut reader = Reader::new(bytes);
    let first = reader.taken(|reader| table.columns.iter().take(columns).try_for_each(|c| skip(reader, c.kind)))?;
    Ok((first, bytes.get(first.len()..).unwrap_or_default()))
}

/// The number that these values begin with.
pub(crate) fn first_number(bytes: &[u8]) -> Result<i64, String> {
    take_number(&mut Reader::new(bytes))
}

fn skip(reader: &mut Reader<'_>, kind: ColumnKind) -> Result<(), String> {
    match kind {
        ColumnKind::Text => skip_text(reader),
        ColumnKind::Int | ColumnKind::Money | ColumnKind::Timestamp | ColumnKind::Date => take_number(reader).map(drop),
        ColumnKind::Bool => reader.byte().map(drop),
        ColumnKind::Uuid => reader.take(16).map(drop),
    }
}

fn skip_text(reader: &mut Reader<'_>) -> Result<(), String> {
    loop {
        if reader.byte()? == ZERO && reader.byte()? == END {
            return Ok(());
        }
    }
}

fn take(reader: &mut Reader<'_>, kind: ColumnKind) -> Result<Value, String> {
    Ok(match kind {
        ColumnKind::Text => Value::Text(take_text(reader)?),
        ColumnKind::Int => Value::Int(take_number(reader)?),
        ColumnKind::Money => Value::Money(take_number(reader)?),
        ColumnKind::Date => {
            Value::Date(i32::try_from(take_number(reader)?).map_err(|_| "a day is too far away".to_owned())?)
        }
        ColumnKind::Timestamp => Value::Timestamp(take_number(reader)?),
        ColumnKind::Bool => Value::Bool(reader.bool()?),
        ColumnKind::Uuid => Value::Uuid(Uuid::from_bytes(reader.array()?)),
    })
}

/// The least bytes that sort after everything that begins with `prefix`; `None` if there are none.
pub(crate) fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = prefix.to_vec();
    while let Some(last) = bytes.pop() {
        if let Some(next) = last.checked_add(1) {
            bytes.push(next);
            return Some(bytes);
        }
    }
    None
}

/// A negative number is its complement with all bits turned: then larger ones sort later.
fn put_number(bytes: &mut Vec<u8>, number: i64) {
    let turned = if number < 0 { u64::MAX } else { 0 };
    let size = number.cast_unsigned() ^ turned;
    let length = 8 - size.leading_zeros() / 8;
    let first = if number < 0 { NOTHING - 1 - length as u8 } else { NOTHING + length as u8 };
    bytes.push(first);
    let big_endian = number.to_be_bytes();
    bytes.extend(big_endian.iter().skip(8 - length as usize));
}

fn take_number(reader: &mut Reader<'_>) -> Result<i64, String> {
    let first = reader.byte()?;
    let (length, turned) = match first.checked_sub(NOTHING) {
        Some(length) => (length, 0),
        None => (NOTHING - 1 - first, u64::MAX),
    };
    if length > 8 {
        return Err(format!("no number has {length} bytes"));
    }
    let bytes = reader.take(length.into())?;
    let number = bytes.iter().fold(turned, |number, byte| number << 8 | u64::from(*byte));
    let shortest = 8 - (number ^ turned).leading_zeros() / 8 == u32::from(length);
    // The first bit tells the sign already: a number in which both disagree is none of ours.
    match shortest && (number >> 63 == turned >> 63) {
        true => Ok(number.cast_signed()),
        false => Err("a number is not written as ours are".into()),
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    let mut parts = text.as_bytes().split(|byte| *byte == ZERO);
    bytes.extend(parts.next().unwrap_or_default());
    for part in parts {
        bytes.extend([ZERO, ESCAPED]);
        bytes.extend(part);
    }
    bytes.extend([ZERO, END]);
}

fn take_text(reader: &mut Reader<'_>) -> Result<String, String> {
    let mut text = Vec::new();
    loop {
        match reader.byte()? {
            ZERO => match reader.byte()? {
                END => return String::from_utf8(text).map_err(|e| e.to_string()),
                ESCAPED => text.push(ZERO),
                other => return Err(format!("{other} after a zero byte")),
            },
            byte => text.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::samples::{ALL_KINDS, value_of};

    fn key() -> impl Strategy<Value = Vec<Value>> {
        ALL_KINDS.columns.iter().take(ALL_KINDS.key_columns()).map(|c| value_of(c.kind)).collect::<Vec<_>>()
    }

    #[test]
    fn keys_that_share_a_beginning_sort_by_what_follows() {
        let text = |s: &str| encode([&Value::Text(s.into())]);
        let int = |n: i64| encode([&Value::Int(n)]);
        let texts = ["", "\0", "\0a", "\u{1}", "a", "a\0", "a\u{1}", "aa", "ab", "b", "é", "\u{10FFFF}"].map(text);
        assert!(texts.is_sorted_by(|a, b| a < b), "{texts:?}");
        let ints =
            [i64::MIN, -65_537, -65_536, -257, -256, -255, -1, 0, 1, 255, 256, 65_535, 65_536, i64::MAX].map(int);
        assert!(ints.is_sorted_by(|a, b| a < b), "{ints:?}");
        assert!(!text("ab").starts_with(&text("a")), "partition \"a\" would hold partition \"ab\"");
    }

    #[test]
    fn what_sorts_after_a_prefix_is_the_least_such_key() {
        assert_eq!(after(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(after(&[1, 0xFF, 0xFF]), Some(vec![2]));
        assert_eq!(after(&[0xFF]), None);
    }

    proptest! {
        #[test]
        fn encoded_keys_sort_as_their_values(a in key(), b in key(), shared in 0usize..5) {
            let b: Vec<Value> = a.iter().take(shared).chain(b.iter().skip(shared)).cloned().collect();
            prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.cmp(&b));
        }

        #[test]
        fn a_key_decodes_to_its_values(values in key()) {
            let bytes = encode(&values);
            prop_assert_eq!(decode(ALL_KINDS, &bytes), Ok(values));
        }

        #[test]
        fn a_key_splits_between_its_values(values in key(), columns in 0usize..8) {
            let bytes = encode(&values);
            let (first, others) = values.split_at(columns.min(values.len()));
            prop_assert_eq!(split(ALL_KINDS, &bytes, columns), Ok((&*encode(first), &*encode(others))));
        }

        #[test]
        fn bytes_that_are_no_key_are_refused_or_are_the_key_they_decode_to(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            if let Ok(values) = decode(ALL_KINDS, &bytes) {
                prop_assert_eq!(encode(&values), bytes);
            }
        }
    }
}
