//! Dates as people write them, read word by word. What is not understood is never passed over: it may be what matters.

use jiff::civil::{Date, Time, Weekday};

use super::zone::{self, Zone};
use super::{FORM, Parts};

const WINDOW: &str = "is a span of time; send the time at which the appointment begins";
const CONTRADICTION: &str = "contradicts itself";
const UNKNOWN_ZONE: &str = "names a time zone that is not known";

/// What `text` says.
pub(super) fn parts(text: &str) -> Result<Parts, &'static str> {
    let lower = text.to_ascii_lowercase();
    let mut scan = Scan { rest: &lower, ..Scan::default() };
    while scan.step()? {}
    scan.finish()
}

/// What has been read so far.
#[derive(Default)]
struct Scan<'t> {
    rest: &'t str,
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    clock: Option<Time>,
    zone: Option<Zone>,
    weekday: Option<Weekday>,
    is_day_first: bool,
    /// Whether a `T` was just read: digits behind it are a time, also without colons.
    is_behind_t: bool,
    /// Whether the clock is written as in ISO 8601, or with seconds: then a sign behind it is that of an offset.
    is_exact: bool,
}

impl<'t> Scan<'t> {
    /// Reads one thing; `false` at the end.
    fn step(&mut self) -> Result<bool, &'static str> {
        self.rest = self.rest.trim_start_matches([' ', ',', '@', '|']);
        let Some(first) = self.rest.chars().next() else { return Ok(false) };
        match first {
            '0'..='9' => self.number()?,
            'a'..='z' => self.word()?,
            '[' | '(' => self.bracket()?,
            '+' => self.offset()?,
            '-' if self.clock.is_none() && self.has_day() => self.rest = self.rest.trim_start_matches('-'),
            '-' if self.clock.is_some() => self.offset()?,
            _ => return Err(FORM),
        }
        Ok(true)
    }

    fn has_day(&self) -> bool {
        self.day.is_some() && self.month.is_some() && self.year.is_some() || self.is_day_first
    }

    fn finish(self) -> Result<Parts, &'static str> {
        let day = match (self.year, self.month, self.day) {
            (Some(year), Some(month), Some(day)) => {
                Some(Date::new(year, month, day).map_err(|_| "is no day of the calendar")?)
            }
            (None, None, None) => None,
            _ => return Err("needs a day, a month and a year"),
        };
        if let (Some(day), Some(weekday)) = (day, self.weekday)
            && day.weekday() != weekday
        {
            return Err("names a weekday that its date does not fall on");
        }
        Ok(Parts { day, clock: self.clock, zone: self.zone, is_day_first: self.is_day_first })
    }

    fn number(&mut self) -> Result<(), &'static str> {
        if self.dashed_date()? || self.clock()? {
            return Ok(());
        }
        let digits = self.digits();
        if let (8, None, Some(Parts { day: Some(day), .. })) = (digits.len(), self.day, super::number::parts(digits)) {
            (self.year, self.month, self.day) = (Some(day.year()), Some(day.month()), Some(day.day()));
            return Ok(());
        }
        let number: i16 = digits.parse().map_err(|_| FORM)?;
        match digits.len() {
            4 if self.year.is_none() && self.month.is_some() && self.day.is_some() => self.year = Some(number),
            2 if self.year.is_none() && self.month.is_some() && self.day.is_some() => self.year = Some(2000 + number),
            1 | 2 if self.day.is_none() && self.year.is_none() => {
                self.day = i8::try_from(number).ok();
                let ordinal = ["st", "nd", "rd", "th"].iter().find_map(|suffix| self.rest.strip_prefix(suffix));
                self.rest = ordinal.unwrap_or(self.rest);
                // `10-Dec-2027`
                self.rest = self.rest.strip_prefix('-').unwrap_or(self.rest);
            }
            _ => return Err(FORM),
        }
        Ok(())
    }

    /// `2027-12-10`, `12/10/2027` and the like, if one begins here.
    fn dashed_date(&mut self) -> Result<bool, &'static str> {
        let (a, rest) = split_digits(self.rest);
        let Some(mark) = rest.chars().next().filter(|c| "-/.".contains(*c)) else { return Ok(false) };
        let (b, rest) = split_digits(rest.get(1..).unwrap_or_default());
        let Some(rest) = rest.strip_prefix(mark) else { return Ok(false) };
        let (c, rest) = split_digits(rest);
        let is_date = matches!((a.len(), b.len(), c.len()), (4, 1 | 2, 1 | 2) | (1 | 2, 1 | 2, 2 | 4));
        if !is_date {
            return Ok(false);
        }
        if self.has_day() || self.day.is_some() {
            return Err(WINDOW);
        }
        let parse = |text: &str| text.parse::<i16>().map_err(|_| FORM);
        let (first, second, third) = (parse(a)?, parse(b)?, parse(c)?);
        let (year, month, day) = match a.len() {
            4 => (first, second, third),
            _ => (if c.len() == 2 { 2000 + third } else { third }, first, second),
        };
        self.rest = rest;
        if a.len() != 4 && first > 12 && second <= 12 {
            self.is_day_first = true;
            return Ok(true);
        }
        // With a slash the month comes first, as in the States; with a dash or a dot it may be either.
        if a.len() != 4 && mark != '/' && first != second && second <= 12 {
            return Err("may mean two days; send it as 2024-12-01T14:00");
        }
        (self.year, self.month, self.day) = (Some(year), i8::try_from(month).ok(), i8::try_from(day).ok());
        Ok(true)
    }

    /// `2:00 pm`, `14:00:30`, `2pm`, `14h30`, `12 noon`, if one begins here.
    fn clock(&mut self) -> Result<bool, &'static str> {
        let (hour, mut rest) = split_digits(self.rest);
        let is_compact = std::mem::take(&mut self.is_behind_t) && matches!(hour.len(), 4 | 6) && !rest.starts_with(':');
        let (hour, minute, second) = if is_compact {
            (hour.get(..2).unwrap_or_default(), hour.get(2..4).unwrap_or_default(), hour.get(4..6).unwrap_or("0"))
        } else if let Some(after) = rest
            .strip_prefix(':')
            .or_else(|| rest.strip_prefix('h').filter(|r| r.starts_with(|c: char| c.is_ascii_digit())))
        {
            let (minute, after) = split_digits(after);
            rest = after;
            let second = after.strip_prefix(':').map(split_digits);
            if let Some((_, after)) = second {
                rest = without_fraction(after);
                self.is_exact = true;
            }
            (hour, minute, second.map_or("0", |(second, _)| second))
        } else {
            (hour, "", "0")
        };
        let (half, after) = half_of_day(rest.trim_start());
        if minute.is_empty() && half.is_none() {
            return Ok(false);
        }
        if self.clock.is_some() {
            return Err(WINDOW);
        }
        let parse = |text: &str| text.parse::<i8>().map_err(|_| FORM);
        let hour = on_the_day(parse(hour)?, half).ok_or(CONTRADICTION)?;
        let minute = if minute.is_empty() { 0 } else { parse(minute)? };
        self.clock = Some(Time::new(hour, minute, parse(second)?, 0).map_err(|_| "has a time that no clock shows")?);
        self.rest = after;
        Ok(true)
    }

    fn word(&mut self) -> Result<(), &'static str> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let (word, after) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        let after = after.strip_prefix('.').unwrap_or(after);
        if let Some(month) = month(word).filter(|_| self.month.is_none()) {
            self.month = Some(month);
            self.rest = after.strip_prefix('-').unwrap_or(after);
        } else if let Some(weekday) = weekday(word).filter(|_| self.weekday.is_none()) {
            (self.weekday, self.rest) = (Some(weekday), after);
        } else if word == "t" && self.has_day() && self.clock.is_none() {
            (self.is_behind_t, self.is_exact, self.rest) = (true, true, after);
        } else if word == "noon" && self.clock.is_none() {
            (self.clock, self.rest) = (Some(Time::constant(12, 0, 0, 0)), after);
        } else if matches!(word, "at" | "on" | "the" | "of" | "date" | "time" | "hrs" | "hours" | "h") {
            self.rest = after.strip_prefix(':').unwrap_or(after);
        } else if let Some((zone, after)) = zone::leading(self.rest) {
            self.rest = after;
            self.name(zone)?;
        } else {
            return Err(if matches!(word, "to" | "until" | "till" | "through" | "between") { WINDOW } else { FORM });
        }
        Ok(())
    }

    /// `(Pacific Standard Time)`, `[America/New_York]`, `[u-ca=gregory]` (RFC 9557).
    fn bracket(&mut self) -> Result<(), &'static str> {
        let close = if self.rest.starts_with('(') { ')' } else { ']' };
        let (inner, after) = self.rest.get(1..).and_then(|rest| rest.split_once(close)).ok_or(FORM)?;
        let is_comment = close == ')' && matches!(self.zone, Some(Zone::Fixed(_)));
        let is_calendar = close == ']' && inner.contains('=') && !inner.starts_with('!');
        self.rest = after;
        if is_comment || is_calendar {
            return Ok(());
        }
        self.name(zone::whole(inner.trim_start_matches('!')).ok_or(UNKNOWN_ZONE)?)
    }

    /// Takes the zone, which must agree with one that was named before.
    fn name(&mut self, zone: Zone) -> Result<(), &'static str> {
        let moments = self.local().and_then(|local| Some((self.zone.as_ref()?.at(local)?, zone.at(local)?)));
        match (&self.zone, moments) {
            (None, _) => self.zone = Some(zone),
            // `Z` says nothing of the zone (RFC 9557, section 2).
            (Some(Zone::Fixed(offset)), _) if offset.is_zero() => {}
            (Some(_), Some((one, other))) if one == other => {}
            _ => return Err(CONTRADICTION),
        }
        Ok(())
    }

    fn local(&self) -> Option<jiff::civil::DateTime> {
        let day = Date::new(self.year?, self.month?, self.day?).ok()?;
        Some(day.to_datetime(self.clock?))
    }

    fn offset(&mut self) -> Result<(), &'static str> {
        let (offset, after) = zone::offset(self.rest).ok_or(WINDOW)?;
        if self.clock.is_none() || self.zone.is_some() {
            return Err(FORM);
        }
        // `9:00-11:00` is a span, `14:00-0800` a time with its offset, `14:00:00-08:00` too.
        let written = self.rest.strip_suffix(after).unwrap_or_default();
        if !self.is_exact && (written.len() != "-0800".len() || written.contains(':')) {
            return Err(WINDOW);
        }
        (self.zone, self.rest) = (Some(Zone::Fixed(offset)), after);
        Ok(())
    }

    fn digits(&mut self) -> &'t str {
        let (digits, rest) = split_digits(self.rest);
        self.rest = rest;
        digits
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn without_fraction(text: &str) -> &str {
    text.strip_prefix(['.', ',']).map_or(text, |fraction| {
        let (digits, rest) = split_digits(fraction);
        if digits.is_empty() { text } else { rest }
    })
}

/// The half of the day that follows a time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Morning,
    Afternoon,
    Noon,
}

fn half_of_day(text: &str) -> (Option<Half>, &str) {
    let words = [
        ("a.m.", Half::Morning),
        ("a.m", Half::Morning),
        ("a. m.", Half::Morning),
        ("am", Half::Morning),
        ("p.m.", Half::Afternoon),
        ("p.m", Half::Afternoon),
        ("p. m.", Half::Afternoon),
        ("pm", Half::Afternoon),
        ("noon", Half::Noon),
        ("a", Half::Morning),
        ("p", Half::Afternoon),
    ];
    let found = words.iter().find_map(|(word, half)| {
        let rest = text.strip_prefix(word)?;
        (!rest.starts_with(|c: char| c.is_ascii_alphanumeric())).then_some((Some(*half), rest))
    });
    found.unwrap_or((None, text))
}

/// The hour from 0 to 23.
fn on_the_day(hour: i8, half: Option<Half>) -> Option<i8> {
    match (half, hour) {
        (None, 0..=23) => Some(hour),
        (Some(Half::Noon), 12) => Some(12),
        (Some(Half::Morning), 12) => Some(0),
        (Some(Half::Morning), 0..=11) => Some(hour),
        (Some(Half::Afternoon), 12..=23) => Some(hour),
        (Some(Half::Afternoon), 1..=11) => Some(hour + 12),
        _ => None,
    }
}

fn month(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let found = MONTHS.iter().position(|name| word.len() >= 3 && (*name == word || name.get(..3) == Some(word)));
    found.or((word == "sept").then_some(8)).and_then(|place| i8::try_from(place + 1).ok())
}

fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "mon" | "monday" => Weekday::Monday,
        "tue" | "tues" | "tuesday" => Weekday::Tuesday,
        "wed" | "weds" | "wednesday" => Weekday::Wednesday,
        "thu" | "thur" | "thurs" | "thursday" => Weekday::Thursday,
        "fri" | "friday" => Weekday::Friday,
        "sat" | "saturday" => Weekday::Saturday,
        "sun" | "sunday" => Weekday::Sunday,
        _ => return None,
    })
}
