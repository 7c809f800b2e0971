//! What the log's records say: one type per kind of record, JSON with a version.

mod appointments;
mod deliveries;
mod leads;
mod quarantine;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use appointments::{
    Appointment, AppointmentRecord, CommandRefused, DuplicateLead, RoutingMethod, Unrouted, UnroutedReason,
};
pub use deliveries::{DeliveryRecord, HeldReason, Outcome};
pub use leads::{CommandKey, LeadAction, LeadCommand, LeadRecord};
pub use quarantine::{PostedAs, QuarantineEnd, QuarantineRecord, QuarantinedLead};

use crate::settings::SettingsChange;

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

/// A kind of record: its topic, its CloudEvents type, its key and its JSON. Clones are cheap: they share what is large.
pub trait Payload: Serialize + Clone + Send + Sync + 'static {
    /// Where such records stand.
    const TOPIC: Topic;
    /// CloudEvents type of this record, `lead.received`.
    fn kind(&self) -> &'static str;
    /// What it is partitioned by.
    fn key(&self) -> Arc<str>;
    /// The JSON of its data.
    fn encode(&self) -> Vec<u8> {
        // Most records fit: growing step by step would copy what is written three times.
        let mut data = Vec::with_capacity(1_024);
        // Our own types have no maps with keys that JSON cannot carry: encoding them cannot fail.
        let _ = serde_json::to_writer(&mut data, self);
        data.shrink_to_fit();
        data
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
    fn key(&self) -> Arc<str> {
        Arc::default()
    }
    fn decode(kind: &str, data: &[u8]) -> Result<Self, UnreadableRecord> {
        match kind {
            "settings.changed" => read(Self::TOPIC, kind, data),
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
