//! Keys and secrets: how they look, and what of them is kept.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// SHA-256 of an API or provider key, as lower-case hex. Keys are 256 random bits, so a plain hash keeps them safe.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(String);

impl KeyHash {
    /// The hash of a key as its owner presents it.
    pub fn of(key: &str) -> Self {
        let mut hex = [0; 64];
        // Its length is right.
        let _ = hex::encode_to_slice(Sha256::digest(key.as_bytes()), &mut hex);
        Self(String::from_utf8_lossy(&hex).into_owned())
    }

    /// The hash as hex text. It is also the secret with which a provider that signs its bodies signs them, so that
    /// nothing but the hash need be kept.
    pub fn as_hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
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
}
