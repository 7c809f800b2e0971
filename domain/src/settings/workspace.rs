use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use super::provider::RateLimit;
use super::{PastDates, SigningSecret};
use crate::hours::OpeningHours;
use crate::id::WorkspaceId;
use crate::money::Money;
use crate::phone::PhoneFormat;
use crate::seal::Sealed;

/// What proves us to a client beside the signature: name and password of its HTTP Basic authentication,
/// `name:password`, which stood before the `@` of its URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookCredentials {
    /// Those of `outbound_webhook_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<Sealed>,
    /// Those of `test_webhook_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Sealed>,
    /// When the signing secret was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
}

/// Where a workspace's signing secrets are sealed for.
pub fn signing_place(workspace: &WorkspaceId) -> String {
    format!("workspace/{workspace}/signing")
}

/// Where a workspace's webhook credentials are sealed for.
pub fn webhook_place(workspace: &WorkspaceId) -> String {
    format!("workspace/{workspace}/webhook")
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
    /// While true, routing passes over its rules; what it was routed before is delivered.
    #[serde(default)]
    pub paused: bool,
    /// Whether it takes appointments whose date is over; as their provider says when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past_dates: Option<PastDates>,
    /// What it does: `Solar Installation`.
    #[serde(default)]
    pub business_type: String,
    /// What one delivered appointment pays.
    pub payment_rate: Money,
    /// The secrets its deliveries are signed with, newest first.
    pub signing_secrets: Vec<SigningSecret>,
    /// What its URLs' hosts ask for, if they do.
    #[serde(default)]
    pub webhook_credentials: WebhookCredentials,
    /// Whether its 2xx counts though the answer's body says `"success": false`.
    #[serde(default)]
    pub ignore_answer_body: bool,
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
