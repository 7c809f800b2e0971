//! Dates as providers write them.

mod number;
mod scan;
mod zone;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use crate::text::plain;
use zone::Zone;

/// What was sent about when.
#[derive(Clone, Copy)]
pub(super) struct Sent<'t> {
    /// The date, or the moment.
    pub(super) date: &'t str,
    /// The time of day, where it was sent apart.
    pub(super) time: Option<&'t str>,
    /// The time zone, where it was sent apart.
    pub(super) zone: Option<&'t str>,
}

/// A moment, and what of the parts it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) took_time: bool,
    pub(super) took_zone: bool,
}

/// Why no moment could be made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// There is no moment in it: a day, a window, words.
    NoMoment(&'static str),
    /// It is in a form whose other dates would be read as other days.
    Misleading(&'static str),
}

/// Longest text in which a date is looked for.
const MAX_TEXT: usize = 200;

const FORM: &str = "must be a time such as 2024-12-01T14:00:00Z, or 2024-12-01T14:00 in the customer's time zone";
const NO_CLOCK: &str = "has no time of day; send it as 2024-12-01T14:00, or beside it as appointment_time";
const OUT_OF_RANGE: &str = "must be between the years 2000 and 2100";

/// What one text says, as far as it does.
#[derive(Clone, Debug, Default, PartialEq)]
struct Parts {
    day: Option<Date>,
    clock: Option<Time>,
    zone: Option<Zone>,
    /// A day whose month is beyond twelve.
    is_day_first: bool,
}

/// Reads RFC 3339 (and RFC 9557), or a local time in the zone that is named or else in `zone`, the customer's.
pub(super) fn read(sent: Sent<'_>, zone: Option<&TimeZone>) -> Result<Moment, Unread> {
    let whole = |at| Ok(Moment { at, took_time: false, took_zone: false });
    if sent.time.is_none()
        && sent.zone.is_none()
        && let Some(at) = usual(sent.date, zone)
    {
        return in_range(at).and_then(whole);
    }
    let text = plain(sent.date);
    // `/Date(1828476000000)/`, the JSON of older .NET.
    let text = text.strip_prefix("/Date(").and_then(|inner| inner.strip_suffix(")/")).unwrap_or(&text);
    if let Some(at) = number::epoch(text) {
        return in_range(at).and_then(whole);
    }
    let mut parts = parts_of(text)?;
    let mut took_time = false;
    if let Some(time) = sent.time
        && (parts.clock.is_none() || parts.clock == Some(Time::midnight()))
    {
        let time = parts_of(&plain(time))?;
        let is_of_day = time.day.is_none() || time.day == parts.day || time.day.is_some_and(is_spreadsheet_zero);
        if let Some(clock) = time.clock.filter(|_| is_of_day) {
            // A day that was made a midnight somewhere is a day.
            parts = Parts { clock: Some(clock), zone: time.zone, ..parts };
            took_time = true;
        }
    }
    if parts.is_day_first {
        let why = "puts the day before the month; send it as 2024-12-01T14:00, so that no other date is misread";
        return Err(if parts.clock.is_some() { Unread::Misleading(why) } else { Unread::NoMoment(why) });
    }
    let (Some(day), Some(clock)) = (parts.day, parts.clock) else {
        return Err(Unread::NoMoment(if parts.day.is_some() { NO_CLOCK } else { FORM }));
    };
    let took_zone = parts.zone.is_none() && sent.zone.is_some();
    let named = match (parts.zone, sent.zone) {
        (Some(zone), _) => Some(zone),
        (None, Some(text)) => {
            Some(zone::whole(&plain(text)).ok_or(Unread::NoMoment("names a time zone that is not known"))?)
        }
        (None, None) => zone.cloned().map(Zone::Named),
    };
    let no_zone = Unread::NoMoment("is a local time, which needs a valid zip_code to tell the time zone");
    let at = named.ok_or(no_zone)?.at(DateTime::from_parts(day, clock)).ok_or(Unread::NoMoment(OUT_OF_RANGE))?;
    in_range(at).map(|at| Moment { at, took_time, took_zone })
}

/// The two usual forms, which nothing else can be mistaken for. An attempt that fails costs more than one that succeeds:
/// a text that names no offset is a local time.
fn usual(text: &str, zone: Option<&TimeZone>) -> Option<Timestamp> {
    let time = text.get("2024-12-01".len()..).filter(|time| time.starts_with(['T', 't']))?;
    if time.contains('[') {
        return None;
    }
    if time.contains(['Z', 'z', '+', '-']) {
        return text.parse().ok();
    }
    zone?.to_timestamp(text.parse::<DateTime>().ok()?).ok()
}

fn parts_of(text: &str) -> Result<Parts, Unread> {
    if text.len() > MAX_TEXT {
        return Err(Unread::NoMoment(FORM));
    }
    match number::parts(text) {
        Some(parts) => Ok(parts),
        None => scan::parts(text).map_err(Unread::NoMoment),
    }
}

/// The day that spreadsheets give a time of day: 1899-12-30, or 1900-01-00 and what is made of it.
fn is_spreadsheet_zero(day: Date) -> bool {
    day.year() <= 1900
}

fn in_range(at: Timestamp) -> Result<Timestamp, Unread> {
    let (first, end) = (946_684_800, 4_102_444_800); // 2000 and 2100
    let in_range = (first..end).contains(&at.as_second());
    in_range.then_some(at).ok_or(Unread::NoMoment(OUT_OF_RANGE))
}

#[cfg(test)]
mod tests;
