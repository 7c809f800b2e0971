//! What of an answer is made readable for people: packed bodies, the address of a redirect.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::header::{HeaderMap, LOCATION};
use url::Url;

/// What every gzip file begins with (RFC 1952, 2.3.1), with its only method.
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
/// A longer address is cut.
const LOCATION_LIMIT: usize = 300;

/// The body as text would be: gzip and deflate unpacked, also when nothing says that it is packed. At most `limit` bytes;
/// of a torn or damaged body what can be read, and the body itself when that is nothing.
pub(crate) fn unpacked(body: Bytes, encoding: Option<&str>, limit: usize) -> Bytes {
    let deflate = encoding.is_some_and(|e| e.trim().eq_ignore_ascii_case("deflate"));
    let text = if body.starts_with(&GZIP) {
        beginning(MultiGzDecoder::new(&body[..]), limit)
    } else if deflate {
        // Servers write it with zlib's envelope (RFC 9110, 8.4.1.2) and without.
        let text = beginning(ZlibDecoder::new(&body[..]), limit);
        if text.is_empty() { beginning(DeflateDecoder::new(&body[..]), limit) } else { text }
    } else {
        return body;
    };
    if text.is_empty() { body } else { text.into() }
}

fn beginning(packed: impl Read, limit: usize) -> Vec<u8> {
    let mut text = Vec::new();
    // What was read before an error stays.
    let _ = packed.take(limit as u64).read_to_end(&mut text);
    text
}

/// Where a redirect points, whole, without user and password. `None` when it does not say.
pub(crate) fn location(headers: &HeaderMap, from: &Url) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(LOCATION)?.as_bytes());
    let mut to = from.join(text.trim()).ok()?;
    // These fail for addresses that have no host, and so neither user nor password.
    let _ = (to.set_username(""), to.set_password(None));
    let mut text = to.to_string();
    text.truncate(text.floor_char_boundary(LOCATION_LIMIT));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::read::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    fn all(mut packed: impl Read) -> Bytes {
        let mut bytes = Vec::new();
        packed.read_to_end(&mut bytes).unwrap();
        bytes.into()
    }

    #[test]
    fn packed_bodies_are_unpacked_and_others_left_as_they_are() {
        let text = &b"{\"status\":\"received\"}"[..];
        let gzip = all(GzEncoder::new(text, Compression::default()));
        for (body, encoding) in [
            (gzip.clone(), Some("gzip")),
            (gzip.clone(), Some("x-gzip")),
            (gzip.clone(), None),
            (all(ZlibEncoder::new(text, Compression::default())), Some("Deflate")),
            (all(DeflateEncoder::new(text, Compression::default())), Some("deflate")),
            (Bytes::from_static(text), Some("gzip")),
            (Bytes::from_static(text), None),
        ] {
            assert_eq!(unpacked(body, encoding, 100), text, "{encoding:?}");
        }
        let torn = gzip.slice(..gzip.len() - 8);
        assert_eq!(unpacked(torn, Some("gzip"), 100), text);
        let broken = Bytes::from_static(b"\x1f\x8b\x08 no gzip at all");
        assert_eq!(unpacked(broken.clone(), Some("gzip"), 100), broken);
    }

    #[test]
    fn a_bomb_is_unpacked_up_to_the_limit_only() {
        let bomb = all(GzEncoder::new(std::io::repeat(b'x').take(50 << 20), Compression::best()));
        assert_eq!(unpacked(bomb, Some("gzip"), 1 << 16).len(), 1 << 16);
    }

    #[test]
    fn the_address_of_a_redirect_is_whole_and_without_credentials() {
        let from = Url::parse("https://client.example/hook?token=hidden").unwrap();
        let to = |text: &[u8]| {
            let value = HeaderValue::from_bytes(text).unwrap();
            location(&HeaderMap::from_iter([(LOCATION, value)]), &from)
        };
        assert_eq!(to(b"https://u:p@www.client.example/hook").unwrap(), "https://www.client.example/hook");
        assert_eq!(to(b" /other ").unwrap(), "https://client.example/other");
        assert_eq!(to(b"//www.client.example").unwrap(), "https://www.client.example/");
        assert_eq!(to("/b\u{fc}ro".as_bytes()).unwrap(), "https://client.example/b%C3%BCro");
        assert_eq!(to(b"http://[broken"), None);
        assert_eq!(location(&HeaderMap::new(), &from), None);
        assert_eq!(to(&[b'a'; 1_000]).unwrap().len(), LOCATION_LIMIT);
    }
}
