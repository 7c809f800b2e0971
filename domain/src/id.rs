//! Ids and addresses.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::phone::Phone;

/// Position of a record within one partition, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    /// The position right after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One of a topic's partitions, counted from 0, below [`Addressing::MAX_PARTITIONS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u32);

/// A lead's id: the address of its record in the topic `leads`, `base + offset × 4096 + partition`.
/// It fits a JSON integer exactly (below 2^53) and is never reused. A lead and its one appointment share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeadId(pub u64);

impl fmt::Display for LeadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Turns addresses into lead ids and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressing {
    base: u64,
}

impl Addressing {
    /// Partitions that an id has room for.
    pub const MAX_PARTITIONS: u32 = 4096;
    const STRIDE: u64 = Self::MAX_PARTITIONS as u64;

    /// Ids start at `base`; a move to another log starts above the ids already given.
    pub const fn new(base: u64) -> Self {
        Self { base }
    }

    /// The id of the lead whose record stands at `offset` of `partition`.
    pub fn id(self, partition: Partition, offset: Offset) -> LeadId {
        LeadId(self.base + offset.0 * Self::STRIDE + u64::from(partition.0))
    }

    /// Where the lead's record stands; `None` for an id that this log never gave.
    pub fn address(self, id: LeadId) -> Option<(Partition, Offset)> {
        let n = id.0.checked_sub(self.base)?;
        Some((Partition((n % Self::STRIDE) as u32), Offset(n / Self::STRIDE)))
    }
}

impl Default for Addressing {
    /// The first lead of the first partition is 4096: an id is never 0.
    fn default() -> Self {
        Self::new(Self::STRIDE)
    }
}

/// Why a name cannot be an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters of a-z, A-Z, 0-9, '_', '-' and '.', starting with a letter or digit")]
pub struct InvalidName;

fn check_name(s: &str) -> Result<(), InvalidName> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let starts_well = s.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if starts_well && s.len() <= 64 && s.chars().all(legal) { Ok(()) } else { Err(InvalidName) }
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the name: 1 to 64 of `a-z A-Z 0-9 _ - .`, starting with a letter or digit.
            pub fn new(s: &str) -> Result<Self, InvalidName> {
                check_name(s)?;
                Ok(Self(s.into()))
            }

            /// Its text, shared.
            pub fn shared(&self) -> Arc<str> {
                self.0.clone()
            }

            /// The name itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let s = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::new(&s).map_err(|e| serde::de::Error::custom(format!("{:?} {e}", s)))
            }
        }
    };
}

name_id!(
    /// A lead provider's id, chosen by the operator: `a` in `/webhook/provider-a`.
    ProviderId
);
name_id!(
    /// A client business's id, chosen by the operator: `solar_west_coast`.
    WorkspaceId
);

/// A routing rule's id: UUID v7, so that the older rule has the smaller id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub Uuid);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A contact's id: UUID v5 of (phone, provider), so that two nodes that meet the same contact agree without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContactId(pub Uuid);

impl ContactId {
    const NAMESPACE: Uuid = Uuid::from_u128(0x6c65_6164_7761_7900_8000_636f_6e74_6163);

    /// The contact with this phone at this provider.
    pub fn derive(phone: Phone, provider: &ProviderId) -> Self {
        let name = [&*phone.text(), "/", provider.as_str()].concat();
        Self(Uuid::new_v5(&Self::NAMESPACE, name.as_bytes()))
    }
}

impl fmt::Display for ContactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lead_id_leads_back_to_its_address() {
        for base in [0, 4096, 1 << 40] {
            let addressing = Addressing::new(base);
            for (p, o) in [(0, 0), (4095, 0), (0, 1), (17, 123_456_789)] {
                let id = addressing.id(Partition(p), Offset(o));
                assert_eq!(addressing.address(id), Some((Partition(p), Offset(o))));
                assert!(id.0 < 1 << 53);
            }
        }
        assert_eq!(Addressing::new(4096).address(LeadId(4095)), None);
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "solar_west_coast", "A-1.b"] {
            assert!(WorkspaceId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "_a", "a b", "ä", &"x".repeat(65)] {
            assert!(WorkspaceId::new(bad).is_err(), "{bad}");
        }
    }
}
