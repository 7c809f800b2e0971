//! The history of an appointment: rows of table `appointment_events`, one per record.

use std::borrow::Cow;

use leadway_domain::LeadId;
use leadway_eventlog::Record;
use leadway_tables::schema::{AppointmentEventChange, micros_of};
use leadway_tables::{JsonText, Write};
use serde::Serialize;

use crate::fold::{Context, FoldError};

/// The row that says that `record` concerned the lead `about`, with what matters of it.
pub(crate) fn event(
    record: &Record,
    about: LeadId,
    data: &impl Serialize,
    context: &Context,
) -> Result<Write, FoldError> {
    let bucket = context.event_bucket(record, about)?;
    let (address, at) = (record.address, record.time);
    // What is written here has no maps with keys that JSON cannot carry: this cannot fail.
    let data = serde_json::to_string(data).unwrap_or_default();
    let topic = address.topic.name();
    let row = AppointmentEventChange {
        event_type: Some(&record.kind),
        event_data: Some(JsonText(Cow::Owned(data))),
        ..AppointmentEventChange::new(bucket, about, at, micros_of(at), topic, address.partition, address.offset)
    };
    Ok(row.upsert())
}
