//! Telephone numbers as people and software write them.

use super::{Phone, PhoneError};
use crate::text::plain;

/// Longest text in which a number is looked for.
const MAX_TEXT: usize = 200;
/// Marks before an extension, the longer ones first. `p` and `w` are pauses in numbers to dial.
const MARKS: [&str; 10] = ["extension", "extn", "ext", "xt", "x", "#", ",", ";", "p", "w"];

/// Reads one number with the usual punctuation, and an extension, which is cut off: then the text says more.
pub(super) fn number(text: &str) -> Result<(Phone, bool), PhoneError> {
    let mut digits: u64 = 0;
    let mut count = 0;
    let mut has_plus = false;
    let mut is_whole = true;
    for (at, c) in text.char_indices() {
        match c {
            '0'..='9' => {
                count += 1;
                if count > 14 {
                    return Err(if has_plus { PhoneError::OtherCountry } else { PhoneError::WrongLength });
                }
                digits = digits * 10 + u64::from(c as u32 - '0' as u32);
            }
            '+' if count == 0 => has_plus = true,
            ' ' | '\t' | '-' | '.' | '(' | ')' | '/' | '_' => {}
            'x' | 'X' | 'e' | 'E' | '#' | ',' | ';' | 'p' | 'w' if count >= 10 => {
                is_whole = !extension(text.get(at..).unwrap_or_default())?;
                break;
            }
            _ => return Err(PhoneError::NotANumber),
        }
    }
    let ten = match count {
        10 if !has_plus => digits,
        11 if digits / 10_000_000_000 == 1 => digits - 10_000_000_000,
        // `+1` in front of a number that has it; from abroad, 00 1 and 011 1.
        12 if digits / 10_000_000_000 == 11 => digits - 110_000_000_000,
        13 if !has_plus && digits / 10_000_000_000 == 1 => digits - 10_000_000_000,
        14 if !has_plus && digits / 10_000_000_000 == 111 => digits - 1_110_000_000_000,
        _ if has_plus && count > 0 => return Err(PhoneError::OtherCountry),
        _ => return Err(PhoneError::WrongLength),
    };
    Phone::from_digits(ten).map(|phone| (phone, is_whole))
}

/// Whether `x12`, `ext 12`, `ext. 12`, `;ext=12`, `#12`, `,,12#` has digits; a mark alone has none.
fn extension(rest: &str) -> Result<bool, PhoneError> {
    let lower = rest.to_ascii_lowercase();
    let mark = MARKS.iter().find_map(|mark| lower.strip_prefix(mark));
    let mut after = mark.ok_or(PhoneError::NotANumber)?;
    if rest.starts_with(';') && after.contains('=') {
        // Parameters of RFC 3966.
        let mut parameters = after.split(';').filter_map(|parameter| parameter.split_once('='));
        after = parameters.find(|(name, _)| *name == "ext").map_or("", |(_, value)| value);
        return Ok(after.bytes().any(|b| b.is_ascii_digit()));
    }
    let digits = after.bytes().filter(u8::is_ascii_digit).count();
    let is_extension = digits <= 10 && after.chars().all(|c| c.is_ascii_digit() || ".:=#*_,;() -".contains(c));
    is_extension.then_some(digits > 0).ok_or(PhoneError::NotANumber)
}

/// Reads what [`number`] could not: `error` is what was wrong with it.
pub(super) fn otherwise(text: &str, error: PhoneError) -> Result<(Phone, bool), PhoneError> {
    if text.len() > MAX_TEXT {
        return Err(error);
    }
    let text = plain(text);
    let text = without_label(text.trim_matches(['=', '"', '\'', ' ']));
    match number(text) {
        Ok(read) => return Ok(read),
        Err(PhoneError::OtherCountry) => return several(text).ok_or(PhoneError::OtherCountry),
        Err(_) => {}
    }
    match spreadsheet(text) {
        Some(read) => read.map(|phone| (phone, true)),
        None => several(text).ok_or(error),
    }
}

/// Without `tel:`, `Phone:`, `Cell (best):`, and the `p:` of exported lead lists.
fn without_label(text: &str) -> &str {
    match text.split_once(':') {
        Some((label, rest)) if label.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            let is_label = label.chars().filter(char::is_ascii_digit).count() < 2 && label.len() <= 20;
            if is_label { rest.trim_start_matches(['/', ' ']) } else { text }
        }
        _ => text,
    }
}

/// A number that was made a float: `2135550100.0`, `2.1355501E9`.
fn spreadsheet(text: &str) -> Option<Result<Phone, PhoneError>> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, ""));
    let (whole, fraction) = mantissa.split_once('.')?;
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    if exponent.is_empty() {
        return (fraction.bytes().all(|b| b == b'0') && !text.ends_with(['e', 'E']))
            .then(|| number(whole).map(|(phone, _)| phone));
    }
    let power = exponent.strip_prefix('+').unwrap_or(exponent).parse::<usize>().ok()?;
    if whole.len() != 1 || fraction.len() > power || !(9..=10).contains(&power) {
        return None;
    }
    // `E+09` is how spreadsheets show a number that they round to five places; programs write `E9`.
    if exponent.starts_with('+') && fraction.len() <= 5 {
        return Some(Err(PhoneError::Rounded));
    }
    let digits = format!("{whole}{fraction:0<power$}");
    Some(number(&digits).map(|(phone, _)| phone))
}

/// The first of several numbers, or a number among words. A piece of a number before it may be another country's.
fn several(text: &str) -> Option<(Phone, bool)> {
    let is_part = |c: char| c.is_ascii_digit() || " -.()+_\t".contains(c);
    for piece in text.split(|c: char| !is_part(c)) {
        let digits = piece.bytes().filter(u8::is_ascii_digit).count();
        if digits == 0 {
            continue;
        }
        let first = number(piece).ok().map(|(phone, _)| phone).or_else(|| first_of_two(piece));
        if first.is_some() || digits < 7 {
            return first.map(|phone| (phone, false));
        }
    }
    None
}

/// The first of two numbers with nothing but blanks between.
fn first_of_two(text: &str) -> Option<Phone> {
    let is_number = |text: &str| number(text).ok().map(|(phone, _)| phone);
    let mut splits = text.match_indices(' ').filter_map(|(at, _)| text.split_at_checked(at));
    splits.find_map(|(first, second)| is_number(first).filter(|_| is_number(second).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_all_notations() {
        for text in [
            "2135550100",
            "\u{202d}(213) 555-0100\u{202c}",
            "\u{200e}2135550100",
            "1\u{fe0d}-213-555-0100",
            "\u{2068}+1 213 555 0100\u{2069}",
            "\u{feff}213\u{a0}555\u{2011}0100\u{200b}",
            "２１３-５５５-０１００",
            "＋1 (213) 555-0100",
            "tel:+1-213-555-0100",
            "tel:2135550100",
            "TEL: 213-555-0100",
            "tel://+12135550100",
            "callto:+12135550100",
            "p:+12135550100",
            "Phone: 213-555-0100",
            "Phone 1: 213-555-0100",
            "Cell (best): 213.555.0100",
            "(+1) 213-555-0100",
            "+1 1 213 555 0100",
            "+1 (1) 213-555-0100",
            "001 213 555 0100",
            "011 1 213 555 0100",
            "2135550100.0",
            "12135550100.0",
            "2.1355501E9",
            "2.1355501e+09",
            "2.1355501E+9",
            "1.21355501E10",
            "'2135550100",
            "=\"2135550100\"",
            "(213) 555-0100_",
            "(213) 555-0100 x_____",
            "2135550100#",
            "2135550100 ext.",
            "+12135550100;phone-context=+1",
        ] {
            assert_eq!(
                Phone::read(text).map(|(phone, whole)| (phone.e164(), whole)),
                Ok(("+12135550100".into(), true)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_follows_a_number_is_told() {
        for text in [
            "2135550100 x12",
            "+12135550100;ext=136",
            "tel:+1-213-555-0100;ext=136;phone-context=+1",
            "+12135550100 ext. 1234",
            "213-555-0100 Ext: 12",
            "(213) 555-0100 extension 12",
            "213-555-0100 #12",
            "2135550100,,12#",
            "2135550100p12",
            "2135550100 ;7246433",
            "2135550100, 3105550199",
            "213-555-0100 / 310-555-0199",
            "213-555-0100/310-555-0199",
            "213-555-0100 or 310-555-0199",
            "213-555-0100 & 310-555-0199",
            "213-555-0100; 310-555-0199",
            "213-555-0100 | 310-555-0199",
            "213-555-0100\n310-555-0199",
            "213.555.0100 310.555.0199",
            "(213) 555-0100 (310) 555-0199",
            "+1 213 555 0100 +1 310 555 0199",
            "213-555-0100 (cell)",
            "213-555-0100 cell, 310-555-0199 home",
            "H: 213-555-0100 C: 310-555-0199",
            "213-555-0100 after 5pm",
            "call 213-555-0100 please",
            "555-0199 / 213-555-0100",
        ] {
            assert_eq!(
                Phone::read(text).map(|(phone, whole)| (phone.e164(), whole)),
                Ok(("+12135550100".into(), false)),
                "{text}"
            );
        }
    }

    #[test]
    fn another_number_is_never_made_of_it() {
        for (text, error) in [
            ("+65 8623 4567", PhoneError::OtherCountry),
            ("+6586234567", PhoneError::OtherCountry),
            ("(+65) 8623-4567", PhoneError::OtherCountry),
            ("+44 20 7946 0958", PhoneError::OtherCountry),
            ("tel:+442079460958", PhoneError::OtherCountry),
            ("+33 6 12 34 56 78", PhoneError::OtherCountry),
            ("+2135550100", PhoneError::OtherCountry),
            ("+52 1 55 1234 5678", PhoneError::OtherCountry),
            ("0044 20 7946 0958", PhoneError::WrongLength),
            ("0065 8623 4567", PhoneError::WrongLength),
            ("2.13555E+09", PhoneError::Rounded),
            ("1.21356E+10", PhoneError::Rounded),
            ("2135550100.5", PhoneError::WrongLength),
            ("213555010", PhoneError::WrongLength),
            ("(213) 555-01__", PhoneError::WrongLength),
            ("555-0100", PhoneError::WrongLength),
            ("30/2135550100", PhoneError::WrongLength),
            ("call me", PhoneError::NotANumber),
            ("1-800-FLOWERS", PhoneError::NotANumber),
            ("N/A", PhoneError::NotANumber),
            ("213555O100", PhoneError::NotANumber),
        ] {
            assert_eq!(Phone::read(text), Err(error), "{text}");
        }
        assert!(Phone::read("+49 2135/5550100").is_err());
        assert!(Phone::read(&"213-555-0100 ".repeat(40)).is_err(), "no text without end");
    }
}
