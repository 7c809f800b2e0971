//! JSON bodies, read field by field so that every error is told at once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::{self, Display};

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::header;
use leadway_domain::Money;
use leadway_domain::problem::{FieldError, Problem};
use leadway_domain::text::is_deceptive;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::problem::Refusal;

/// The largest amount per lead or appointment, in dollars: sums of any number of them that a node can hold stay exact.
const MAX_AMOUNT: Money = Money::from_cents(100_000_000);
/// Most unknown fields that one answer names: a body may hold a hundred thousand.
pub(crate) const MAX_UNKNOWN: usize = 20;

type Raw = BTreeMap<String, Box<RawValue>>;

/// The fields of a JSON object, as text: numbers are never turned into floats on the way.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    raw: Raw,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

/// The JSON object that is the body of a request.
pub(crate) struct Input(pub(crate) Fields);

/// Like [`Input`], of a request whose fields are all optional: no body is an object without fields.
pub(crate) struct OptionalInput(pub(crate) Fields);

impl<S: Send + Sync> FromRequest<S> for Input {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        Ok(Self(Fields::parse(&json_body(request, state).await?)?))
    }
}

impl<S: Send + Sync> FromRequest<S> for OptionalInput {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        Ok(Self(match json_body(request, state).await?.trim_ascii() {
            b"" | b"null" => Fields::default(),
            object => Fields::parse(object)?,
        }))
    }
}

/// A request that takes no fields: what is sent nevertheless was meant for something, and is refused.
pub(crate) struct NoFields;

impl<S: Send + Sync> FromRequest<S> for NoFields {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let OptionalInput(fields) = OptionalInput::from_request(request, state).await?;
        Ok(fields.finish(Some(Self))?)
    }
}

async fn json_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Refusal> {
    let json = media_type(request.headers()).is_none_or(|sent| is_json(&sent));
    let bytes = Bytes::from_request(request, state).await?;
    if !json && !bytes.is_empty() {
        return Err(unsupported("Send the body as JSON, with Content-Type: application/json.").into());
    }
    Ok(bytes)
}

/// The members of a JSON object, none of them named twice: which of the two was meant is not known.
struct Members(Raw);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut raw = Raw::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    match raw.entry(name) {
                        Entry::Occupied(first) => {
                            return Err(A::Error::custom(format!("{:?} stands there twice", first.key())));
                        }
                        Entry::Vacant(slot) => slot.insert(value),
                    };
                }
                Ok(Members(raw))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// What the body is said to be, without parameters, in lower case; `None` when nothing is said.
pub(crate) fn media_type(headers: &http::HeaderMap) -> Option<String> {
    let sent = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or_default();
    Some(sent.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Whether a media type is one of JSON's.
pub(crate) fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type.ends_with("+json")
}

/// 415: the body is of a kind that is not understood.
pub(crate) fn unsupported(detail: &str) -> Problem {
    Problem::new(415, "unsupported-media-type", "Bodies of this media type are not understood here", detail)
}

impl Fields {
    /// Reads the text of a JSON object.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let Members(raw) = serde_json::from_slice(bytes).map_err(|e| {
            let (line, column) = (e.line(), e.column());
            Problem::bad_request(format!(
                "The body must be a JSON object: {} at line {line}, column {column}.",
                reason(&e)
            ))
        })?;
        Ok(Self { raw, ..Self::default() })
    }

    /// Takes these fields as changes of `present`, as RFC 7396 says: `null` removes, objects merge, the rest replaces.
    pub(crate) fn merged_onto(self, present: &impl Serialize) -> Result<Self, Problem> {
        let unreadable = |e: serde_json::Error| Problem::bad_request(format!("The change cannot be merged: {e}."));
        let text = serde_json::to_string(present).map_err(unreadable)?;
        let mut raw: Raw = serde_json::from_str(&text).map_err(unreadable)?;
        for (name, change) in self.raw {
            if change.get() == "null" {
                raw.remove(&name);
                continue;
            }
            let present = raw.get(&name).map_or("null", |r| r.get());
            let merged = if change.get().starts_with('{') && present.starts_with('{') {
                let mut object: Value = serde_json::from_str(present).map_err(unreadable)?;
                merge(&mut object, serde_json::from_str(change.get()).map_err(unreadable)?);
                serde_json::value::to_raw_value(&object).map_err(unreadable)?
            } else {
                change
            };
            raw.insert(name, merged);
        }
        Ok(Self { raw, ..Self::default() })
    }

    /// Reads `null` as the default of these fields, as a change (RFC 7396) means it.
    pub(crate) fn null_means(&mut self, defaults: &[(&'static str, &'static str)]) {
        for (name, default) in defaults {
            if let Some(raw) = self.raw.get_mut(*name).filter(|raw| raw.get() == "null")
                && let Ok(value) = RawValue::from_string((*default).to_owned())
            {
                *raw = value;
            }
        }
    }

    /// Notes those of these fields that are `null`, which a change must not take away.
    pub(crate) fn not_null(&mut self, names: &[&'static str]) {
        for name in names {
            if self.raw.get(*name).is_some_and(|raw| raw.get() == "null") {
                self.error(name, "required", "cannot be taken away");
            }
        }
    }

    /// How many fields were sent.
    pub(crate) fn sent(&self) -> usize {
        self.raw.len()
    }

    /// Notes that something is wrong.
    pub(crate) fn error(&mut self, field: &str, code: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(field, code, message));
    }

    /// Adds errors found elsewhere.
    pub(crate) fn errors(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        self.errors.extend(errors);
    }

    /// Whether the field is there, if only as `null`.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.raw.contains_key(name)
    }

    /// The field's value; `None` when it is absent, `null` or wrong (which is noted).
    pub(crate) fn optional<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        self.known.push(name);
        let raw = self.raw.get(name).filter(|raw| raw.get() != "null")?;
        match serde_json::from_str(raw.get()) {
            Ok(value) => Some(value),
            Err(e) => {
                self.error(name, "invalid", reason(&e));
                None
            }
        }
    }

    /// The field's value; noted as missing when it is absent.
    pub(crate) fn required<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        if self.raw.get(name).is_none_or(|raw| raw.get() == "null") {
            self.error(name, "required", "is required");
        }
        self.optional(name)
    }

    /// A text of at most `max` characters, trimmed; empty when absent.
    pub(crate) fn text(&mut self, name: &'static str, max: usize) -> String {
        let text = self.optional::<String>(name).unwrap_or_default().trim().to_owned();
        if text.chars().count() > max {
            self.error(name, "too_long", format!("must have at most {max} characters"));
        }
        if text.contains(is_unseen) {
            self.error(
                name,
                "invalid",
                "must not hold invisible or control characters other than tabs and line breaks",
            );
        }
        text
    }

    /// A text that must not be empty.
    pub(crate) fn required_text(&mut self, name: &'static str, max: usize) -> String {
        let wrong_before = self.errors.len();
        let text = self.text(name, max);
        if text.is_empty() && self.errors.len() == wrong_before {
            self.error(name, "required", "is required and must not be empty");
        }
        text
    }

    /// An amount from 0 to a million dollars.
    pub(crate) fn amount(&mut self, name: &'static str) -> Option<Money> {
        let amount = self.required::<Money>(name)?;
        if amount.is_negative() || amount > MAX_AMOUNT {
            self.error(name, "invalid", "must be from 0 to 1000000 dollars");
        }
        Some(amount)
    }

    /// Fields that are shown but not set: sending them back as they were read is no error.
    pub(crate) fn read_only(&mut self, names: &[&'static str]) {
        for name in names {
            self.raw.remove(*name);
        }
    }

    /// The id of a new thing, or of an `existing` one, which the body may repeat but not change.
    pub(crate) fn id<T: DeserializeOwned + PartialEq + Clone + Display>(
        &mut self,
        name: &'static str,
        existing: Option<&T>,
    ) -> Option<T> {
        let Some(existing) = existing else { return self.required(name) };
        let removed = self.raw.get(name).is_some_and(|raw| raw.get() == "null");
        if self.optional::<T>(name).is_some_and(|sent| sent != *existing) || removed {
            self.error(name, "invalid", format!("cannot be changed; it is {existing}"));
        }
        Some(existing.clone())
    }

    /// The value read, or everything that is wrong: fields that nobody asked for are.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Problem> {
        let unknown = self.raw.keys().filter(|k| !self.known.contains(&k.as_str()));
        let unknown: Vec<String> = unknown.take(MAX_UNKNOWN).cloned().collect();
        let allowed = self.known.join(", ");
        for name in unknown {
            let message = if allowed.is_empty() {
                "is no field here; none is expected".to_owned()
            } else {
                format!("is no field here; the fields are {allowed}")
            };
            self.error(&name, "unknown", message);
        }
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(Problem::validation(self.errors)),
        }
    }
}

/// Whether a character is one that nobody sees, and that breaks what people copy it into or changes how they read the rest.
pub(crate) fn is_unseen(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n' | '\r')) || is_deceptive(c)
}

/// A JSON error without its position, which is told apart or means nothing within a field.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

/// RFC 7396.
pub(crate) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Default::default());
    }
    let Value::Object(target) = target else { return };
    for (name, change) in patch {
        if change.is_null() {
            target.remove(&name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(problem: &Problem) -> Vec<(&str, &str)> {
        problem.errors.iter().map(|e| (e.field.as_str(), e.code.as_str())).collect()
    }

    #[test]
    fn every_wrong_field_is_told_at_once() {
        let mut fields = Fields::parse(br#"{"rate": 1.005, "on": "yes", "colour": 1}"#).unwrap();
        let (rate, on) = (fields.amount("rate"), fields.optional::<bool>("on"));
        fields.required_text("name", 10);
        let problem = fields.finish(rate.zip(on)).unwrap_err();
        assert_eq!(
            names(&problem),
            [("rate", "invalid"), ("on", "invalid"), ("name", "required"), ("colour", "unknown")]
        );
        assert!(problem.errors[3].message.contains("rate, on, name"), "{problem:?}");
    }

    #[test]
    fn amounts_do_not_pass_through_floats() {
        let mut fields = Fields::parse(br#"{"rate": 999999.99}"#).unwrap();
        assert_eq!(fields.amount("rate"), Some(Money::from_cents(99_999_999)));
        let mut merged = Fields::parse(b"{}").unwrap().merged_onto(&json!({"rate": 0.1})).unwrap();
        assert_eq!(merged.amount("rate"), Some(Money::from_cents(10)));
    }

    #[test]
    fn a_patch_merges_as_rfc_7396_says() {
        // Appendix A of the RFC.
        for (mut target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        ] {
            merge(&mut target, patch);
            assert_eq!(target, result);
        }
    }

    #[test]
    fn a_broken_body_is_told_with_its_position() {
        let problem = Fields::parse(b"{\n \"a\": }").unwrap_err();
        assert_eq!(problem.status, 400);
        assert!(problem.detail.contains("line 2, column 7"), "{}", problem.detail);
    }

    #[test]
    fn a_field_that_stands_there_twice_is_refused() {
        let problem = Fields::parse(br#"{"rate": 1, "on": true, "rate": 2}"#).unwrap_err();
        assert_eq!(problem.status, 400);
        assert!(problem.detail.contains("\"rate\" stands there twice"), "{}", problem.detail);
    }
}
