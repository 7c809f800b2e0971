//! Dates as providers write them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, fmt::strtime};

/// Forms of a local time besides ISO 8601, tried in turn.
const LOCAL_FORMS: [&str; 6] = [
    "%Y-%m-%d %I:%M %p",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %I:%M %p",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M%p",
];

/// Reads RFC 3339, or a local time in `zone`, the customer's.
pub(super) fn parse(text: &str, zone: Option<&TimeZone>) -> Result<Timestamp, String> {
    // An attempt that fails costs more than one that succeeds: a text that names no offset is a local time.
    let names_offset = text.get("2024-12-01".len()..).is_none_or(|time| time.contains(['Z', 'z', '+', '-']));
    if names_offset && let Ok(timestamp) = text.parse::<Timestamp>() {
        return in_range(timestamp);
    }
    let local = text.parse::<DateTime>().ok().filter(|_| text.len() > "2024-12-01".len());
    let local = local.or_else(|| {
        let upper = text.to_ascii_uppercase();
        LOCAL_FORMS.iter().find_map(|form| strtime::parse(form, &upper).ok()?.to_datetime().ok())
    });
    let Some(local) = local else {
        return Err(
            "must be a time such as 2024-12-01T14:00:00Z, or 2024-12-01T14:00 in the customer's time zone".into()
        );
    };
    let Some(zone) = zone else {
        return Err("is a local time, which needs a valid zip_code to tell the time zone".into());
    };
    in_range(zone.to_timestamp(local).map_err(|_| "is out of range".to_owned())?)
}

fn in_range(timestamp: Timestamp) -> Result<Timestamp, String> {
    let (first, end) = (946_684_800, 4_102_444_800); // 2000 and 2100
    let in_range = (first..end).contains(&timestamp.as_second());
    in_range.then_some(timestamp).ok_or_else(|| "must be between the years 2000 and 2100".into())
}
