//! The history of an appointment: rows of table `appointment_events`, one per record.

use leadway_domain::LeadId;
use leadway_eventlog::Record;
use leadway_tables::Json;
use leadway_tables::schema::{AppointmentEventRow, micros_of};
use serde_json::Value;

/// The row that says that `record` concerned the lead `about`, with what matters of it.
pub(crate) fn event(record: &Record, about: LeadId, data: Value) -> AppointmentEventRow {
    let address = record.address;
    AppointmentEventRow {
        event_type: Some(record.kind.to_string()),
        event_data: Some(Json(data)),
        ..AppointmentEventRow::new(
            about,
            record.time,
            micros_of(record.time),
            address.topic.name().to_owned(),
            address.partition,
            address.offset,
        )
    }
}
