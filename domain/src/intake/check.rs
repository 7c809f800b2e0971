//! Checking a provider's mapping before it is kept: what it makes of leads must be what leads may hold.

use jiff::tz::TimeZone;

use super::aliases::Field;
use super::{Checked, MAX_EXTERNAL_ID, MAX_NAME, MAX_NOTES};
use super::{amount, bounded, date, email, phone, place, pointer, product, words};
use crate::problem::FieldError;
use crate::settings::{FieldMapping, Settings};
use crate::zip::ZipDirectory;

/// Most errors that are told: a mapping may have thousands of entries.
const MAX_ERRORS: usize = 100;

/// Everything that is wrong with a mapping (the first hundred): every target must be a field of ours, every constant and
/// every value meant one that its field takes, and every JSON pointer well-formed. Fields are named
/// `mapping.constants.product_type`.
pub fn check_mapping(mapping: &FieldMapping, settings: &Settings, zips: &ZipDirectory) -> Vec<FieldError> {
    let error = |place: &str, (code, message): (&str, String)| FieldError::new(place, code, message);
    let sources = mapping.fields.iter().flat_map(|(source, target)| {
        let place = format!("mapping.fields.{source}");
        [check_source(source).err(), field(target).err()].into_iter().flatten().map(move |e| error(&place, e))
    });
    let constants = mapping.constants.iter().filter_map(|(target, value)| {
        let checked = field(target).and_then(|field| check_value(field, value, settings, zips));
        checked.err().map(|e| error(&format!("mapping.constants.{target}"), e))
    });
    let values = mapping.values.iter().flat_map(|(target, values)| {
        let place = format!("mapping.values.{target}");
        let wrong: Vec<FieldError> = match field(target) {
            Err(e) => vec![error(&place, e)],
            Ok(field) => {
                let check = |(sent, meant): (&String, &String)| {
                    let wrong = check_value(field, meant, settings, zips).err()?;
                    Some(error(&format!("{place}.{sent}"), wrong))
                };
                values.iter().filter_map(check).take(MAX_ERRORS).collect()
            }
        };
        wrong
    });
    sources.chain(constants).chain(values).take(MAX_ERRORS).collect()
}

fn field(name: &str) -> Checked<Field> {
    Field::by_name(name).ok_or_else(|| {
        let names = Field::ALL.map(Field::name).join(", ");
        ("unknown", format!("{name:?} is no field; the fields are {names}"))
    })
}

/// A source is the name of a field, or a JSON pointer (RFC 6901): in one, `~` stands only in `~0` and `~1`.
fn check_source(source: &str) -> Checked<()> {
    if source.is_empty() {
        return Err(("invalid", "must name a field or be a JSON pointer".into()));
    }
    let escaped = source.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if source.starts_with('/') && !escaped {
        return Err(("invalid", "is no JSON pointer: write ~0 for '~' and ~1 for '/' within a name".into()));
    }
    if source.starts_with('/') && !pointer::has_whole_selectors(source) {
        let form = "selects nothing: write /list/[name=value]/member, with ~1 for '/' within the value";
        return Err(("invalid", form.into()));
    }
    Ok(())
}

/// Whether a lead's field takes this text.
fn check_value(field: Field, text: &str, settings: &Settings, zips: &ZipDirectory) -> Checked<()> {
    match field {
        Field::FirstName | Field::LastName => bounded(text, MAX_NAME).map(drop),
        Field::CustomerName => bounded(text, 2 * MAX_NAME).map(drop),
        Field::Phone => phone(text).map(drop),
        Field::Email => email::email(text).map(drop),
        Field::ProductType => product(text, settings).map(drop),
        Field::ZipCode => place::place(text, zips).map(drop),
        Field::EstimatedValue => amount::amount(text).map(drop),
        Field::InterestLevel => words::interest(text).map(drop),
        Field::Notes => bounded(text, MAX_NOTES).map(drop),
        // A local time is one in whatever zone the customer lives.
        Field::AppointmentDate => date::read(date::Sent { date: text, time: None, zone: None }, Some(&TimeZone::UTC))
            .map(drop)
            .map_err(unread),
        Field::AppointmentTime => {
            date::read(date::Sent { date: "2024-12-01", time: Some(text), zone: None }, Some(&TimeZone::UTC))
                .map(drop)
                .map_err(|_| ("invalid", "must be a time of day such as 14:00 or 2:00 PM".into()))
        }
        Field::AppointmentTimeZone => {
            date::read(date::Sent { date: "2024-12-01T14:00", time: None, zone: Some(text) }, None)
                .map(drop)
                .map_err(unread)
        }
        Field::ExternalId => bounded(text, MAX_EXTERNAL_ID).map(drop),
        Field::Test => words::truth(text).map(drop),
    }
}

fn unread(error: date::Unread) -> (&'static str, String) {
    let (date::Unread::NoMoment(why) | date::Unread::Misleading(why)) = error;
    ("invalid", why.to_owned())
}
