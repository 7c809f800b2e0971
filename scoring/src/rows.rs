//! Rows that folds read, change and write back: read once, kept typed, written once per batch.
//!
//! They stay from batch to batch: each has one writer, the one who follows its log partition, so what the last batch left
//! is what stands in the tables. Whoever is told that somebody else wrote, or cannot tell whether a write was made, lets
//! go of all of them.

use std::hash::Hash;
use std::sync::Arc;

use leadway_domain::record::Topic;
use leadway_domain::{ContactId, LeadId, Partition, ProviderId, Timestamp, WorkspaceId};
use leadway_tables::schema::{AppointmentRow, ContactRow, DailyRow, LeadDayRow, LeadRow, QuarantineCountRow, SlotRow};
use leadway_tables::{Cell, Day, Key, Row, Table, TableRow, Tables, TablesError, Write, key};
use rustc_hash::FxHashMap;

use crate::appointments::ROUTED;
use crate::causes::Causes;
use crate::deliveries::Stage;

/// How many rows of a table are kept before all of them are let go.
const KEPT: usize = 8_192;

/// The rows of every table that folds read.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) contacts: Cache<ContactRow>,
    pub(crate) lead_days: Cache<LeadDayRow>,
    pub(crate) standings: Cache<Standing>,
    pub(crate) twins: Cache<Twin>,
    pub(crate) slots: Cache<SlotRow>,
    pub(crate) daily: Cache<DailyRow>,
    pub(crate) quarantine_counts: Cache<QuarantineCountRow>,
    pub(crate) causes: Causes,
}

impl Rows {
    /// Reads the rows that were announced.
    pub(crate) async fn read(&mut self, tables: &dyn Tables) -> Result<(), TablesError> {
        let mut keys = Vec::new();
        self.contacts.keys(&mut keys);
        self.lead_days.keys(&mut keys);
        self.standings.keys(&mut keys);
        self.twins.keys(&mut keys);
        self.slots.keys(&mut keys);
        self.daily.keys(&mut keys);
        self.quarantine_counts.keys(&mut keys);
        if keys.is_empty() {
            return Ok(());
        }
        let mut rows = tables.get_all(keys).await?.into_iter();
        self.contacts.fill(&mut rows)?;
        self.lead_days.fill(&mut rows)?;
        self.standings.fill(&mut rows)?;
        self.twins.fill(&mut rows)?;
        self.slots.fill(&mut rows)?;
        self.daily.fill(&mut rows)?;
        self.quarantine_counts.fill(&mut rows)
    }

    /// Adds the changes of rows to those to be written.
    pub(crate) fn write(&mut self, writes: &mut Vec<Write>) {
        self.contacts.write(writes);
        self.lead_days.write(writes);
        self.slots.write(writes);
        self.daily.write(writes);
        self.quarantine_counts.write(writes);
    }

    /// The batch was written.
    pub(crate) fn settle(&mut self) {
        // Decisions, of which a standing tells, may be made known by another node.
        self.standings.forget();
        self.twins.forget();
        self.contacts.bound();
        self.lead_days.bound();
        self.slots.bound();
        self.daily.bound();
        self.quarantine_counts.bound();
    }

    /// Lets go of everything: the tables may hold something else.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Something that is read from a table by an id.
pub(crate) trait Kept: Sized {
    type Id: Clone + Eq + Hash;
    const TABLE: &'static Table;
    fn key(id: &Self::Id) -> Key;
    /// What stands there, or a blank one.
    fn read(id: &Self::Id, stored: Option<Row>) -> Result<Self, TablesError>;
    /// The change that makes the stored row this one.
    fn write(&self) -> Option<Write>;
}

/// Rows of one table.
pub(crate) struct Cache<R: Kept> {
    rows: FxHashMap<R::Id, Slot<R>>,
    /// Announced, not yet read.
    wanted: Vec<R::Id>,
    changed: Vec<R::Id>,
}

struct Slot<R> {
    /// `None` until it is read.
    row: Option<R>,
    is_changed: bool,
}

impl<R: Kept> Default for Cache<R> {
    fn default() -> Self {
        Self { rows: FxHashMap::default(), wanted: Vec::new(), changed: Vec::new() }
    }
}

impl<R: Kept> Cache<R> {
    /// Announces that the row will be asked for.
    pub(crate) fn want(&mut self, id: R::Id) {
        let Self { rows, wanted, .. } = self;
        rows.entry(id).or_insert_with_key(|id| {
            wanted.push(id.clone());
            Slot { row: None, is_changed: false }
        });
    }

    /// The row as the batch has left it. It will be written.
    pub(crate) async fn change(&mut self, tables: &dyn Tables, id: R::Id) -> Result<&mut R, TablesError> {
        let slot = self.rows.entry(id.clone()).or_insert(Slot { row: None, is_changed: false });
        if !std::mem::replace(&mut slot.is_changed, true) {
            self.changed.push(id.clone());
        }
        match &mut slot.row {
            Some(row) => Ok(row),
            unread => {
                let stored = tables.get(R::TABLE, &R::key(&id)).await?;
                Ok(unread.insert(R::read(&id, stored)?))
            }
        }
    }

    fn keys(&self, keys: &mut Vec<(&'static Table, Key)>) {
        keys.extend(self.wanted.iter().map(|id| (R::TABLE, R::key(id))));
    }

    /// Takes the rows of those that are wanted.
    fn fill(&mut self, rows: &mut impl Iterator<Item = Option<Row>>) -> Result<(), TablesError> {
        for (id, stored) in self.wanted.drain(..).zip(rows) {
            let row = Some(R::read(&id, stored)?);
            self.rows.insert(id, Slot { row, is_changed: false });
        }
        Ok(())
    }

    fn write(&mut self, writes: &mut Vec<Write>) {
        for id in self.changed.drain(..) {
            let Some(slot) = self.rows.get_mut(&id) else { continue };
            slot.is_changed = false;
            writes.extend(slot.row.as_ref().and_then(R::write));
        }
    }

    fn bound(&mut self) {
        if self.rows.len() > KEPT {
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.rows.clear();
        self.wanted.clear();
        self.changed.clear();
    }
}

/// A row of the table, or a blank one.
fn stored_or<R: TableRow>(stored: Option<Row>, blank: impl FnOnce() -> R) -> Result<R, TablesError> {
    stored.as_ref().map(R::from_row).transpose().map(|row| row.unwrap_or_else(blank))
}

impl Kept for ContactRow {
    type Id = ContactId;
    const TABLE: &'static Table = Self::TABLE;
    fn key(id: &ContactId) -> Key {
        key![*id]
    }
    fn read(id: &ContactId, stored: Option<Row>) -> Result<Self, TablesError> {
        stored_or(stored, || Self::new(*id))
    }
    fn write(&self) -> Option<Write> {
        Some(self.upsert())
    }
}

impl Kept for LeadDayRow {
    type Id = (Day, Partition);
    const TABLE: &'static Table = Self::TABLE;
    fn key((day, partition): &Self::Id) -> Key {
        key![*day, *partition]
    }
    fn read((day, partition): &Self::Id, stored: Option<Row>) -> Result<Self, TablesError> {
        stored_or(stored, || Self::new(*day, *partition))
    }
    fn write(&self) -> Option<Write> {
        Some(self.upsert())
    }
}

/// A time as the tables keep it: of two that differ in less the row is the same.
pub(crate) fn kept_time(at: Timestamp) -> Timestamp {
    Timestamp::from_value(&at.to_value()).unwrap_or(at)
}

impl Kept for SlotRow {
    type Id = (WorkspaceId, Timestamp);
    const TABLE: &'static Table = Self::TABLE;
    fn key((workspace, starts_at): &Self::Id) -> Key {
        key![*workspace, *starts_at]
    }
    fn read((workspace, starts_at): &Self::Id, stored: Option<Row>) -> Result<Self, TablesError> {
        stored_or(stored, || Self::new(workspace.clone(), *starts_at))
    }
    fn write(&self) -> Option<Write> {
        Some(self.upsert())
    }
}

/// Which row of sums.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct DailyId {
    pub(crate) day: Day,
    pub(crate) quarter: i64,
    pub(crate) provider: ProviderId,
    /// `None` for what concerns no workspace (yet).
    pub(crate) workspace: Option<WorkspaceId>,
    pub(crate) product: Arc<str>,
    pub(crate) topic: Topic,
    pub(crate) partition: Partition,
}

impl Kept for DailyRow {
    type Id = DailyId;
    const TABLE: &'static Table = Self::TABLE;
    fn key(id: &DailyId) -> Key {
        let (workspace, topic) = (id.workspace.as_ref().map_or("", WorkspaceId::as_str), id.topic.name());
        key![id.day, id.quarter, id.provider, workspace.to_owned(), id.product, topic.to_owned(), id.partition]
    }
    fn read(id: &DailyId, stored: Option<Row>) -> Result<Self, TablesError> {
        stored_or(stored, || {
            let workspace = id.workspace.as_ref().map_or("", WorkspaceId::as_str).to_owned();
            let (product, topic) = (id.product.to_string(), id.topic.name().to_owned());
            Self::new(id.day, id.quarter, id.provider.clone(), workspace, product, topic, id.partition)
        })
    }
    fn write(&self) -> Option<Write> {
        Some(self.upsert())
    }
}

impl Kept for QuarantineCountRow {
    type Id = ProviderId;
    const TABLE: &'static Table = Self::TABLE;
    fn key(id: &ProviderId) -> Key {
        key![*id]
    }
    fn read(id: &ProviderId, stored: Option<Row>) -> Result<Self, TablesError> {
        stored_or(stored, || Self::new(id.clone()))
    }
    fn write(&self) -> Option<Write> {
        Some(self.upsert())
    }
}

/// What is known of an appointment: the little of its row that folds ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) stage: Stage,
    pub(crate) attempts: i64,
    /// The last decision about the lead; 0 if none is known.
    pub(crate) decision: i64,
    /// Whether that made it an appointment.
    pub(crate) routed: bool,
}

impl Kept for Standing {
    /// Bucket and lead.
    type Id = (i64, LeadId);
    const TABLE: &'static Table = AppointmentRow::TABLE;
    fn key((bucket, id): &Self::Id) -> Key {
        key![*bucket, *id]
    }
    fn read(_: &Self::Id, stored: Option<Row>) -> Result<Self, TablesError> {
        let Some(row) = stored else { return Ok(Self::default()) };
        let row = AppointmentRow::from_row(&row)?;
        Ok(Self {
            stage: Stage::of(row.forward_status.as_deref()),
            attempts: row.forward_attempts.unwrap_or(0),
            decision: row.decision.unwrap_or(0),
            routed: row.routing_status.as_deref() == Some(ROUTED),
        })
    }
    /// What outcomes change is written where they are folded.
    fn write(&self) -> Option<Write> {
        None
    }
}

/// Whether a lead was told to be a duplicate: the little of its row that folds ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Twin {
    pub(crate) known: bool,
}

impl Kept for Twin {
    /// Bucket and lead.
    type Id = (i64, LeadId);
    const TABLE: &'static Table = LeadRow::TABLE;
    fn key((bucket, id): &Self::Id) -> Key {
        key![*bucket, *id]
    }
    fn read(_: &Self::Id, stored: Option<Row>) -> Result<Self, TablesError> {
        let Some(row) = stored else { return Ok(Self::default()) };
        Ok(Self { known: LeadRow::from_row(&row)?.duplicate_of.is_some() })
    }
    /// The column is written where a duplicate is folded.
    fn write(&self) -> Option<Write> {
        None
    }
}
