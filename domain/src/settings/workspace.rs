use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use super::provider::RateLimit;
use crate::hours::OpeningHours;
use crate::id::WorkspaceId;
use crate::money::Money;
use crate::phone::PhoneFormat;

/// A Standard Webhooks secret: `whsec_` and 32 random bytes in base64.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningSecret {
    /// The secret as the client was shown it, once.
    pub secret: String,
    /// Set when it was rotated away: deliveries are signed with it too until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningSecret").field("valid_until", &self.valid_until).finish_non_exhaustive()
    }
}

/// A client business that receives appointments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// Chosen by the operator.
    pub id: WorkspaceId,
    /// Display name.
    pub name: String,
    /// Where appointments are posted.
    #[serde(default)]
    pub outbound_webhook_url: Option<Url>,
    /// Where test appointments are posted.
    #[serde(default)]
    pub test_webhook_url: Option<Url>,
    /// While false, deliveries are held.
    pub webhook_active: bool,
    /// What it does: `Solar Installation`.
    #[serde(default)]
    pub business_type: String,
    /// What one delivered appointment pays.
    pub payment_rate: Money,
    /// The secrets its deliveries are signed with, newest first.
    pub signing_secrets: Vec<SigningSecret>,
    /// How it wants to read telephone numbers.
    #[serde(default)]
    pub phone_format: PhoneFormat,
    /// How fast appointments may be posted to it; no limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// How many posts may be under way at once; only the node's own limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// When it takes appointments, in the customer's time zone.
    #[serde(default)]
    pub opening_hours: OpeningHours,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}
