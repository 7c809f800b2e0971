//! Days.

use std::fmt;

use leadway_domain::Timestamp;

use crate::cell::small_cell;

const SECONDS: i64 = 86_400;
const MICROS: i64 = 86_400_000_000;

/// A UTC day. Its number counts from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Day(i32);

impl Day {
    /// The day with this number.
    pub const fn from_number(days_since_1970: i32) -> Self {
        Self(days_since_1970)
    }

    /// Its number.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// The day of a moment.
    pub fn of(at: Timestamp) -> Self {
        // A timestamp lies within ten thousand years of 1970: its days fit.
        Self(i32::try_from(at.as_microsecond().div_euclid(MICROS)).unwrap_or(i32::MAX))
    }

    /// So many days later; earlier when negative.
    #[must_use]
    pub const fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// The days from this one to `last`, which is the last of them; none when it is earlier.
    pub fn through(self, last: Self) -> impl DoubleEndedIterator<Item = Self> + Clone + Send {
        (self.0..=last.0).map(Self)
    }
}

impl fmt::Display for Day {
    /// `2024-01-15`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_second(i64::from(self.0) * SECONDS) {
            Ok(start) => write!(f, "{}", start.strftime("%Y-%m-%d")),
            Err(_) => write!(f, "day {}", self.0),
        }
    }
}

small_cell!(Day, Date, |day| day.0, |number| Ok(Self(*number)));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_lasts_from_midnight_to_midnight_also_before_1970() {
        let of = |text: &str| Day::of(text.parse().unwrap());
        assert_eq!((of("1970-01-01T00:00:00Z").number(), of("1969-12-31T23:59:59.999Z").number()), (0, -1));
        let day = of("2024-02-29T23:59:59.999999Z");
        assert_eq!((day.to_string(), day.plus(1).to_string()), ("2024-02-29".into(), "2024-03-01".into()));
        assert_eq!(Day::from_number(i32::MAX).to_string(), "day 2147483647");
    }

    #[test]
    fn days_run_through_the_last_one() {
        let numbers = |from, to| Day(from).through(Day(to)).map(Day::number).collect::<Vec<_>>();
        assert_eq!(numbers(-1, 1), [-1, 0, 1]);
        assert!(numbers(1, 0).is_empty());
    }
}
