//! Keys and secrets: how they look, and what of them is kept.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// SHA-256 of an API or provider key, as lower-case hex. Keys are 256 random bits, so a plain hash keeps them safe.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyHash(String);

impl KeyHash {
    /// The hash of a key as its owner presents it.
    pub fn of(key: &str) -> Self {
        Self(hex::encode(Sha256::digest(key.as_bytes())))
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
