//! Signatures as senders write them.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use leadway_domain::Timestamp;

/// Headers in which senders put the signature of the body.
const BODY_HEADERS: [&str; 3] = ["x-signature", "x-hub-signature-256", "x-webhook-signature"];

/// What may stand before a signature, in any case.
const PREFIXES: [&str; 4] = ["sha256=", "sha-256=", "hmac-sha256=", "hmacsha256="];

/// Most signatures that one request is checked for: a sender that changes its secret sends two.
const MAX_SIGNATURES: usize = 8;

/// How far a signed time may lie from ours, in seconds, as Standard Webhooks recommends.
const TOLERANCE_SECONDS: i64 = 300;

/// Longest `webhook-id`, in bytes: it is the request's idempotency key.
const MAX_ID: usize = 200;

/// Base64 with or without padding: senders do either.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The signatures of the body that a request's headers hold.
pub(crate) fn of_body(headers: &HeaderMap) -> Vec<[u8; 32]> {
    let values = BODY_HEADERS.iter().flat_map(|name| headers.get_all(*name)).filter_map(|value| value.to_str().ok());
    values.flat_map(parts).filter_map(|part| parse(without_prefix(part))).take(MAX_SIGNATURES).collect()
}

/// What Standard Webhooks adds to a body: `webhook-id`, `webhook-timestamp` and `webhook-signature`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) id: String,
    seconds: i64,
    pub(crate) signatures: Vec<[u8; 32]>,
}

impl Stamp {
    /// `None` where a header is missing or is not of its form.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| {
            let mut values = headers.get_all(name).iter();
            let only = values.next().filter(|_| values.next().is_none())?;
            Some(only.to_str().ok()?.trim())
        };
        let id = text("webhook-id").filter(|id| !id.is_empty() && id.len() <= MAX_ID)?;
        let seconds = text("webhook-timestamp").filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
        let signatures = headers.get_all("webhook-signature").iter().filter_map(|value| value.to_str().ok());
        let signatures = signatures.flat_map(str::split_ascii_whitespace).filter_map(|part| part.strip_prefix("v1,"));
        let signatures: Vec<_> = signatures.filter_map(parse).take(MAX_SIGNATURES).collect();
        let stamp = Self { id: id.to_owned(), seconds: seconds.parse().ok()?, signatures };
        Some(stamp).filter(|stamp| !stamp.signatures.is_empty())
    }

    /// Whether it was signed within five minutes of now.
    pub(crate) fn is_of(&self, now: Timestamp) -> bool {
        self.seconds.abs_diff(now.as_second()) <= TOLERANCE_SECONDS.unsigned_abs()
    }

    /// What is signed before the body.
    pub(crate) fn before_body(&self) -> String {
        format!("{}.{}.", self.id, self.seconds)
    }
}

/// Several signatures stand behind commas or spaces; some senders put a space behind the prefix too.
fn parts(value: &str) -> impl Iterator<Item = &str> {
    value.split([',', ' ', ';']).map(|part| part.trim_matches([' ', '"', '\'', '\t'])).filter(|part| !part.is_empty())
}

fn without_prefix(part: &str) -> &str {
    let prefix =
        PREFIXES.iter().find(|prefix| part.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix)));
    prefix.and_then(|prefix| part.get(prefix.len()..)).unwrap_or(part).trim_matches('"')
}

/// 64 hex digits, or the same 32 bytes in base64 of either alphabet, padded or not.
fn parse(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() == 64 {
        return hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes);
    }
    let decoded = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()?;
    decoded.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_signature_is_read_however_it_is_written() {
        let bytes: [u8; 32] = std::array::from_fn(|n| 255 - n as u8);
        let (hex, upper) = (hex::encode(bytes), hex::encode_upper(bytes));
        let (base64, url) = (STANDARD.encode(bytes), URL_SAFE.encode(bytes));
        assert!(base64.contains('/') && base64.ends_with('='));
        let bare = base64.trim_end_matches('=');
        for text in [
            hex.clone(),
            upper.clone(),
            format!("sha256={hex}"),
            format!("SHA256={upper}"),
            format!("sha256= {hex}"),
            format!("Sha-256={hex}"),
            format!("hmac-sha256={base64}"),
            format!("\"{hex}\""),
            format!("sha256=\"{hex}\""),
            base64.clone(),
            bare.to_owned(),
            url.clone(),
            url.trim_end_matches('=').to_owned(),
            format!("sha256={base64}"),
            format!(" sha256={bare} "),
            format!("sha256={},sha256={hex}", "0".repeat(64)),
        ] {
            for header in BODY_HEADERS {
                assert!(of_body(&headers(&[(header, &text)])).contains(&bytes), "{header}: {text}");
            }
        }
        for text in ["", "sha256=", "sha1=00", &base64[..20], &"z".repeat(64), &hex[1..], &format!("{hex}00")] {
            assert!(of_body(&headers(&[("x-signature", text)])).is_empty(), "{text}");
        }
        let both = headers(&[("x-signature", "unreadable"), ("x-hub-signature-256", &hex)]);
        assert_eq!(of_body(&both), [bytes], "a header that cannot be read hides no other");
        let many = vec![hex.as_str(); 100].join(",");
        assert_eq!(of_body(&headers(&[("x-signature", &many)])).len(), MAX_SIGNATURES);
    }

    #[test]
    fn a_stamp_has_all_of_its_parts_and_is_of_now() {
        let signature = STANDARD.encode([7; 32]);
        let good = format!("v1,{signature}");
        let stamp = |id, time, signature| {
            Stamp::of(&headers(&[("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)]))
        };
        let read = stamp("msg_1", "1700000000", &good).unwrap();
        assert_eq!(
            (read.before_body().as_str(), read.signatures.as_slice()),
            ("msg_1.1700000000.", [[7; 32]].as_slice())
        );
        let two = format!("v1a,{signature} v1,AAAA {good} v2,{signature}");
        assert_eq!(stamp("msg_1", "1700000000", &two).unwrap().signatures, [[7; 32]]);
        let long = "x".repeat(MAX_ID + 1);
        for (id, time, signature) in [
            ("", "1700000000", good.as_str()),
            (long.as_str(), "1700000000", good.as_str()),
            ("msg_1", "", good.as_str()),
            ("msg_1", "-1", good.as_str()),
            ("msg_1", "1700000000.5", good.as_str()),
            ("msg_1", "99999999999999999999", good.as_str()),
            ("msg_1", "1700000000", ""),
            ("msg_1", "1700000000", signature.as_str()),
        ] {
            assert_eq!(stamp(id, time, signature), None, "{id:.9} {time} {signature}");
        }
        assert_eq!(Stamp::of(&headers(&[("webhook-id", "a"), ("webhook-id", "b")])), None);
        for (seconds, is_of) in [(0, true), (300, true), (-300, true), (301, false), (-301, false)] {
            let now = Timestamp::from_second(1_700_000_000 + seconds).unwrap();
            assert_eq!(read.is_of(now), is_of, "{seconds}");
        }
    }
}
