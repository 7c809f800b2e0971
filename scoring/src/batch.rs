//! What a batch of records makes of the tables: rows read once and changed in memory, and rows to be written.

use std::borrow::Cow;
use std::sync::Arc;

use leadway_domain::{LeadId, Money, ProviderId, telemetry};
use leadway_eventlog::Address;
use leadway_tables::schema::{AppointmentEventRow, ContactRow, DailyRow, LeadDayRow, QuarantineCountRow, SlotRow};
use leadway_tables::{JsonText, Key, Range, TableRow, Tables, TablesError, Write, key, scan};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::causes::Causes;
use crate::rows::{DailyId, Kept, Rows, Standing, Twin};
use crate::shelf::Shelf;

/// Events of one lead that are looked through.
const EVENTS: usize = 1_000;

/// What was decided about a lead so far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Decided {
    /// The number of the last decision; 0 if there is none.
    pub(crate) decision: i64,
    /// Whether it is an appointment.
    pub(crate) routed: bool,
}

/// The changes of one batch. Nothing is written before all of it is.
pub(crate) struct Batch<'t> {
    tables: &'t dyn Tables,
    rows: &'t mut Rows,
    shelves: FxHashMap<ProviderId, Shelf>,
    /// Columns that are set whatever stands there, in the order of their records.
    added: Vec<Write>,
    /// What this batch has seen decided, per lead.
    decisions: FxHashMap<LeadId, Decided>,
    /// Leads with a later decision of which this batch has seen that the first one found nothing.
    unrouted: FxHashSet<LeadId>,
    /// Money that the batch's records move, for the dashboards: the tables have the books.
    cents: FxHashMap<(Till, Arc<str>), u64>,
    /// Rows that come and go: the last change of each.
    latest: FxHashMap<(u8, Key), Write>,
    /// Memory for JSON that is about to be part of a change.
    json: Vec<u8>,
}

impl<'t> Batch<'t> {
    pub(crate) fn new(tables: &'t dyn Tables, rows: &'t mut Rows, records: usize) -> Self {
        Self {
            tables,
            rows,
            shelves: FxHashMap::default(),
            // Two to four changes a record are usual.
            added: Vec::with_capacity(records * 4),
            cents: FxHashMap::default(),
            decisions: FxHashMap::default(),
            unrouted: FxHashSet::default(),
            latest: FxHashMap::default(),
            json: Vec::new(),
        }
    }

    /// Sets columns that no other record sets, or that all records of one partition set in their order, or that are
    /// versioned.
    pub(crate) fn add(&mut self, change: Write) {
        self.added.push(change);
    }

    /// The same of columns one of which holds `data` as JSON.
    pub(crate) fn add_with_json(&mut self, data: &impl Serialize, change: impl FnOnce(JsonText<'_>) -> Write) {
        self.json.clear();
        // What is written here has no maps with keys that JSON cannot carry: this cannot fail.
        if serde_json::to_writer(&mut self.json, data).is_err() {
            self.json.clear();
        }
        let text = std::str::from_utf8(&self.json).unwrap_or_default();
        self.added.push(change(JsonText(Cow::Borrowed(text))));
    }

    /// Writes a row that may be [removed](Self::remove). Every column must be set: where the row was removed before in
    /// this batch, the stored one is overwritten, not removed.
    pub(crate) fn put<R: TableRow>(&mut self, row: &R) -> Result<(), TablesError> {
        let change = row.upsert();
        self.latest.insert((R::table().id, change.key()?), change);
        Ok(())
    }

    /// Removes a row, if it is there.
    pub(crate) fn remove<R: TableRow>(&mut self, key: Key) {
        self.latest.insert((R::table().id, key.clone()), R::delete(key));
    }

    /// Notes a decision about a lead.
    pub(crate) fn decided(&mut self, id: LeadId, decision: i64, routed: bool) {
        let last = self.decisions.entry(id).or_default();
        *last = Decided { decision: decision.max(last.decision), routed: routed || last.routed };
    }

    /// What is stored or noted of the decisions about a lead.
    pub(crate) async fn decision(&mut self, bucket: i64, id: LeadId) -> Result<Decided, TablesError> {
        let noted = self.decisions.get(&id).copied().unwrap_or_default();
        let Standing { decision, routed, .. } = *self.standing(bucket, id).await?;
        Ok(Decided { decision: decision.max(noted.decision), routed: routed || noted.routed })
    }

    /// What is known of whether the lead is a duplicate.
    pub(crate) async fn twin(&mut self, bucket: i64, id: LeadId) -> Result<&mut Twin, TablesError> {
        self.rows.twins.change(self.tables, (bucket, id)).await
    }

    /// Whether a record of the same partition before this one has said that the lead was unrouted at its first decision.
    pub(crate) async fn was_unrouted(&mut self, bucket: i64, id: LeadId, by: Address) -> Result<bool, TablesError> {
        if !self.unrouted.insert(id) {
            return Ok(true);
        }
        let range = Range::first(EVENTS).from(key![id]).before(key![LeadId(id.0.saturating_add(1))]);
        let events: Vec<AppointmentEventRow> = scan(self.tables, &key![bucket], range).await?;
        let says_so = |event: &AppointmentEventRow| {
            let decision = event.event_data.as_ref().and_then(|data| data.0.get("decision")?.as_u64());
            let unrouted = event.event_type.as_deref() == Some("appointment.unrouted") && decision == Some(1);
            unrouted && event.log_partition == by.partition && event.log_offset < by.offset
        };
        Ok(events.iter().any(says_so))
    }

    /// Which decisions are new.
    pub(crate) fn causes(&mut self) -> &mut Causes {
        &mut self.rows.causes
    }

    pub(crate) async fn contact(&mut self, id: <ContactRow as Kept>::Id) -> Result<&mut ContactRow, TablesError> {
        self.rows.contacts.change(self.tables, id).await
    }

    pub(crate) async fn lead_day(&mut self, id: <LeadDayRow as Kept>::Id) -> Result<&mut LeadDayRow, TablesError> {
        self.rows.lead_days.change(self.tables, id).await
    }

    pub(crate) async fn standing(&mut self, bucket: i64, id: LeadId) -> Result<&mut Standing, TablesError> {
        self.rows.standings.change(self.tables, (bucket, id)).await
    }

    pub(crate) async fn slot(&mut self, id: <SlotRow as Kept>::Id) -> Result<&mut SlotRow, TablesError> {
        self.rows.slots.change(self.tables, id).await
    }

    pub(crate) async fn daily(&mut self, id: DailyId) -> Result<&mut DailyRow, TablesError> {
        self.rows.daily.change(self.tables, id).await
    }

    pub(crate) async fn quarantine_count(
        &mut self,
        provider: &ProviderId,
    ) -> Result<&mut QuarantineCountRow, TablesError> {
        self.rows.quarantine_counts.change(self.tables, provider.clone()).await
    }

    /// The refused leads of a provider, in the order of their arrival.
    pub(crate) fn shelf(&mut self, provider: &ProviderId) -> (&'t dyn Tables, &mut Shelf) {
        let shelf = self.shelves.entry(provider.clone()).or_insert_with(|| Shelf::new(provider.clone()));
        (self.tables, shelf)
    }

    /// Counts money in a metric. Nothing is counted for an amount that is not above zero.
    pub(crate) fn ring(&mut self, till: Till, of: Arc<str>, amount: Money) {
        let cents = u64::try_from(amount.cents()).unwrap_or(0);
        if cents > 0 {
            let sum = self.cents.entry((till, of)).or_default();
            *sum = sum.saturating_add(cents);
        }
    }

    /// Everything to be written, and the money counted, which is told once it is written.
    pub(crate) fn finish(self) -> (Vec<Write>, Cents) {
        let mut writes = self.added;
        writes.extend(self.latest.into_values());
        self.rows.write(&mut writes);
        (writes, self.cents.into_iter().collect())
    }
}

/// Sums of money by the metric that counts them and its label.
pub(crate) type Cents = Vec<((Till, Arc<str>), u64)>;

/// A metric that counts cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Till {
    /// Leads received, by provider.
    LeadCost,
    /// Leads counted back, by provider.
    LeadCostReturned,
    /// Appointments delivered, by workspace.
    Billed,
    /// What the leads of delivered appointments cost, by workspace.
    DeliveredCost,
}

impl Till {
    /// The counter with this label.
    pub(crate) fn counter(self, of: &Arc<str>) -> metrics::Counter {
        let (name, label) = match self {
            Self::LeadCost => (telemetry::LEAD_COST_CENTS, "provider"),
            Self::LeadCostReturned => (telemetry::LEAD_COST_RETURNED_CENTS, "provider"),
            Self::Billed => (telemetry::BILLED_CENTS, "workspace"),
            Self::DeliveredCost => (telemetry::DELIVERED_COST_CENTS, "workspace"),
        };
        metrics::counter!(name, label => of.clone())
    }
}
