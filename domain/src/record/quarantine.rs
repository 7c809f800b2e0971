//! Topic `quarantine`: leads that were refused.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Payload, Topic, UnreadableRecord, read, unknown};
use crate::id::{LeadId, ProviderId};
use crate::problem::FieldError;

/// Which kind of thing a provider posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostedAs {
    /// To `/webhook/provider-{id}` or `/leads/receive`.
    Lead,
    /// To `/appointments/receive`: a date is required.
    Appointment,
}

/// A lead that was refused, kept so that it can be corrected: `quarantine.added`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuarantinedLead {
    /// Version of this record's form.
    pub v: u32,
    /// UUID v7.
    pub id: uuid::Uuid,
    /// Who sent it.
    pub provider_id: ProviderId,
    /// Which kind of thing was posted.
    pub posted_as: PostedAs,
    /// The lead as it was sent, as JSON.
    pub body: serde_json::Value,
    /// Everything that is wrong with it.
    pub errors: Vec<FieldError>,
    /// When it arrived.
    pub received_at: Timestamp,
}

/// A refused lead that left the quarantine: `quarantine.released` or `quarantine.discarded`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuarantineEnd {
    /// Version of this record's form.
    pub v: u32,
    /// Which one.
    pub id: uuid::Uuid,
    /// Whose it was.
    pub provider_id: ProviderId,
    /// Who ended it.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// The lead that it became; `None` when it was discarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lead_id: Option<LeadId>,
}

/// Topic `quarantine`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum QuarantineRecord {
    /// `quarantine.added`
    Added(Box<QuarantinedLead>),
    /// `quarantine.released`, `quarantine.discarded`
    Ended(QuarantineEnd),
}

impl Payload for QuarantineRecord {
    const TOPIC: Topic = Topic::Quarantine;
    fn kind(&self) -> &'static str {
        match self {
            Self::Added(_) => "quarantine.added",
            Self::Ended(end) if end.lead_id.is_some() => "quarantine.released",
            Self::Ended(_) => "quarantine.discarded",
        }
    }
    fn key(&self) -> Arc<str> {
        match self {
            Self::Added(q) => q.provider_id.shared(),
            Self::Ended(end) => end.provider_id.shared(),
        }
    }
    fn decode(kind: &str, data: &[u8]) -> Result<Self, UnreadableRecord> {
        match kind {
            "quarantine.added" => read(Self::TOPIC, kind, data).map(|q| Self::Added(Box::new(q))),
            "quarantine.released" | "quarantine.discarded" => read(Self::TOPIC, kind, data).map(Self::Ended),
            _ => unknown(Self::TOPIC, kind),
        }
    }
}
