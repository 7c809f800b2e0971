//! Columns and cells.

use std::borrow::Cow;
use std::sync::Arc;

use leadway_domain::{
    ContactId, LeadId, Money, Offset, Partition, Phone, ProviderId, RuleId, Timestamp, WorkspaceId, Zip,
};
use uuid::Uuid;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// UTF-8 text; in CQL `text`.
    Text,
    /// A 64-bit integer; in CQL `bigint`.
    Int,
    /// An amount with two decimals; in CQL `decimal`.
    Money,
    /// In CQL `boolean`.
    Bool,
    /// A UTC day; in CQL `date`.
    Date,
    /// A moment to the millisecond; in CQL `timestamp`. What is finer is cut off.
    Timestamp,
    /// In CQL `uuid`.
    Uuid,
}

/// One cell's value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// UTF-8 text.
    Text(String),
    /// A 64-bit integer.
    Int(i64),
    /// An amount in cents.
    Money(i64),
    /// True or false.
    Bool(bool),
    /// Days since 1970-01-01.
    Date(i32),
    /// Milliseconds since 1970.
    Timestamp(i64),
    /// A UUID.
    Uuid(Uuid),
}

impl Value {
    /// What kind of column it belongs in.
    pub fn kind(&self) -> ColumnKind {
        match self {
            Self::Text(_) => ColumnKind::Text,
            Self::Int(_) => ColumnKind::Int,
            Self::Money(_) => ColumnKind::Money,
            Self::Date(_) => ColumnKind::Date,
            Self::Bool(_) => ColumnKind::Bool,
            Self::Timestamp(_) => ColumnKind::Timestamp,
            Self::Uuid(_) => ColumnKind::Uuid,
        }
    }
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name, `snake_case`.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
}

/// A table's declaration. The first `partition_key` columns are the partition key, the next `clustering_key` the
/// clustering key, the others data.
#[derive(Debug)]
pub struct Table {
    /// Its number, never reused: the prefix of its keys in the embedded store.
    pub id: u8,
    /// Its name, `snake_case`.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [Column],
    /// How many columns make the partition key.
    pub partition_key: usize,
    /// How many columns after those make the clustering key.
    pub clustering_key: usize,
    /// How many columns after those are versioned: by the first of them, an integer from 1. 0 when none are.
    pub versioned: usize,
}

impl Table {
    /// How many columns make the whole key.
    pub fn key_columns(&self) -> usize {
        self.partition_key + self.clustering_key
    }

    /// The columns after those of the key.
    pub fn data_columns(&self) -> &'static [Column] {
        self.columns.get(self.key_columns()..).unwrap_or_default()
    }

    /// The columns that are versioned.
    pub fn versioned_columns(&self) -> &'static [Column] {
        self.data_columns().get(..self.versioned).unwrap_or_default()
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Table {}

/// A Rust type that a column can hold.
pub trait Cell: Sized {
    /// The column's kind.
    const KIND: ColumnKind;
    /// As a cell.
    fn to_value(&self) -> Value;
    /// From a cell; tells what is wrong with it.
    fn from_value(value: &Value) -> Result<Self, String>;
}

fn mismatch<T>(expected: &str, value: &Value) -> Result<T, String> {
    Err(format!("expected {expected}, found {:?}", value.kind()))
}

impl Cell for String {
    const KIND: ColumnKind = ColumnKind::Text;
    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(s) => Ok(s.clone()),
            other => mismatch("text", other),
        }
    }
}

impl Cell for Arc<str> {
    const KIND: ColumnKind = ColumnKind::Text;
    fn to_value(&self) -> Value {
        Value::Text(self.to_string())
    }
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Text(s) => Ok(s.as_str().into()),
            other => mismatch("text", other),
        }
    }
}

impl Cell for i64 {
    const KIND: ColumnKind = ColumnKind::Int;
    fn to_value(&self) -> Value {
        Value::Int(*self)
    }
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Int(n) => Ok(*n),
            other => mismatch("an integer", other),
        }
    }
}

impl Cell for bool {
    const KIND: ColumnKind = ColumnKind::Bool;
    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Bool(b) => Ok(*b),
            other => mismatch("a boolean", other),
        }
    }
}

impl Cell for Timestamp {
    const KIND: ColumnKind = ColumnKind::Timestamp;
    /// Cut to the millisecond, towards the past.
    fn to_value(&self) -> Value {
        Value::Timestamp(self.as_microsecond().div_euclid(1_000))
    }
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Timestamp(millis) => Timestamp::from_millisecond(*millis).map_err(|e| e.to_string()),
            other => mismatch("a timestamp", other),
        }
    }
}

impl Cell for Money {
    const KIND: ColumnKind = ColumnKind::Money;
    fn to_value(&self) -> Value {
        Value::Money(self.cents())
    }
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Money(cents) => Ok(Self::from_cents(*cents)),
            other => mismatch("an amount", other),
        }
    }
}

impl Cell for Uuid {
    const KIND: ColumnKind = ColumnKind::Uuid;
    fn to_value(&self) -> Value {
        Value::Uuid(*self)
    }
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::Uuid(u) => Ok(*u),
            other => mismatch("a UUID", other),
        }
    }
}

/// Implements [`Cell`] for a type by way of another.
macro_rules! cell_by {
    ($type:ty, $inner:ty, |$it:ident| $to:expr, |$from:ident| $back:expr) => {
        impl Cell for $type {
            const KIND: ColumnKind = <$inner as Cell>::KIND;
            fn to_value(&self) -> Value {
                let $it = self;
                <$inner as Cell>::to_value(&$to)
            }
            fn from_value(value: &Value) -> Result<Self, String> {
                let $from = <$inner as Cell>::from_value(value)?;
                $back
            }
        }
    };
}

cell_by!(LeadId, i64, |id| id.0 as i64, |n| u64::try_from(n).map(LeadId).map_err(|e| e.to_string()));
cell_by!(Offset, i64, |o| o.0 as i64, |n| u64::try_from(n).map(Offset).map_err(|e| e.to_string()));
cell_by!(Partition, i64, |p| i64::from(p.0), |n| u32::try_from(n).map(Partition).map_err(|e| e.to_string()));
cell_by!(ContactId, Uuid, |id| id.0, |u| Ok(ContactId(u)));
cell_by!(RuleId, Uuid, |id| id.0, |u| Ok(RuleId(u)));
cell_by!(ProviderId, String, |id| id.to_string(), |s| ProviderId::new(&s).map_err(|e| e.to_string()));
cell_by!(WorkspaceId, String, |id| id.to_string(), |s| WorkspaceId::new(&s).map_err(|e| e.to_string()));
cell_by!(Phone, String, |p| p.e164(), |s| Phone::parse(&s).map_err(|e| e.to_string()));
cell_by!(Zip, String, |z| z.to_string(), |s| Zip::parse(&s).map_err(|e| e.to_string()));
cell_by!(Cow<'static, str>, String, |s| s.to_string(), |s| Ok(Cow::Owned(s)));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_cut_to_the_millisecond_towards_the_past() {
        let kept = |micros| {
            let cell = Timestamp::from_microsecond(micros).unwrap().to_value();
            Timestamp::from_value(&cell).unwrap().as_microsecond()
        };
        assert_eq!([0, 999, 1_000, 1_999, -1, -1_000, -1_001].map(kept), [0, 0, 1_000, 1_000, -1_000, -1_000, -2_000]);
    }
}
