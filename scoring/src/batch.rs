//! What a batch of records makes of the tables: rows read once and changed in memory, and rows to be written.

use std::collections::hash_map::Entry;

use leadway_domain::{LeadId, ProviderId};
use leadway_tables::schema::{AppointmentRow, ContactRow, DailyRow, LeadDayRow, QuarantineCountRow, SlotRow};
use leadway_tables::{Key, Row, TableRow, Tables, TablesError, Write};
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
    /// Columns that one record writes: of new rows, and of rows whose other columns come from elsewhere.
    added: Vec<Write>,
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
            latest: FxHashMap::default(),
        }
    }

    /// Writes a row whose columns no other record writes.
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

    /// Everything to be written. A row may come more than once, each time with other columns, so that their order does
    /// not matter.
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

    fn finish(self, writes: &mut Vec<Write>) {
        writes.extend(self.rows.into_values().filter_map(Cached::change));
    }
}

impl<R: TableRow> Cached<R> {
    /// Only the columns that changed: another topic's columns of the row may be in another node's hands.
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
