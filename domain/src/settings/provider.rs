use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Credentials, Posting};
use crate::id::ProviderId;
use crate::money::Money;
use crate::secret::KeyHash;

/// A rate: so many a second on average, so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Sustained rate, at least 1.
    pub per_second: u32,
    /// How many may come at once after a pause, at least 1; by default as many as in one second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// How a provider's fields become ours. It adds to the built-in aliases and wins over them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldMapping {
    /// Source name (`cust_zip`) or JSON pointer (`/contact/tel`), which may select a member by its neighbour's value
    /// (`/answers/[field.ref=phone]/phone_number`) → our field (`zip_code`, `phone`).
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    /// Our field → the value it has in every lead of this provider that does not bring one.
    #[serde(default)]
    pub constants: BTreeMap<String, String>,
    /// Our field → value as sent (compared without case, spacing and punctuation) → value as meant.
    #[serde(default)]
    pub values: BTreeMap<String, BTreeMap<String, String>>,
}

/// A lead provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// Chosen by the operator; the last part of `/webhook/provider-{id}`.
    pub id: ProviderId,
    /// Display name.
    pub name: String,
    /// What one accepted lead costs.
    pub cost_per_lead: Money,
    /// Whether leads are taken from it.
    pub is_active: bool,
    /// What is kept of its key.
    pub key_hash: KeyHash,
    /// How its fields become ours.
    #[serde(default)]
    pub mapping: FieldMapping,
    /// Whether its leads without a date are given the next free slot at once.
    #[serde(default)]
    pub auto_schedule: bool,
    /// How fast it may post leads; no limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// How it posts.
    #[serde(default)]
    pub posting: Posting,
    /// What else proves who it is.
    #[serde(default = "Credentials::of_an_earlier_version")]
    pub credentials: Credentials,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}
