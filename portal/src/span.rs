//! Spans of time in query strings.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use leadway_domain::problem::{FieldError, Problem};
use leadway_tables::Day;
use leadway_tables::schema::QUARTER_SECONDS;
use utoipa::IntoParams;

use crate::query::{FromQuery, Query};

/// The longest span that one request may ask for.
const MAX_DAYS: i64 = 366;

/// Which time is asked for.
#[derive(Clone, Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SpanRequest {
    /// From this moment (RFC 3339) or day (`2024-01-15`) on.
    #[param(value_type = Option<String>, pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}")]
    pub(crate) from: Option<Timestamp>,
    /// Before this moment, or up to the end of this day. A span is at most 366 days long.
    #[param(value_type = Option<String>, pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}")]
    pub(crate) to: Option<Timestamp>,
    /// The time zone of days (IANA): `America/Los_Angeles`; UTC by default.
    #[param(value_type = Option<String>, rename = "time_zone")]
    pub(crate) zone: TimeZone,
}

impl FromQuery for SpanRequest {
    fn read(query: &mut Query) -> Self {
        let zone = time_zone(query);
        let from = query.with("from", |text| moment(text, false, &zone));
        let to = query.with("to", |text| moment(text, true, &zone));
        Self { from, to, zone }
    }
}

/// Reads `time_zone`; UTC when there is none.
fn time_zone(query: &mut Query) -> TimeZone {
    let rule = |_| "must be an IANA time zone such as America/Los_Angeles".to_owned();
    query.with("time_zone", |text| TimeZone::get(text).map_err(rule)).unwrap_or(TimeZone::UTC)
}

impl Default for SpanRequest {
    fn default() -> Self {
        Self { from: None, to: None, zone: TimeZone::UTC }
    }
}

/// What the tables keep of a moment.
const MILLISECOND: SignedDuration = SignedDuration::from_millis(1);
const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);

/// The moment as the tables keep it.
fn cut(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_microsecond().div_euclid(1_000)).unwrap_or(at)
}

/// A span of time, in whole milliseconds as everything in the tables: `from` is in it, `to` is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

impl SpanRequest {
    /// One whole day, from a parameter of its own.
    pub(crate) fn day(query: &mut Query, name: &'static str) -> Self {
        let zone = time_zone(query);
        let day = query.with(name, |text| {
            if text.len() != "2024-01-15".len() {
                return Err("must be a day such as 2024-01-15".to_owned());
            }
            Ok((moment(text, false, &zone)?, moment(text, true, &zone)?))
        });
        Self { from: day.map(|(from, _)| from), to: day.map(|(_, to)| to), zone }
    }

    /// The name of the time zone.
    pub(crate) fn zone_name(&self) -> String {
        self.zone.iana_name().unwrap_or("UTC").to_owned()
    }

    /// Whether any bound was given.
    pub(crate) fn is_given(&self) -> bool {
        self.from.is_some() || self.to.is_some()
    }

    /// The span; without `to` it ends now, without `from` it is `default_days` long.
    pub(crate) fn resolve(&self, now: Timestamp, default_days: i64) -> Result<Span, Problem> {
        let wrong = |message: &str| Problem::validation(vec![FieldError::new("from", "invalid", message)]);
        let to = self
            .to
            .map_or_else(|| cut(now) + MILLISECOND, |to| to.checked_add(MILLISECOND - NANOSECOND).map_or(to, cut));
        let from = match self.from {
            Some(from) => cut(from),
            None => to.checked_sub(SignedDuration::from_hours(24 * default_days)).unwrap_or(Timestamp::MIN),
        };
        if from >= to {
            return Err(wrong("must be before to"));
        }
        if to.duration_since(from) > SignedDuration::from_hours(24 * MAX_DAYS) {
            return Err(wrong("must be at most 366 days before to; ask for shorter spans one by one"));
        }
        Ok(Span { from, to })
    }
}

impl Span {
    /// The span in whole quarters of an hour, in which sums are kept.
    pub(crate) fn in_quarters(&self) -> Self {
        let whole = |seconds: i64| Timestamp::from_second(seconds * QUARTER_SECONDS);
        let from = whole(self.from.as_second().div_euclid(QUARTER_SECONDS)).unwrap_or(self.from);
        let last = (self.to - NANOSECOND).as_second().div_euclid(QUARTER_SECONDS);
        Self { from, to: whole(last + 1).unwrap_or(self.to) }
    }

    pub(crate) fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }

    /// The UTC days it touches.
    pub(crate) fn days(&self) -> impl DoubleEndedIterator<Item = Day> + Clone + Send + use<> {
        self.first_day().through(self.last_day())
    }

    pub(crate) fn first_day(&self) -> Day {
        Day::of(self.from)
    }

    pub(crate) fn last_day(&self) -> Day {
        Day::of(self.to - MILLISECOND)
    }
}

fn moment(text: &str, end: bool, zone: &TimeZone) -> Result<Timestamp, String> {
    let rule = || "must be a day such as 2024-01-15 or a time such as 2024-01-15T10:30:00Z".to_owned();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    // A longer text is a time without its offset: which moment it means is not known.
    let date = text.parse::<Date>().ok().filter(|_| text.len() == "2024-01-15".len()).ok_or_else(rule)?;
    let date = if end { date.checked_add(1.day()).map_err(|_| rule())? } else { date };
    date.to_zoned(zone.clone()).map(|z| z.timestamp()).map_err(|_| rule())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_whole_at_both_ends() {
        let request = SpanRequest {
            from: Some(moment("2024-01-15", false, &TimeZone::UTC).unwrap()),
            to: Some(moment("2024-01-15", true, &TimeZone::UTC).unwrap()),
            ..SpanRequest::default()
        };
        let span = request.resolve(Timestamp::UNIX_EPOCH, 30).unwrap();
        assert!(span.contains("2024-01-15T00:00:00Z".parse().unwrap()));
        assert!(span.contains("2024-01-15T23:59:59.999999Z".parse().unwrap()));
        assert!(!span.contains("2024-01-16T00:00:00Z".parse().unwrap()));
        assert_eq!(span.days().count(), 1);
        assert_eq!(span.first_day().to_string(), "2024-01-15");
    }

    #[test]
    fn spans_are_bounded_and_not_upside_down() {
        let at = |text: &str| moment(text, false, &TimeZone::UTC).ok();
        let span = |from, to| {
            SpanRequest { from: at(from), to: at(to), ..SpanRequest::default() }.resolve(Timestamp::UNIX_EPOCH, 30)
        };
        assert!(span("2024-01-01", "2025-01-01").is_ok());
        assert!(span("2024-01-01", "2025-01-02").is_err());
        assert!(span("2024-01-02", "2024-01-01").is_err());
        assert!(moment("yesterday", false, &TimeZone::UTC).is_err());
        assert!(moment("2024-01-15T10:30", false, &TimeZone::UTC).is_err(), "a time needs its offset");
    }

    #[test]
    fn a_day_of_a_zone_begins_at_its_midnight_and_ends_at_the_next_whatever_the_clocks_do() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let day = |text| {
            let from = moment(text, false, &zone).unwrap();
            let to = moment(text, true, &zone).unwrap();
            let hours = to.duration_since(from).as_hours();
            (from.to_string(), hours)
        };
        assert_eq!(day("2024-01-15"), ("2024-01-15T05:00:00Z".to_owned(), 24));
        assert_eq!(day("2024-03-10"), ("2024-03-10T05:00:00Z".to_owned(), 23));
        assert_eq!(day("2024-11-03"), ("2024-11-03T04:00:00Z".to_owned(), 25));
    }

    #[test]
    fn sums_are_those_of_whole_quarters_of_an_hour() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let span = |from, to| Span { from: at(from), to: at(to) }.in_quarters();
        let whole = Span { from: at("2024-01-15T10:15:00Z"), to: at("2024-01-15T10:45:00Z") };
        assert_eq!(span("2024-01-15T10:15:00Z", "2024-01-15T10:45:00Z"), whole);
        assert_eq!(span("2024-01-15T10:29:59.999Z", "2024-01-15T10:30:00.001Z"), whole);
    }
}
