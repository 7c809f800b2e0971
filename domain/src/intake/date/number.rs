//! Dates that are nothing but a number: epochs, serial numbers of spreadsheets, compact ISO 8601.

use jiff::Timestamp;
use jiff::civil::{Date, Time};

use super::Parts;

/// Days from the zero of spreadsheets, 1899-12-30, to 2000-01-01 and to 2100-01-01.
const SERIALS: std::ops::Range<i64> = 36_526..73_051;

/// Seconds, milliseconds, microseconds or nanoseconds since 1970.
pub(super) fn epoch(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !is_digits(whole) || (!fraction.is_empty() && !is_digits(fraction)) {
        return None;
    }
    let number: i64 = whole.parse().ok()?;
    match whole.len() {
        // What is behind the seconds would be more exact than any appointment.
        9 | 10 => Timestamp::from_second(number).ok(),
        12 if whole.starts_with("20") => None,
        12 | 13 => Timestamp::from_millisecond(number).ok(),
        15 | 16 => Timestamp::from_microsecond(number).ok(),
        18 | 19 => Timestamp::from_nanosecond(number.into()).ok(),
        _ => None,
    }
}

/// `20241201`, `202412011400`, `20241201140000`; the days (and part of a day) of a spreadsheet.
pub(super) fn parts(text: &str) -> Option<Parts> {
    if is_digits(text) && matches!(text.len(), 8 | 12 | 14) {
        return compact(text);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let (is_serial, is_clock) = (whole.len() == 5, whole == "0" && !fraction.is_empty());
    if !is_digits(whole) || (!fraction.is_empty() && !is_digits(fraction)) || !(is_serial || is_clock) {
        return None;
    }
    let serial: f64 = text.parse().ok()?;
    // Spreadsheets show minutes; a float of days is exact to less than a second.
    let second = (serial.fract() * 86_400.0).round() as i64;
    let clock = Time::midnight().checked_add(jiff::SignedDuration::from_secs(second)).ok();
    if is_clock {
        return Some(Parts { clock: Some(clock?), ..Parts::default() });
    }
    let days = serial.trunc() as i64;
    if !SERIALS.contains(&days) {
        return None;
    }
    let zero = Date::new(1899, 12, 30).ok()?;
    let day = zero.checked_add(jiff::SignedDuration::from_hours(24 * days)).ok()?;
    Some(Parts { day: Some(day), clock: clock.filter(|_| second > 0), ..Parts::default() })
}

fn compact(text: &str) -> Option<Parts> {
    let two = |at: usize| text.get(at..at + 2)?.parse::<i8>().ok();
    let day = Date::new(text.get(..4)?.parse().ok()?, two(4)?, two(6)?).ok()?;
    let clock = match text.len() {
        8 => None,
        12 => Some(Time::new(two(8)?, two(10)?, 0, 0).ok()?),
        _ => Some(Time::new(two(8)?, two(10)?, two(12)?, 0).ok()?),
    };
    Some(Parts { day: Some(day), clock, ..Parts::default() })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}
