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
    if let Ok(timestamp) = text.parse::<Timestamp>() {
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
    in_range(local.to_zoned(zone.clone()).map_err(|_| "is out of range".to_owned())?.timestamp())
}

fn in_range(timestamp: Timestamp) -> Result<Timestamp, String> {
    let year = timestamp.to_zoned(TimeZone::UTC).year();
    if (2000..2100).contains(&year) { Ok(timestamp) } else { Err("must be between the years 2000 and 2100".into()) }
}
