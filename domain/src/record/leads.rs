//! Topic `leads`: what arrived, and what people ask to be done with it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Payload, Topic, UnreadableRecord, read, unknown};
use crate::id::{LeadId, WorkspaceId};
use crate::lead::Lead;

/// Topic `leads`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum LeadRecord {
    /// `lead.received`
    Received(Arc<Lead>),
    /// `lead.schedule_requested`, `lead.assign_requested`, `lead.retry_requested`
    Command(LeadCommand),
}

/// What somebody asks to be done with a lead. Its id is its record's address, made like a lead id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeadCommand {
    /// Version of this record's form.
    pub v: u32,
    /// The lead concerned.
    pub lead_id: LeadId,
    /// The lead's partition key.
    pub lead_key: String,
    /// Who asks: the account's name.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// What is asked.
    pub action: LeadAction,
    /// The caller's own name for this command, if it gave one: of several commands about one lead with the same name only
    /// the first is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_as: Option<CommandKey>,
}

/// Hash (SHA-256, hex) of an `Idempotency-Key` and of the account that sent it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandKey(Arc<str>);

impl CommandKey {
    /// The name that this account gave a command.
    pub fn new(actor: &str, idempotency_key: &str) -> Self {
        let mut hash = Sha256::new();
        // Neither holds a NUL: headers cannot, names of accounts must not.
        hash.update(actor.as_bytes());
        hash.update([0]);
        hash.update(idempotency_key.as_bytes());
        Self(hex::encode(hash.finalize()).into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadAction {
    /// Give the lead a date, which makes it an appointment.
    Schedule {
        /// The date; the next free slot of the matching workspace when absent.
        appointment_date: Option<Timestamp>,
    },
    /// Send the appointment to this workspace, whatever the rules say.
    Assign {
        /// The workspace.
        workspace_id: WorkspaceId,
    },
    /// Route an unrouted lead again.
    Retry,
}

impl Payload for LeadRecord {
    const TOPIC: Topic = Topic::Leads;
    fn kind(&self) -> &'static str {
        match self {
            Self::Received(_) => "lead.received",
            Self::Command(c) => match c.action {
                LeadAction::Schedule { .. } => "lead.schedule_requested",
                LeadAction::Assign { .. } => "lead.assign_requested",
                LeadAction::Retry => "lead.retry_requested",
            },
        }
    }
    fn key(&self) -> Arc<str> {
        match self {
            Self::Received(lead) => lead.log_key().into(),
            Self::Command(command) => command.lead_key.as_str().into(),
        }
    }
    fn decode(kind: &str, data: &[u8]) -> Result<Self, UnreadableRecord> {
        match kind {
            "lead.received" => read(Self::TOPIC, kind, data).map(|lead| Self::Received(Arc::new(lead))),
            "lead.schedule_requested" | "lead.assign_requested" | "lead.retry_requested" => {
                read(Self::TOPIC, kind, data).map(Self::Command)
            }
            _ => unknown(Self::TOPIC, kind),
        }
    }
}
