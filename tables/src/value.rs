//! Columns and cells.

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
        self.as_ref().kind()
    }

    /// The same value, borrowed.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Text(text) => ValueRef::Text(text),
            Self::Int(number) => ValueRef::Int(*number),
            Self::Money(cents) => ValueRef::Money(*cents),
            Self::Date(day) => ValueRef::Date(*day),
            Self::Bool(value) => ValueRef::Bool(*value),
            Self::Timestamp(millis) => ValueRef::Timestamp(*millis),
            Self::Uuid(id) => ValueRef::Uuid(*id),
        }
    }
}

/// One cell's value, its text borrowed: what is encoded, so that no text is copied before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueRef<'a> {
    /// UTF-8 text.
    Text(&'a str),
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

impl ValueRef<'_> {
    /// What kind of column it belongs in.
    pub fn kind(self) -> ColumnKind {
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

    /// A value of its own.
    pub fn to_value(self) -> Value {
        match self {
            Self::Text(text) => Value::Text(text.to_owned()),
            Self::Int(number) => Value::Int(number),
            Self::Money(cents) => Value::Money(cents),
            Self::Date(day) => Value::Date(day),
            Self::Bool(value) => Value::Bool(value),
            Self::Timestamp(millis) => Value::Timestamp(millis),
            Self::Uuid(id) => Value::Uuid(id),
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
    /// Whether the first column of the clustering key is a lead's id.
    pub by_lead: bool,
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
