use serde::{Deserialize, Serialize};

use super::PastDates;

/// How a provider posts: what its software needs to hear, what it may send, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Posting {
    /// The status of an accepted lead: 202, or 200 for software that takes every other one for a failure.
    pub success_status: u16,
    /// Whether leads may come as the query of a GET.
    pub allow_get: bool,
    /// Web sites whose pages may post from a browser (`https://shop.example`), `*` for all; none by default.
    pub allowed_origins: Vec<String>,
    /// What becomes of its appointments whose date is over.
    pub past_dates: PastDates,
    /// How many of its requests each node handles at one moment; the node's own setting when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// How many bytes of leads each node takes from it in a day (UTC); no limit when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes_per_day: Option<u64>,
}

impl Default for Posting {
    fn default() -> Self {
        Self {
            success_status: 202,
            allow_get: false,
            allowed_origins: Vec::new(),
            past_dates: PastDates::Refuse,
            max_concurrent: None,
            max_bytes_per_day: None,
        }
    }
}

impl Posting {
    /// Whether pages of this web site may post.
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.allowed_origins.iter().any(|allowed| allowed == "*" || allowed == origin)
    }
}
