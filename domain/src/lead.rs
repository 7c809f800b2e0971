//! Leads as they stand in the log.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::{ContactId, ProviderId};
use crate::money::Money;
use crate::phone::Phone;
use crate::zip::Zip;

/// How interested the customer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterestLevel {
    /// Ready to buy.
    Hot,
    /// Considering.
    Warm,
    /// Only looking.
    Cold,
}

/// A lead, normalised and valid: the record `lead.received`. Its id is the record's address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lead {
    /// Version of this record's form.
    pub v: u32,
    /// Who sent it.
    pub provider_id: ProviderId,
    /// Who it is about: derived from (phone, provider).
    pub contact_id: ContactId,
    /// May be empty.
    pub first_name: String,
    /// May be empty.
    pub last_name: String,
    /// The customer's telephone.
    pub phone: Phone,
    /// Lower-case, or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Canonical product name.
    pub product_type: Arc<str>,
    /// A known ZIP.
    pub zip_code: Zip,
    /// The ZIP's state: `CA`.
    pub state: Arc<str>,
    /// What the deal may be worth; never negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_value: Option<Money>,
    /// How interested the customer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interest_level: Option<InterestLevel>,
    /// May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// When the customer expects the visit. A lead with a date is an appointment at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appointment_date: Option<Timestamp>,
    /// The provider's own id of the lead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// What the provider sent that no field of ours took.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// Runs the whole path, never billed, delivered only to the workspace's test URL.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// Whether the next free slot is to be taken when there is no date.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_schedule: bool,
    /// What the provider is paid for it.
    pub cost: Money,
    /// Identity of the submission, see [`SubmissionKey`].
    pub submission: SubmissionKey,
    /// When it arrived.
    pub received_at: Timestamp,
}

impl Lead {
    /// The key by which its records are partitioned: phone and provider.
    pub fn log_key(&self) -> String {
        format!("{}/{}", self.phone.e164(), self.provider_id)
    }

    /// First and last name, with one space between.
    pub fn customer_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name).trim().to_owned()
    }
}

/// What makes two posts the same submission: a hash of (provider, `Idempotency-Key`), else of (provider, the provider's
/// own lead id), else of (provider, content). In JSON: 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubmissionKey(pub u128);

impl SubmissionKey {
    /// Identity by the request's `Idempotency-Key`; `part` numbers the leads of one request.
    pub fn of_idempotency_key(provider: &ProviderId, key: &str, part: usize) -> Self {
        Self::hash(&["idempotency", provider.as_str(), key, &part.to_string()])
    }

    /// Identity by the provider's own lead id.
    pub fn of_external_id(provider: &ProviderId, external_id: &str) -> Self {
        Self::hash(&["external", provider.as_str(), external_id])
    }

    /// Identity by content: the fields as normalised, and the rest as it came.
    pub fn of_content(provider: &ProviderId, parts: &[&str]) -> Self {
        let mut all = vec!["content", provider.as_str()];
        all.extend_from_slice(parts);
        Self::hash(&all)
    }

    fn hash(parts: &[&str]) -> Self {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for part in parts {
            // Lengths keep ("ab", "c") and ("a", "bc") apart.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hasher.digest128())
    }
}

impl Serialize for SubmissionKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for SubmissionKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}
