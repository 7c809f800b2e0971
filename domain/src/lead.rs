//! Leads as they stand in the log.

use std::fmt::Display;
use std::io::Write as _;
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
        [&*self.phone.text(), "/", self.provider_id.as_str()].concat()
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
        let mut identity = Identity::new("idempotency", provider);
        identity.text(key);
        identity.shown(&part);
        identity.key()
    }

    /// Identity by the provider's own lead id.
    pub fn of_external_id(provider: &ProviderId, external_id: &str) -> Self {
        let mut identity = Identity::new("external", provider);
        identity.text(external_id);
        identity.key()
    }

    /// Identity by content: the fields as normalised, and the rest as it came.
    pub fn of_content(lead: &Lead) -> Self {
        let mut identity = Identity::new("content", &lead.provider_id);
        identity.text(&lead.phone.text());
        identity.text(&lead.first_name);
        identity.text(&lead.last_name);
        identity.text(lead.email.as_deref().unwrap_or_default());
        identity.text(&lead.product_type);
        identity.text(&lead.zip_code.text());
        identity.shown_if_any(lead.estimated_value.as_ref());
        identity.shown_if_any(lead.interest_level.map(|level| format!("{level:?}")).as_ref());
        identity.text(&lead.notes);
        identity.shown_if_any(lead.appointment_date.as_ref());
        identity.json(&lead.extra);
        identity.text(if lead.test { "test" } else { "" });
        identity.key()
    }
}

/// The bytes of which a [`SubmissionKey`] is the hash: texts, each behind its length, which keeps ("ab", "c") and
/// ("a", "bc") apart.
struct Identity(Vec<u8>);

impl Identity {
    fn new(kind: &str, provider: &ProviderId) -> Self {
        let mut identity = Self(Vec::with_capacity(512));
        identity.text(kind);
        identity.text(provider.as_str());
        identity
    }

    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(&(text.len() as u64).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn shown(&mut self, value: &impl Display) {
        self.written(|bytes| write!(bytes, "{value}"));
    }

    fn shown_if_any(&mut self, value: Option<&impl Display>) {
        match value {
            Some(value) => self.shown(value),
            None => self.text(""),
        }
    }

    fn json(&mut self, value: &Map<String, Value>) {
        self.written(|bytes| serde_json::to_writer(bytes, value));
    }

    /// A text whose length is known once it is written. Nothing that is written here can fail.
    fn written<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 8]);
        let _ = write(&mut self.0);
        let length = (self.0.len() - start - 8) as u64;
        if let Some(place) = self.0.get_mut(start..start + 8) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    fn key(self) -> SubmissionKey {
        SubmissionKey(xxhash_rust::xxh3::xxh3_128(&self.0))
    }
}

impl Serialize for SubmissionKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 32];
        hex::encode_to_slice(self.0.to_be_bytes(), &mut text).map_err(serde::ser::Error::custom)?;
        s.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for SubmissionKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Submissions stand in the log: a later version must find the same ones.
    #[test]
    fn a_submission_is_the_hash_of_its_texts_with_their_lengths() {
        let hash = |parts: &[&str]| {
            let mut hasher = xxhash_rust::xxh3::Xxh3::new();
            for part in parts {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
            SubmissionKey(hasher.digest128())
        };
        let provider = ProviderId::new("a").unwrap();
        assert_eq!(SubmissionKey::of_idempotency_key(&provider, "k", 17), hash(&["idempotency", "a", "k", "17"]));
        assert_eq!(SubmissionKey::of_external_id(&provider, "x"), hash(&["external", "a", "x"]));
        let phone = Phone::parse("2135550123").unwrap();
        let mut lead = Lead {
            v: 1,
            contact_id: ContactId::derive(phone, &provider),
            provider_id: provider,
            first_name: "Ana".into(),
            last_name: String::new(),
            phone,
            email: None,
            product_type: "Solar".into(),
            zip_code: Zip::parse("601").unwrap(),
            state: "PR".into(),
            estimated_value: None,
            interest_level: None,
            notes: "call\nlate".into(),
            appointment_date: None,
            external_id: None,
            extra: Map::new(),
            test: false,
            auto_schedule: false,
            cost: Money::ZERO,
            submission: SubmissionKey(0),
            received_at: Timestamp::UNIX_EPOCH,
        };
        let least =
            ["content", "a", "+12135550123", "Ana", "", "", "Solar", "00601", "", "", "call\nlate", "", "{}", ""];
        assert_eq!(SubmissionKey::of_content(&lead), hash(&least));
        lead.email = Some("a@example.com".into());
        lead.estimated_value = Some(Money::from_cents(2_500_050));
        lead.interest_level = Some(InterestLevel::Hot);
        lead.appointment_date = Some("2024-12-01T14:00:00.5Z".parse().unwrap());
        lead.extra.insert("roof".into(), serde_json::json!({"age": 12}));
        lead.test = true;
        let most = [
            "content",
            "a",
            "+12135550123",
            "Ana",
            "",
            "a@example.com",
            "Solar",
            "00601",
            "25000.50",
            "Hot",
            "call\nlate",
            "2024-12-01T14:00:00.5Z",
            r#"{"roof":{"age":12}}"#,
            "test",
        ];
        assert_eq!(SubmissionKey::of_content(&lead), hash(&most));
        let json = serde_json::to_string(&SubmissionKey(0xa0)).unwrap();
        assert_eq!(json, format!("\"{:032x}\"", 0xa0));
    }
}
