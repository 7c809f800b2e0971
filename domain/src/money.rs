//! Exact money.

use std::borrow::Cow;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// An amount of US dollars, kept as a whole number of cents. No float ever touches it: JSON numbers are
/// read from and written as their digits. In JSON it is a number of dollars with at most two decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

/// Why a text is not an amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a decimal number.
    #[error("must be an amount in dollars, such as 150 or 149.50")]
    NotANumber,
    /// More than two decimals.
    #[error("must have at most two decimals")]
    TooPrecise,
    /// Beyond ±90 trillion dollars.
    #[error("is too large")]
    TooLarge,
}

impl Money {
    /// No money.
    pub const ZERO: Self = Self(0);
    /// The largest amount that is accepted: it stays exact as a JSON number in every language.
    const LIMIT: i64 = 9_007_199_254_740_991;

    /// A whole number of cents.
    pub const fn from_cents(cents: i64) -> Self {
        Self(cents)
    }

    /// The whole number of cents.
    pub const fn cents(self) -> i64 {
        self.0
    }

    /// Reads `150`, `149.5`, `-3.25`. Exponents are understood when the value has at most two decimals.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
            Some((m, e)) => (m, e.parse::<i32>().map_err(|_| MoneyError::NotANumber)?),
            None => (digits, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || mantissa.ends_with('.') {
            return Err(MoneyError::NotANumber);
        }
        let fraction = fraction.trim_end_matches('0');
        // The value is `significand × 10^scale` dollars, so `significand × 10^(scale + 2)` cents.
        let significand = [whole.trim_start_matches('0'), fraction].concat();
        if significand.is_empty() {
            return Ok(Self::ZERO);
        }
        if significand.len() > 17 {
            return Err(if fraction.len() > 2 { MoneyError::TooPrecise } else { MoneyError::TooLarge });
        }
        let significand: i64 = significand.parse().map_err(|_| MoneyError::TooLarge)?;
        let power = exponent.saturating_sub(fraction.len() as i32).saturating_add(2);
        let mut cents = significand;
        for _ in 0..power.clamp(0, 20) {
            cents = cents.checked_mul(10).ok_or(MoneyError::TooLarge)?;
        }
        for _ in 0..(-power).clamp(0, 20) {
            if cents % 10 != 0 {
                return Err(MoneyError::TooPrecise);
            }
            cents /= 10;
        }
        if cents > Self::LIMIT {
            return Err(MoneyError::TooLarge);
        }
        Ok(Self(if negative { -cents } else { cents }))
    }

    /// Whether the amount is below zero.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl fmt::Display for Money {
    /// Dollars without trailing zeros of whole amounts: `150`, `149.50`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (dollars, cents) = (self.0.unsigned_abs() / 100, self.0.unsigned_abs() % 100);
        if cents == 0 { write!(f, "{sign}{dollars}") } else { write!(f, "{sign}{dollars}.{cents:02}") }
    }
}

impl Add for Money {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Money {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0 % 100 == 0 {
            return s.serialize_i64(self.0 / 100);
        }
        let raw = RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?;
        raw.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(d)?;
        let text = raw.get();
        // A quoted number is tolerated: some clients write money as text.
        let text = if text.starts_with('"') {
            serde_json::from_str::<Cow<'_, str>>(text).map_err(serde::de::Error::custom)?
        } else {
            Cow::Borrowed(text)
        };
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read_exactly() {
        for (text, cents) in [
            ("150", 15_000),
            ("0.1", 10),
            ("149.5", 14_950),
            ("149.500", 14_950),
            ("-3.25", -325),
            ("1e3", 100_000),
            ("2.5e1", 2_500),
            ("0", 0),
            ("00.00", 0),
            ("90071992547409.91", 9_007_199_254_740_991),
        ] {
            assert_eq!(Money::parse(text), Ok(Money::from_cents(cents)), "{text}");
        }
        for (text, error) in [
            ("", MoneyError::NotANumber),
            ("1.", MoneyError::NotANumber),
            (".5", MoneyError::NotANumber),
            ("abc", MoneyError::NotANumber),
            ("NaN", MoneyError::NotANumber),
            ("1.005", MoneyError::TooPrecise),
            ("1e-3", MoneyError::TooPrecise),
            ("90071992547409.92", MoneyError::TooLarge),
            ("1e400", MoneyError::TooLarge),
            ("123456789012345678901234567890", MoneyError::TooLarge),
        ] {
            assert_eq!(Money::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn json_keeps_every_cent(cents in -9_007_199_254_740_991i64..=9_007_199_254_740_991) {
            let money = Money::from_cents(cents);
            let json = serde_json::to_string(&money).unwrap();
            prop_assert!(!json.contains('"'), "a JSON number: {json}");
            prop_assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), money);
            prop_assert_eq!(Money::parse(&money.to_string()).unwrap(), money);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            let _ = Money::parse(&text);
        }
    }
}
