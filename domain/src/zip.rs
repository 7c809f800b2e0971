//! ZIP codes, the list of them, and the patterns that rules are written in.

mod pattern;

use std::collections::HashMap;
use std::fmt;
use std::io::Read;
use std::sync::{Arc, OnceLock};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::digits::{Digits, put_digits};

pub use pattern::{ZipPattern, ZipPatternError};

/// A five-digit US ZIP code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zip(u32);

/// Why a text is not a ZIP code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a US ZIP code of five digits, or ZIP+4")]
pub struct InvalidZip;

impl Zip {
    /// One more than the largest number that a ZIP code can be.
    pub const COUNT: usize = 100_000;

    /// Reads `90210`, `90210-1234`, `902101234`, and the forms in which a spreadsheet lost the leading zeros
    /// (`2134` is 02134, `601` is 00601, `21341234` is 02134-1234; `2134.0` too), or an input mask left its marks
    /// (`90210-____`).
    pub fn parse(text: &str) -> Result<Self, InvalidZip> {
        let (five, four) = Self::split(text).ok_or(InvalidZip)?;
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let plus4_ok = four.is_none_or(|f| f.len() == 4 && digits(f));
        if !plus4_ok || !(3..=5).contains(&five.len()) || !digits(five) {
            return Err(InvalidZip);
        }
        five.parse().map(Self).map_err(|_| InvalidZip)
    }

    /// Whether `text` lacks digits in front, which [`parse`](Self::parse) takes for zeros.
    pub fn is_short(text: &str) -> bool {
        Self::split(text).is_some_and(|(five, _)| five.len() < 5)
    }

    /// The five digits, or what is left of them, and the four.
    fn split(text: &str) -> Option<(&str, Option<&str>)> {
        let text = text.trim();
        let is_zero = |fraction: &str| !fraction.is_empty() && fraction.bytes().all(|b| b == b'0');
        let text = text.split_once('.').filter(|(_, fraction)| is_zero(fraction)).map_or(text, |(whole, _)| whole);
        let text =
            if text.starts_with(|c: char| c.is_ascii_digit()) { text.trim_end_matches(['-', '_', ' ']) } else { text };
        match text.split_once(['-', ' ']) {
            Some((five, four)) => Some((five.trim_end(), Some(four.trim_start_matches(['-', ' '])))),
            None if matches!(text.len(), 8 | 9) => text.split_at_checked(text.len() - 4).map(|(a, b)| (a, Some(b))),
            None => Some((text, None)),
        }
    }

    /// The ZIP code with this number, if there can be one.
    pub fn from_number(n: u32) -> Option<Self> {
        ((n as usize) < Self::COUNT).then_some(Self(n))
    }

    /// The five digits as a number: an index below [`Zip::COUNT`].
    pub fn number(self) -> usize {
        self.0 as usize
    }

    /// The five digits.
    pub(crate) fn text(self) -> Digits<5> {
        let mut text = *b"00000";
        put_digits(&mut text, self.0.into());
        Digits(text)
    }
}

impl fmt::Display for Zip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl Serialize for Zip {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Zip {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// What the list says about one ZIP code.
#[derive(Clone, Debug)]
pub struct ZipInfo {
    /// The ZIP code.
    pub zip: Zip,
    /// Two-letter state or territory code, `CA`.
    pub state: Arc<str>,
    /// Degrees north; `None` for military post offices.
    pub position: Option<Position>,
    /// The time zone of its customers; UTC where the list names none.
    pub time_zone: TimeZone,
}

/// A point on the globe, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

const EARTH_RADIUS_MILES: f64 = 3_958.8;

impl Position {
    /// Whether the great circle between the two is at most so many statute miles long (mean Earth radius 3,958.8 miles).
    pub fn is_within(self, miles: f64, other: Self) -> bool {
        Circle::around(self, miles).holds(Direction::of(other))
    }
}

/// A point on the globe as a unit vector from its middle: comparing two takes no sines.
#[derive(Clone, Copy, Debug)]
struct Direction([f64; 3]);

impl Direction {
    fn of(position: Position) -> Self {
        let (latitude, longitude) = (position.latitude.to_radians(), position.longitude.to_radians());
        Self([latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin()])
    }

    /// Which of the cubes that space is divided into it lies in.
    fn cube(self) -> Cube {
        self.0.map(|coordinate| (coordinate / CUBE).floor() as i16)
    }
}

/// A cube's place among all cubes.
type Cube = [i16; 3];

/// The edge of a cube, about 60 miles.
const CUBE: f64 = 1.0 / 64.0;

/// Every point within some distance of a middle.
struct Circle {
    middle: Direction,
    /// How far the edge is from the middle, straight through the globe, whose radius is 1.
    chord: f64,
}

impl Circle {
    /// `miles` along the surface, at most half around it.
    fn around(middle: Position, miles: f64) -> Self {
        Self { middle: Direction::of(middle), chord: 2.0 * (miles / EARTH_RADIUS_MILES / 2.0).sin() }
    }

    fn holds(&self, point: Direction) -> bool {
        let (Direction([a, b, c]), Direction([d, e, f])) = (self.middle, point);
        (a - d).powi(2) + (b - e).powi(2) + (c - f).powi(2) <= self.chord * self.chord
    }

    /// The cubes that its points can lie in.
    fn cubes(&self) -> impl Iterator<Item = Cube> {
        // A little more than exact: what is left out is surely too far.
        let reach = self.chord * 1.001;
        let Direction(middle) = self.middle;
        let [least, most] = [-reach, reach].map(|way| Direction(middle.map(|coordinate| coordinate + way)).cube());
        let ([x, y, z], [to_x, to_y, to_z]) = (least, most);
        (x..=to_x).flat_map(move |x| (y..=to_y).flat_map(move |y| (z..=to_z).map(move |z| [x, y, z])))
    }
}

/// Why a ZIP list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ZipListError {
    /// Not CSV, or a column is missing.
    #[error("ZIP list: {0}; it needs the columns zip, state, latitude, longitude, time_zone")]
    Csv(#[from] csv::Error),
    /// A cell that makes no sense.
    #[error("ZIP list, line {line}: {column} {value:?} {rule}")]
    Cell {
        /// Line in the file, counted from 1.
        line: u64,
        /// Column name.
        column: &'static str,
        /// What stands there.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
}

/// The list of US ZIP codes, in memory.
#[derive(Debug)]
pub struct ZipDirectory {
    /// Index into `entries` + 1 by ZIP number; 0 where there is no such ZIP.
    by_number: Vec<u32>,
    entries: Vec<ZipInfo>,
    /// Every ZIP with a position, by the cube that it lies in: a radius looks only at those nearby.
    by_cube: HashMap<Cube, Vec<(Direction, Zip)>>,
}

impl ZipDirectory {
    /// The list that comes with leadway (the `zipcodes` crate, refreshed monthly by its keepers); read once a process.
    pub fn builtin() -> Arc<Self> {
        static BUILTIN: OnceLock<Arc<ZipDirectory>> = OnceLock::new();
        BUILTIN
            .get_or_init(|| {
                let mut zones = ZoneCache::default();
                let mut states = StateCache::default();
                let entries = zipcodes::database().iter().filter_map(|z| {
                    let latitude: f64 = z.lat.parse().ok()?;
                    let longitude: f64 = z.long.parse().ok()?;
                    let nowhere = latitude == 0.0 && longitude == 0.0;
                    Some(ZipInfo {
                        zip: Zip::parse(&z.zip_code).ok()?,
                        state: states.get(&z.state),
                        position: (!nowhere).then_some(Position { latitude, longitude }),
                        time_zone: zones.get(&z.timezone).unwrap_or(TimeZone::UTC),
                    })
                });
                Arc::new(Self::from_entries(entries.collect()))
            })
            .clone()
    }

    /// An operator's own list: CSV with the columns `zip,state,latitude,longitude,time_zone`.
    pub fn from_csv(reader: impl Read) -> Result<Self, ZipListError> {
        #[derive(Deserialize)]
        struct Row {
            zip: String,
            state: String,
            latitude: f64,
            longitude: f64,
            time_zone: String,
        }
        let mut zones = ZoneCache::default();
        let mut states = StateCache::default();
        let mut entries = Vec::new();
        for (n, row) in csv::Reader::from_reader(reader).into_deserialize::<Row>().enumerate() {
            let row = row?;
            let bad = |column, value: &str, rule| ZipListError::Cell {
                line: n as u64 + 2,
                column,
                value: value.to_owned(),
                rule,
            };
            let zip = Zip::parse(&row.zip).map_err(|_| bad("zip", &row.zip, "must be five digits"))?;
            let zone = zones.get(&row.time_zone);
            let time_zone = zone.ok_or_else(|| bad("time_zone", &row.time_zone, "must be an IANA time zone"))?;
            if !(-90.0..=90.0).contains(&row.latitude) || !(-180.0..=180.0).contains(&row.longitude) {
                return Err(bad("latitude", &row.latitude.to_string(), "or longitude is out of range"));
            }
            let position = Some(Position { latitude: row.latitude, longitude: row.longitude });
            entries.push(ZipInfo { zip, state: states.get(&row.state), position, time_zone });
        }
        Ok(Self::from_entries(entries))
    }

    fn from_entries(mut entries: Vec<ZipInfo>) -> Self {
        entries.sort_by_key(|e| e.zip);
        entries.dedup_by_key(|e| e.zip);
        let mut by_number = vec![0; Zip::COUNT];
        for (i, entry) in entries.iter().enumerate() {
            if let Some(slot) = by_number.get_mut(entry.zip.number()) {
                *slot = i as u32 + 1;
            }
        }
        let mut by_cube: HashMap<_, Vec<_>> = HashMap::new();
        for entry in &entries {
            if let Some(direction) = entry.position.map(Direction::of) {
                by_cube.entry(direction.cube()).or_default().push((direction, entry.zip));
            }
        }
        Self { by_number, entries, by_cube }
    }

    /// Known ZIPs whose centre lies within `miles` of `middle`, ascending.
    fn within(&self, middle: Position, miles: f64) -> Vec<Zip> {
        let circle = Circle::around(middle, miles);
        let nearby = circle.cubes().filter_map(|cube| self.by_cube.get(&cube)).flatten();
        let mut zips: Vec<Zip> = nearby.filter(|(point, _)| circle.holds(*point)).map(|(_, zip)| *zip).collect();
        zips.sort_unstable();
        zips
    }

    /// What the list says about this ZIP; `None` where it does not exist.
    pub fn get(&self, zip: Zip) -> Option<&ZipInfo> {
        let index = *self.by_number.get(zip.number())?;
        self.entries.get((index as usize).checked_sub(1)?)
    }

    /// Every ZIP, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = &ZipInfo> {
        self.entries.iter()
    }

    /// How many ZIPs there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[derive(Default)]
struct ZoneCache(HashMap<String, Option<TimeZone>>);

impl ZoneCache {
    fn get(&mut self, name: &str) -> Option<TimeZone> {
        let make = || TimeZone::get(name).ok().filter(|_| !name.is_empty());
        self.0.entry(name.to_owned()).or_insert_with(make).clone()
    }
}

#[derive(Default)]
struct StateCache(std::collections::HashSet<Arc<str>>);

impl StateCache {
    fn get(&mut self, code: &str) -> Arc<str> {
        if let Some(known) = self.0.get(code) {
            return known.clone();
        }
        let code: Arc<str> = code.into();
        self.0.insert(code.clone());
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zips_are_read_as_people_and_spreadsheets_write_them() {
        for (text, zip) in [
            ("90210", "90210"),
            (" 90210 ", "90210"),
            ("90210-1234", "90210"),
            ("90210 1234", "90210"),
            ("902101234", "90210"),
            ("2134", "02134"),
            ("601", "00601"),
            ("2134-1234", "02134"),
            ("21341234", "02134"),
            ("2134.0", "02134"),
            ("90210.00", "90210"),
            ("90210-", "90210"),
            ("90210-____", "90210"),
        ] {
            assert_eq!(Zip::parse(text).map(|z| z.to_string()), Ok(zip.to_owned()), "{text}");
        }
        for text in ["", "12", "9021a", "90210-12", "9021012345", "-90210", "9é210", "K1A 0B1"] {
            assert_eq!(Zip::parse(text), Err(InvalidZip), "{text}");
        }
    }

    #[test]
    fn the_builtin_list_knows_places_and_time_zones() {
        let zips = ZipDirectory::builtin();
        assert!(zips.len() > 41_000, "{}", zips.len());
        let beverly_hills = zips.get(Zip::parse("90210").unwrap()).unwrap();
        assert_eq!(&*beverly_hills.state, "CA");
        assert_eq!(beverly_hills.time_zone.iana_name(), Some("America/Los_Angeles"));
        assert!(zips.get(Zip::parse("00000").unwrap()).is_none());
    }

    #[test]
    fn patterns_expand_through_the_list() {
        let zips = ZipDirectory::builtin();
        let expand = |text: &str| ZipPattern::parse(text).unwrap().expand(&zips);
        let zip = |text: &str| Zip::parse(text).unwrap();
        assert_eq!(expand("90210"), [zip("90210")]);
        assert!(expand("902*").iter().all(|z| z.to_string().starts_with("902")));
        assert!(expand("902*").contains(&zip("90210")));
        assert_eq!(expand("90210-90212"), [zip("90210"), zip("90211"), zip("90212")]);
        assert!(expand("ca").len() > 2_000);
        let near = expand("90210+5mi");
        assert!(near.contains(&zip("90210")) && near.contains(&zip("90211")) && !near.contains(&zip("92101")));
        for (text, error) in [
            ("", ZipPatternError::Form),
            ("*", ZipPatternError::Form),
            ("90210*", ZipPatternError::Form),
            ("9021", ZipPatternError::Form),
            ("90212-90210", ZipPatternError::EmptyRange),
            ("90210+0mi", ZipPatternError::Radius),
            ("90210+NaNmi", ZipPatternError::Radius),
            ("90210+25km", ZipPatternError::Form),
        ] {
            assert_eq!(ZipPattern::parse(text), Err(error), "{text}");
        }
        for nothing in ["00000", "ZZ", "000*", "00000+5mi"] {
            assert_eq!(ZipPattern::parse_known(nothing, &zips), Err(ZipPatternError::Nothing), "{nothing}");
        }
    }

    #[test]
    fn a_pattern_contains_exactly_what_it_expands_to() {
        let zips = ZipDirectory::builtin();
        for text in ["90210", "902*", "9*", "00601-01020", "TX", "90210+25mi", "99723+500mi", "33040+80.5mi"] {
            let pattern = ZipPattern::parse(text).unwrap();
            let contained: Vec<Zip> = zips.iter().filter(|z| pattern.contains(z, &zips)).map(|z| z.zip).collect();
            assert!(!contained.is_empty(), "{text}");
            assert_eq!(pattern.expand(&zips), contained, "{text}");
        }
    }

    #[test]
    fn a_radius_is_measured_along_the_great_circle() {
        let at = |latitude, longitude| Position { latitude, longitude };
        let (new_york, los_angeles) = (at(40.7128, -74.0060), at(34.0522, -118.2437));
        for (a, b, miles) in [
            (new_york, los_angeles, 2_445.6),
            (at(0.0, 0.0), at(0.0, 1.0), 69.09),
            (at(52.0, 179.9), at(52.0, -179.9), 8.51),
            (at(89.9, 0.0), at(89.9, 180.0), 13.82),
        ] {
            assert!(a.is_within(miles * 1.001, b) && b.is_within(miles * 1.001, a), "{a:?} {b:?}");
            assert!(!a.is_within(miles * 0.999, b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn an_operators_list_is_checked() {
        let read = |csv: &str| ZipDirectory::from_csv(csv.as_bytes());
        let head = "zip,state,latitude,longitude,time_zone\n";
        assert_eq!(read(&format!("{head}601,PR,18.2,-66.7,America/Puerto_Rico\n")).unwrap().len(), 1);
        for (row, column) in
            [("x,PR,1,1,UTC", "zip"), ("601,PR,1,1,Mars", "time_zone"), ("601,PR,91,1,UTC", "latitude")]
        {
            let error = read(&format!("{head}{row}\n")).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(column), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,16}") {
            let _ = (Zip::parse(&text), ZipPattern::parse(&text));
        }
    }
}
