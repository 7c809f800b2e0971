//! From what a provider posted to a valid [`Lead`]: map, normalise, validate. Pure; every error is found, not only
//! the first.

mod aliases;
mod amount;
mod check;
mod date;
mod email;
mod fields;
mod names;
mod place;
mod pointer;
mod reader;
mod size;
mod words;

use jiff::Timestamp;
use serde_json::{Map, Value};
use simd_json::BorrowedValue;

use crate::id::ContactId;
use crate::lead::{Lead, SubmissionKey};
use crate::phone::Phone;
use crate::problem::FieldError;
use crate::record::PostedAs;
use crate::settings::{Named, Provider, Settings, is_past};
use crate::submission::legacy;
use crate::text::{plain, readable};
use crate::zip::ZipDirectory;

pub use aliases::Field;
pub use check::check_mapping;
use fields::Fields;
use reader::Reader;

/// Longest name, in characters.
const MAX_NAME: usize = 100;
/// Longest notes, in characters.
const MAX_NOTES: usize = 10_000;
/// Longest external id, in characters.
const MAX_EXTERNAL_ID: usize = 200;
/// Most fields in one lead.
const MAX_FIELDS: usize = 300;

/// Everything that intake depends on besides the lead itself.
#[derive(Clone, Copy, Debug)]
pub struct Intake<'a> {
    /// Who posted it.
    pub provider: &'a Provider,
    /// For products.
    pub settings: &'a Settings,
    /// For ZIPs.
    pub zips: &'a ZipDirectory,
    /// What was posted.
    pub posted_as: PostedAs,
    /// The request's `Idempotency-Key`.
    pub idempotency: Option<Idempotency<'a>>,
    /// Most bytes of a lead as a whole.
    pub max_bytes: usize,
    /// When it arrived.
    pub now: Timestamp,
}

/// An `Idempotency-Key` and what it is the key of.
#[derive(Clone, Copy, Debug)]
pub struct Idempotency<'a> {
    /// The key, not empty.
    pub key: &'a str,
    /// The number of this lead within the request.
    pub part: usize,
    /// Whether the request is one lead on its own.
    pub single: bool,
}

/// A lead, and what of the post it does not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// Normalised and valid.
    pub lead: Lead,
    /// Optional fields that could not be read, or not as a whole. What was sent is kept in the lead's `extra`.
    pub warnings: Vec<FieldError>,
}

impl Intake<'_> {
    /// Makes a lead of `raw`, or tells everything that is wrong with it. Only what a lead cannot do without is wrong: an
    /// optional field that cannot be read is kept in `extra`, with a warning.
    pub fn normalise(&self, raw: &BorrowedValue<'_>) -> Result<Taken, Vec<FieldError>> {
        let BorrowedValue::Object(object) = raw else {
            return Err(vec![FieldError::new("", "invalid", "must be a JSON object with the lead's fields")]);
        };
        if object.len() > MAX_FIELDS {
            return Err(vec![FieldError::new("", "too_many", format!("must have at most {MAX_FIELDS} fields"))]);
        }
        if let Err(error) = size::check(object, self.max_bytes) {
            return Err(vec![*error]);
        }
        let mut read = Reader::new(Fields::map(&self.provider.mapping, object, raw));

        let (first_name, last_name) = read.names();
        let phone = read.phone();
        let email = read.optional(Field::Email, email::email);
        let product = read.required(Field::ProductType, |text| product(text, self.settings));
        let zip = read.place(self.zips);
        let estimated_value = read.optional(Field::EstimatedValue, amount::amount);
        let interest_level = read.optional(Field::InterestLevel, |text| words::interest(text).map(Reading::Whole));
        let notes =
            read.optional(Field::Notes, |text| bounded(text, MAX_NOTES).map(Reading::Whole)).unwrap_or_default();
        let external_id = read.optional(Field::ExternalId, external_id);
        let (appointment_date, has_wish) = read.appointment(self.posted_as, zip.map(|zip| &zip.time_zone));
        if appointment_date.is_some_and(|date| is_past(date, self.now))
            && !self.settings.may_sell_past(&self.provider.id)
        {
            read.past_date(self.posted_as);
        }
        let test = read.is_test();

        let (Some(phone), Some(product), Some(zip)) = (phone, product, zip) else {
            return Err(read.errors);
        };
        if !read.errors.is_empty() {
            return Err(read.errors);
        }
        let (extra, warnings) = read.finish();
        let provider_id = self.provider.id.clone();
        let mut lead = Lead {
            v: Lead::VERSION,
            contact_id: ContactId::derive(phone, &provider_id),
            provider_id,
            first_name,
            last_name,
            phone,
            email,
            product_type: product.name.clone(),
            zip_code: zip.zip,
            state: zip.state.clone(),
            estimated_value,
            interest_level,
            notes,
            appointment_date,
            external_id,
            extra,
            test,
            // The next free slot may be far from what the customer asked for.
            auto_schedule: !has_wish && (self.provider.auto_schedule || product.product.auto_schedule),
            cost: self.provider.cost_per_lead,
            submission: SubmissionKey(0),
            also: None,
            received_at: self.now,
        };
        (lead.submission, lead.also) = self.submission(&lead);
        Ok(Taken { lead, warnings })
    }

    /// The lead's identity, and the one that the provider's own id makes besides.
    fn submission(&self, lead: &Lead) -> (SubmissionKey, Option<SubmissionKey>) {
        let provider = &lead.provider_id;
        let own = lead.external_id.as_deref().map(|id| SubmissionKey::of_external_id(provider, id));
        match self.idempotency {
            None => (own.unwrap_or_else(|| SubmissionKey::of_content(lead)), None),
            Some(Idempotency { key, single: true, .. }) => (SubmissionKey::of_idempotency_key(provider, key), own),
            Some(Idempotency { key, .. }) => {
                let within = own.unwrap_or_else(|| SubmissionKey::of_content(lead));
                (SubmissionKey::of_part(provider, key, within), own)
            }
        }
    }

    /// What an older record says of the same submission.
    pub fn legacy_submission(&self, lead: &Lead) -> SubmissionKey {
        legacy::submission(lead, self.idempotency.map(|Idempotency { key, part, .. }| (key, part)))
    }
}

type Checked<T> = Result<T, (&'static str, String)>;

/// What a text came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reading<T> {
    /// All that it says.
    Whole(T),
    /// Less than it says, so the text is kept too; with a warning where it may be another than was meant.
    Part(T, Option<String>),
}

/// Collapses runs of white space, removes control characters and checks the length.
fn bounded(text: &str, max: usize) -> Checked<String> {
    if text.len() <= max && is_clean(text) {
        return Ok(text.to_owned());
    }
    let clean = readable(text);
    let clean = match max <= 2 * MAX_NAME {
        true => clean.split_whitespace().collect::<Vec<_>>().join(" "),
        false => clean.replace('\t', " "),
    };
    if clean.chars().count() > max {
        return Err(("too_long", format!("must have at most {max} characters")));
    }
    Ok(clean.trim().to_owned())
}

/// Whether it is visible ASCII with single spaces between the words, as most texts are.
fn is_clean(text: &str) -> bool {
    let mut after_space = true;
    let visible = text.bytes().all(|byte| {
        let again = after_space && byte == b' ';
        after_space = byte == b' ';
        !again && (b' '..=b'~').contains(&byte)
    });
    visible && !after_space
}

fn phone(text: &str) -> Checked<Reading<Phone>> {
    match Phone::read(text) {
        Ok((phone, true)) => Ok(Reading::Whole(phone)),
        Ok((phone, false)) => Ok(Reading::Part(phone, None)),
        Err(error) => Err(("invalid", error.to_string())),
    }
}

fn product<'s>(text: &str, settings: &'s Settings) -> Checked<&'s Named> {
    let known = settings.named(&plain(text));
    known.ok_or_else(|| ("unknown", "is no known product; the operator's list is at /api/products".into()))
}

/// An id that stands for nothing would make all leads that bring it one.
fn external_id(text: &str) -> Checked<Reading<String>> {
    if words::says_nothing(text) {
        return Err(("invalid", "is no id of this lead".into()));
    }
    bounded(text, MAX_EXTERNAL_ID).map(Reading::Whole)
}

/// A borrowed JSON value as an owned one, as it is.
pub fn to_owned_json(value: &BorrowedValue<'_>) -> Value {
    owned(value, &str::to_owned)
}

/// The same as people may read it.
fn readable_json(value: &BorrowedValue<'_>) -> Value {
    owned(value, &|text| readable(text).into_owned())
}

fn owned(value: &BorrowedValue<'_>, text: &dyn Fn(&str) -> String) -> Value {
    use simd_json::StaticNode;
    match value {
        BorrowedValue::Static(StaticNode::Null) => Value::Null,
        BorrowedValue::Static(StaticNode::Bool(b)) => Value::Bool(*b),
        BorrowedValue::Static(StaticNode::I64(n)) => Value::from(*n),
        BorrowedValue::Static(StaticNode::U64(n)) => Value::from(*n),
        BorrowedValue::Static(StaticNode::F64(n)) => Value::from(*n),
        BorrowedValue::String(s) => Value::String(text(s)),
        BorrowedValue::Array(items) => items.iter().map(|item| owned(item, text)).collect(),
        BorrowedValue::Object(pairs) => {
            Value::Object(pairs.iter().map(|(k, v)| (text(k), owned(v, text))).collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests;
