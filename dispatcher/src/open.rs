//! Deliveries that wait on disk: finding those that are due.

use std::sync::Arc;
use std::time::Duration;

use leadway_domain::record::{Appointment, Topic};
use leadway_domain::settings::{Change, EntityKind, SettingsChange};
use leadway_domain::{LeadId, Offset, Partition, Timestamp, WorkspaceId};
use leadway_eventlog::{EventLog, LogError, ReadLimit};
use leadway_tables::schema::OpenDeliveryRow;
use leadway_tables::{Cell, Json, Range, Row, TableRow, Tables, TablesError, key};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::schedule::later;

/// The key of a row, within its workspace.
pub(crate) type RowKey = (Timestamp, LeadId);

/// What is known of a workspace's rows, which are read in passes from the first to the last that is due.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rows {
    /// Where the present pass goes on; `None` when a new pass begins.
    after: Option<RowKey>,
    /// When the present pass began.
    begun: Timestamp,
    /// No row stands before this but those not seen yet. A pass begins here: where rows have gone the table may remember
    /// them for hours, and reading over many of them is slow.
    floor: Option<Timestamp>,
    /// How far scoring had come when the present pass began.
    since: Offset,
    /// Rows that this member caused and scoring may not have written yet: the earliest due time, and the offset in
    /// `deliveries` of the last record.
    unseen: Option<(Timestamp, Offset)>,
    /// Rows were dropped from memory: the next scan begins a new pass, which finds them again.
    again: bool,
    /// The pass waits for room in memory.
    pub(crate) parked: bool,
}

impl Rows {
    /// A record at `offset` puts a row due at `due_at` on disk.
    pub(crate) fn expect(&mut self, due_at: Timestamp, offset: Offset) {
        self.unseen = Some(match self.unseen {
            Some((earliest, last)) => (earliest.min(due_at), last.max(offset)),
            None => (due_at, offset),
        });
    }

    /// Begins a new pass with the next scan.
    pub(crate) fn begin_again(&mut self) {
        self.again = true;
    }

    /// Where the scan that starts now begins: behind a row, or at a time.
    pub(crate) fn start(&mut self, now: Timestamp) -> (Option<RowKey>, Option<Timestamp>) {
        if std::mem::take(&mut self.again) {
            (self.after, self.floor) = (None, None);
        }
        if self.after.is_none() {
            self.begun = now;
        }
        let unseen = self.unseen.map_or(Timestamp::MAX, |(due_at, _)| due_at);
        (self.after, self.floor.map(|floor| floor.min(unseen)))
    }

    /// A scan from `from` has read the rows before `upto` (all that are due when `None`); scoring had applied everything
    /// before `applied`. Tells when the next scan is due, if one is.
    pub(crate) fn read(
        &mut self,
        from: Option<RowKey>,
        applied: Offset,
        behind: Behind,
        now: Timestamp,
        pause: Duration,
    ) -> Option<Timestamp> {
        if from.is_none() {
            self.since = applied;
        }
        let due_at = match behind {
            Behind::More(key) => {
                self.after = Some(key);
                return Some(now);
            }
            Behind::DueAt(due_at) => Some(due_at),
            Behind::Nothing => None,
            Behind::Unread => return Some(later(now, pause)),
        };
        self.after = None;
        self.floor = Some(self.begun);
        if self.unseen.is_some_and(|(_, last)| last < self.since) {
            self.unseen = None;
        }
        // What may be missing because scoring is behind is looked for again, after a pause or when it is due.
        let missing = self.unseen.map(|(due_at, _)| due_at.max(later(now, pause)));
        let dropped = self.again.then_some(now);
        [due_at, missing, dropped].into_iter().flatten().min()
    }
}

/// Outcomes in one partition of deliveries that had a row. Until scoring has applied the outcome the row may still be
/// seen; it is stale then, and taking it again would deliver twice.
#[derive(Debug, Default)]
pub(crate) struct Ended(FxHashMap<LeadId, Offset>);

impl Ended {
    pub(crate) fn note(&mut self, appointment: LeadId, at: Offset) {
        self.0.insert(appointment, at);
    }

    /// Forgets what scans that start from now on cannot see: scoring has applied everything before `applied`.
    pub(crate) fn applied(&mut self, applied: Offset) {
        self.0.retain(|_, at| *at >= applied);
    }

    pub(crate) fn is_stale(&self, appointment: LeadId) -> bool {
        self.0.contains_key(&appointment)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What to look for.
pub(crate) struct Query {
    pub(crate) workspace: WorkspaceId,
    pub(crate) partition: Partition,
    /// The assignment under which it is asked.
    pub(crate) assignment: u64,
    pub(crate) after: Option<RowKey>,
    /// Without a row to go on behind: only rows due at this time or later.
    pub(crate) floor: Option<Timestamp>,
    /// Rows due by then are taken.
    pub(crate) now: Timestamp,
    /// At most so many; 0 only asks how far scoring has come.
    pub(crate) limit: usize,
}

/// A row that is due.
pub(crate) struct DueRow {
    pub(crate) key: RowKey,
    pub(crate) attempts: u32,
    pub(crate) appointment: Arc<Appointment>,
}

/// What was found.
pub(crate) struct Found {
    /// How far scoring had come when the scan began: the rows show at least that.
    pub(crate) applied: Offset,
    pub(crate) due: Vec<DueRow>,
    /// What stands behind the rows that were taken.
    pub(crate) behind: Behind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// More may be due, after this row.
    More(RowKey),
    /// Nothing before this time.
    DueAt(Timestamp),
    Nothing,
    /// Not known: no row was read, or the first one could not be taken.
    Unread,
}

/// Each row holds an appointment as JSON: a page of them without pause would keep other tasks waiting.
const ROWS_BETWEEN_YIELDS: usize = 8;

/// Reads what is due of one workspace.
pub(crate) async fn find(tables: Arc<dyn Tables>, query: &Query) -> Result<Found, TablesError> {
    // First how far scoring is, then the rows: they are at least as new.
    let applied = tables.applied(Topic::Deliveries, query.partition).await?;
    if query.limit == 0 {
        return Ok(Found { applied, due: Vec::new(), behind: Behind::Unread });
    }
    let mut range = Range::first(query.limit + 1);
    match (query.after, query.floor) {
        (Some((due_at, appointment)), _) => range = range.from(key![due_at, LeadId(appointment.0 + 1)]),
        (None, Some(floor)) => range = range.from(key![floor]),
        (None, None) => {}
    }
    let rows = tables.scan(OpenDeliveryRow::TABLE, &[query.workspace.to_value()], range).await?;
    let full = rows.len() > query.limit;
    let mut found = Found { applied, due: Vec::with_capacity(rows.len()), behind: Behind::Nothing };
    let mut last = None;
    for (n, row) in rows.iter().take(query.limit).enumerate() {
        if n % ROWS_BETWEEN_YIELDS == ROWS_BETWEEN_YIELDS - 1 {
            tokio::task::yield_now().await;
        }
        last = row_key(row).or(last);
        match OpenDeliveryRow::from_row(row) {
            Ok(row) if row.due_at > query.now => {
                found.behind = Behind::DueAt(row.due_at);
                return Ok(found);
            }
            Ok(row) => found.due.extend(due_row(row)),
            // A row that cannot be read must not keep those behind it.
            Err(error) => {
                tracing::error!(%error, workspace = %query.workspace, "a row of open_deliveries was passed over");
            }
        }
    }
    if let (true, Some(last)) = (full, last) {
        found.behind = Behind::More(last);
    }
    Ok(found)
}

fn row_key(row: &Row) -> Option<RowKey> {
    let (due_at, appointment) = (row.get(1)?.as_ref()?, row.get(2)?.as_ref()?);
    Some((Timestamp::from_value(due_at).ok()?, LeadId::from_value(appointment).ok()?))
}

fn due_row(row: OpenDeliveryRow) -> Option<DueRow> {
    let attempts = row.attempts.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let Json(appointment) = row.appointment?;
    Some(DueRow { key: (row.due_at, row.appointment_id), attempts, appointment: Arc::new(appointment) })
}

/// The workspaces that were deleted at some time, from the topic `settings`: their rows are given up.
pub(crate) async fn deleted_workspaces(log: &dyn EventLog) -> Result<FxHashSet<WorkspaceId>, LogError> {
    let (mut deleted, mut from) = (FxHashSet::default(), Offset(0));
    loop {
        let records = log.read(Topic::Settings, Partition(0), from, ReadLimit::default()).await?;
        let Some(last) = records.last() else { return Ok(deleted) };
        from = last.next();
        // The follower of the settings reports the records that cannot be read.
        for record in &records {
            let Ok(change) = record.decode::<SettingsChange>() else { continue };
            if change.counts_at(record.address.offset) {
                deleted.extend(change.change.singles().into_iter().filter_map(deleted_workspace));
            }
        }
    }
}

fn deleted_workspace(change: &Change) -> Option<WorkspaceId> {
    match change {
        Change::Delete { kind: EntityKind::Workspace, id } => WorkspaceId::new(id).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::appointment;
    use leadway_tables::MemoryTables;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    async fn table(due: &[(i64, u64)]) -> Arc<dyn Tables> {
        let tables = MemoryTables::default();
        let rows = due.iter().map(|(second, id)| {
            let mut row = OpenDeliveryRow::new(WorkspaceId::new("w").unwrap(), at(*second), LeadId(*id));
            (row.attempts, row.appointment) = (Some(3), Some(Json(appointment(*id, "w"))));
            row.upsert()
        });
        tables.write(rows.collect(), &[]).await.unwrap();
        Arc::new(tables)
    }

    fn query(after: Option<RowKey>, limit: usize) -> Query {
        let workspace = WorkspaceId::new("w").unwrap();
        Query { workspace, partition: Partition(0), assignment: 1, after, floor: None, now: at(100), limit }
    }

    #[tokio::test]
    async fn due_rows_are_found_page_by_page_up_to_the_first_that_is_not_due() {
        let tables = table(&[(10, 1), (10, 2), (20, 3), (200, 4)]).await;
        let ids = |found: &Found| found.due.iter().map(|row| row.key.1.0).collect::<Vec<_>>();
        let first = find(tables.clone(), &query(None, 2)).await.unwrap();
        assert_eq!((ids(&first), first.behind), (vec![1, 2], Behind::More((at(10), LeadId(2)))));
        let second = find(tables.clone(), &query(Some((at(10), LeadId(2))), 2)).await.unwrap();
        assert_eq!((ids(&second), second.behind), (vec![3], Behind::DueAt(at(200))));
        assert_eq!(second.due[0].attempts, 3);
        let empty = find(table(&[]).await, &query(None, 2)).await.unwrap();
        assert_eq!(empty.behind, Behind::Nothing);
    }

    #[test]
    fn an_ended_delivery_is_stale_until_its_outcome_is_applied() {
        let mut ended = Ended::default();
        ended.note(LeadId(1), Offset(5));
        ended.applied(Offset(5));
        assert!(ended.is_stale(LeadId(1)), "offset 5 itself is not applied yet");
        ended.applied(Offset(6));
        assert!(!ended.is_stale(LeadId(1)) && ended.len() == 0);
    }

    #[test]
    fn expected_rows_are_looked_for_until_a_whole_pass_must_have_shown_them() {
        let pause = Duration::from_secs(1);
        let key = (at(10), LeadId(1));
        let mut rows = Rows::default();
        rows.expect(at(130), Offset(4));
        rows.expect(at(90), Offset(7));
        let read = |rows: &mut Rows, from, applied, behind| rows.read(from, Offset(applied), behind, at(100), pause);
        assert_eq!(read(&mut rows, None, 7, Behind::Nothing), Some(at(101)), "offset 7 may be missing");
        // The pass began before scoring had come so far: it may have missed the row though it ended after.
        assert_eq!(read(&mut rows, None, 7, Behind::More(key)), Some(at(100)));
        assert_eq!(rows.start(at(100)).0, Some(key));
        assert_eq!(read(&mut rows, Some(key), 8, Behind::Nothing), Some(at(101)));
        assert_eq!(rows.start(at(100)).0, None);
        assert_eq!(read(&mut rows, None, 8, Behind::DueAt(at(130))), Some(at(130)));
        assert_eq!(read(&mut rows, None, 8, Behind::Nothing), None);
    }

    #[test]
    fn rows_dropped_from_memory_are_found_by_a_new_pass() {
        let mut rows = Rows::default();
        rows.read(None, Offset(0), Behind::More((at(10), LeadId(1))), at(100), Duration::ZERO);
        rows.begin_again();
        assert_eq!(
            rows.read(Some((at(10), LeadId(1))), Offset(0), Behind::Nothing, at(100), Duration::ZERO),
            Some(at(100))
        );
        assert_eq!(rows.start(at(100)).0, None);
        assert_eq!(rows.read(None, Offset(0), Behind::Nothing, at(100), Duration::ZERO), None);
    }

    #[test]
    fn a_pass_begins_where_the_last_whole_one_did_or_at_an_earlier_row_that_it_missed() {
        let pause = Duration::from_secs(1);
        let mut rows = Rows::default();
        assert_eq!(rows.start(at(50)), (None, None), "the first pass sees everything");
        rows.expect(at(40), Offset(7));
        rows.read(None, Offset(5), Behind::More((at(10), LeadId(1))), at(50), pause);
        rows.start(at(60));
        rows.read(Some((at(10), LeadId(1))), Offset(9), Behind::DueAt(at(200)), at(60), pause);
        assert_eq!(rows.start(at(70)), (None, Some(at(40))), "offset 7 was not applied when the pass began");
        rows.read(None, Offset(9), Behind::DueAt(at(200)), at(70), pause);
        assert_eq!(rows.start(at(80)), (None, Some(at(70))));
        rows.begin_again();
        assert_eq!(rows.start(at(90)), (None, None), "what was dropped from memory may stand anywhere");
    }

    #[tokio::test]
    async fn rows_before_the_floor_are_not_read() {
        let tables = table(&[(10, 1), (20, 2)]).await;
        let query = Query { floor: Some(at(20)), ..query(None, 9) };
        let found = find(tables, &query).await.unwrap();
        assert_eq!(found.due.iter().map(|row| row.key.1.0).collect::<Vec<_>>(), [2]);
    }
}
