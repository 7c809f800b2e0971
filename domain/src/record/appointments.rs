//! Topic `appointments`: what was decided about a lead.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Payload, Topic, UnreadableRecord, read, unknown};
use crate::id::{ContactId, LeadId, ProviderId, RuleId, WorkspaceId};
use crate::money::Money;
use crate::phone::Phone;
use crate::zip::Zip;

/// How the workspace was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutingMethod {
    /// By a rule.
    Auto,
    /// By hand.
    Manual,
}

/// An appointment that was routed: everything that delivering and billing it needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Appointment {
    /// Version of this record's form.
    pub v: u32,
    /// The lead's id.
    pub appointment_id: LeadId,
    /// Which decision about this lead this is, counted from 1: an unrouted lead may be decided again.
    pub decision: u32,
    /// The command that led to it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_id: Option<LeadId>,
    /// Who it is about.
    pub contact_id: ContactId,
    /// Who sent the lead.
    pub provider_id: ProviderId,
    /// Who receives it.
    pub workspace_id: WorkspaceId,
    /// The rule that matched, if a rule did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_id: Option<RuleId>,
    /// How the workspace was chosen.
    pub routing_method: RoutingMethod,
    /// First and last name.
    pub customer_name: String,
    /// The customer's telephone.
    pub customer_phone: Phone,
    /// The customer's e-mail, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_email: Option<String>,
    /// Canonical product name.
    pub service_type: Arc<str>,
    /// Where the service is wanted.
    pub customer_zip: Zip,
    /// When.
    pub appointment_date: Timestamp,
    /// What the deal may be worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_value: Option<Money>,
    /// Notes of the lead.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
    /// What the workspace pays when it is delivered: the rate agreed at this moment.
    pub price: Money,
    /// What the provider is paid for the lead.
    pub cost: Money,
    /// A test: delivered to the test URL, never billed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// When the lead arrived.
    pub received_at: Timestamp,
    /// When it was routed.
    pub matched_at: Timestamp,
}

/// Why a lead has no workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnroutedReason {
    /// For programs: `no_rule`, `no_free_slot`, `workspace_missing`; `date_passed` when the lead was to be routed again
    /// and its date, which lay ahead when it arrived, was over.
    pub code: String,
    /// For people, with the way out.
    pub message: String,
}

/// A lead that matched nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unrouted {
    /// Version of this record's form.
    pub v: u32,
    /// The lead.
    pub lead_id: LeadId,
    /// Which decision about this lead this is, counted from 1.
    pub decision: u32,
    /// The command that led to it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_id: Option<LeadId>,
    /// Who it is about.
    pub contact_id: ContactId,
    /// Who sent the lead.
    pub provider_id: ProviderId,
    /// Canonical product name.
    pub service_type: Arc<str>,
    /// Where the service is wanted.
    pub customer_zip: Zip,
    /// The date asked for; `None` when the next free slot was to be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appointment_date: Option<Timestamp>,
    /// Why.
    pub reason: UnroutedReason,
    /// Whether the lead is a test.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// When the lead arrived.
    pub received_at: Timestamp,
    /// When this was decided.
    pub decided_at: Timestamp,
}

/// A lead that its partition's owner found to be a submission already received.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DuplicateLead {
    /// Version of this record's form.
    pub v: u32,
    /// The later one.
    pub lead_id: LeadId,
    /// The first one.
    pub first_lead_id: LeadId,
    /// Who sent it. This and the following take the lead out of the sums that counted it at its arrival.
    pub provider_id: ProviderId,
    /// Canonical product name.
    pub product_type: Arc<str>,
    /// What the provider would have been paid for it.
    pub cost: Money,
    /// Whether the lead is a test.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// When the lead arrived.
    pub received_at: Timestamp,
    /// When this was decided.
    pub decided_at: Timestamp,
}

/// A command that could not be carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandRefused {
    /// Version of this record's form.
    pub v: u32,
    /// The command.
    pub command_id: LeadId,
    /// The lead it was about.
    pub lead_id: LeadId,
    /// Why not, in words.
    pub reason: String,
    /// When this was decided.
    pub decided_at: Timestamp,
}

/// Topic `appointments`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AppointmentRecord {
    /// `appointment.routed`
    Routed(Arc<Appointment>),
    /// `appointment.unrouted`
    Unrouted(Box<Unrouted>),
    /// `lead.duplicate`
    Duplicate(DuplicateLead),
    /// `command.refused`
    Refused(CommandRefused),
}

impl Payload for AppointmentRecord {
    const TOPIC: Topic = Topic::Appointments;
    fn kind(&self) -> &'static str {
        match self {
            Self::Routed(_) => "appointment.routed",
            Self::Unrouted(_) => "appointment.unrouted",
            Self::Duplicate(_) => "lead.duplicate",
            Self::Refused(_) => "command.refused",
        }
    }
    fn key(&self) -> Arc<str> {
        match self {
            Self::Routed(a) => a.workspace_id.shared(),
            Self::Unrouted(u) => u.lead_id.to_string().into(),
            Self::Duplicate(d) => d.lead_id.to_string().into(),
            Self::Refused(r) => r.lead_id.to_string().into(),
        }
    }
    fn decode(kind: &str, data: &[u8]) -> Result<Self, UnreadableRecord> {
        match kind {
            "appointment.routed" => read(Self::TOPIC, kind, data).map(|a| Self::Routed(Arc::new(a))),
            "appointment.unrouted" => read(Self::TOPIC, kind, data).map(|u| Self::Unrouted(Box::new(u))),
            "lead.duplicate" => read(Self::TOPIC, kind, data).map(Self::Duplicate),
            "command.refused" => read(Self::TOPIC, kind, data).map(Self::Refused),
            _ => unknown(Self::TOPIC, kind),
        }
    }
}
