//! Who is posting: the provider's key, or its signature of the body.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use leadway_domain::secret::KeyHash;
use leadway_domain::settings::{Provider, Settings};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::head::Target;
use crate::refusal::Refusal;

static API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Headers in which senders put the signature of the body.
const SIGNATURE_HEADERS: [&str; 3] = ["x-signature", "x-hub-signature-256", "x-webhook-signature"];

/// What is known of the sender before the body is read.
pub(crate) enum Sender {
    /// Its key proved who it is.
    Known(Arc<Provider>),
    /// It signed the body as sent, packed or not: HMAC-SHA256.
    Signed([u8; 32]),
}

impl Sender {
    /// By the first that is not empty of: `X-Api-Key`, `Authorization: Bearer`, the query's `key` or `api_key`, a
    /// signature.
    pub(crate) fn of(head: &Parts, target: Target<'_>, settings: &Settings) -> Result<Self, Refusal> {
        let known = |key: &str| by_key(settings, target, &KeyHash::of(key)).map(Self::Known);
        if let Some(key) = key_in_headers(&head.headers) {
            return known(key);
        }
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let is_key = |name: &str, value: &str| matches!(name, "key" | "api_key") && !value.is_empty();
        if let Some((_, key)) = form_urlencoded::parse(query).find(|(name, value)| is_key(name, value)) {
            return known(&key);
        }
        let mut signatures = SIGNATURE_HEADERS.iter().filter_map(|name| head.headers.get(*name));
        let signature = signatures.next().and_then(|value| parse_signature(value.to_str().ok()?));
        signature.map(Self::Signed).ok_or(Refusal::Unauthorized)
    }

    /// The sender for certain, now that the body is there.
    pub(crate) fn prove(
        self,
        head: &Parts,
        target: Target<'_>,
        settings: &Settings,
        body: &[u8],
    ) -> Result<Arc<Provider>, Refusal> {
        match self {
            Self::Known(provider) => Ok(provider),
            Self::Signed(signature) => by_signature(settings, target, &head.headers, &signature, body),
        }
    }
}

fn key_in_headers(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let bearer = || {
        let (scheme, key) = text(&AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    };
    let is_there = |key: &&str| !key.is_empty();
    text(&API_KEY).filter(is_there).or_else(|| bearer().filter(is_there))
}

/// `[sha256=]` and 64 hex digits, or the same 32 bytes in base64.
fn parse_signature(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    let text = text.strip_prefix("sha256=").unwrap_or(text);
    let bytes = if text.len() == 64 {
        hex::decode(text).ok()?
    } else {
        base64::engine::general_purpose::STANDARD.decode(text).ok()?
    };
    bytes.try_into().ok()
}

/// The provider that `hash` is the key of; at a webhook's address only that webhook's own.
fn by_key(settings: &Settings, target: Target<'_>, hash: &KeyHash) -> Result<Arc<Provider>, Refusal> {
    let found = match target {
        Target::Webhook(name) => {
            find(settings, name, |secret| secret.as_hex().as_bytes().ct_eq(hash.as_hex().as_bytes()).into())
        }
        // Looking up a SHA-256 tells by its time nothing that helps to guess the key.
        Target::Leads | Target::Appointments => settings.provider_by_key(hash),
    };
    active(found)
}

/// The provider that signed `body`: the webhook's own, or at the other addresses the one `X-Provider-Id` names.
fn by_signature(
    settings: &Settings,
    target: Target<'_>,
    headers: &HeaderMap,
    signature: &[u8; 32],
    body: &[u8],
) -> Result<Arc<Provider>, Refusal> {
    let named = headers.get("x-provider-id").and_then(|value| value.to_str().ok()).map(str::trim);
    let name = match target {
        Target::Webhook(name) => name,
        Target::Leads | Target::Appointments => named.unwrap_or_default(),
    };
    let signed_with = |secret: &KeyHash| {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_hex().as_bytes());
        mac.is_ok_and(|mac| mac.chain_update(body).verify_slice(signature).is_ok())
    };
    active(find(settings, name, signed_with))
}

/// The provider called `name`, with or without the prefix `provider-`, whose secret satisfies `proves`.
fn find<'s>(settings: &'s Settings, name: &str, proves: impl Fn(&KeyHash) -> bool) -> Option<&'s Arc<Provider>> {
    let names = [name.strip_prefix("provider-"), Some(name)];
    let mut known = names.into_iter().flatten().filter_map(|id| settings.providers.get(id)).peekable();
    if known.peek().is_none() {
        // An unknown provider costs the same time as a wrong key.
        proves(nobodys_key());
    }
    known.find(|provider| proves(&provider.key_hash))
}

fn nobodys_key() -> &'static KeyHash {
    static NOBODYS: OnceLock<KeyHash> = OnceLock::new();
    NOBODYS.get_or_init(|| KeyHash::of(""))
}

fn active(found: Option<&Arc<Provider>>) -> Result<Arc<Provider>, Refusal> {
    match found {
        None => Err(Refusal::Unauthorized),
        Some(provider) if !provider.is_active => Err(Refusal::Inactive),
        Some(provider) => Ok(Arc::clone(provider)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read_as_hex_or_base64() {
        let bytes = [7u8; 32];
        let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
        for text in [hex::encode(bytes), format!("sha256={}", hex::encode_upper(bytes)), base64.clone()] {
            assert_eq!(parse_signature(&text), Some(bytes), "{text}");
        }
        for text in ["", "sha256=", "sha1=00", &base64[..20], &"z".repeat(64)] {
            assert_eq!(parse_signature(text), None, "{text}");
        }
    }
}
