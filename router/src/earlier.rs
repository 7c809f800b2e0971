//! Which leads were decided before this router was given their partition.
//!
//! Decisions and progress land together, so behind the position that the log gives nothing should be decided yet. But a
//! position can be moved back: by hand, by a restored copy of the group's offsets, or by Kafka, which drops them when
//! nobody of the group runs for `offsets.retention.minutes`. A router that trusted it would decide those leads again, and
//! send every client every appointment again. What was decided is known all the same: from the tables, and from the end
//! of `appointments` that they do not show yet.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::SignedDuration;
use leadway_domain::record::{AppointmentRecord, Topic};
use leadway_domain::{Addressing, LeadId, Offset, Partition, Timestamp, telemetry};
use leadway_eventlog::{LogError, ReadLimit, Record};
use leadway_tables::schema::{AppointmentRow, CommandRow, LeadRow, bucket};
use leadway_tables::{TableRow, key};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::batch::Item;
use crate::error::Error;
use crate::standing::Sources;

/// Decisions read in one step backwards.
const BLOCK: u64 = 1_000;
/// How far the clocks of two nodes may be apart.
const CLOCKS_APART: SignedDuration = SignedDuration::from_hours(1);
/// Partitions looked at side by side.
const CONCURRENCY: usize = 16;

/// What may have been decided before.
#[derive(Default)]
pub(crate) struct Earlier {
    /// Where each partition ended when it was assigned, if there was something to decide: what came later nobody else
    /// can have decided.
    until: FxHashMap<Partition, Offset>,
    /// What decisions were about that the tables did not show at that time.
    unapplied: FxHashSet<LeadId>,
}

impl Earlier {
    /// Looks at partitions that were just assigned, with the positions from which they are to be decided.
    pub(crate) async fn assigned(sources: Sources<'_>, assigned: &[(Partition, Offset)]) -> Result<Self, Error> {
        let first = |&(partition, from): &(Partition, Offset)| async move {
            if sources.log.end(Topic::Leads, partition).await? <= from {
                return Ok(None);
            }
            let one = ReadLimit { records: 1, ..ReadLimit::default() };
            let record = sources.log.read(Topic::Leads, partition, from, one).await?.into_iter().next();
            Ok::<_, LogError>(record)
        };
        let waiting = try_join_all(assigned.iter().map(first)).await?;
        let Some(oldest) = waiting.iter().flatten().map(|record| record.time).min() else { return Ok(Self::default()) };
        let mut earlier = Self::default();
        let positions: FxHashMap<Partition, Offset> = assigned.iter().copied().collect();
        let partitions = (0..sources.log.partitions(Topic::Appointments)).map(Partition);
        let tails = stream::iter(partitions).map(|partition| unapplied(sources, partition, &positions, oldest));
        earlier.unapplied = tails.buffer_unordered(CONCURRENCY).try_concat().await?;
        // Asked last: whatever another router has decided until now stands before it.
        let end = |&partition: &Partition| async move {
            Ok::<_, LogError>((partition, sources.log.end(Topic::Leads, partition).await?))
        };
        earlier.until = try_join_all(positions.keys().map(end)).await?.into_iter().collect();
        Ok(earlier)
    }

    /// Takes over what was found of further partitions.
    pub(crate) fn add(&mut self, more: Self) {
        self.until.extend(more.until);
        self.unapplied.extend(more.unapplied);
    }

    pub(crate) fn forget(&mut self, partition: Partition) {
        self.until.remove(&partition);
        if self.until.is_empty() {
            self.unapplied = FxHashSet::default();
        }
    }

    /// Those of the leads and commands that may be decided already.
    pub(crate) fn open<'i>(&mut self, addressing: Addressing, items: &'i [Item]) -> Vec<&'i Item> {
        if self.until.is_empty() {
            return Vec::new();
        }
        let mut open = Vec::new();
        for item in items {
            let Some((partition, offset)) = addressing.address(item.id()) else { continue };
            match self.until.get(&partition) {
                Some(until) if offset < *until => open.push(item),
                Some(_) => self.forget(partition),
                None => {}
            }
        }
        open
    }

    /// Which of these are decided already.
    pub(crate) async fn decided(&self, sources: Sources<'_>, open: &[&Item]) -> Result<FxHashSet<LeadId>, Error> {
        let (known, asked): (Vec<_>, Vec<_>) = open.iter().partition(|item| self.unapplied.contains(&item.id()));
        let mut decided = in_tables(sources, &asked).await?;
        decided.extend(known.into_iter().map(|item| item.id()));
        Ok(decided)
    }
}

/// Tells that a position was moved back, and counts what was passed over for it.
pub(crate) fn tell(decided: &FxHashSet<LeadId>, addressing: Addressing) {
    if decided.is_empty() {
        return;
    }
    metrics::counter!(telemetry::ROUTER_ALREADY_DECIDED).increment(decided.len() as u64);
    let homes = decided.iter().filter_map(|id| addressing.address(*id)).map(|(partition, _)| partition.0);
    let partitions: BTreeSet<u32> = homes.collect();
    tracing::warn!(
        records = decided.len(),
        ?partitions,
        "the router's position in `leads` was moved back: what was decided already is passed over, and nothing of it is \
         sent again"
    );
}

/// Which of these the tables show as decided.
async fn in_tables(sources: Sources<'_>, items: &[&Item]) -> Result<FxHashSet<LeadId>, Error> {
    let (mut keys, mut of) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Item::Lead(id, _) => {
                let Some(bucket) = bucket(sources.addressing, *id) else { continue };
                keys.push((AppointmentRow::TABLE, key![bucket, *id]));
                keys.push((LeadRow::TABLE, key![bucket, *id]));
                of.extend([*id, *id]);
            }
            Item::Command(id, _) => {
                keys.push((CommandRow::TABLE, key![*id]));
                of.push(*id);
            }
        }
    }
    let tables: Vec<_> = keys.iter().map(|(table, _)| *table).collect();
    let mut decided = FxHashSet::default();
    for ((id, table), row) in of.into_iter().zip(tables).zip(sources.tables.get_all(keys).await?) {
        let Some(row) = row else { continue };
        // Every lead has a row of its own; it says only whether the lead was a duplicate.
        if table.id != LeadRow::TABLE.id || LeadRow::from_row(&row)?.duplicate_of.is_some() {
            decided.insert(id);
        }
    }
    Ok(decided)
}

/// What the decisions of one partition of `appointments` are about that the tables do not show yet: of those about leads
/// and commands at or behind the positions. It is read backwards until the decisions are older than all of these.
async fn unapplied(
    sources: Sources<'_>,
    partition: Partition,
    positions: &FxHashMap<Partition, Offset>,
    oldest: Timestamp,
) -> Result<FxHashSet<LeadId>, Error> {
    let applied = sources.tables.applied(Topic::Appointments, partition).await?;
    let mut start = sources.log.end(Topic::Appointments, partition).await?;
    let mut found = FxHashSet::default();
    while start > applied {
        let end = start;
        start = Offset(end.0.saturating_sub(BLOCK).max(applied.0));
        let (mut next, mut first) = (start, None);
        while next < end {
            let limit = ReadLimit { records: (end.0 - next.0) as usize, ..ReadLimit::default() };
            let records = sources.log.read(Topic::Appointments, partition, next, limit).await?;
            let Some(last) = records.last() else { break };
            next = last.next();
            first = first.or(records.first().map(|record| record.time));
            let behind = |id: &LeadId| {
                let address = sources.addressing.address(*id);
                address.is_some_and(|(home, offset)| positions.get(&home).is_some_and(|from| offset >= *from))
            };
            found.extend(records.iter().flat_map(about).filter(behind));
        }
        let apart = |first: Timestamp| oldest.duration_since(first) > CLOCKS_APART;
        if first.is_some_and(apart) {
            break;
        }
    }
    Ok(found)
}

/// The lead and the command that a decision is about.
fn about(record: &Record) -> Vec<LeadId> {
    let (lead, command) = match record.decode() {
        Ok(AppointmentRecord::Routed(a)) => (Some(a.appointment_id), a.command_id),
        Ok(AppointmentRecord::Unrouted(u)) => (Some(u.lead_id), u.command_id),
        Ok(AppointmentRecord::Duplicate(d)) => (Some(d.lead_id), None),
        // The lead stands as it stood.
        Ok(AppointmentRecord::Refused(refused)) => (None, Some(refused.command_id)),
        // Whoever reads on in this partition tells of it.
        Err(_) => (None, None),
    };
    lead.into_iter().chain(command).collect()
}
