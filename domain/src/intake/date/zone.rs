//! Time zones as people and software name them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

/// The time zone of a local time.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Zone {
    /// So far from UTC.
    Fixed(Offset),
    /// A place's, with its daylight saving.
    Named(TimeZone),
}

impl Zone {
    /// The moment at which clocks there show this. What does not exist is moved by the gap, of two the earlier is taken.
    pub(super) fn at(&self, local: DateTime) -> Option<Timestamp> {
        match self {
            Self::Fixed(offset) => offset.to_timestamp(local).ok(),
            Self::Named(zone) => zone.to_timestamp(local).ok(),
        }
    }
}

/// US zones by the first word of what they are called.
const REGIONS: [(&str, &str); 15] = [
    ("eastern", "America/New_York"),
    ("central", "America/Chicago"),
    ("mountain", "America/Denver"),
    ("pacific", "America/Los_Angeles"),
    ("alaska", "America/Anchorage"),
    ("alaskan", "America/Anchorage"),
    ("hawaii", "Pacific/Honolulu"),
    ("hawaiian", "Pacific/Honolulu"),
    ("hawaii-aleutian", "Pacific/Honolulu"),
    ("arizona", "America/Phoenix"),
    ("atlantic", "America/Puerto_Rico"),
    ("indiana", "America/Indiana/Indianapolis"),
    ("samoa", "Pacific/Pago_Pago"),
    ("chamorro", "Pacific/Guam"),
    ("guam", "Pacific/Guam"),
];

/// A zone that begins `text` (lower case), and what follows it.
pub(super) fn leading(text: &str) -> Option<(Zone, &str)> {
    let word_end = text.find(|c: char| !c.is_ascii_alphabetic() && c != '.').unwrap_or(text.len());
    let (word, after) = text.split_at_checked(word_end)?;
    match word.replace('.', "").as_str() {
        "utc" | "gmt" => {
            let signed = offset(after.trim_start());
            return Some(
                signed.map_or((Zone::Fixed(Offset::UTC), after), |(offset, rest)| (Zone::Fixed(offset), rest)),
            );
        }
        "z" => return Some((Zone::Fixed(Offset::UTC), after)),
        _ => {}
    }
    iana(text).or_else(|| Some((abbreviated(&word.replace('.', ""))?, after))).or_else(|| region(text))
}

/// The zone that all of `text` names.
pub(super) fn whole(text: &str) -> Option<Zone> {
    let text = text.to_lowercase();
    let mut text = text.trim();
    // `(GMT-08:00) Pacific Time (US & Canada)`: the offset is that of winter, the name tells more.
    if let Some((_, name)) =
        text.strip_prefix('(').and_then(|inner| inner.split_once(')')).filter(|(_, name)| !name.trim().is_empty())
    {
        text = name.trim();
    }
    let (zone, rest) = offset(text).map(|(offset, rest)| (Zone::Fixed(offset), rest)).or_else(|| leading(text))?;
    rest.trim().is_empty().then_some(zone)
}

/// A signed offset that begins `text`: `-08:00`, `-0800`, `-08`, `-8`; and what follows it.
pub(super) fn offset(text: &str) -> Option<(Offset, &str)> {
    let negative = text.starts_with('-');
    let digits = text.strip_prefix(['-', '+'])?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (number, after) = digits.split_at_checked(end)?;
    let (hours, minutes, rest) = match (number.len(), after.strip_prefix(':')) {
        (1 | 2, Some(after)) => (number, after.get(..2)?, after.get(2..)?),
        (1 | 2, None) => (number, "0", after),
        (4, _) => (number.get(..2)?, number.get(2..)?, after),
        _ => return None,
    };
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = hours * 3_600 + minutes * 60;
    let in_use = minutes < 60 && seconds <= if negative { 12 } else { 14 } * 3_600;
    let offset = Offset::from_seconds(if negative { -seconds } else { seconds }).ok()?;
    in_use.then_some((offset, rest))
}

/// `america/new_york`: a name of the IANA list has a slash.
fn iana(text: &str) -> Option<(Zone, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"/_-+".contains(c)).unwrap_or(text.len());
    let (name, after) = text.split_at_checked(end)?;
    let zone = TimeZone::get(name).ok().filter(|_| name.contains('/'))?;
    Some((Zone::Named(zone), after))
}

/// Letters are taken at their word (RFC 5322, section 4.3, and the other zones of the States); without S or D they mean
/// what the clocks there show.
fn abbreviated(word: &str) -> Option<Zone> {
    let region = |name: &str| TimeZone::get(name).ok().map(Zone::Named);
    let hours = match word {
        "et" => return region("America/New_York"),
        "ct" => return region("America/Chicago"),
        "mt" => return region("America/Denver"),
        "pt" => return region("America/Los_Angeles"),
        "akt" => return region("America/Anchorage"),
        "chst" => 10,
        "adt" => -3,
        "ast" | "edt" => -4,
        "est" | "cdt" => -5,
        "cst" | "mdt" => -6,
        "mst" | "pdt" => -7,
        "pst" | "akdt" => -8,
        "akst" | "hdt" | "hadt" => -9,
        "hst" | "hast" => -10,
        "sst" => -11,
        _ => return None,
    };
    Offset::from_hours(hours).ok().map(Zone::Fixed)
}

/// `eastern`, `pacific time (us & canada)`, `us eastern standard time`: what the clocks there show.
fn region(text: &str) -> Option<(Zone, &str)> {
    let text = text.strip_prefix("us ").unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_alphabetic() && c != '-').unwrap_or(text.len());
    let (word, mut rest) = text.split_at_checked(end)?;
    let (_, name) = REGIONS.iter().find(|(region, _)| *region == word)?;
    for word in
        [" prevailing", " standard", " daylight", " savings", " saving", " time", " (us & canada)", " (us and canada)"]
    {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    Some((Zone::Named(TimeZone::get(name).ok()?), rest))
}
