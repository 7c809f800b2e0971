//! Reads what commands are about: the lead out of the log, where its id leads, and what was decided about it out of
//! the tables.

use futures::stream::{self, StreamExt, TryStreamExt};
use leadway_domain::record::{LeadCommand, LeadRecord, Topic};
use leadway_domain::{Addressing, LeadId, Partition};
use leadway_eventlog::{EventLog, ReadLimit};
use leadway_tables::schema::{AppointmentRow, CommandKeyRow, LeadRow, bucket};
use leadway_tables::{Range, Tables, get, key, scan};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::batch::Item;
use crate::decide::{Standing, Subject};
use crate::error::Error;

/// Leads by id; those that do not exist are absent.
pub(crate) type Subjects = FxHashMap<LeadId, Subject>;

/// Leads read at the same time.
const CONCURRENCY: usize = 16;

/// Where to read.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) log: &'a dyn EventLog,
    pub(crate) tables: &'a dyn Tables,
    pub(crate) addressing: Addressing,
}

impl Sources<'_> {
    /// The leads with these ids, as every decision in the log at the time of the call left them. Only the owner of their
    /// partitions decides about them, so nothing is decided meanwhile.
    pub(crate) async fn read(self, ids: &[LeadId]) -> Result<Subjects, Error> {
        self.wait_for_decisions().await?;
        let found = stream::iter(ids.iter().copied())
            .map(|id| async move { Ok::<_, Error>(self.subject(id).await?.map(|s| (id, s))) })
            .buffer_unordered(CONCURRENCY)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Of these items the commands that are asked again: their caller asked for the same lead before, under the same name.
    /// Whatever the first one came to is the answer to all.
    pub(crate) async fn repeated(self, items: &[Item]) -> Result<FxHashSet<LeadId>, Error> {
        let mut repeated = FxHashSet::default();
        for item in items {
            let Item::Command(id, LeadCommand { lead_id, asked_as: Some(asked_as), .. }) = item else { continue };
            let Some((home, offset)) = self.addressing.address(*id) else { continue };
            self.tables.wait_applied(Topic::Leads, home, offset.next()).await?;
            let same = key![*lead_id, asked_as.as_str().to_owned()];
            let first = scan::<CommandKeyRow>(self.tables, &same, Range::first(1)).await?;
            if first.first().is_some_and(|first| first.command_id < *id) {
                repeated.insert(*id);
            }
        }
        Ok(repeated)
    }

    /// A decision stands at its workspace's partition: any of them.
    async fn wait_for_decisions(self) -> Result<(), Error> {
        for partition in (0..self.log.partitions(Topic::Appointments)).map(Partition) {
            let end = self.log.end(Topic::Appointments, partition).await?;
            self.tables.wait_applied(Topic::Appointments, partition, end).await?;
        }
        Ok(())
    }

    async fn subject(self, id: LeadId) -> Result<Option<Subject>, Error> {
        let Some((home, offset)) = self.addressing.address(id) else { return Ok(None) };
        let one = ReadLimit { records: 1, ..ReadLimit::default() };
        let records = self.log.read(Topic::Leads, home, offset, one).await?;
        let record = records.first().filter(|r| r.address.offset == offset).map(|r| r.decode::<LeadRecord>());
        let Some(Ok(LeadRecord::Received(lead))) = record else { return Ok(None) };
        Ok(Some(Subject { lead, standing: self.standing(id).await? }))
    }

    /// What the tables say of a lead.
    pub(crate) async fn standing(self, id: LeadId) -> Result<Standing, Error> {
        let Some(bucket) = bucket(self.addressing, id) else { return Ok(Standing::Waiting) };
        let key = key![bucket, id];
        if let Some(row) = get::<AppointmentRow>(self.tables, &key).await? {
            return Ok(match row.routing_status.as_deref() {
                Some("unrouted") => Standing::Unrouted {
                    decision: row.decision.unwrap_or(1).clamp(1, i64::from(u32::MAX)) as u32,
                    appointment_date: row.appointment_date.filter(|_| row.next_free_slot != Some(true)),
                },
                // Whatever else is there, it must not become a second appointment.
                _ => Standing::Routed,
            });
        }
        let duplicate_of = get::<LeadRow>(self.tables, &key).await?.and_then(|row| row.duplicate_of);
        Ok(duplicate_of.map_or(Standing::Waiting, |first| Standing::Duplicate { first }))
    }
}
