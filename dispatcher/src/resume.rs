//! Where a partition stands that this member was given.

use leadway_domain::record::{DeliveryRecord, Topic};
use leadway_domain::telemetry::UNREADABLE_RECORDS;
use leadway_domain::{Addressing, LeadId, Offset, Partition};
use leadway_eventlog::{Assignment, EventLog, LogError, ReadLimit};
use leadway_tables::schema::{AppointmentRow, bucket};
use leadway_tables::{TableRow, Tables, TablesError, key};
use rustc_hash::FxHashSet;

use crate::progress::Standing;

/// Where the partition stands. See [`Progress`](crate::progress::Progress) for how it is found what already has an outcome.
pub(crate) async fn standing(log: &dyn EventLog, assignment: &Assignment) -> Result<Standing, LogError> {
    let Assignment { partition, progress } = assignment;
    let at = |topic| progress.iter().find(|p| p.topic == topic).map_or(Offset(0), |p| p.next);
    let (watermark, outcomes_from) = (at(Topic::Appointments), at(Topic::Deliveries));
    let outcomes_end = log.end(Topic::Deliveries, *partition).await?;
    let appointments_end = log.end(Topic::Appointments, *partition).await?;
    let done = outcomes_between(log, *partition, outcomes_from, outcomes_end).await?;
    Ok(Standing { watermark, outcomes_from, outcomes_end, appointments_end, done })
}

/// Those of the appointments that have an outcome by the tables.
///
/// The two positions of a partition belong together. When one of them was moved by hand, outcomes stand before the place from
/// which they are read, and clients would get again what they have.
pub(crate) async fn with_outcome(tables: &dyn Tables, ids: &[LeadId]) -> Result<FxHashSet<LeadId>, TablesError> {
    let place = |id: &LeadId| bucket(Addressing::default(), *id).map(|bucket| (*id, bucket));
    let places: Vec<_> = ids.iter().filter_map(place).collect();
    let keys = places.iter().map(|(id, bucket)| (AppointmentRow::TABLE, key![*bucket, *id])).collect();
    let rows = tables.get_all(keys).await?;
    let mut found = FxHashSet::default();
    for ((id, _), row) in places.into_iter().zip(rows) {
        let Some(row) = row else { continue };
        if AppointmentRow::from_row(&row)?.forward_status.is_some() {
            found.insert(id);
        }
    }
    Ok(found)
}

/// The appointments whose outcomes stand there.
async fn outcomes_between(
    log: &dyn EventLog,
    partition: Partition,
    mut from: Offset,
    end: Offset,
) -> Result<FxHashSet<LeadId>, LogError> {
    let mut done = FxHashSet::default();
    while from < end {
        let records = log.read(Topic::Deliveries, partition, from, ReadLimit::default()).await?;
        let Some(last) = records.last() else { break };
        from = last.next();
        for record in &records {
            match record.decode::<DeliveryRecord>() {
                Ok(outcome) => drop(done.insert(outcome.appointment_id)),
                Err(error) => {
                    metrics::counter!(UNREADABLE_RECORDS, "topic" => Topic::Deliveries.name()).increment(1);
                    tracing::error!(%error, offset = record.address.offset.0, "an outcome was set aside");
                }
            }
        }
    }
    Ok(done)
}
