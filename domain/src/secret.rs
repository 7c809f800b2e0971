//! Keys and secrets: how they look, and what of them is kept.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

/// What is kept of an API or provider key: enough to know it again, not enough to use it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyHash {
    /// SHA-256 of the key, as records of earlier versions have it. It stays until it is [peppered](Pepper::strengthen).
    Plain([u8; 32]),
    /// HMAC-SHA256 of that with the log's pepper: of no use without the pepper.
    Peppered([u8; 32]),
}

/// How the text of a peppered hash begins.
const PEPPERED: &str = "p1:";

impl KeyHash {
    /// The plain hash of a key as its owner presents it.
    pub fn of(key: &str) -> Self {
        Self::Plain(Sha256::digest(key.as_bytes()).into())
    }

    /// A plain hash as lower-case hex: with an earlier version, the secret of providers that sign their bodies.
    pub fn plain_hex(&self) -> Option<String> {
        match self {
            Self::Plain(hash) => Some(hex::encode(hash)),
            Self::Peppered(_) => None,
        }
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(hash) => serializer.serialize_str(&hex::encode(hash)),
            Self::Peppered(hash) => serializer.serialize_str(&format!("{PEPPERED}{}", hex::encode(hash))),
        }
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let (digits, peppered) = text.strip_prefix(PEPPERED).map_or((&*text, false), |digits| (digits, true));
        let mut hash = [0; 32];
        // The error must not quote the hash.
        hex::decode_to_slice(digits, &mut hash).map_err(|_| D::Error::custom("a key hash is not of its form"))?;
        Ok(if peppered { Self::Peppered(hash) } else { Self::Plain(hash) })
    }
}

/// A secret of the log with which the hashes of keys are made. It stands sealed in the [vault](crate::seal::Vault).
#[derive(Clone)]
pub struct Pepper(Hmac<Sha256>);

impl Pepper {
    /// The pepper made of these random bits.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Hmac::new_from_slice(bytes).unwrap_or_else(|_| Hmac::new(&Default::default())))
    }

    /// The hash to be kept of a key.
    pub fn hash(&self, key: &str) -> KeyHash {
        self.strengthen(KeyHash::of(key))
    }

    /// The hash to be kept in place of a plain one, which needs no key: the same as [`hash`](Self::hash) gives for it.
    pub fn strengthen(&self, hash: KeyHash) -> KeyHash {
        match hash {
            KeyHash::Plain(plain) => {
                KeyHash::Peppered(self.0.clone().chain_update(plain).finalize().into_bytes().into())
            }
            peppered @ KeyHash::Peppered(_) => peppered,
        }
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(…)")
    }
}

/// A key as somebody presents it, ready to be compared with what is kept.
#[derive(Clone, Copy, Debug)]
pub struct Presented {
    plain: KeyHash,
    peppered: Option<KeyHash>,
}

impl Presented {
    /// The key, to be compared with peppered hashes too where there is a pepper.
    pub fn new(key: &str, pepper: Option<&Pepper>) -> Self {
        let plain = KeyHash::of(key);
        Self { plain, peppered: pepper.map(|pepper| pepper.strengthen(plain)) }
    }

    /// What may be kept of this key, the likeliest first.
    pub fn hashes(&self) -> impl Iterator<Item = KeyHash> {
        self.peppered.into_iter().chain([self.plain])
    }

    /// Whether `kept` is of this key. How long it takes tells nothing of either.
    pub fn is(&self, kept: &KeyHash) -> bool {
        match (kept, &self.plain, &self.peppered) {
            (KeyHash::Plain(kept), KeyHash::Plain(mine), _) => kept.ct_eq(mine).into(),
            (KeyHash::Peppered(kept), _, Some(KeyHash::Peppered(mine))) => kept.ct_eq(mine).into(),
            _ => false,
        }
    }
}

/// A new key with a readable prefix: `lwp_…` for providers, `lwk_…` for the API. `random` are 256 random bits.
pub fn new_key(prefix: &str, random: [u8; 32]) -> String {
    format!("{prefix}_{}", hex::encode(random))
}

/// A password that is read from settings and never shown: neither debugging nor writing the settings out prints it.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever must present it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "…" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "…" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_but_never_shown() {
        let secret: Secret = serde_json::from_str("\"open sesame\"").unwrap();
        assert_eq!(secret.expose(), "open sesame");
        assert!(!format!("{secret:?}{}", serde_json::to_string(&secret).unwrap()).contains("sesame"));
    }

    #[test]
    fn a_peppered_hash_can_be_made_of_the_key_or_of_its_plain_hash() {
        let (pepper, other) = (Pepper::new(b"one"), Pepper::new(b"other"));
        let kept = pepper.hash("lwp_1");
        assert_eq!(kept, pepper.strengthen(KeyHash::of("lwp_1")));
        assert_eq!(kept, pepper.strengthen(kept));
        assert!(Presented::new("lwp_1", Some(&pepper)).is(&kept));
        for stranger in [
            Presented::new("lwp_2", Some(&pepper)),
            Presented::new("lwp_1", Some(&other)),
            Presented::new("lwp_1", None),
        ] {
            assert!(!stranger.is(&kept));
        }
        assert!(Presented::new("lwp_1", Some(&pepper)).is(&KeyHash::of("lwp_1")), "old records go on working");
    }

    #[test]
    fn hashes_are_read_as_they_are_written_and_never_quoted() {
        for hash in [KeyHash::of("k"), Pepper::new(b"p").hash("k")] {
            let text = serde_json::to_string(&hash).unwrap();
            assert_eq!(serde_json::from_str::<KeyHash>(&text).unwrap(), hash);
        }
        let error = serde_json::from_str::<KeyHash>("\"p1:abc\"").unwrap_err().to_string();
        assert!(!error.contains("abc"), "{error}");
    }
}
