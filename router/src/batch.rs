//! One batch of records and what was decided about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use leadway_domain::lead::Lead;
use leadway_domain::record::{AppointmentRecord, LeadCommand, LeadRecord, Topic};
use leadway_domain::{Addressing, LeadId, Timestamp, telemetry};
use leadway_eventlog::{NewRecord, Record};

use crate::decide::{NeedsSlots, Scene, Standing};
use crate::standing::Subjects;

/// A record of the topic `leads`.
pub(crate) enum Item {
    Lead(LeadId, Arc<Lead>),
    Command(LeadId, LeadCommand),
}

impl Item {
    /// The lead's id, or the command's own.
    pub(crate) fn id(&self) -> LeadId {
        match self {
            Self::Lead(id, _) | Self::Command(id, _) => *id,
        }
    }
}

/// Reads the records. What cannot be read is counted, logged and left out: a newer version may read it, this one
/// must not stop for it.
pub(crate) fn read_items(records: &[Record], addressing: Addressing) -> Vec<Item> {
    let read = |record: &Record| {
        let id = addressing.id(record.address.partition, record.address.offset);
        match record.decode() {
            Ok(LeadRecord::Received(lead)) => Some(Item::Lead(id, lead)),
            Ok(LeadRecord::Command(command)) => Some(Item::Command(id, command)),
            Err(error) => {
                metrics::counter!(telemetry::UNREADABLE_RECORDS, "topic" => Topic::Leads.name()).increment(1);
                let address = record.address;
                tracing::error!(%error, partition = address.partition.0, offset = address.offset.0, "a record was set aside");
                None
            }
        }
    };
    records.iter().filter_map(read).collect()
}

/// The leads that the batch's commands are about, each once. A command is younger than its lead and stands in the same
/// partition: only that partition's owner decides about the lead.
pub(crate) fn commanded<'i>(items: impl Iterator<Item = &'i Item>, addressing: Addressing) -> Vec<LeadId> {
    let home = |id: LeadId| addressing.address(id).map(|(partition, _)| partition);
    let mut ids: Vec<LeadId> = items
        .filter_map(|item| match item {
            Item::Command(id, command) if command.lead_id < *id && home(command.lead_id) == home(*id) => {
                Some(command.lead_id)
            }
            _ => None,
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Decisions of a batch that are not committed yet.
pub(crate) struct Batch {
    pub(crate) decisions: Vec<AppointmentRecord>,
    /// What commands are about, as this batch's own decisions leave it.
    subjects: Subjects,
    /// Arrivals of the leads that were routed or found to match nothing when they were received.
    arrivals: Vec<Timestamp>,
    /// Leads without a date, about which nothing is decided yet.
    pub(crate) waiting: u64,
}

impl Batch {
    pub(crate) fn new(subjects: Subjects) -> Self {
        Self { decisions: Vec::new(), subjects, arrivals: Vec::new(), waiting: 0 }
    }

    /// Decides an item by the scene and by what this batch decided before it. `first` is the earlier lead of the
    /// same submission.
    pub(crate) fn decide(
        &self,
        scene: Scene<'_>,
        item: &Item,
        first: Option<LeadId>,
    ) -> Result<Option<AppointmentRecord>, NeedsSlots> {
        match item {
            Item::Lead(id, lead) => scene.receive(*id, lead, first),
            Item::Command(id, command) => {
                let subject = self.subjects.get(&command.lead_id).filter(|_| command.lead_id < *id);
                scene.command(*id, command, subject).map(Some)
            }
        }
    }

    /// Takes the decision in, so that the next ones see it.
    pub(crate) fn note(&mut self, item: &Item, decision: AppointmentRecord) {
        if let Some((id, standing)) = Standing::after(&decision) {
            if let Some(subject) = self.subjects.get_mut(&id) {
                subject.standing = standing.clone();
            }
            if let Item::Lead(_, lead) = item
                && !matches!(standing, Standing::Duplicate { .. })
            {
                self.arrivals.push(lead.received_at);
            }
        }
        self.decisions.push(decision);
    }

    /// As records for the log.
    pub(crate) fn outputs(&self, now: Timestamp) -> Vec<NewRecord> {
        self.decisions.iter().map(|d| NewRecord::of(d, now)).collect()
    }

    /// Counts what is durable now.
    pub(crate) fn measure(&self, committed_at: Timestamp) {
        let mut counts = BTreeMap::new();
        if self.waiting > 0 {
            counts.insert("waiting", self.waiting);
        }
        for decision in &self.decisions {
            let result = match decision {
                AppointmentRecord::Routed(_) => "routed",
                AppointmentRecord::Unrouted(_) => "unrouted",
                AppointmentRecord::Duplicate(_) => "duplicate",
                AppointmentRecord::Refused(_) => "refused",
            };
            *counts.entry(result).or_default() += 1;
        }
        for (result, count) in counts {
            metrics::counter!(telemetry::ROUTER_DECISIONS, "result" => result).increment(count);
        }
        let seconds_taken = metrics::histogram!(telemetry::ROUTER_SECONDS);
        for arrival in &self.arrivals {
            let seconds = committed_at.duration_since(*arrival).as_secs_f64().max(0.0);
            seconds_taken.record(seconds);
        }
    }
}
