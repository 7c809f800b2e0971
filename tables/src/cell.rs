//! Rust types that columns can hold.

use std::sync::Arc;

use leadway_domain::{
    ContactId, LeadId, Money, Offset, Partition, Phone, ProviderId, RuleId, Timestamp, WorkspaceId, Zip,
};
use uuid::Uuid;

use crate::value::{ColumnKind, Value, ValueRef};

/// A Rust type that a column can hold.
pub trait Cell: Sized {
    /// The column's kind.
    const KIND: ColumnKind;
    /// Whether it is a lead's id.
    const IS_LEAD: bool = false;
    /// What a change needs of it: borrowed, unless it is small.
    type Borrowed<'a>: CellRef
    where
        Self: 'a;
    /// As a change needs it.
    fn borrowed(&self) -> Self::Borrowed<'_>;
    /// From a cell; tells what is wrong with it.
    fn from_value(value: &Value) -> Result<Self, String>;

    /// As a cell.
    fn to_value(&self) -> Value {
        self.borrowed().with(|value| value.to_value())
    }
}

/// What can be written to a column.
pub trait CellRef {
    /// Hands the value to `take`.
    fn with<T>(&self, take: impl FnOnce(ValueRef<'_>) -> T) -> T;
}

/// Implements [`Cell`] for a small type, which is copied.
macro_rules! small_cell {
    ($type:ty, $kind:ident, |$it:ident| $to:expr, |$from:ident| $back:expr $(, $more:item)?) => {
        impl $crate::CellRef for $type {
            fn with<T>(&self, take: impl FnOnce($crate::ValueRef<'_>) -> T) -> T {
                let $it = *self;
                take($crate::ValueRef::$kind($to))
            }
        }
        impl $crate::Cell for $type {
            const KIND: $crate::ColumnKind = $crate::ColumnKind::$kind;
            $($more)?
            type Borrowed<'a> = Self;
            fn borrowed(&self) -> Self {
                *self
            }
            fn from_value(value: &$crate::Value) -> Result<Self, String> {
                match value {
                    $crate::Value::$kind($from) => $back,
                    other => $crate::cell::mismatch(stringify!($kind), other),
                }
            }
        }
    };
}

/// Implements [`Cell`] for a type that is kept as a text.
macro_rules! text_cell {
    ($type:ty, |$it:ident| $borrowed:ty = $to:expr, |$from:ident| $back:expr) => {
        impl Cell for $type {
            const KIND: ColumnKind = ColumnKind::Text;
            type Borrowed<'a> = $borrowed;
            fn borrowed(&self) -> Self::Borrowed<'_> {
                let $it = self;
                $to
            }
            fn from_value(value: &Value) -> Result<Self, String> {
                match value {
                    Value::Text($from) => $back,
                    other => mismatch("Text", other),
                }
            }
        }
    };
}

pub(crate) use small_cell;

pub(crate) fn mismatch<T>(expected: &str, value: &Value) -> Result<T, String> {
    Err(format!("expected {expected}, found {:?}", value.kind()))
}

small_cell!(i64, Int, |n| n, |n| Ok(*n));
small_cell!(bool, Bool, |b| b, |b| Ok(*b));
small_cell!(Money, Money, |m| m.cents(), |cents| Ok(Self::from_cents(*cents)));
small_cell!(Uuid, Uuid, |id| id, |id| Ok(*id));
small_cell!(ContactId, Uuid, |id| id.0, |id| Ok(Self(*id)));
small_cell!(RuleId, Uuid, |id| id.0, |id| Ok(Self(*id)));
small_cell!(
    LeadId,
    Int,
    |id| id.0 as i64,
    |n| u64::try_from(*n).map(Self).map_err(|e| e.to_string()),
    const IS_LEAD: bool = true;
);
small_cell!(Offset, Int, |o| o.0 as i64, |n| u64::try_from(*n).map(Self).map_err(|e| e.to_string()));
small_cell!(Partition, Int, |p| i64::from(p.0), |n| u32::try_from(*n).map(Self).map_err(|e| e.to_string()));
// Cut to the millisecond, towards the past.
small_cell!(Timestamp, Timestamp, |at| at.as_microsecond().div_euclid(1_000), |millis| {
    Self::from_millisecond(*millis).map_err(|e| e.to_string())
});

impl CellRef for &str {
    fn with<T>(&self, take: impl FnOnce(ValueRef<'_>) -> T) -> T {
        take(ValueRef::Text(self))
    }
}

impl CellRef for Phone {
    fn with<T>(&self, take: impl FnOnce(ValueRef<'_>) -> T) -> T {
        take(ValueRef::Text(&self.e164()))
    }
}

impl CellRef for Zip {
    fn with<T>(&self, take: impl FnOnce(ValueRef<'_>) -> T) -> T {
        take(ValueRef::Text(&self.to_string()))
    }
}

text_cell!(String, |s| &'a str = s, |s| Ok(s.clone()));
text_cell!(Arc<str>, |s| &'a str = s, |s| Ok(s.as_str().into()));
text_cell!(ProviderId, |id| &'a str = id.as_str(), |s| Self::new(s).map_err(|e| e.to_string()));
text_cell!(WorkspaceId, |id| &'a str = id.as_str(), |s| Self::new(s).map_err(|e| e.to_string()));
text_cell!(Phone, |phone| Phone = *phone, |s| Self::parse(s).map_err(|e| e.to_string()));
text_cell!(Zip, |zip| Zip = *zip, |s| Self::parse(s).map_err(|e| e.to_string()));

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
