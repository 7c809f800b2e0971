//! Reading the fields one by one, and keeping what cannot be read.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::aliases::Field;
use super::date::{self, Unread};
use super::fields::Fields;
use super::place::{Fits, place};
use super::{Checked, MAX_NAME, Reading, bounded, names, phone, words};
use crate::phone::Phone;
use crate::problem::FieldError;
use crate::record::PostedAs;
use crate::zip::{ZipDirectory, ZipInfo};

/// The fields of one lead, as far as they have been read.
pub(super) struct Reader<'v> {
    fields: Fields<'v>,
    /// Whether it is filled in by Meta's tool for test leads.
    is_dummy: bool,
    pub(super) errors: Vec<FieldError>,
    warnings: Vec<FieldError>,
}

impl<'v> Reader<'v> {
    pub(super) fn new(fields: Fields<'v>) -> Self {
        let texts = [Field::FirstName, Field::LastName, Field::CustomerName, Field::Email, Field::Notes];
        let is_dummy = texts.iter().any(|field| fields.get(*field).is_some_and(words::is_dummy));
        Self { fields, is_dummy, errors: Vec::new(), warnings: Vec::new() }
    }

    /// What no field took, and what is to be told of it.
    pub(super) fn finish(self) -> (Map<String, Value>, Vec<FieldError>) {
        (self.fields.into_extra(), self.warnings)
    }

    fn error(&mut self, field: Field, code: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(field.name(), code, message));
    }

    fn warn(&mut self, field: Field, code: &str, message: impl Into<String>) {
        self.warnings.push(FieldError::new(field.name(), code, message));
    }

    /// A field that a lead can do without: of several texts the first that can be read.
    pub(super) fn optional<T>(&mut self, field: Field, parse: impl Fn(&str) -> Checked<Reading<T>>) -> Option<T> {
        if self.fields.is_shape(field) {
            self.warn(field, "invalid", "came as a list or an object; it is kept in extra");
        }
        loop {
            match parse(self.fields.get(field)?) {
                Ok(reading) => return Some(self.take(field, reading)),
                Err((code, message)) => {
                    self.warn(field, code, format!("{message}; what was sent is kept in extra"));
                    self.fields.give_up(field);
                }
            }
        }
    }

    fn take<T>(&mut self, field: Field, reading: Reading<T>) -> T {
        match reading {
            Reading::Whole(value) => value,
            Reading::Part(value, warning) => {
                self.fields.keep_too(field);
                if let Some(message) = warning {
                    self.warn(field, "incomplete", format!("{message}; what was sent is kept in extra"));
                }
                value
            }
        }
    }

    /// A field that no lead can do without.
    pub(super) fn required<T>(&mut self, field: Field, parse: impl Fn(&str) -> Checked<T>) -> Option<T> {
        let Some(text) = self.fields.get(field) else {
            self.missing(field);
            return None;
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err((code, message)) => {
                self.error(field, code, message);
                None
            }
        }
    }

    fn missing(&mut self, field: Field) {
        if self.fields.is_shape(field) {
            let message =
                "must be text or a number, not a list or an object; map the part that is meant, as /phone/full";
            self.error(field, "invalid", message);
        } else {
            self.error(field, "required", field.hint());
        }
    }

    /// The telephone: the first of those sent that can be read.
    pub(super) fn phone(&mut self) -> Option<Phone> {
        let Some(text) = self.fields.get(Field::Phone) else {
            self.missing(Field::Phone);
            return None;
        };
        match phone(text) {
            Ok(reading) => Some(self.take(Field::Phone, reading)),
            Err((code, message)) => {
                let told = self.warnings.len();
                let other = self.optional(Field::Phone, phone);
                if other.is_none() {
                    self.warnings.truncate(told);
                    self.error(Field::Phone, code, message);
                }
                other
            }
        }
    }

    /// The ZIP code, which must not contradict the lead's own state.
    pub(super) fn place<'z>(&mut self, zips: &'z ZipDirectory) -> Option<&'z ZipInfo> {
        let read = self.required(Field::ZipCode, |text| place(text, zips))?;
        match read.fits(self.fields.extra()) {
            Fits::Yes => {}
            Fits::Doubtful(message) => self.warn(Field::ZipCode, "doubtful", message),
            Fits::No(message) => {
                self.error(Field::ZipCode, "invalid", message);
                return None;
            }
        }
        Some(read.info)
    }

    /// First and last name, from their own fields or from a full name.
    pub(super) fn names(&mut self) -> (String, String) {
        let name = |text: &str| name(text, MAX_NAME);
        let first = self.optional(Field::FirstName, name);
        let last = self.optional(Field::LastName, name);
        if self.fields.get(Field::CustomerName).is_none() {
            return (first.unwrap_or_default(), last.unwrap_or_default());
        }
        let full = |text: &str| self::name(text, 2 * MAX_NAME);
        let full = self.optional(Field::CustomerName, full).unwrap_or_default();
        let completed = match (&first, &last) {
            (None, None) => Some(names::split(&full)),
            (Some(first), None) => names::last_of(&full, first).map(|last| (first.clone(), last)),
            (None, Some(last)) => names::first_of(&full, last).map(|first| (first, last.clone())),
            (Some(first), Some(last)) => names::is_whole(&full, first, last).then(|| (first.clone(), last.clone())),
        };
        completed.unwrap_or_else(|| {
            self.fields.keep_too(Field::CustomerName);
            (first.unwrap_or_default(), last.unwrap_or_default())
        })
    }

    /// When the customer expects the visit; and whether a wish was sent instead, to be scheduled by.
    pub(super) fn appointment(&mut self, as_what: PostedAs, zone: Option<&TimeZone>) -> (Option<Timestamp>, bool) {
        // A moment may come under the name of the time alone.
        let field = match self.fields.get(Field::AppointmentDate) {
            None if self.fields.get(Field::AppointmentTime).is_some() => Field::AppointmentTime,
            _ => Field::AppointmentDate,
        };
        let Some(date) = self.fields.get(field) else {
            if as_what == PostedAs::Appointment {
                self.missing(Field::AppointmentDate);
            } else if self.fields.is_shape(Field::AppointmentDate) {
                self.warn(field, "invalid", "came as a list or an object; it is kept in extra");
            }
            self.fields.keep_too(Field::AppointmentTimeZone);
            return (None, self.fields.is_shape(Field::AppointmentDate));
        };
        let time = self.fields.get(Field::AppointmentTime).filter(|_| field == Field::AppointmentDate);
        let has_time = time.is_some();
        let sent = date::Sent { date, time, zone: self.fields.get(Field::AppointmentTimeZone) };
        match date::read(sent, zone) {
            Ok(moment) => {
                if has_time && !moment.took_time {
                    self.fields.keep_too(Field::AppointmentTime);
                }
                if !moment.took_zone {
                    self.fields.keep_too(Field::AppointmentTimeZone);
                }
                (Some(moment.at), false)
            }
            Err(unread) => {
                let is_wish = !words::is_any_time(date) || has_time;
                self.keep_wish(field, unread, as_what);
                (None, is_wish)
            }
        }
    }

    /// The date is over, and nobody may take it. An appointment is sold as it comes; a lead waits for a new date.
    pub(super) fn past_date(&mut self, as_what: PostedAs) {
        let rule = "lies more than an hour back";
        match as_what {
            PostedAs::Appointment => {
                self.error(Field::AppointmentDate, "past", format!("{rule}: send a date that is still to come"));
            }
            PostedAs::Lead => {
                self.warn(Field::AppointmentDate, "past", format!("{rule}: the lead waits for a new date"))
            }
        }
    }

    fn keep_wish(&mut self, field: Field, unread: Unread, as_what: PostedAs) {
        for field in [Field::AppointmentDate, Field::AppointmentTime, Field::AppointmentTimeZone] {
            self.fields.keep_too(field);
        }
        match unread {
            Unread::Misleading(why) => self.error(field, "invalid", why),
            Unread::NoMoment(why) if as_what == PostedAs::Appointment => self.error(field, "invalid", why),
            Unread::NoMoment(why) => {
                self.warn(
                    field,
                    "invalid",
                    format!("{why}; what was sent is kept in extra, and the lead waits to be scheduled"),
                );
            }
        }
    }

    /// Whether it is a test, by a flag or by what Meta's tool fills in.
    pub(super) fn is_test(&mut self) -> bool {
        self.optional(Field::Test, |text| words::truth(text).map(Reading::Whole)).unwrap_or(false) || self.is_dummy
    }
}

/// Nobody is called so.
fn name(text: &str, max: usize) -> Checked<Reading<String>> {
    if text.eq_ignore_ascii_case("n/a") {
        return Err(("invalid", "is no name".into()));
    }
    bounded(text, max).map(Reading::Whole)
}
