//! Opening hours and the slots in them.

use std::collections::BTreeMap;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

/// When a workspace takes appointments, in the customer's time zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpeningHours {
    /// Weekday (`monday` …) → spans of `["09:00", "17:00"]`, in order, not overlapping. A day that is absent is closed.
    pub days: BTreeMap<String, Vec<(String, String)>>,
    /// Length of a slot in minutes, 5 to 1,440.
    pub slot_minutes: u32,
    /// How many appointments one slot takes, at least 1.
    pub slot_capacity: u32,
    /// How long before a slot it must be booked, in minutes.
    pub notice_minutes: u32,
}

impl Default for OpeningHours {
    /// Monday to Friday, 9 to 17, hourly, one appointment a slot, two hours' notice.
    fn default() -> Self {
        let day = vec![("09:00".to_owned(), "17:00".to_owned())];
        let days = ["monday", "tuesday", "wednesday", "thursday", "friday"];
        Self {
            days: days.into_iter().map(|d| (d.to_owned(), day.clone())).collect(),
            slot_minutes: 60,
            slot_capacity: 1,
            notice_minutes: 120,
        }
    }
}

/// How far ahead a slot is looked for.
const HORIZON_DAYS: i32 = 60;
/// Longest notice, well within the horizon.
const MAX_NOTICE_MINUTES: u32 = 30 * 24 * 60;

impl OpeningHours {
    /// What is wrong with them, in words; `None` when nothing is.
    pub fn check(&self) -> Option<String> {
        if !(5..=1_440).contains(&self.slot_minutes) {
            return Some("slot_minutes must be 5 to 1440".into());
        }
        if self.slot_capacity == 0 {
            return Some("slot_capacity must be at least 1".into());
        }
        if self.notice_minutes > MAX_NOTICE_MINUTES {
            return Some(format!("notice_minutes must be at most {MAX_NOTICE_MINUTES} (30 days)"));
        }
        for (day, spans) in &self.days {
            if weekday(day).is_none() {
                return Some(format!("{day:?} is no weekday; use monday to sunday"));
            }
            let mut previous = None;
            for (from, to) in spans {
                let (Some(open), Some(close)) = (time(from), time(to)) else {
                    return Some(format!("{day}: {from:?}–{to:?} must be times such as 09:00"));
                };
                if open >= close || previous.is_some_and(|p| open < p) {
                    return Some(format!("{day}: spans must be in order and must not overlap"));
                }
                previous = Some(close);
            }
        }
        None
    }

    /// The first slot from `now` (plus notice) that `taken` says has room, as an instant; `None` when there is none
    /// within 60 days.
    pub fn next_free_slot(
        &self,
        now: Timestamp,
        zone: &TimeZone,
        taken: impl Fn(Timestamp) -> u32,
    ) -> Option<Timestamp> {
        let earliest = now.checked_add(SignedDuration::from_mins(i64::from(self.notice_minutes))).ok()?;
        let first_day = earliest.to_zoned(zone.clone()).date();
        for ahead in 0..HORIZON_DAYS {
            let date = first_day.checked_add(ahead.days()).ok()?;
            let Some(spans) = self.days.get(weekday_name(date.weekday())) else { continue };
            for (from, to) in spans {
                let (Some(open), Some(close)) = (time(from), time(to)) else { continue };
                let open = minutes(open);
                let slots = (minutes(close) - open) / i64::from(self.slot_minutes.max(1));
                for slot in 0..slots {
                    let at = open + slot * i64::from(self.slot_minutes);
                    let Ok(civil) = Time::new((at / 60) as i8, (at % 60) as i8, 0, 0) else { continue };
                    // In the hour that clocks skip in spring, a slot moves forward with the clocks.
                    let Ok(zoned) = date.to_datetime(civil).to_zoned(zone.clone()) else { continue };
                    let start = zoned.timestamp();
                    if start >= earliest && taken(start) < self.slot_capacity {
                        return Some(start);
                    }
                }
            }
        }
        None
    }
}

fn time(text: &str) -> Option<Time> {
    let (h, m) = text.split_once(':')?;
    if h.len() != 2 || m.len() != 2 {
        return None;
    }
    Time::new(h.parse().ok()?, m.parse().ok()?, 0, 0).ok()
}

fn minutes(t: Time) -> i64 {
    i64::from(t.hour()) * 60 + i64::from(t.minute())
}

fn weekday(name: &str) -> Option<Weekday> {
    let all = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];
    all.into_iter().find(|d| weekday_name(*d) == name)
}

fn weekday_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "monday",
        Weekday::Tuesday => "tuesday",
        Weekday::Wednesday => "wednesday",
        Weekday::Thursday => "thursday",
        Weekday::Friday => "friday",
        Weekday::Saturday => "saturday",
        Weekday::Sunday => "sunday",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    #[test]
    fn the_next_slot_is_in_the_customers_time() {
        let hours = OpeningHours::default();
        let los_angeles = zone("America/Los_Angeles");
        // Friday 2024-11-29, 08:10 in Los Angeles; two hours' notice.
        let friday = at("2024-11-29T16:10:00Z");
        assert_eq!(hours.next_free_slot(friday, &los_angeles, |_| 0), Some(at("2024-11-29T19:00:00Z")));
        // Full: the next hour.
        let full = at("2024-11-29T19:00:00Z");
        assert_eq!(
            hours.next_free_slot(friday, &los_angeles, |s| u32::from(s == full)),
            Some(at("2024-11-29T20:00:00Z"))
        );
        // Friday evening: Monday at nine.
        let evening = at("2024-11-30T01:00:00Z");
        assert_eq!(hours.next_free_slot(evening, &los_angeles, |_| 0), Some(at("2024-12-02T17:00:00Z")));
        // The same moment in New York is one where the day is nearly over.
        assert_eq!(hours.next_free_slot(friday, &zone("America/New_York"), |_| 0), Some(at("2024-11-29T19:00:00Z")));
        // The first full slot on the Monday after the clocks change.
        let saturday = at("2024-11-02T12:00:00Z");
        assert_eq!(hours.next_free_slot(saturday, &los_angeles, |_| 0), Some(at("2024-11-04T17:00:00Z")));
    }

    #[test]
    fn closed_or_full_means_none() {
        let closed = OpeningHours { days: BTreeMap::new(), ..OpeningHours::default() };
        let now = at("2024-11-29T16:10:00Z");
        assert_eq!(closed.next_free_slot(now, &TimeZone::UTC, |_| 0), None);
        assert_eq!(OpeningHours::default().next_free_slot(now, &TimeZone::UTC, |_| 1), None);
    }

    #[test]
    fn nonsense_is_named() {
        let with = |day: &str, from: &str, to: &str| OpeningHours {
            days: [(day.to_owned(), vec![(from.to_owned(), to.to_owned())])].into(),
            ..OpeningHours::default()
        };
        assert_eq!(OpeningHours::default().check(), None);
        assert!(OpeningHours { notice_minutes: u32::MAX, ..OpeningHours::default() }.check().is_some());
        assert!(with("moonday", "09:00", "10:00").check().is_some());
        assert!(with("monday", "9", "10:00").check().is_some());
        assert!(with("monday", "11:00", "10:00").check().is_some());
        assert!(with("monday", "25:00", "26:00").check().is_some());
    }
}
