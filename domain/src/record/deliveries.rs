//! Topic `deliveries`: what became of each attempt.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Appointment, Payload, Topic, UnreadableRecord, read, unknown};
use crate::id::{LeadId, ProviderId, WorkspaceId};
use crate::money::Money;

/// What became of an attempt, or why there was none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The client answered 2xx.
    Delivered,
    /// The attempt failed; the next one is due.
    Retry {
        /// When.
        due_at: Timestamp,
        /// What the next attempt needs.
        appointment: Arc<Appointment>,
    },
    /// The attempt failed and was the last of the schedule, or no attempt can succeed.
    GivenUp,
    /// No attempt was made: it waits on disk.
    Held {
        /// When it may be tried.
        due_at: Timestamp,
        /// Why it waits.
        reason: HeldReason,
        /// What the attempt needs.
        appointment: Arc<Appointment>,
    },
}

/// Why a delivery waits on disk without an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldReason {
    /// `webhook_active` is false, or there is no URL.
    WebhookInactive,
    /// More wait for this workspace than the node keeps in memory.
    QueueFull,
    /// The workspace has failed many times in a row; it is left alone for a while.
    CircuitOpen,
}

/// Topic `deliveries`: one outcome. `delivery.delivered`, `delivery.retry`, `delivery.given_up`, `delivery.held`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRecord {
    /// Version of this record's form.
    pub v: u32,
    /// The appointment.
    pub appointment_id: LeadId,
    /// Who receives it.
    pub workspace_id: WorkspaceId,
    /// Who sent the lead.
    pub provider_id: ProviderId,
    /// Canonical product name.
    pub service_type: Arc<str>,
    /// What the workspace pays when it is delivered.
    pub price: Money,
    /// What the provider is paid for the lead.
    pub cost: Money,
    /// A test is never billed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// When the lead arrived.
    pub received_at: Timestamp,
    /// When it was routed.
    pub matched_at: Timestamp,
    /// Attempts made so far, this one included.
    pub attempts: u32,
    /// When the outcome was known.
    pub at: Timestamp,
    /// How long the attempt took, in microseconds; 0 when there was none.
    pub latency_us: u64,
    /// HTTP status of the answer, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The answer's body, cut at 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// What went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When this delivery was due by its previous `retry` or `held` record, if it had one: names the row that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_due_at: Option<Timestamp>,
    /// What became of it.
    pub outcome: Outcome,
}

impl Payload for DeliveryRecord {
    const TOPIC: Topic = Topic::Deliveries;
    fn kind(&self) -> &'static str {
        match self.outcome {
            Outcome::Delivered => "delivery.delivered",
            Outcome::Retry { .. } => "delivery.retry",
            Outcome::GivenUp => "delivery.given_up",
            Outcome::Held { .. } => "delivery.held",
        }
    }
    fn key(&self) -> Arc<str> {
        self.workspace_id.shared()
    }
    fn decode(kind: &str, data: &[u8]) -> Result<Self, UnreadableRecord> {
        match kind {
            "delivery.delivered" | "delivery.retry" | "delivery.given_up" | "delivery.held" => {
                read(Self::TOPIC, kind, data)
            }
            _ => unknown(Self::TOPIC, kind),
        }
    }
}
