//! The history of an appointment: rows of table `appointment_events`, one per record.

use std::borrow::Cow;

use leadway_domain::LeadId;
use leadway_eventlog::Record;
use leadway_tables::JsonText;
use leadway_tables::schema::{AppointmentEventChange, micros_of};
use serde::Serialize;

use crate::batch::Batch;
use crate::fold::{Context, FoldError};

/// Adds the row that says that `record` concerned the lead `about`, with what matters of it.
pub(crate) fn event(
    batch: &mut Batch<'_>,
    record: &Record,
    about: LeadId,
    data: &impl Serialize,
    context: &Context,
) -> Result<(), FoldError> {
    let bucket = context.event_bucket(record, about)?;
    let (address, at) = (record.address, record.time);
    let mut json = std::mem::take(&mut batch.json);
    json.clear();
    // What is written here has no maps with keys that JSON cannot carry: this cannot fail.
    let _ = serde_json::to_writer(&mut json, data);
    let text = std::str::from_utf8(&json).unwrap_or_default();
    let topic = address.topic.name();
    let row = AppointmentEventChange {
        event_type: Some(&record.kind),
        event_data: Some(JsonText(Cow::Borrowed(text))),
        ..AppointmentEventChange::new(bucket, about, at, micros_of(at), topic, address.partition, address.offset)
    };
    batch.add(row.upsert());
    batch.json = json;
    Ok(())
}
