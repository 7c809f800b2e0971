//! A table with every kind of column, and values for it, for the tests of what encodes them.

use proptest::prelude::*;
use uuid::Uuid;

use crate::{Column, ColumnKind, Table, Value};

const fn column(name: &'static str, kind: ColumnKind) -> Column {
    Column { name, kind }
}

/// Every kind in its key, and again in its data.
pub(crate) const ALL_KINDS: &Table = &Table {
    id: 7,
    name: "all_kinds",
    columns: &[
        column("key_text", ColumnKind::Text),
        column("key_int", ColumnKind::Int),
        column("key_bool", ColumnKind::Bool),
        column("key_time", ColumnKind::Timestamp),
        column("key_uuid", ColumnKind::Uuid),
        column("key_money", ColumnKind::Money),
        column("key_date", ColumnKind::Date),
        column("text", ColumnKind::Text),
        column("int", ColumnKind::Int),
        column("bool", ColumnKind::Bool),
        column("time", ColumnKind::Timestamp),
        column("uuid", ColumnKind::Uuid),
        column("money", ColumnKind::Money),
        column("date", ColumnKind::Date),
        column("more", ColumnKind::Text),
    ],
    partition_key: 1,
    clustering_key: 6,
    versioned: 0,
    by_lead: false,
};

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![-3i64..3, any::<i64>(), Just(i64::MIN), Just(i64::MAX)]
}

/// Values of one kind, many of them close to each other.
pub(crate) fn value_of(kind: ColumnKind) -> BoxedStrategy<Value> {
    match kind {
        ColumnKind::Text => prop_oneof!["[ab\u{0}\u{1}é]{0,3}", ".{0,20}"].prop_map(Value::Text).boxed(),
        ColumnKind::Int => number().prop_map(Value::Int).boxed(),
        ColumnKind::Money => number().prop_map(Value::Money).boxed(),
        ColumnKind::Date => {
            prop_oneof![-3i32..3, any::<i32>(), Just(i32::MIN), Just(i32::MAX)].prop_map(Value::Date).boxed()
        }
        ColumnKind::Timestamp => number().prop_map(Value::Timestamp).boxed(),
        ColumnKind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        ColumnKind::Uuid => prop_oneof![0u128..3, any::<u128>()].prop_map(|n| Value::Uuid(Uuid::from_u128(n))).boxed(),
    }
}
