//! What a batch of records makes of the tables: rows read once and changed in memory, and rows to be written.

use std::collections::hash_map::Entry;

use leadway_domain::{LeadId, Money, ProviderId, telemetry};
use leadway_tables::schema::{AppointmentRow, ContactRow, DailyRow, LeadDayRow, QuarantineCountRow, SlotRow};
use leadway_tables::{Key, Row, Table, TableRow, Tables, TablesError, Write};
use rustc_hash::FxHashMap;

use crate::shelf::Shelf;

/// The changes of one batch. Nothing is written before all of it is: dropping a batch forgets it.
pub(crate) struct Batch<'t> {
    tables: &'t dyn Tables,
    contacts: Cache<ContactRow>,
    lead_days: Cache<LeadDayRow>,
    appointments: Cache<AppointmentRow>,
    slots: Cache<SlotRow>,
    daily: Cache<DailyRow>,
    quarantine_counts: Cache<QuarantineCountRow>,
    shelves: FxHashMap<ProviderId, Shelf>,
    /// Columns that one record writes: of new rows, of rows whose other columns come from elsewhere, and versioned ones,
    /// of which the tables keep the highest.
    added: Vec<Write>,
    /// The last decision that this batch has seen, per lead.
    decisions: FxHashMap<LeadId, i64>,
    /// Money that the batch's records move, for the dashboards: the tables have the books.
    cents: FxHashMap<(Till, String), u64>,
    /// Rows that come and go: the last change of each.
    latest: FxHashMap<(u8, Key), Write>,
}

impl<'t> Batch<'t> {
    pub(crate) fn new(tables: &'t dyn Tables) -> Self {
        Self {
            tables,
            contacts: Cache::default(),
            lead_days: Cache::default(),
            appointments: Cache::default(),
            slots: Cache::default(),
            daily: Cache::default(),
            quarantine_counts: Cache::default(),
            shelves: FxHashMap::default(),
            added: Vec::new(),
            cents: FxHashMap::default(),
            decisions: FxHashMap::default(),
            latest: FxHashMap::default(),
        }
    }

    /// Reads rows that the folds will ask for.
    pub(crate) async fn read(&mut self, keys: Vec<(&'static Table, Key)>) -> Result<(), TablesError> {
        let rows = self.tables.get_all(keys.clone()).await?;
        for ((table, key), row) in keys.into_iter().zip(rows) {
            match table {
                table if table == ContactRow::TABLE => self.contacts.fill(key, row)?,
                table if table == LeadDayRow::TABLE => self.lead_days.fill(key, row)?,
                table if table == AppointmentRow::TABLE => self.appointments.fill(key, row)?,
                table if table == SlotRow::TABLE => self.slots.fill(key, row)?,
                table if table == DailyRow::TABLE => self.daily.fill(key, row)?,
                table if table == QuarantineCountRow::TABLE => self.quarantine_counts.fill(key, row)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes a row whose columns no other record writes, or which are versioned.
    pub(crate) fn add<R: TableRow>(&mut self, row: &R) {
        self.added.push(row.upsert());
    }

    /// Writes a row that may be [removed](Self::remove). Every column must be set: where the row was removed before in
    /// this batch, the stored one is overwritten, not removed.
    pub(crate) fn put<R: TableRow>(&mut self, row: &R) {
        let cells = row.to_row();
        self.latest.insert((R::table().id, key_of::<R>(&cells)), Write::Upsert { table: R::table(), row: cells });
    }

    /// Removes a row, if it is there.
    pub(crate) fn remove<R: TableRow>(&mut self, key: Key) {
        self.latest.insert((R::table().id, key.clone()), R::delete(key));
    }

    /// Removes a versioned row, unless a higher version made it.
    pub(crate) fn remove_version<R: TableRow>(&mut self, key: Key, version: i64) {
        self.added.push(R::delete_version(key, version));
    }

    /// Notes a decision about a lead.
    pub(crate) fn decided(&mut self, id: LeadId, decision: i64) {
        let last = self.decisions.entry(id).or_insert(decision);
        *last = decision.max(*last);
    }

    /// The last decision about a lead that is stored or noted; 0 if there is none.
    pub(crate) async fn last_decision(&mut self, bucket: i64, id: LeadId) -> Result<i64, TablesError> {
        let noted = self.decisions.get(&id).copied().unwrap_or(0);
        let stored = self.appointment(bucket, id).await?.decision.unwrap_or(0);
        Ok(noted.max(stored))
    }

    pub(crate) async fn contact(&mut self, blank: ContactRow) -> Result<&mut ContactRow, TablesError> {
        self.contacts.row(self.tables, blank).await
    }

    pub(crate) async fn lead_day(&mut self, blank: LeadDayRow) -> Result<&mut LeadDayRow, TablesError> {
        self.lead_days.row(self.tables, blank).await
    }

    pub(crate) async fn appointment(&mut self, bucket: i64, id: LeadId) -> Result<&mut AppointmentRow, TablesError> {
        self.appointments.row(self.tables, AppointmentRow::new(bucket, id)).await
    }

    pub(crate) async fn slot(&mut self, blank: SlotRow) -> Result<&mut SlotRow, TablesError> {
        self.slots.row(self.tables, blank).await
    }

    pub(crate) async fn daily(&mut self, blank: DailyRow) -> Result<&mut DailyRow, TablesError> {
        self.daily.row(self.tables, blank).await
    }

    pub(crate) async fn quarantine_count(
        &mut self,
        provider: &ProviderId,
    ) -> Result<&mut QuarantineCountRow, TablesError> {
        self.quarantine_counts.row(self.tables, QuarantineCountRow::new(provider.clone())).await
    }

    /// The refused leads of a provider, in the order of their arrival.
    pub(crate) fn shelf(&mut self, provider: &ProviderId) -> (&'t dyn Tables, &mut Shelf) {
        let shelf = self.shelves.entry(provider.clone()).or_insert_with(|| Shelf::new(provider.clone()));
        (self.tables, shelf)
    }

    /// Counts money in a metric. Nothing is counted for an amount that is not above zero.
    pub(crate) fn ring(&mut self, till: Till, of: &str, amount: Money) {
        let cents = u64::try_from(amount.cents()).unwrap_or(0);
        if cents > 0 {
            let sum = self.cents.entry((till, of.to_owned())).or_default();
            *sum = sum.saturating_add(cents);
        }
    }

    /// The money counted so far, which is told when the batch is written.
    pub(crate) fn take_cents(&mut self) -> Vec<((Till, String), u64)> {
        self.cents.drain().collect()
    }

    /// Everything to be written. A row may come more than once: each time with other columns or with other versions, so
    /// that their order does not matter.
    pub(crate) fn finish(self) -> Vec<Write> {
        let mut writes = self.added;
        writes.extend(self.latest.into_values());
        self.contacts.finish(&mut writes);
        self.lead_days.finish(&mut writes);
        self.appointments.finish(&mut writes);
        self.slots.finish(&mut writes);
        self.daily.finish(&mut writes);
        self.quarantine_counts.finish(&mut writes);
        writes
    }
}

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
    /// Adds to the metric.
    pub(crate) fn add(self, of: String, cents: u64) {
        let (name, label) = match self {
            Self::LeadCost => (telemetry::LEAD_COST_CENTS, "provider"),
            Self::LeadCostReturned => (telemetry::LEAD_COST_RETURNED_CENTS, "provider"),
            Self::Billed => (telemetry::BILLED_CENTS, "workspace"),
            Self::DeliveredCost => (telemetry::DELIVERED_COST_CENTS, "workspace"),
        };
        metrics::counter!(name, label => of).increment(cents);
    }
}

fn key_of<R: TableRow>(row: &Row) -> Key {
    row.iter().take(R::table().key_columns()).flatten().cloned().collect()
}

/// Rows of one table that are read, changed and written back: read once, kept typed, written once.
struct Cache<R> {
    rows: FxHashMap<Key, Cached<R>>,
}

struct Cached<R> {
    stored: Option<Row>,
    row: R,
}

impl<R> Default for Cache<R> {
    fn default() -> Self {
        Self { rows: FxHashMap::default() }
    }
}

impl<R: TableRow> Cache<R> {
    /// The row with the key of `blank`, as this batch has left it; `blank` where none is stored.
    async fn row(&mut self, tables: &dyn Tables, blank: R) -> Result<&mut R, TablesError> {
        match self.rows.entry(key_of::<R>(&blank.to_row())) {
            Entry::Occupied(entry) => Ok(&mut entry.into_mut().row),
            Entry::Vacant(entry) => {
                let stored = tables.get(R::table(), entry.key()).await?;
                let row = stored.as_ref().map(R::from_row).transpose()?.unwrap_or(blank);
                Ok(&mut entry.insert(Cached { stored, row }).row)
            }
        }
    }

    /// Takes in a row that was read; a blank one where none is stored.
    fn fill(&mut self, key: Key, stored: Option<Row>) -> Result<(), TablesError> {
        let row = match &stored {
            Some(stored) => R::from_row(stored)?,
            None => {
                let mut blank: Row = key.iter().cloned().map(Some).collect();
                blank.resize(R::table().columns.len(), None);
                R::from_row(&blank)?
            }
        };
        self.rows.entry(key).or_insert(Cached { stored, row });
        Ok(())
    }

    fn finish(self, writes: &mut Vec<Write>) {
        writes.extend(self.rows.into_values().filter_map(Cached::change));
    }
}

impl<R: TableRow> Cached<R> {
    /// Only the columns that changed: another topic's columns of the row may be in another node's hands. Versioned ones
    /// are written by [`Batch::add`] alone.
    fn change(self) -> Option<Write> {
        let table = R::table();
        let mut row = self.row.to_row();
        if let Some(stored) = &self.stored {
            let data = row.iter_mut().zip(stored).skip(table.key_columns());
            data.filter(|(new, old)| *new == *old).for_each(|(new, _)| *new = None);
        }
        let changed = row.iter().skip(table.key_columns()).any(Option::is_some);
        changed.then_some(Write::Upsert { table, row })
    }
}
