//! E-mail addresses as people and software write them.

use std::borrow::Cow;

use super::{Checked, Reading};
use crate::text::plain;

/// Reads an address: also one with a name beside it, as a link, or the first of several.
pub(super) fn email(text: &str) -> Checked<Reading<String>> {
    let text = plain(text);
    if let Some(address) = address(&text) {
        return Ok(Reading::Whole(address));
    }
    let bare = text.strip_prefix("mailto:").or_else(|| text.strip_prefix("MAILTO:")).unwrap_or(&text);
    let bare = bare.split('?').next().unwrap_or(bare);
    let inner = bare.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(inner, _)| inner);
    // Blanks around the @ are typing errors.
    let joined = Cow::Owned::<str>(bare.replace(" @", "@").replace("@ ", "@"));
    let trimmed = joined.trim_matches(['"', '\'', '<', '>', ',', ';', '.', ' ']);
    if let Some(address) = address(trimmed) {
        return Ok(Reading::Whole(address));
    }
    if let Some(address) = inner.and_then(|inner| address(inner.trim())) {
        return Ok(Reading::Part(address, None));
    }
    let pieces = bare.split([',', ';', ' ', '/', '|', '\n']);
    match pieces.map(|piece| piece.trim_matches(['"', '\'', '<', '>', '(', ')', '.'])).find_map(address) {
        Some(first) => Ok(Reading::Part(first, None)),
        None => Err(("invalid", "must be an e-mail address such as name@example.com".into())),
    }
}

fn address(text: &str) -> Option<String> {
    let options = email_address::Options::default().with_required_tld().without_display_text().without_domain_literal();
    let address: String = email_address::EmailAddress::parse_with_options(text, options).ok()?.into();
    Some(if address.is_ascii() { address.to_ascii_lowercase() } else { address.to_lowercase() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_pasted() {
        for (text, address, is_whole) in [
            ("Pat+Solar@Example.COM", "pat+solar@example.com", true),
            ("o'brien@example.com", "o'brien@example.com", true),
            ("o\u{2019}brien@example.com", "o'brien@example.com", true),
            ("jörg@example.com", "jörg@example.com", true),
            ("\u{200b}pat@example.com\u{feff}", "pat@example.com", true),
            ("mailto:pat@example.com", "pat@example.com", true),
            ("<pat@example.com>", "pat@example.com", true),
            ("pat@example.com.", "pat@example.com", true),
            ("pat @ example.com", "pat@example.com", true),
            ("Pat Sample <pat@example.com>", "pat@example.com", false),
            ("pat@example.com, kim@example.com", "pat@example.com", false),
            ("pat@example.com;kim@example.com", "pat@example.com", false),
            ("pat@example.com (work)", "pat@example.com", false),
        ] {
            let read = match email(text) {
                Ok(Reading::Whole(address)) => (address, true),
                Ok(Reading::Part(address, _)) => (address, false),
                Err(_) => panic!("{text}"),
            };
            assert_eq!(read, (address.to_owned(), is_whole), "{text}");
        }
        for text in ["N/A", "none", "nobody", "john.@example.com", "pat@", "pat@localhost", "@example.com", "", "@"] {
            assert!(email(text).is_err(), "{text}");
        }
    }
}
