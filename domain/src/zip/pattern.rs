//! The patterns that rules are written in.

use std::fmt;
use std::sync::Arc;

use super::{Zip, ZipDirectory, ZipInfo};

/// A set of ZIPs as an operator writes it in a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum ZipPattern {
    /// `90210`
    Single(Zip),
    /// `902*`: one to four leading digits.
    Prefix {
        /// The smallest ZIP of the prefix.
        from: Zip,
        /// The largest.
        to: Zip,
    },
    /// `90001-90899`: both ends included.
    Range {
        /// The smallest ZIP of the range.
        from: Zip,
        /// The largest.
        to: Zip,
    },
    /// `CA`: every ZIP of the state.
    State(Arc<str>),
    /// `90210+25mi`: every ZIP whose centre lies within so many miles of this one's.
    Radius {
        /// The middle.
        centre: Zip,
        /// Statute miles, above 0, at most 500.
        miles: f64,
    },
}

/// Why a text is not a pattern, or names nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZipPatternError {
    /// None of the five forms.
    #[error("must be a ZIP (90210), a prefix (902*), a range (90001-90899), a state (CA) or a radius (90210+25mi)")]
    Form,
    /// The range is upside down.
    #[error("must be a range from the smaller ZIP to the larger")]
    EmptyRange,
    /// The radius is not within 0 to 500 miles.
    #[error("must have a radius above 0 and at most 500 miles")]
    Radius,
    /// The form is right but the ZIP list knows nothing in it.
    #[error("holds no known ZIP")]
    Nothing,
}

impl ZipPattern {
    /// Reads one of the five forms.
    pub fn parse(text: &str) -> Result<Self, ZipPatternError> {
        let text = text.trim();
        let five = |s: &str| match (s.len(), Zip::parse(s)) {
            (5, Ok(zip)) => Ok(zip),
            _ => Err(ZipPatternError::Form),
        };
        if let Some(prefix) = text.strip_suffix('*') {
            if prefix.is_empty() || prefix.len() > 4 || !prefix.bytes().all(|b| b.is_ascii_digit()) {
                return Err(ZipPatternError::Form);
            }
            let fill = |digit: &str| five(&format!("{prefix}{}", digit.repeat(5 - prefix.len())));
            return Ok(Self::Prefix { from: fill("0")?, to: fill("9")? });
        }
        if let Some((centre, distance)) = text.split_once('+') {
            let miles = distance.trim().strip_suffix("mi").ok_or(ZipPatternError::Form)?.trim();
            let miles: f64 = miles.parse().map_err(|_| ZipPatternError::Form)?;
            if !(miles > 0.0 && miles <= 500.0) {
                return Err(ZipPatternError::Radius);
            }
            return Ok(Self::Radius { centre: five(centre.trim())?, miles });
        }
        if let Some((from, to)) = text.split_once('-') {
            let (from, to) = (five(from.trim())?, five(to.trim())?);
            return if from <= to { Ok(Self::Range { from, to }) } else { Err(ZipPatternError::EmptyRange) };
        }
        if text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Ok(Self::State(text.to_ascii_uppercase().into()));
        }
        five(text).map(Self::Single)
    }

    /// The known ZIPs of this pattern, ascending.
    pub fn expand(&self, directory: &ZipDirectory) -> Vec<Zip> {
        let zips = |keep: &dyn Fn(&ZipInfo) -> bool| directory.iter().filter(|z| keep(z)).map(|z| z.zip).collect();
        match self {
            Self::Single(zip) => directory.get(*zip).map(|z| z.zip).into_iter().collect(),
            Self::Prefix { from, to } | Self::Range { from, to } => {
                let start = directory.entries.partition_point(|z| z.zip < *from);
                directory.entries.iter().skip(start).take_while(|z| z.zip <= *to).map(|z| z.zip).collect()
            }
            Self::State(state) => zips(&|z| z.state == *state),
            Self::Radius { centre, miles } => match directory.get(*centre).and_then(|z| z.position) {
                Some(middle) => directory.within(middle, *miles),
                None => Vec::new(),
            },
        }
    }

    /// Whether this known ZIP is one of the pattern's: the same answer as looking for it in [`expand`](Self::expand).
    pub fn contains(&self, zip: &ZipInfo, directory: &ZipDirectory) -> bool {
        match self {
            Self::Single(single) => *single == zip.zip,
            Self::Prefix { from, to } | Self::Range { from, to } => (*from..=*to).contains(&zip.zip),
            Self::State(state) => zip.state == *state,
            Self::Radius { centre, miles } => {
                let middle = directory.get(*centre).and_then(|z| z.position);
                middle.zip(zip.position).is_some_and(|(a, b)| a.is_within(*miles, b))
            }
        }
    }

    /// Reads a pattern and makes sure that it holds at least one known ZIP.
    pub fn parse_known(text: &str, directory: &ZipDirectory) -> Result<Self, ZipPatternError> {
        let pattern = Self::parse(text)?;
        if pattern.expand(directory).is_empty() { Err(ZipPatternError::Nothing) } else { Ok(pattern) }
    }
}

/// The canonical form: without spaces, states in capitals. [`ZipPattern::parse`] reads it back as the same pattern.
impl fmt::Display for ZipPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(zip) => zip.fmt(f),
            Self::Prefix { from, to } => {
                let open = to.number().saturating_sub(from.number()).checked_ilog10().map_or(0, |n| n as usize + 1);
                let prefix: String = from.to_string().chars().take(5 - open.min(5)).collect();
                write!(f, "{prefix}*")
            }
            Self::Range { from, to } => write!(f, "{from}-{to}"),
            Self::State(state) => f.write_str(state),
            Self::Radius { centre, miles } => write!(f, "{centre}+{miles}mi"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_one_canonical_form() {
        for (text, canonical) in [
            (" 90210 ", "90210"),
            ("9*", "9*"),
            ("0213*", "0213*"),
            ("00*", "00*"),
            ("10001 - 10009", "10001-10009"),
            ("ca", "CA"),
            ("90210 + 25mi", "90210+25mi"),
            ("02134+ 2.50 mi", "02134+2.5mi"),
        ] {
            let pattern = ZipPattern::parse(text).unwrap();
            assert_eq!(pattern.to_string(), canonical, "{text}");
            assert_eq!(ZipPattern::parse(canonical), Ok(pattern), "{text}");
        }
    }
}
