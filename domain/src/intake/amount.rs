//! Amounts of money as forms offer them and people type them.

use std::borrow::Cow;

use super::{Checked, Reading};
use crate::money::Money;
use crate::text::plain;

/// Longest text in which an amount is looked for.
const MAX_TEXT: usize = 100;

/// Reads an amount that is not negative: `25000`, `$25,000.50`, `25k`, `1.5 million`, `USD 300`; a float's noise is
/// rounded to the cent. Of a range, or of "at least", the lower end.
pub(super) fn amount(text: &str) -> Checked<Reading<Money>> {
    match Money::parse(text) {
        Ok(money) if !money.is_negative() => return Ok(Reading::Whole(money)),
        Ok(_) => return Err(("invalid", "must not be negative".into())),
        Err(_) => {}
    }
    let no_amount = Err(("invalid", "must be an amount in dollars, such as 150 or 149.50".into()));
    if text.len() > MAX_TEXT {
        return no_amount;
    }
    let text = plain(text).to_lowercase();
    if let Some(money) = single(&text) {
        return Ok(Reading::Whole(money));
    }
    match lower_end(&text) {
        Some(money) => Ok(Reading::Part(money, Some(format!("was read as {money}, its lower end")))),
        None => no_amount,
    }
}

/// One amount, with its currency and its unit.
fn single(text: &str) -> Option<Money> {
    let text = bare(text);
    let (number, power) = magnitude(&text);
    decimal(number, power)
}

/// Without signs and words for dollars, and words that say "about".
fn bare(text: &str) -> Cow<'_, str> {
    let mut rest = text.trim();
    for word in ["approximately", "approx.", "approx", "about", "around", "estimated", "circa", "ca.", "~"] {
        rest = rest.strip_prefix(word).unwrap_or(rest).trim_start();
    }
    for word in ["us$", "usd", "us dollars", "$"] {
        rest = rest.strip_prefix(word).unwrap_or(rest).trim_start();
    }
    for word in ["us dollars", "dollars", "dollar", "usd", "us$", "$"] {
        rest = rest.strip_suffix(word).unwrap_or(rest).trim_end();
    }
    // `USD $300`
    Cow::Borrowed(rest.strip_prefix('$').unwrap_or(rest).trim_start())
}

/// The number before a word for thousands or millions, and how many zeros the word stands for.
fn magnitude(text: &str) -> (&str, u32) {
    let words = [("thousand", 3), ("grand", 3), ("million", 6), ("mio", 6), ("mil", 6), ("mm", 6), ("k", 3), ("m", 6)];
    let found = words.iter().find_map(|(word, power)| Some((text.strip_suffix(word)?.trim_end(), *power)));
    found.unwrap_or((text, 0))
}

/// Digits, with commas or blanks between thousands only: `25,00` may be 25 or 2,500.
fn decimal(text: &str, power: u32) -> Option<Money> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut groups = whole.split([',', ' ']);
    let first = groups.next().filter(|first| is_digits(first) && !first.is_empty())?;
    let is_grouped = whole.len() > first.len();
    if (is_grouped && first.len() > 3)
        || !groups.all(|group| group.len() == 3 && is_digits(group))
        || !is_digits(fraction)
    {
        return None;
    }
    let whole: String = whole.chars().filter(char::is_ascii_digit).collect();
    if power > 0 {
        return Money::parse(&format!("{whole}.{fraction}0e{power}")).ok();
    }
    rounded(&whole, fraction)
}

/// To the nearest cent: what is behind it is a float's noise, and the value is an estimate.
fn rounded(whole: &str, fraction: &str) -> Option<Money> {
    let cents = Money::parse(&format!("{whole}.{:0<2}", fraction.get(..2).unwrap_or(fraction))).ok()?;
    let up = fraction.as_bytes().get(2).is_some_and(|digit| *digit >= b'5');
    Some(if up { cents + Money::from_cents(1) } else { cents })
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// The lower end of `20,000 - 50,000`, `$5-10k`, `between 5k and 10k`, `400+`, `over 5000`.
fn lower_end(text: &str) -> Option<Money> {
    let text = text.trim();
    for word in ["more than", "at least", "starting at", "over", "above", "from", "minimum", "min.", "min", ">=", ">"] {
        if let Some(rest) = text.strip_prefix(word) {
            return single(rest).or_else(|| lower_end(rest));
        }
    }
    for word in ["or more", "and up", "and above", "and over", "or above", "plus", "+"] {
        if let Some(rest) = text.strip_suffix(word) {
            return single(rest);
        }
    }
    let text = text.strip_prefix("between").unwrap_or(text);
    let (low, high) = [" to ", " and ", "..", "-"].iter().find_map(|mark| text.split_once(mark))?;
    let (low, high) = (bare(low), bare(high));
    let ((low_number, low_power), (high_number, high_power)) = (magnitude(&low), magnitude(&high));
    let upper = decimal(high_number, high_power)?;
    // The unit of `5-10k` is that of both.
    let shared = if low_power == 0 { high_power } else { low_power };
    [shared, low_power].iter().filter_map(|power| decimal(low_number, *power)).find(|lower| *lower <= upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_they_are_written() {
        for (text, cents) in [
            ("25000", 2_500_000),
            ("25000.5", 2_500_050),
            ("$25,000.50", 2_500_050),
            (" $ 25,000.50 ", 2_500_050),
            ("25 000", 2_500_000),
            ("25k", 2_500_000),
            ("$25K", 2_500_000),
            ("2.5k", 250_000),
            ("1.5M", 150_000_000),
            ("1.5 million", 150_000_000),
            ("USD 300", 30_000),
            ("300 dollars", 30_000),
            ("USD $300.00", 30_000),
            ("~ 25,000", 2_500_000),
            ("2.5e4", 2_500_000),
            ("24999.999999999996", 2_500_000),
            ("19999.990000000002", 1_999_999),
            ("0.1", 10),
        ] {
            assert_eq!(amount(text), Ok(Reading::Whole(Money::from_cents(cents))), "{text}");
        }
    }

    #[test]
    fn a_range_is_worth_its_lower_end() {
        for (text, dollars) in [
            ("$20,000 - $50,000", 20_000),
            ("$123,684\u{2014}$254,644", 123_684),
            ("20000-50000", 20_000),
            ("$1M-2M", 1_000_000),
            ("$5-10k", 5_000),
            ("500-10k", 500),
            ("10k to 20k", 10_000),
            ("between 5,000 and 10,000", 5_000),
            ("$400+", 400),
            ("50k or more", 50_000),
            ("over $5,000", 5_000),
            ("More than 25k", 25_000),
            ("$51-$100", 51),
        ] {
            let read = amount(text);
            let Ok(Reading::Part(money, Some(_))) = read else { panic!("{text}: {read:?}") };
            assert_eq!(money, Money::from_cents(dollars * 100), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_none() {
        assert!(amount(&">".repeat(60_000)).is_err(), "no text without end");
        for text in [
            "",
            "-",
            "-1",
            "-$500",
            "Not sure",
            "N/A",
            "25,00",
            "1.234,56",
            "2,50",
            "under $5,000",
            "up to 5k",
            "5 bids",
            "$100/month",
            "50-20",
            "1e999",
            "99999999999999999999",
            "k",
            "$",
            "12 345 6",
            "0x10",
            "1.2.3",
        ] {
            assert!(amount(text).is_err(), "{text}: {:?}", amount(text));
        }
    }
}
