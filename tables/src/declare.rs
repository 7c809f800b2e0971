//! Declaring tables as Rust structs.

use std::borrow::Cow;

use leadway_domain::record::JsonFault;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cell::{Cell, CellRef};
use crate::value::{ColumnKind, Table, Value, ValueRef};
use crate::{Key, Row, Tables, TablesError, Write};

/// A struct that is a row of a declared table.
pub trait TableRow: Sized {
    /// The declaration.
    fn table() -> &'static Table;
    /// As cells; fields that are `None` are left out.
    fn to_row(&self) -> Row;
    /// From cells.
    fn from_row(row: &Row) -> Result<Self, TablesError>;

    /// The change that sets this row's fields, and leaves those that are `None` as they are.
    fn upsert(&self) -> Write;

    /// The change that removes the row with this key.
    fn delete(key: Key) -> Write {
        Write::delete(Self::table(), &key, None)
    }

    /// The change that removes the row with this key, unless a higher version made it.
    fn delete_version(key: Key, version: i64) -> Write {
        Write::delete(Self::table(), &key, Some(version))
    }
}

/// A value kept as JSON text in a text column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Json<T>(pub T);

/// A [`Json`] cell that is text already.
#[derive(Clone, Debug)]
pub struct JsonText<'a>(pub Cow<'a, str>);

impl CellRef for JsonText<'_> {
    fn with<T>(&self, take: impl FnOnce(ValueRef<'_>) -> T) -> T {
        take(ValueRef::Text(&self.0))
    }
}

impl<T: Serialize + DeserializeOwned> Cell for Json<T> {
    const KIND: ColumnKind = ColumnKind::Text;
    type Borrowed<'a>
        = JsonText<'a>
    where
        T: 'a;
    fn borrowed(&self) -> JsonText<'_> {
        JsonText(Cow::Owned(serde_json::to_string(&self.0).unwrap_or_default()))
    }
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            // The parser's own message may quote what is stored, and this one is logged.
            Value::Text(text) => serde_json::from_str(text).map(Json).map_err(|e| JsonFault::from(e).to_string()),
            other => Err(format!("expected JSON text, found {:?}", other.kind())),
        }
    }
}

/// The row of type `R` with this key.
pub async fn get<R: TableRow>(tables: &dyn Tables, key: &[Value]) -> Result<Option<R>, TablesError> {
    tables.get(R::table(), key).await?.as_ref().map(R::from_row).transpose()
}

/// The rows of type `R` with these keys, in the order of the keys, asked for together ([`Tables::get_all`]).
pub async fn get_all<R: TableRow>(
    tables: &dyn Tables,
    keys: impl IntoIterator<Item = Key>,
) -> Result<Vec<Option<R>>, TablesError> {
    let rows = tables.get_all(keys.into_iter().map(|key| (R::table(), key)).collect()).await?;
    rows.iter().map(|row| row.as_ref().map(R::from_row).transpose()).collect()
}

/// Rows of type `R` of one partition.
pub async fn scan<R: TableRow>(
    tables: &dyn Tables,
    partition: &[Value],
    range: crate::Range,
) -> Result<Vec<R>, TablesError> {
    tables.scan(R::table(), partition, range).await?.iter().map(R::from_row).collect()
}

/// Makes a key of Rust values: `key![day, lead_id]`.
#[macro_export]
macro_rules! key {
    ($($value:expr),* $(,)?) => { ::std::vec::Vec::<$crate::Value>::from([$($crate::Cell::to_value(&$value)),*]) };
}

/// Declares a table as a struct: key fields are plain, data fields are `Option`s that default to `None`. An optional
/// block `versioned` before `data` holds the columns that are versioned by the first of them. A second name makes a second
/// struct that only borrows what it writes: for what is written with every lead.
///
/// ```text
/// table! {
///     /// What a row is.
///     pub struct LeadRow, LeadChange = 3 "leads" {
///         partition { /// Which part. bucket: i64 }
///         clustering { /// Which lead. lead_id: LeadId }
///         versioned { /// Which decision this is. decision: i64, /// What was decided. status: String }
///         data { /// Its phone. phone: Phone }
///     }
/// }
/// ```
#[macro_export]
macro_rules! table {
    (
        $(#[$doc:meta])*
        pub struct $row:ident, $change:ident = $id:literal $name:literal { $($columns:tt)* }
    ) => {
        $crate::table! { $(#[$doc])* pub struct $row = $id $name { $($columns)* } }
        $crate::change! { $row, $change { $($columns)* } }
    };
    (
        $(#[$doc:meta])*
        pub struct $row:ident = $id:literal $name:literal {
            partition { $($(#[$pdoc:meta])* $pk:ident : $pty:ty),+ $(,)? }
            clustering { $($(#[$cdoc:meta])* $ck:ident : $cty:ty),* $(,)? }
            $(versioned { $($(#[$vdoc:meta])* $vk:ident : $vty:ty),+ $(,)? })?
            data { $($(#[$ddoc:meta])* $dk:ident : $dty:ty),* $(,)? }
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $row {
            $($(#[$pdoc])* pub $pk: $pty,)+
            $($(#[$cdoc])* pub $ck: $cty,)*
            $($($(#[$vdoc])* pub $vk: Option<$vty>,)+)?
            $($(#[$ddoc])* pub $dk: Option<$dty>,)*
        }

        impl $row {
            /// The declaration.
            pub const TABLE: &'static $crate::Table = &$crate::Table {
                id: $id,
                name: $name,
                columns: &[
                    $($crate::Column { name: stringify!($pk), kind: <$pty as $crate::Cell>::KIND },)+
                    $($crate::Column { name: stringify!($ck), kind: <$cty as $crate::Cell>::KIND },)*
                    $($($crate::Column { name: stringify!($vk), kind: <$vty as $crate::Cell>::KIND },)+)?
                    $($crate::Column { name: stringify!($dk), kind: <$dty as $crate::Cell>::KIND },)*
                ],
                partition_key: [$(stringify!($pk)),+].len(),
                clustering_key: { const NAMES: &[&str] = &[$(stringify!($ck)),*]; NAMES.len() },
                versioned: { const NAMES: &[&str] = &[$($(stringify!($vk)),+)?]; NAMES.len() },
                by_lead: matches!(&[$(<$cty as $crate::Cell>::IS_LEAD),*] as &[bool], [true, ..]),
            };

            /// A row with this key and nothing else.
            #[allow(clippy::too_many_arguments)]
            pub fn new($($pk: $pty,)+ $($ck: $cty,)*) -> Self {
                Self { $($pk,)+ $($ck,)* $($($vk: None,)+)? $($dk: None,)* }
            }
        }

        impl $crate::TableRow for $row {
            fn table() -> &'static $crate::Table {
                Self::TABLE
            }

            fn to_row(&self) -> $crate::Row {
                vec![
                    $(Some($crate::Cell::to_value(&self.$pk)),)+
                    $(Some($crate::Cell::to_value(&self.$ck)),)*
                    $($(self.$vk.as_ref().map($crate::Cell::to_value),)+)?
                    $(self.$dk.as_ref().map($crate::Cell::to_value),)*
                ]
            }

            fn upsert(&self) -> $crate::Write {
                let mut upsert = $crate::Upsert::of(Self::TABLE);
                $(upsert.key(&$crate::Cell::borrowed(&self.$pk));)+
                $(upsert.key(&$crate::Cell::borrowed(&self.$ck));)*
                upsert.set(&[$($(self.$vk.is_some(),)+)? $(self.$dk.is_some(),)*]);
                $($(upsert.cell(self.$vk.as_ref().map($crate::Cell::borrowed).as_ref());)+)?
                $(upsert.cell(self.$dk.as_ref().map($crate::Cell::borrowed).as_ref());)*
                upsert.done()
            }

            #[allow(unused_assignments)]
            fn from_row(row: &$crate::Row) -> Result<Self, $crate::TablesError> {
                let mut cells = row.iter();
                let unreadable = |column: &str, reason: String| $crate::TablesError::Unreadable {
                    table: $name,
                    reason: format!("{column}: {reason}"),
                };
                Ok(Self {
                    $($pk: match cells.next() {
                        Some(Some(v)) => <$pty as $crate::Cell>::from_value(v).map_err(|e| unreadable(stringify!($pk), e))?,
                        _ => return Err(unreadable(stringify!($pk), "a key cell is missing".into())),
                    },)+
                    $($ck: match cells.next() {
                        Some(Some(v)) => <$cty as $crate::Cell>::from_value(v).map_err(|e| unreadable(stringify!($ck), e))?,
                        _ => return Err(unreadable(stringify!($ck), "a key cell is missing".into())),
                    },)*
                    $($($vk: match cells.next() {
                        Some(Some(v)) => Some(<$vty as $crate::Cell>::from_value(v).map_err(|e| unreadable(stringify!($vk), e))?),
                        _ => None,
                    },)+)?
                    $($dk: match cells.next() {
                        Some(Some(v)) => Some(<$dty as $crate::Cell>::from_value(v).map_err(|e| unreadable(stringify!($dk), e))?),
                        _ => None,
                    },)*
                })
            }
        }
    };
}

/// The struct of [`table!`] that only borrows what it writes.
#[doc(hidden)]
#[macro_export]
macro_rules! change {
    (
        $row:ident, $change:ident {
            partition { $($(#[$pdoc:meta])* $pk:ident : $pty:ty),+ $(,)? }
            clustering { $($(#[$cdoc:meta])* $ck:ident : $cty:ty),* $(,)? }
            $(versioned { $($(#[$vdoc:meta])* $vk:ident : $vty:ty),+ $(,)? })?
            data { $($(#[$ddoc:meta])* $dk:ident : $dty:ty),* $(,)? }
        }
    ) => {
        #[doc = concat!("A change of a [`", stringify!($row), "`], which only borrows what it writes.")]
        #[derive(Clone, Debug)]
        pub struct $change<'a> {
            $($(#[$pdoc])* pub $pk: <$pty as $crate::Cell>::Borrowed<'a>,)+
            $($(#[$cdoc])* pub $ck: <$cty as $crate::Cell>::Borrowed<'a>,)*
            $($($(#[$vdoc])* pub $vk: Option<<$vty as $crate::Cell>::Borrowed<'a>>,)+)?
            $($(#[$ddoc])* pub $dk: Option<<$dty as $crate::Cell>::Borrowed<'a>>,)*
        }

        impl<'a> $change<'a> {
            /// Of the row with this key; nothing is changed yet.
            #[allow(clippy::too_many_arguments)]
            pub fn new(
                $($pk: <$pty as $crate::Cell>::Borrowed<'a>,)+
                $($ck: <$cty as $crate::Cell>::Borrowed<'a>,)*
            ) -> Self {
                Self { $($pk,)+ $($ck,)* $($($vk: None,)+)? $($dk: None,)* }
            }

            /// The change that sets these fields, and leaves those that are `None` as they are.
            pub fn upsert(&self) -> $crate::Write {
                let mut upsert = $crate::Upsert::of($row::TABLE);
                $(upsert.key(&self.$pk);)+
                $(upsert.key(&self.$ck);)*
                upsert.set(&[$($(self.$vk.is_some(),)+)? $(self.$dk.is_some(),)*]);
                $($(upsert.cell(self.$vk.as_ref());)+)?
                $(upsert.cell(self.$dk.as_ref());)*
                upsert.done()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_unreadable_json_quotes_nothing_of_it() {
        let text = Value::Text(r#"{"v":1,"customer_phone":"+12135550123 x"}"#.into());
        let reason = Json::<u64>::from_value(&text).unwrap_err();
        assert!(reason.contains("line 1") && !reason.contains("2135550123"), "{reason}");
        let reason = Json::<std::collections::BTreeMap<String, u64>>::from_value(&text).unwrap_err();
        assert!(reason.contains("column 40") && !reason.contains("2135550123"), "{reason}");
    }
}
