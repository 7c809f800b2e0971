use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::secret::KeyHash;

/// What the holder of an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read and change everything.
    Admin,
    /// Read everything but secrets.
    Reader,
}

/// The holder of an API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// UUID v7.
    pub id: Uuid,
    /// Who this is, for the log of changes.
    pub name: String,
    /// Hash of the key; the key itself is shown once and not kept.
    pub key_hash: KeyHash,
    /// What the holder may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
}
