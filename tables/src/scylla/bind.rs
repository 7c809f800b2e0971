//! Values as CQL has them.

use scylla::cluster::metadata::ColumnType;
use scylla::errors::SerializationError;
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, WrittenCellProof};
use scylla::value::{CqlDate, CqlDecimal, CqlTimestamp, CqlValue, Unset};
use uuid::Uuid;

use crate::{Column, ColumnKind, Row, Value};

/// Decimals of money.
const SCALE: i32 = 2;
/// The number of 1970-01-01 among CQL's days.
const EPOCH: u32 = 1 << 31;

/// The type of a column.
pub(super) fn type_of(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Text => "text",
        ColumnKind::Int => "bigint",
        ColumnKind::Money => "decimal",
        ColumnKind::Bool => "boolean",
        ColumnKind::Date => "date",
        ColumnKind::Timestamp => "timestamp",
        ColumnKind::Uuid => "uuid",
    }
}

/// What a statement's marker is bound to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bind {
    /// Leaves the cell as it is.
    Unset,
    /// Empties the cell, which leaves a tombstone.
    Null,
    /// A cell's value.
    Value(Value),
    /// A `bigint`: a write's timestamp, an offset.
    Long(i64),
    /// An `int`.
    Int(i32),
    /// A `uuid`.
    Uuid(Uuid),
    /// A `blob`.
    Blob(Vec<u8>),
}

impl Bind {
    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Value(Value::Text(text)) => text.len() + 4,
            Self::Blob(bytes) => bytes.len() + 4,
            _ => 16,
        }
    }
}

impl SerializeValue for Bind {
    fn serialize<'b>(
        &self,
        typ: &ColumnType,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        match self {
            Self::Unset => Unset.serialize(typ, writer),
            Self::Null => None::<i64>.serialize(typ, writer),
            Self::Value(Value::Text(text)) => text.serialize(typ, writer),
            Self::Value(Value::Int(number)) | Self::Long(number) => number.serialize(typ, writer),
            Self::Value(Value::Money(cents)) => decimal(*cents).serialize(typ, writer),
            Self::Value(Value::Bool(value)) => value.serialize(typ, writer),
            Self::Value(Value::Date(day)) => CqlDate(day.cast_unsigned() ^ EPOCH).serialize(typ, writer),
            Self::Value(Value::Timestamp(millis)) => CqlTimestamp(*millis).serialize(typ, writer),
            Self::Value(Value::Uuid(id)) | Self::Uuid(id) => id.serialize(typ, writer),
            Self::Int(number) => number.serialize(typ, writer),
            Self::Blob(bytes) => bytes.serialize(typ, writer),
        }
    }
}

fn decimal(cents: i64) -> CqlDecimal {
    CqlDecimal::from_signed_be_bytes_slice_and_exponent(&cents.to_be_bytes(), SCALE)
}

/// The cents of a decimal; `None` when it is none of ours.
fn cents(decimal: &CqlDecimal) -> Option<i64> {
    let (bytes, scale) = decimal.as_signed_be_bytes_slice_and_exponent();
    let first = *bytes.first()?;
    let mut all = if first >= 0x80 { [0xFF; 8] } else { [0; 8] };
    let start = all.len().checked_sub(bytes.len())?;
    all.get_mut(start..)?.copy_from_slice(bytes);
    (scale == SCALE).then_some(i64::from_be_bytes(all))
}

/// A row of cells, of columns in this order; tells which cell is not of its column's kind.
pub(super) fn row(columns: &[Column], cells: Vec<Option<CqlValue>>) -> Result<Row, String> {
    if cells.len() != columns.len() {
        return Err(format!("{} cells instead of {}", cells.len(), columns.len()));
    }
    let read = |(column, cell): (&Column, Option<CqlValue>)| {
        cell.map(|cell| value(column.kind, cell).ok_or_else(|| format!("{}: is no {:?}", column.name, column.kind)))
            .transpose()
    };
    columns.iter().zip(cells).map(read).collect()
}

fn value(kind: ColumnKind, cell: CqlValue) -> Option<Value> {
    Some(match (kind, cell) {
        (ColumnKind::Text, CqlValue::Text(text)) => Value::Text(text),
        (ColumnKind::Int, CqlValue::BigInt(number)) => Value::Int(number),
        (ColumnKind::Money, CqlValue::Decimal(decimal)) => Value::Money(cents(&decimal)?),
        (ColumnKind::Bool, CqlValue::Boolean(value)) => Value::Bool(value),
        (ColumnKind::Date, CqlValue::Date(CqlDate(day))) => Value::Date((day ^ EPOCH).cast_signed()),
        (ColumnKind::Timestamp, CqlValue::Timestamp(CqlTimestamp(millis))) => Value::Timestamp(millis),
        (ColumnKind::Uuid, CqlValue::Uuid(id)) => Value::Uuid(id),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_decimals_of_two_places() {
        for amount in [0, 1, -1, 127, 128, -128, -129, 15_025, i64::MAX, i64::MIN] {
            assert_eq!(cents(&decimal(amount)), Some(amount));
        }
        // As the database may normalise it: no more bytes than needed.
        let short = |bytes: &[u8], scale| cents(&CqlDecimal::from_signed_be_bytes_slice_and_exponent(bytes, scale));
        assert_eq!(short(&[0xFF], 2), Some(-1));
        assert_eq!(short(&[0x3A, 0xB1], 2), Some(15_025));
        assert_eq!((short(&[1], 3), short(&[], 2), short(&[0; 9], 2)), (None, None, None));
    }
}
