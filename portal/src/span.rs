//! Spans of time in query strings.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use leadway_domain::problem::{FieldError, Problem};
use leadway_tables::Day;
use utoipa::IntoParams;

use crate::query::{FromQuery, Query};

/// The longest span that one request may ask for.
const MAX_DAYS: i64 = 366;

/// Which time is asked for.
#[derive(Clone, Copy, Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SpanRequest {
    /// From this moment (RFC 3339) or day (`2024-01-15`, UTC) on.
    #[param(value_type = Option<String>)]
    pub(crate) from: Option<Timestamp>,
    /// Before this moment, or up to the end of this day. A span is at most 366 days long.
    #[param(value_type = Option<String>)]
    pub(crate) to: Option<Timestamp>,
}

impl FromQuery for SpanRequest {
    fn read(query: &mut Query) -> Self {
        Self { from: query.with("from", |text| moment(text, false)), to: query.with("to", |text| moment(text, true)) }
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
        let day = query.with(name, |text| {
            if text.len() != "2024-01-15".len() {
                return Err("must be a day such as 2024-01-15".to_owned());
            }
            Ok((moment(text, false)?, moment(text, true)?))
        });
        Self { from: day.map(|(from, _)| from), to: day.map(|(_, to)| to) }
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

fn moment(text: &str, end: bool) -> Result<Timestamp, String> {
    let rule = || "must be a day such as 2024-01-15 or a time such as 2024-01-15T10:30:00Z".to_owned();
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    // A longer text is a time without its offset: which moment it means is not known.
    let date = text.parse::<Date>().ok().filter(|_| text.len() == "2024-01-15".len()).ok_or_else(rule)?;
    let date = if end { date.checked_add(1.day()).map_err(|_| rule())? } else { date };
    date.to_zoned(TimeZone::UTC).map(|z| z.timestamp()).map_err(|_| rule())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_whole_at_both_ends() {
        let request = SpanRequest {
            from: Some(moment("2024-01-15", false).unwrap()),
            to: Some(moment("2024-01-15", true).unwrap()),
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
        let at = |text: &str| moment(text, false).ok();
        let span = |from, to| SpanRequest { from: at(from), to: at(to) }.resolve(Timestamp::UNIX_EPOCH, 30);
        assert!(span("2024-01-01", "2025-01-01").is_ok());
        assert!(span("2024-01-01", "2025-01-02").is_err());
        assert!(span("2024-01-02", "2024-01-01").is_err());
        assert!(moment("yesterday", false).is_err());
        assert!(moment("2024-01-15T10:30", false).is_err(), "a time needs its offset");
    }
}
