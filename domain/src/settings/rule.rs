use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{RuleId, WorkspaceId};

/// A routing rule: which products in which ZIPs go to which workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// UUID v7; among equal priorities the smaller (older) one wins.
    pub id: RuleId,
    /// Where its appointments go.
    pub workspace_id: WorkspaceId,
    /// Canonical product names, at least one.
    pub product_types: Vec<String>,
    /// ZIP patterns as written, at least one: `90210`, `902*`, `90001-90899`, `CA`, `90210+25mi`.
    pub zip_codes: Vec<String>,
    /// The lowest number wins.
    pub priority: i32,
    /// Whether it takes part in matching.
    pub is_active: bool,
    /// What it is called in the system that it is imported from; no two rules have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The operator's notes.
    #[serde(default)]
    pub notes: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}
