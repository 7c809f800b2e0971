//! From what a provider posted to a valid [`Lead`]: map, normalise, validate. Pure; every error is found, not only
//! the first.

mod aliases;
mod check;
mod date;
mod fields;

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use simd_json::BorrowedValue;

use crate::id::ContactId;
use crate::lead::{InterestLevel, Lead, SubmissionKey};
use crate::money::Money;
use crate::phone::Phone;
use crate::problem::FieldError;
use crate::record::PostedAs;
use crate::settings::{Named, Provider, Settings, fold_short};
use crate::zip::{Zip, ZipDirectory, ZipInfo};

pub use aliases::Field;
pub use check::check_mapping;
use fields::Fields;

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
    /// The request's `Idempotency-Key`, with the number of this lead within the request.
    pub idempotency_key: Option<(&'a str, usize)>,
    /// When it arrived.
    pub now: Timestamp,
}

impl Intake<'_> {
    /// Makes a lead of `raw`, or tells everything that is wrong with it.
    pub fn normalise(&self, raw: &BorrowedValue<'_>) -> Result<Lead, Vec<FieldError>> {
        let BorrowedValue::Object(object) = raw else {
            return Err(vec![FieldError::new("", "invalid", "must be a JSON object with the lead's fields")]);
        };
        if object.len() > MAX_FIELDS {
            return Err(vec![FieldError::new("", "too_many", format!("must have at most {MAX_FIELDS} fields"))]);
        }
        let mut fields = Fields::map(&self.provider.mapping, object, raw);
        let mut errors = std::mem::take(&mut fields.errors);
        let mut read = Reader { fields: &fields, errors: &mut errors };

        let (first_name, last_name) = read.names();
        let phone = read.required(Field::Phone, phone);
        let email = read.optional(Field::Email, email);
        let product = read.required(Field::ProductType, |text| product(text, self.settings));
        let zip = read.required(Field::ZipCode, |text| known_zip(text, self.zips));
        let estimated_value = read.optional(Field::EstimatedValue, amount);
        let interest_level = read.optional(Field::InterestLevel, interest);
        let notes = read.optional(Field::Notes, |t| bounded(t, MAX_NOTES)).unwrap_or_default();
        let external_id = read.optional(Field::ExternalId, |t| bounded(t, MAX_EXTERNAL_ID));
        let zone = zip.map(|z| &z.time_zone);
        let read_date = |text: &str| date_in(text, zone);
        let appointment_date = match self.posted_as {
            PostedAs::Lead => read.optional(Field::AppointmentDate, read_date),
            PostedAs::Appointment => read.required(Field::AppointmentDate, read_date),
        };
        let test = read.optional(Field::Test, truth).unwrap_or(false);

        let (Some(phone), Some(product), Some(zip), true) = (phone, product, zip, errors.is_empty()) else {
            return Err(errors);
        };
        let provider_id = self.provider.id.clone();
        let mut lead = Lead {
            v: 1,
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
            extra: fields.into_extra(),
            test,
            auto_schedule: self.provider.auto_schedule || product.product.auto_schedule,
            cost: self.provider.cost_per_lead,
            submission: SubmissionKey(0),
            received_at: self.now,
        };
        lead.submission = self.submission(&lead);
        Ok(lead)
    }

    fn submission(&self, lead: &Lead) -> SubmissionKey {
        if let Some((key, part)) = self.idempotency_key.filter(|(key, _)| !key.is_empty()) {
            return SubmissionKey::of_idempotency_key(&lead.provider_id, key, part);
        }
        if let Some(id) = &lead.external_id {
            return SubmissionKey::of_external_id(&lead.provider_id, id);
        }
        SubmissionKey::of_content(lead)
    }
}

type Checked<T> = Result<T, (&'static str, String)>;

struct Reader<'f, 'v, 'e> {
    fields: &'f Fields<'v>,
    errors: &'e mut Vec<FieldError>,
}

impl Reader<'_, '_, '_> {
    fn optional<T>(&mut self, field: Field, parse: impl FnOnce(&str) -> Checked<T>) -> Option<T> {
        match parse(self.fields.get(field)?) {
            Ok(value) => Some(value),
            Err((code, message)) => {
                self.errors.push(FieldError::new(field.name(), code, message));
                None
            }
        }
    }

    fn required<T>(&mut self, field: Field, parse: impl FnOnce(&str) -> Checked<T>) -> Option<T> {
        let unreadable = self.errors.iter().any(|e| e.field == field.name());
        if self.fields.get(field).is_none() && !unreadable {
            self.errors.push(FieldError::new(field.name(), "required", field.hint()));
        }
        self.optional(field, parse)
    }

    /// First and last name, from their own fields or from a full name.
    fn names(&mut self) -> (String, String) {
        let first = self.optional(Field::FirstName, |t| bounded(t, MAX_NAME));
        let last = self.optional(Field::LastName, |t| bounded(t, MAX_NAME));
        if first.is_some() || last.is_some() {
            return (first.unwrap_or_default(), last.unwrap_or_default());
        }
        let Some(full) = self.optional(Field::CustomerName, |t| bounded(t, 2 * MAX_NAME)) else {
            return Default::default();
        };
        match full.split_once(' ') {
            Some((first, last)) => (first.to_owned(), last.trim_start().to_owned()),
            None => (full, String::new()),
        }
    }
}

/// Collapses runs of white space, removes control characters and checks the length.
fn bounded(text: &str, max: usize) -> Checked<String> {
    if text.len() <= max && is_clean(text) {
        return Ok(text.to_owned());
    }
    let clean: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    let clean = if max <= 2 * MAX_NAME { clean.split_whitespace().collect::<Vec<_>>().join(" ") } else { clean };
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

fn phone(text: &str) -> Checked<Phone> {
    Phone::parse(text).map_err(|e| ("invalid", e.to_string()))
}

fn product<'s>(text: &str, settings: &'s Settings) -> Checked<&'s Named> {
    let known = settings.named(text);
    known.ok_or_else(|| ("unknown", "is no known product; the operator's list is at /api/products".into()))
}

fn known_zip<'z>(text: &str, zips: &'z ZipDirectory) -> Checked<&'z ZipInfo> {
    let zip = Zip::parse(text).map_err(|e| ("invalid", e.to_string()))?;
    zips.get(zip).ok_or_else(|| ("unknown", "is no ZIP code in use".into()))
}

fn date_in(text: &str, zone: Option<&TimeZone>) -> Checked<Timestamp> {
    date::parse(text, zone).map_err(|message| ("invalid", message))
}

fn email(text: &str) -> Checked<String> {
    let options = email_address::Options::default().with_required_tld().without_display_text().without_domain_literal();
    match email_address::EmailAddress::parse_with_options(text, options) {
        Ok(address) => Ok(lower_case(address.into())),
        Err(_) => Err(("invalid", "must be an e-mail address such as name@example.com".into())),
    }
}

fn lower_case(mut text: String) -> String {
    if !text.is_ascii() {
        return text.to_lowercase();
    }
    text.make_ascii_lowercase();
    text
}

fn amount(text: &str) -> Checked<Money> {
    let decorations = ['$', ',', ' '];
    let plain = match text.contains(decorations) {
        true => Cow::Owned(text.replace(decorations, "")),
        false => Cow::Borrowed(text),
    };
    let money = Money::parse(&plain).map_err(|e| ("invalid", e.to_string()))?;
    if money.is_negative() { Err(("invalid", "must not be negative".into())) } else { Ok(money) }
}

fn interest(text: &str) -> Checked<InterestLevel> {
    match &*fold_short(text, &mut Default::default()) {
        "hot" => Ok(InterestLevel::Hot),
        "warm" => Ok(InterestLevel::Warm),
        "cold" => Ok(InterestLevel::Cold),
        _ => Err(("invalid", "must be hot, warm or cold".into())),
    }
}

fn truth(text: &str) -> Checked<bool> {
    match &*fold_short(text, &mut Default::default()) {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(("invalid", "must be true or false".into())),
    }
}

/// A borrowed JSON value as an owned one.
pub fn to_owned_json(value: &BorrowedValue<'_>) -> Value {
    use simd_json::StaticNode;
    match value {
        BorrowedValue::Static(StaticNode::Null) => Value::Null,
        BorrowedValue::Static(StaticNode::Bool(b)) => Value::Bool(*b),
        BorrowedValue::Static(StaticNode::I64(n)) => Value::from(*n),
        BorrowedValue::Static(StaticNode::U64(n)) => Value::from(*n),
        BorrowedValue::Static(StaticNode::F64(n)) => Value::from(*n),
        BorrowedValue::String(s) => Value::String(s.to_string()),
        BorrowedValue::Array(items) => items.iter().map(to_owned_json).collect(),
        BorrowedValue::Object(pairs) => {
            Value::Object(pairs.iter().map(|(k, v)| (k.to_string(), to_owned_json(v))).collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests;
