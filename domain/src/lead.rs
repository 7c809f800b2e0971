//! Leads as they stand in the log.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::{ContactId, ProviderId};
use crate::money::Money;
use crate::phone::Phone;
pub use crate::submission::SubmissionKey;
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
    /// Version of this record's form, see [`Self::VERSION`].
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
    /// The submission that the provider's own id makes, where an `Idempotency-Key` makes another: the id is unique
    /// whatever the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub also: Option<SubmissionKey>,
    /// When it arrived.
    pub received_at: Timestamp,
}

impl Lead {
    /// The version of records as they are written now. Those of version 1 name their submission by a
    /// [weaker hash](crate::submission::legacy).
    pub const VERSION: u32 = 2;

    /// The key by which its records are partitioned: phone and provider.
    pub fn log_key(&self) -> String {
        [&*self.phone.text(), "/", self.provider_id.as_str()].concat()
    }

    /// The lead as a provider could have posted it, by our own names of its fields.
    pub fn as_posted(&self) -> Value {
        let mut posted = self.extra.clone();
        // With its extension, or with another number beside it.
        let as_sent =
            posted.get("phone").and_then(Value::as_str).is_some_and(|text| Phone::parse(text) == Ok(self.phone));
        let mut set = |name: &str, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                posted.insert(name.to_owned(), Value::String(value));
            }
        };
        set("first_name", Some(self.first_name.clone()));
        set("last_name", Some(self.last_name.clone()));
        set("phone", (!as_sent).then(|| self.phone.text().to_string()));
        set("email", self.email.clone());
        set("product_type", Some(self.product_type.to_string()));
        set("zip_code", Some(self.zip_code.text().to_string()));
        set("estimated_value", self.estimated_value.map(|value| value.to_string()));
        set("interest_level", self.interest_level.map(|level| format!("{level:?}").to_lowercase()));
        set("notes", Some(self.notes.clone()));
        set("appointment_date", self.appointment_date.map(|date| date.to_string()));
        set("external_id", self.external_id.clone());
        set("test", self.test.then(|| "true".to_owned()));
        Value::Object(posted)
    }

    /// First and last name, with one space between.
    pub fn customer_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name).trim().to_owned()
    }
}
