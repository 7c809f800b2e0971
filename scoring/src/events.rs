//! The history of an appointment: rows of table `appointment_events`, one per record.

use leadway_domain::LeadId;
use leadway_eventlog::Record;
use leadway_tables::schema::{AppointmentEventChange, micros_of};
use serde::Serialize;

use crate::batch::Batch;
use crate::fold::{Context, FoldError};

/// Adds the row that says that `record` concerned the lead `about`, with what matters of it.
pub(crate) fn event(
    record: &Record,
    about: LeadId,
    data: &impl Serialize,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    let bucket = context.event_bucket(record, about)?;
    let (address, at) = (record.address, record.time);
    let topic = address.topic.name();
    batch.add_with_json(data, |data| {
        let row = AppointmentEventChange {
            event_type: Some(&record.kind),
            event_data: Some(data),
            ..AppointmentEventChange::new(bucket, about, at, micros_of(at), topic, address.partition, address.offset)
        };
        row.upsert()
    });
    Ok(())
}
