//! What makes two posts the same submission.

use std::fmt::Display;
use std::io::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::id::{ContactId, ProviderId};
use crate::lead::Lead;

/// What makes two posts the same submission: a hash of (provider, `Idempotency-Key`), else of (provider, the provider's
/// own lead id), else of (provider, content). In JSON: 32 hex digits.
///
/// It is the first half of a SHA-256: nobody can make a post that is taken for another one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubmissionKey(pub u128);

impl SubmissionKey {
    /// Identity by the `Idempotency-Key` of a request with one lead.
    pub fn of_idempotency_key(provider: &ProviderId, key: &str) -> Self {
        let mut identity = Identity::new("idempotency", provider);
        identity.text(key);
        identity.key()
    }

    /// The same submission `within` a request with several leads that has this `Idempotency-Key`. Not by its number, which is
    /// another one when only what was refused is sent again.
    pub fn of_part(provider: &ProviderId, key: &str, within: Self) -> Self {
        let mut identity = Identity::new("part", provider);
        identity.text(key);
        identity.shown(&format_args!("{:032x}", within.0));
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
        content(lead).key()
    }

    /// The identity of a lead that was refused: what was posted, as JSON.
    pub fn of_refused(provider: &ProviderId, posted_as: &str, json: &[u8]) -> Self {
        let mut identity = Identity::new("refused", provider);
        identity.text(posted_as);
        identity.bytes(json);
        identity.key()
    }

    /// This submission of this customer. Another customer's with the same key is another one.
    pub fn by(self, contact: ContactId) -> Self {
        Self(self.0 ^ contact.0.as_u128())
    }
}

/// The hash of records of version 1. It is not a cryptographic one, so it is only compared with what such records say.
pub mod legacy {
    use super::{Identity, Lead, ProviderId, SubmissionKey, content};

    /// What a record of version 1 says of this lead, posted with this `Idempotency-Key` as the `part`th of its request.
    pub fn submission(lead: &Lead, idempotency: Option<(&str, usize)>) -> SubmissionKey {
        match (idempotency, &lead.external_id) {
            (Some((key, part)), _) => of_idempotency_key(&lead.provider_id, key, part),
            (None, Some(id)) => of_external_id(&lead.provider_id, id),
            (None, None) => key(&content(lead)),
        }
    }

    fn of_idempotency_key(provider: &ProviderId, text: &str, part: usize) -> SubmissionKey {
        let mut identity = Identity::new("idempotency", provider);
        identity.text(text);
        identity.shown(&part);
        key(&identity)
    }

    /// Identity by the provider's own lead id.
    pub fn of_external_id(provider: &ProviderId, external_id: &str) -> SubmissionKey {
        let mut identity = Identity::new("external", provider);
        identity.text(external_id);
        key(&identity)
    }

    fn key(identity: &Identity) -> SubmissionKey {
        SubmissionKey(xxhash_rust::xxh3::xxh3_128(&identity.0))
    }
}

fn content(lead: &Lead) -> Identity {
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
    identity
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
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.0.extend_from_slice(bytes);
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
        let hash: [u8; 32] = Sha256::digest(&self.0).into();
        let [first, ..] = hash.as_chunks::<16>().0 else { return SubmissionKey(0) };
        SubmissionKey(u128::from_be_bytes(*first))
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
    use crate::lead::InterestLevel;
    use crate::money::Money;
    use crate::phone::Phone;
    use crate::zip::Zip;
    use jiff::Timestamp;

    /// Submissions stand in the log: a later version must find the same ones.
    #[test]
    fn a_submission_is_the_hash_of_its_texts_with_their_lengths() {
        let whole = |parts: &[&str]| {
            let parts = parts.iter().map(|part| [&(part.len() as u64).to_le_bytes()[..], part.as_bytes()].concat());
            parts.collect::<Vec<_>>().concat()
        };
        let hash = |parts: &[&str]| {
            let hash = Sha256::digest(whole(parts));
            SubmissionKey(u128::from_be_bytes(hash[..16].try_into().unwrap()))
        };
        let old = |parts: &[&str]| SubmissionKey(xxhash_rust::xxh3::xxh3_128(&whole(parts)));
        let provider = ProviderId::new("a").unwrap();
        assert_eq!(SubmissionKey::of_idempotency_key(&provider, "k"), hash(&["idempotency", "a", "k"]));
        let part = SubmissionKey::of_part(&provider, "k", SubmissionKey(0xa0));
        assert_eq!(part, hash(&["part", "a", "k", &format!("{:032x}", 0xa0)]));
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
            also: None,
            received_at: Timestamp::UNIX_EPOCH,
        };
        let least =
            ["content", "a", "+12135550123", "Ana", "", "", "Solar", "00601", "", "", "call\nlate", "", "{}", ""];
        assert_eq!(SubmissionKey::of_content(&lead), hash(&least));
        assert_eq!(legacy::submission(&lead, None), old(&least));
        assert_eq!(legacy::submission(&lead, Some(("k", 17))), old(&["idempotency", "a", "k", "17"]));
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
        lead.external_id = Some("x".into());
        assert_eq!(legacy::submission(&lead, None), old(&["external", "a", "x"]));
        let json = serde_json::to_string(&SubmissionKey(0xa0)).unwrap();
        assert_eq!(json, format!("\"{:032x}\"", 0xa0));
    }
}
