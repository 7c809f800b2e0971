use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Provider;
use crate::id::ProviderId;
use crate::seal::{SealError, Sealed, Seals};
use crate::secret::{KeyHash, Presented};

/// Most earlier keys or secrets that are valid beside the present one: each lengthens a webhook's signature.
pub const MAX_PREVIOUS: usize = 8;

/// A Standard Webhooks secret (`whsec_` and 32 random bytes in base64), or what a provider signs its bodies with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningSecret {
    /// The secret as its holder was shown it, once.
    pub secret: Sealed,
    /// Set when it was rotated away: it is valid until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

/// A key that was rotated away and is still taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousKey {
    /// What is kept of it.
    pub key_hash: KeyHash,
    /// It is taken until then.
    pub valid_until: Timestamp,
}

/// How a provider signs what it posts, where it does so instead of sending its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signing {
    /// It does not: only its key is taken.
    #[default]
    None,
    /// HMAC-SHA256 of the body alone. Whoever sees such a request can send it again.
    LegacyBody,
    /// Standard Webhooks: id, time and body.
    StandardWebhooks,
}

/// What proves who a provider is, beside its present key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Keys that were rotated away and are still taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous_keys: Vec<PreviousKey>,
    /// How it signs.
    #[serde(default)]
    pub signing: Signing,
    /// What it signs with, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hmac_secrets: Vec<SigningSecret>,
    /// When key or secret were last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
}

impl Credentials {
    /// Those of a record of an earlier version: the hash of the key was the secret of the body's signature.
    pub(super) fn of_an_earlier_version() -> Self {
        Self { signing: Signing::LegacyBody, ..Self::default() }
    }
}

/// Where a provider's HMAC secrets are sealed for.
pub fn hmac_place(provider: &ProviderId) -> String {
    format!("provider/{provider}/hmac")
}

impl Provider {
    /// Whether this is its key, or one rotated away that is still valid.
    pub fn has_key(&self, key: &Presented, now: Timestamp) -> bool {
        let previous = self.credentials.previous_keys.iter().filter(|previous| now < previous.valid_until);
        previous.fold(key.is(&self.key_hash), |found, previous| found | key.is(&previous.key_hash))
    }

    /// Every hash of a key that is or was its.
    pub(super) fn key_hashes(&self) -> impl Iterator<Item = KeyHash> {
        [self.key_hash].into_iter().chain(self.credentials.previous_keys.iter().map(|previous| previous.key_hash))
    }
}

/// The new secret first, then those still valid, each with its end: one that had an end keeps it, so that rotating twice
/// cuts nobody off before the day. `until` is the end of the one that was in force; `None` ends all of them now.
pub fn rotated_secrets(
    old: Vec<SigningSecret>,
    new: Sealed,
    now: Timestamp,
    until: Option<Timestamp>,
) -> Vec<SigningSecret> {
    let ending = until.into_iter().flat_map(|until| {
        let still_valid = old.iter().filter(move |s| s.valid_until.is_none_or(|end| end > now)).cloned();
        still_valid.map(move |s| SigningSecret { valid_until: Some(s.valid_until.unwrap_or(until)), ..s })
    });
    [SigningSecret { secret: new, valid_until: None }].into_iter().chain(ending).collect()
}

/// The same of keys: `present` is rotated away now.
pub fn rotated_keys(
    previous: Vec<PreviousKey>,
    present: KeyHash,
    now: Timestamp,
    until: Option<Timestamp>,
) -> Vec<PreviousKey> {
    let Some(until) = until else { return Vec::new() };
    let ended = PreviousKey { key_hash: present, valid_until: until };
    [ended].into_iter().chain(previous.into_iter().filter(|key| key.valid_until > now)).collect()
}

/// A provider's HMAC secrets, opened once for each change of the settings.
#[derive(Clone, Default)]
pub struct Verifiers(Vec<Verifier>);

#[derive(Clone)]
struct Verifier {
    mac: Hmac<Sha256>,
    valid_until: Option<Timestamp>,
}

impl Verifiers {
    /// Opens the secrets of a provider.
    pub(super) fn new(provider: &Provider, seals: &Seals) -> Result<Self, SealError> {
        let credentials = &provider.credentials;
        if credentials.signing == Signing::None {
            return Ok(Self::default());
        }
        let place = hmac_place(&provider.id);
        let mut verifiers = Vec::new();
        for SigningSecret { secret, valid_until } in &credentials.hmac_secrets {
            let text = seals.open(&place, secret)?;
            verifiers.extend(Verifier::new(text.expose(), *valid_until));
        }
        if credentials.signing == Signing::LegacyBody && verifiers.is_empty() {
            let hex = provider.key_hash.plain_hex();
            verifiers.extend(hex.and_then(|hex| Verifier::new(&hex, None)));
        }
        Ok(Self(verifiers))
    }

    /// Whether one of `signatures` is one of `parts`, one behind the other, by a secret that is valid.
    pub fn prove(&self, parts: &[&[u8]], signatures: &[[u8; 32]], now: Timestamp) -> bool {
        let valid = self.0.iter().filter(|verifier| verifier.valid_until.is_none_or(|until| now < until));
        let mut proven = false;
        for verifier in valid {
            let mac = parts.iter().fold(verifier.mac.clone(), |mac, part| mac.chain_update(part));
            for signature in signatures {
                proven |= mac.clone().verify_slice(signature).is_ok();
            }
        }
        proven
    }
}

impl Verifier {
    /// A `whsec_` secret is base64; any other is the text itself.
    fn new(secret: &str, valid_until: Option<Timestamp>) -> Option<Self> {
        let decoded = secret.strip_prefix("whsec_").map(|base64| STANDARD.decode(base64));
        let key = decoded.unwrap_or_else(|| Ok(secret.as_bytes().to_vec())).ok()?;
        Some(Self { mac: Hmac::new_from_slice(&key).ok()?, valid_until })
    }
}

impl fmt::Debug for Verifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn rotating_again_cuts_nobody_off_before_the_day() {
        let first = vec![SigningSecret { secret: "1".into(), valid_until: None }];
        let second = rotated_secrets(first, "2".into(), at(0), Some(at(100)));
        let third = rotated_secrets(second, "3".into(), at(10), Some(at(110)));
        let ends: Vec<_> = third.iter().map(|s| (s.secret.clone(), s.valid_until)).collect();
        assert_eq!(ends, [("3".into(), None), ("2".into(), Some(at(110))), ("1".into(), Some(at(100)))]);
        let later = rotated_secrets(third.clone(), "4".into(), at(105), Some(at(205)));
        assert_eq!(later.iter().map(|s| s.secret.clone()).collect::<Vec<_>>(), ["4".into(), "3".into(), "2".into()]);
        assert_eq!(rotated_secrets(third, "4".into(), at(20), None).len(), 1, "a leak ends all of them");

        let hash = KeyHash::of;
        let keys = rotated_keys(Vec::new(), hash("1"), at(0), Some(at(100)));
        let keys = rotated_keys(keys, hash("2"), at(10), Some(at(110)));
        let ends: Vec<_> = keys.iter().map(|key| (key.key_hash, key.valid_until)).collect();
        assert_eq!(ends, [(hash("2"), at(110)), (hash("1"), at(100))]);
        assert_eq!(rotated_keys(keys, hash("3"), at(20), None), []);
    }
}
