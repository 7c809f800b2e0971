//! When a failed delivery is tried again.

use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::fmt::rfc2822::DateTimeParser;
use leadway_domain::Timestamp;

use crate::Options;

/// The pauses between attempts: exponential bounds with full jitter ("Exponential Backoff And Jitter", AWS Architecture
/// Blog), so that a client that comes back is not met by everything at once.
pub(crate) struct Schedule {
    /// The bound of the pause after the first attempt, the second, …; after the last attempt there is none.
    bounds: Vec<Duration>,
    longest_retry_after: Duration,
}

impl Schedule {
    pub(crate) fn new(options: &Options) -> Self {
        let longest = Duration::from_secs(options.max_retry_seconds);
        let curve = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(options.first_retry_ms).min(longest))
            .with_factor(options.retry_factor)
            .with_max_delay(longest)
            .with_max_times(options.max_attempts.saturating_sub(1) as usize);
        Self {
            bounds: curve.build().collect(),
            longest_retry_after: Duration::from_secs(options.max_retry_after_seconds),
        }
    }

    /// When the next attempt is due, `attempts` having failed so far; `None` when that was the last one. A `Retry-After`
    /// of the client is a minimum, up to the longest that is honoured.
    pub(crate) fn next(
        &self,
        attempts: u32,
        now: Timestamp,
        retry_after: Option<Duration>,
        random: &mut fastrand::Rng,
    ) -> Option<Timestamp> {
        let bound = self.bounds.get((attempts.max(1) - 1) as usize)?;
        let drawn = bound.mul_f64(random.f64());
        let asked = retry_after.unwrap_or_default().min(self.longest_retry_after);
        Some(whole_millis(later(now, drawn.max(asked))))
    }
}

/// The next whole millisecond: the tables cut off what is finer, and a delivery must not be due too early.
fn whole_millis(at: Timestamp) -> Timestamp {
    let up = at.as_microsecond().rem_euclid(1_000);
    if up == 0 { at } else { later(at, Duration::from_micros(1_000 - up.unsigned_abs())) }
}

/// `now + pause`, to the microsecond as every time in the log; the last timestamp there is when the sum is beyond it.
pub(crate) fn later(now: Timestamp, pause: Duration) -> Timestamp {
    let micros = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(now.as_microsecond().saturating_add(micros)).unwrap_or(Timestamp::MAX)
}

/// Reads `Retry-After` (RFC 9110, 10.2.3): seconds, or a date in any of HTTP's three forms; and what else is written there,
/// parts of seconds and dates of RFC 2822 and RFC 3339. `None` when it is none of these.
pub(crate) fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    if header.starts_with(|first: char| first.is_ascii_digit())
        && header.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    {
        let (whole, part) = header.split_once('.').unwrap_or((header, ""));
        // More digits than a number holds mean "very late": the cap decides.
        let whole = Duration::from_secs(whole.parse().unwrap_or(u64::MAX));
        let begun = u64::from(part.bytes().any(|b| b != b'0'));
        return Some(whole.saturating_add(Duration::from_secs(begun)));
    }
    let at = http_date(header)
        .or_else(|| DateTimeParser::new().parse_timestamp(header).ok())
        .or_else(|| header.parse().ok())?;
    Some(Duration::from_micros(u64::try_from(at.as_microsecond() - now.as_microsecond()).unwrap_or(0)))
}

/// IMF-fixdate, RFC 850, asctime (RFC 9110, 5.6.7).
fn http_date(text: &str) -> Option<Timestamp> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Timestamp::from_second(i64::try_from(since.as_secs()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: f64 = 86_400.0;

    fn now() -> Timestamp {
        Timestamp::from_second(784_111_777).unwrap() // Sun, 06 Nov 1994 08:49:37 GMT
    }

    /// All pauses of one delivery, in seconds.
    fn pauses(schedule: &Schedule, seed: u64) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(seed);
        let due = |attempts| schedule.next(attempts, now(), None, &mut random);
        (1..).map_while(due).map(|at| (at.as_microsecond() - now().as_microsecond()) as f64 / 1e6).collect()
    }

    #[test]
    fn by_default_a_delivery_is_tried_twenty_times_over_about_three_days() {
        let schedule = Schedule::new(&Options::default());
        let all: Vec<Vec<f64>> = (0..400).map(|seed| pauses(&schedule, seed)).collect();
        assert!(all.iter().all(|p| p.len() == 19));
        let mean = all.iter().map(|p| p.iter().sum::<f64>()).sum::<f64>() / all.len() as f64;
        assert!((2.8 * DAY..3.2 * DAY).contains(&mean), "{} days", mean / DAY);
    }

    #[test]
    fn the_jitter_is_full_and_the_bounds_grow_to_the_longest() {
        let schedule = Schedule::new(&Options::default());
        for (attempts, bound) in [(1, 10.0), (2, 30.0), (4, 270.0), (12, 43_200.0)] {
            let drawn: Vec<f64> = (0..500).map(|seed| pauses(&schedule, seed)[attempts - 1]).collect();
            assert!(drawn.iter().all(|s| *s <= bound), "bound of attempt {attempts}");
            assert!(drawn.iter().any(|s| *s < bound * 0.1) && drawn.iter().any(|s| *s > bound * 0.9));
        }
    }

    #[test]
    fn the_same_seed_draws_the_same_pauses() {
        let schedule = Schedule::new(&Options::default());
        assert_eq!(pauses(&schedule, 7), pauses(&schedule, 7));
        assert_ne!(pauses(&schedule, 7), pauses(&schedule, 8));
    }

    #[test]
    fn retry_after_is_a_minimum_up_to_a_day() {
        let schedule = Schedule::new(&Options::default());
        let next = |asked| schedule.next(1, now(), Some(Duration::from_secs(asked)), &mut fastrand::Rng::with_seed(1));
        assert_eq!(next(3_600), Some(later(now(), Duration::from_secs(3_600))));
        assert_eq!(next(u64::MAX), Some(later(now(), Duration::from_secs(86_400))));
        assert!(next(0) > Some(now()), "the drawn pause stays when it is longer");
    }

    #[test]
    fn retry_after_is_read_in_all_forms() {
        for (header, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:50:37 +0000", Some(60)),
            ("1994-11-06T08:50:37Z", Some(60)),
            ("1.0", Some(1)),
            ("1.25", Some(2)),
            ("", None),
            ("soon", None),
            (".5", None),
            ("-5", None),
        ] {
            assert_eq!(retry_after(header, now()), seconds.map(Duration::from_secs), "{header:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_client_sends_as_retry_after_the_next_time_is_later_and_within_the_cap(
            header in "(.{0,40}|[0-9]{1,40}|(Mon|Tue), [0-9]{1,2} (Jan|Dec) [0-9]{1,6} [0-9:]{1,9} GMT|[0-9.]{1,40}|Monday, [0-9]{2}-Jan-[0-9]{2} [0-9:]{8} GMT)",
            seed: u64,
        ) {
            let options = Options::default();
            let now: Timestamp = "2024-01-15T10:30:00Z".parse().unwrap();
            let asked = retry_after(&header, now);
            let mut random = fastrand::Rng::with_seed(seed);
            let next = Schedule::new(&options).next(1, now, asked, &mut random).unwrap();
            let longest = options.max_retry_after_seconds.max(options.max_retry_seconds);
            proptest::prop_assert!(next >= now && next <= later(now, Duration::from_secs(longest)));
        }
    }
}
