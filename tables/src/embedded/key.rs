//! Keys as bytes that sort as their values do: the table's id, then each key column in turn.
//!
//! Numbers, days and moments are big-endian with the sign flipped, UUIDs and booleans their bytes. Text ends with
//! `00 01` and a zero byte in it becomes `00 FF`: so a text sorts before every longer one that begins with it, and no
//! key of one partition begins with another partition's key.

use uuid::Uuid;

use crate::reader::Reader;
use crate::{ColumnKind, Table, Value};

const ZERO: u8 = 0x00;
const END: u8 = 0x01;
const ESCAPED: u8 = 0xFF;

/// The bytes of a key, or of the first values of one.
pub(super) fn encode<'a>(table: &Table, values: impl IntoIterator<Item = &'a Value>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.push(table.id);
    for value in values {
        match value {
            Value::Text(text) => put_text(&mut bytes, text),
            Value::Int(number) | Value::Money(number) | Value::Timestamp(number) => {
                bytes.extend(flip(number.cast_unsigned()).to_be_bytes());
            }
            Value::Date(number) => bytes.extend((number.cast_unsigned() ^ (1 << 31)).to_be_bytes()),
            Value::Bool(value) => bytes.push(u8::from(*value)),
            Value::Uuid(id) => bytes.extend(id.as_bytes()),
        }
    }
    bytes
}

/// The values of a whole key; tells what is wrong with bytes that are none.
pub(super) fn decode(table: &Table, bytes: &[u8]) -> Result<Vec<Value>, String> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != table.id {
        return Err("the key is another table's".into());
    }
    let mut values = Vec::with_capacity(table.columns.len());
    for column in table.columns.iter().take(table.key_columns()) {
        values.push(match column.kind {
            ColumnKind::Text => Value::Text(take_text(&mut reader)?),
            ColumnKind::Int => Value::Int(take_number(&mut reader)?),
            ColumnKind::Money => Value::Money(take_number(&mut reader)?),
            ColumnKind::Date => Value::Date((u32::from_be_bytes(reader.array()?) ^ (1 << 31)).cast_signed()),
            ColumnKind::Timestamp => Value::Timestamp(take_number(&mut reader)?),
            ColumnKind::Bool => Value::Bool(reader.bool()?),
            ColumnKind::Uuid => Value::Uuid(Uuid::from_bytes(reader.array()?)),
        });
    }
    match reader.is_empty() {
        true => Ok(values),
        false => Err("the key is too long".into()),
    }
}

/// The least bytes that sort after everything that begins with `prefix`; `None` if there are none.
pub(super) fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = prefix.to_vec();
    while let Some(last) = bytes.pop() {
        if let Some(next) = last.checked_add(1) {
            bytes.push(next);
            return Some(bytes);
        }
    }
    None
}

/// Turns the order of two's complement into the order of unsigned numbers, and back.
fn flip(number: u64) -> u64 {
    number ^ (1 << 63)
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        bytes.push(byte);
        if byte == ZERO {
            bytes.push(ESCAPED);
        }
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

fn take_number(reader: &mut Reader<'_>) -> Result<i64, String> {
    Ok(flip(u64::from_be_bytes(reader.array()?)).cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check::encoded_len;
    use crate::samples::{ALL_KINDS, value_of};

    fn key() -> impl Strategy<Value = Vec<Value>> {
        ALL_KINDS.columns.iter().take(ALL_KINDS.key_columns()).map(|c| value_of(c.kind)).collect::<Vec<_>>()
    }

    #[test]
    fn keys_that_share_a_beginning_sort_by_what_follows() {
        let text = |s: &str| encode(ALL_KINDS, [&Value::Text(s.into())]);
        let int = |n: i64| encode(ALL_KINDS, [&Value::Int(n)]);
        let texts = ["", "\0", "\0a", "\u{1}", "a", "a\0", "a\u{1}", "aa", "ab", "b", "é", "\u{10FFFF}"].map(text);
        assert!(texts.is_sorted_by(|a, b| a < b), "{texts:?}");
        let ints = [i64::MIN, -256, -1, 0, 1, 255, 256, i64::MAX].map(int);
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
            prop_assert_eq!(encode(ALL_KINDS, &a).cmp(&encode(ALL_KINDS, &b)), a.cmp(&b));
        }

        #[test]
        fn a_key_decodes_to_its_values_and_has_the_length_foretold(values in key()) {
            let bytes = encode(ALL_KINDS, &values);
            prop_assert_eq!(bytes.len(), encoded_len(values.iter()));
            prop_assert_eq!(decode(ALL_KINDS, &bytes), Ok(values));
        }

        #[test]
        fn bytes_that_are_no_key_are_refused_or_are_the_key_they_decode_to(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let bytes = [vec![ALL_KINDS.id], bytes].concat();
            if let Ok(values) = decode(ALL_KINDS, &bytes) {
                prop_assert_eq!(encode(ALL_KINDS, &values), bytes);
            }
        }
    }
}
