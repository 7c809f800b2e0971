//! Bodies in other characters than UTF-8: what a mark, a header or the bytes themselves say.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// How far into an XML document its own word on its encoding is looked for.
const XML_DECLARATION: usize = 200;

/// The text of a body. `said` is the charset of its head, `None` when none that is known is named.
///
/// Bytes that are UTF-8 are read as such even where the head says latin-1: no text in latin-1 looks like that.
pub(crate) fn text<'b>(body: &'b [u8], said: Option<&'static Encoding>) -> Cow<'b, str> {
    if let Some(utf_16) = utf_16(body) {
        return utf_16.decode(body).0;
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let said = said.or_else(|| said_by_xml(body)).filter(|said| ![UTF_8, UTF_16LE, UTF_16BE].contains(said));
    match (std::str::from_utf8(body), said) {
        (Ok(text), None) => Cow::Borrowed(text),
        (Ok(text), Some(said)) if said == WINDOWS_1252 || text.is_ascii() => Cow::Borrowed(text),
        (_, Some(said)) => said.decode_without_bom_handling(body).0,
        (Err(_), None) => Cow::Owned(unsaid(body)),
    }
}

/// A text that is not UTF-8, of which nobody says what it is: UTF-8 with damage where any character beyond ASCII is whole
/// or half an emoji, else windows-1252, which is what old sites send.
pub(crate) fn unsaid(bytes: &[u8]) -> String {
    let is_half = |three: &[u8]| matches!(three, [0xed, 0xa0..=0xbf, 0x80..=0xbf]);
    let is_utf_8 = bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii()) || bytes.windows(3).any(is_half);
    if is_utf_8 {
        String::from_utf8_lossy(bytes).into_owned()
    } else {
        WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned()
    }
}

/// UTF-16 by its mark, or because every document of ours begins with a character of ASCII.
fn utf_16(body: &[u8]) -> Option<&'static Encoding> {
    match body {
        [0xff, 0xfe, ..] => Some(UTF_16LE),
        [0xfe, 0xff, ..] => Some(UTF_16BE),
        [0, 1..=0xff, ..] => Some(UTF_16BE),
        [1..=0xff, 0, ..] => Some(UTF_16LE),
        _ => None,
    }
}

/// `<?xml version="1.0" encoding="ISO-8859-1"?>`
fn said_by_xml(body: &[u8]) -> Option<&'static Encoding> {
    let start = body.trim_ascii_start();
    let start = start.get(..XML_DECLARATION).unwrap_or(start).strip_prefix(b"<?xml")?;
    let declaration = std::str::from_utf8(start.split(|byte| *byte == b'?').next()?).ok()?;
    let (_, value) = declaration.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    Encoding::for_label(value.get(1..)?.split(quote).next()?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::WINDOWS_1251;

    fn utf_16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    #[test]
    fn bodies_become_text_whatever_they_are_written_in() {
        let lead = r#"{"first_name":"José"}"#;
        let latin = WINDOWS_1252.encode(lead).0.into_owned();
        let marked = [b"\xff\xfe".to_vec(), utf_16(lead, u16::to_le_bytes)].concat();
        let (xml, xml_text) = (b"<?xml version='1.0' encoding='windows-1251'?><a>\xc0</a>".to_vec(), "А</a>");
        for (body, said, text) in [
            (lead.as_bytes().to_vec(), None, lead),
            ([b"\xef\xbb\xbf", lead.as_bytes()].concat(), None, lead),
            (lead.as_bytes().to_vec(), Some(WINDOWS_1252), lead),
            (latin.clone(), None, lead),
            (latin.clone(), Some(WINDOWS_1252), lead),
            (latin, Some(UTF_8), lead),
            (marked, Some(UTF_8), lead),
            (utf_16(lead, u16::to_le_bytes), None, lead),
            (utf_16(lead, u16::to_be_bytes), Some(UTF_16LE), lead),
            (b"name=\xc0".to_vec(), Some(WINDOWS_1251), "name=А"),
            (b"{\"n\":\"Zo\xc3\xab \xed\xa0\xbd!\"}".to_vec(), None, "{\"n\":\"Zoë \u{fffd}\u{fffd}\u{fffd}!\"}"),
            (b"half \xed\xa0\xbd".to_vec(), None, "half \u{fffd}\u{fffd}\u{fffd}"),
            (b"{}".to_vec(), Some(UTF_16LE), "{}"),
            (Vec::new(), None, ""),
        ] {
            assert_eq!(super::text(&body, said), text);
        }
        assert!(super::text(&xml, None).ends_with(xml_text));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            super::text(&bytes, None);
            super::text(&[b"<?xml encoding=".as_slice(), &bytes].concat(), None);
        }
    }
}
