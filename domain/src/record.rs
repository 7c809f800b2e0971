//! What the log's records say: one type per kind of record, JSON with a version.

use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::id::{ContactId, LeadId, ProviderId, RuleId, WorkspaceId};
use crate::lead::Lead;
use crate::money::Money;
use crate::phone::Phone;
use crate::problem::FieldError;
use crate::settings::SettingsChange;
use crate::zip::Zip;

/// The log's topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Changes of settings; one partition. Written by the portal.
    Settings,
    /// Leads received and commands about them, keyed by phone and provider. Written by ingest and the portal.
    Leads,
    /// Routing decisions, keyed by workspace. Written by the router.
    Appointments,
    /// Outcomes of delivery attempts, keyed by workspace. Written by the dispatcher.
    Deliveries,
    /// Refused leads, keyed by provider. Written by ingest and the portal.
    Quarantine,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 5] = [Self::Settings, Self::Leads, Self::Appointments, Self::Deliveries, Self::Quarantine];

    /// The topic's name in the log, in metrics and in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Leads => "leads",
            Self::Appointments => "appointments",
            Self::Deliveries => "deliveries",
            Self::Quarantine => "quarantine",
        }
    }
}

/// A record that cannot be read: written by a newer version, or not by leadway. It quotes nothing of the record's data,
/// which may be personal or secret: it can be logged.
#[derive(Debug, thiserror::Error)]
#[error("record of kind {kind:?} in topic {topic:?} cannot be read: {reason}")]
pub struct UnreadableRecord {
    /// Where it stands.
    pub topic: Topic,
    /// Its kind.
    pub kind: String,
    /// Why.
    pub reason: UnreadableReason,
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableReason {
    /// This version knows no such kind in its topic.
    #[error("its kind is unknown")]
    UnknownKind,
    /// Its data is no JSON, or not of its kind's form.
    #[error("{0}")]
    Json(#[from] JsonFault),
    /// It is about a lead that is not of this log.
    #[error("it names a lead id that this log never gave")]
    UnknownLead,
}

/// What is wrong with JSON, and where: all of a parser's error but its message, which quotes the values that it met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its JSON is wrong at line {line}, column {column} ({category:?})")]
pub struct JsonFault {
    category: serde_json::error::Category,
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for JsonFault {
    fn from(error: serde_json::Error) -> Self {
        Self { category: error.classify(), line: error.line(), column: error.column() }
    }
}

/// A kind of record: its topic, its CloudEvents type, its key and its JSON.
pub trait Payload: Serialize + Sized {
    /// Where such records stand.
    const TOPIC: Topic;
    /// CloudEvents type of this record, `lead.received`.
    fn kind(&self) -> &'static str;
    /// What it is partitioned by.
    fn key(&self) -> String;
    /// The JSON of its data.
    fn encode(&self) -> Vec<u8> {
        // Our own types have no maps with keys that JSON cannot carry: encoding them cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
    /// Reads a record of kind `kind`.
    fn decode(kind: &str, data: &[u8]) -> Result<Self, UnreadableRecord>;
}

fn read<T: DeserializeOwned>(topic: Topic, kind: &str, data: &[u8]) -> Result<T, UnreadableRecord> {
    serde_json::from_slice(data).map_err(|e| {
        let reason = UnreadableReason::Json(e.into());
        UnreadableRecord { topic, kind: kind.to_owned(), reason }
    })
}

fn unknown<T>(topic: Topic, kind: &str) -> Result<T, UnreadableRecord> {
    Err(UnreadableRecord { topic, kind: kind.to_owned(), reason: UnreadableReason::UnknownKind })
}

impl Payload for SettingsChange {
    const TOPIC: Topic = Topic::Settings;
    fn kind(&self) -> &'static str {
        "settings.changed"
    }
    fn key(&self) -> String {
        String::new()
    }
    fn decode(kind: &str, data: &[u8]) -> Result<Self, UnreadableRecord> {
        match kind {
            "settings.changed" => read(Self::TOPIC, kind, data),
            _ => unknown(Self::TOPIC, kind),
        }
    }
}

/// Topic `leads`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum LeadRecord {
    /// `lead.received`
    Received(Box<Lead>),
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
    fn key(&self) -> String {
        match self {
            Self::Received(lead) => lead.log_key(),
            Self::Command(command) => command.lead_key.clone(),
        }
    }
    fn decode(kind: &str, data: &[u8]) -> Result<Self, UnreadableRecord> {
        match kind {
            "lead.received" => read(Self::TOPIC, kind, data).map(|lead| Self::Received(Box::new(lead))),
            "lead.schedule_requested" | "lead.assign_requested" | "lead.retry_requested" => {
                read(Self::TOPIC, kind, data).map(Self::Command)
            }
            _ => unknown(Self::TOPIC, kind),
        }
    }
}

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
    Routed(Box<Appointment>),
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
    fn key(&self) -> String {
        match self {
            Self::Routed(a) => a.workspace_id.to_string(),
            Self::Unrouted(u) => u.lead_id.to_string(),
            Self::Duplicate(d) => d.lead_id.to_string(),
            Self::Refused(r) => r.lead_id.to_string(),
        }
    }
    fn decode(kind: &str, data: &[u8]) -> Result<Self, UnreadableRecord> {
        match kind {
            "appointment.routed" => read(Self::TOPIC, kind, data).map(|a| Self::Routed(Box::new(a))),
            "appointment.unrouted" => read(Self::TOPIC, kind, data).map(|u| Self::Unrouted(Box::new(u))),
            "lead.duplicate" => read(Self::TOPIC, kind, data).map(Self::Duplicate),
            "command.refused" => read(Self::TOPIC, kind, data).map(Self::Refused),
            _ => unknown(Self::TOPIC, kind),
        }
    }
}

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
        appointment: Box<Appointment>,
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
        appointment: Box<Appointment>,
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
    fn key(&self) -> String {
        self.workspace_id.to_string()
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
    fn key(&self) -> String {
        match self {
            Self::Added(q) => q.provider_id.to_string(),
            Self::Ended(end) => end.provider_id.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_an_unreadable_record_quotes_nothing_of_its_data() {
        let unreadable = |kind: &str, data: &str| match kind {
            "settings.changed" => SettingsChange::decode(kind, data.as_bytes()).unwrap_err(),
            _ => LeadRecord::decode(kind, data.as_bytes()).unwrap_err(),
        };
        let cases = [
            (unreadable("lead.received", r#"{"v":"2135550123"}"#), "line 1, column 17 (Data)"),
            (unreadable("lead.received", "{\"v\":1,\n\"provider_id\":\"2135550123 !\"}"), "line 2, column 29 (Data)"),
            (unreadable("lead.retry_requested", r#"{"v":1,"action":"2135550123"}"#), "(Data)"),
            (unreadable("settings.changed", r#"{"v":1,"change":{"2135550123":1}}"#), "(Data)"),
            (unreadable("lead.received", r#"{"v":1,"phone":"2135550123"#), "(Eof)"),
            (unreadable("lead.received", r#"{"2135550123" 1}"#), "(Syntax)"),
            (unreadable("lead.forgotten", r#"{"phone":"2135550123"}"#), "its kind is unknown"),
        ];
        for (error, part) in cases {
            let (shown, debugged) = (error.to_string(), format!("{error:?}"));
            assert!(shown.contains(part), "{part}: {shown}");
            assert!(!shown.contains("2135550123") && !debugged.contains("2135550123"), "{shown} {debugged}");
        }
    }
}
