//! Where a partition stands that this member was given.

use leadway_domain::record::{DeliveryRecord, Topic};
use leadway_domain::telemetry::UNREADABLE_RECORDS;
use leadway_domain::{LeadId, Offset, Partition};
use leadway_eventlog::{Assignment, EventLog, LogError, ReadLimit};
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
