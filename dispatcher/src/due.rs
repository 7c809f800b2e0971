//! Bringing back what is due on disk.

use std::time::Duration;

use leadway_domain::{Timestamp, WorkspaceId};
use leadway_tables::TablesError;
use tokio::task::JoinError;

use crate::circuit::Permit;
use crate::endpoint::takes_rows;
use crate::open::{Behind, Found, Query, find};
use crate::outcome::{Job, Place, Source};
use crate::schedule::later;
use crate::stage::{PAUSE, Running};

/// Rows that one scan reads at most: few, as reading them keeps a processor from the deliveries of others.
const PAGE: usize = 64;
/// Where so many of a workspace wait in memory, more rows stay where they are: they are on disk as it is.
pub(crate) const ROWS: usize = 512;
/// How many ended deliveries are remembered per partition while scoring is behind; then rows wait until it has caught up.
const MAX_ENDED: usize = 100_000;

/// Pause after a scan that failed: one workspace's rows that cannot be read must not keep the others' from being read.
const FAILED: Duration = Duration::from_secs(3);

impl Running {
    /// Starts the next scan, if one is due and none is under way.
    pub(crate) fn start_scan(&mut self, now: Timestamp) {
        while self.scan.is_empty()
            && let Some(id) = self.scans.take_due(now)
        {
            if let Some(query) = self.query(&id, now) {
                let tables = self.tables.clone();
                self.scanned = Some(id);
                self.scan.spawn(async move {
                    let found = find(tables, &query).await;
                    (query, found)
                });
            }
        }
    }

    /// What to look for; `None` when the rows must wait. Whatever they wait for puts the workspace down again.
    fn query(&mut self, id: &WorkspaceId, now: Timestamp) -> Option<Query> {
        let partition = self.partition_of(id);
        let owned = self.partitions.get(&partition)?;
        let (assignment, ended) = (owned.assignment, owned.ended.len());
        let room = self.lanes.room(id);
        let lane = self.lanes.get(id)?;
        let room = room.min(ROWS.saturating_sub(lane.queue.len()));
        if !takes_rows(lane.client.as_deref()) {
            return None; // until the settings change
        }
        if let Some(until) = lane.quiet(now) {
            self.scans.at(id, until);
            return None;
        }
        let most = match lane.circuit.permit(now) {
            Permit::NotBefore(until) => {
                self.scans.at(id, until);
                return None;
            }
            Permit::AfterProbe => return None, // until the probe has ended
            // Nothing more may come back: this scan only learns what need not be remembered any longer.
            Permit::Go if ended >= MAX_ENDED => 0,
            Permit::Go => PAGE,
        };
        if room == 0 {
            lane.rows.parked = true;
            return None; // until jobs of it have gone
        }
        let (after, floor) = lane.rows.start(now);
        Some(Query { workspace: id.clone(), partition, assignment, after, floor, now, limit: room.min(most) })
    }

    pub(crate) fn found(&mut self, found: Result<(Query, Result<Found, TablesError>), JoinError>) {
        let now = self.clock.now();
        let scanned = self.scanned.take();
        match found {
            Ok((query, Ok(found))) => self.bring_back(&query, found, now),
            Ok((query, Err(error))) => {
                tracing::warn!(%error, workspace = %query.workspace, "open deliveries cannot be read; trying again");
                self.scans.at(&query.workspace, later(now, FAILED));
            }
            Err(error) => {
                tracing::error!(%error, workspace = ?scanned, "reading open deliveries broke off; trying again");
                if let Some(id) = scanned {
                    self.scans.at(&id, later(now, PAUSE));
                }
            }
        }
    }

    fn bring_back(&mut self, query: &Query, found: Found, now: Timestamp) {
        let id = &query.workspace;
        let Some(owned) = self.partitions.get_mut(&query.partition) else { return };
        if owned.assignment != query.assignment {
            return;
        }
        owned.ended.applied(found.applied);
        if found.applied < owned.progress.rows_from() {
            // The table does not yet show what an earlier member did.
            self.scans.at(id, later(now, PAUSE));
            return;
        }
        let source = |place| Source { partition: query.partition, assignment: query.assignment, place };
        let mut read_to = query.after;
        let mut behind = found.behind;
        for row in found.due {
            let appointment = row.key.1;
            if !self.lanes.is_active(appointment) && !owned.ended.is_stale(appointment) {
                if self.lanes.room(id) == 0 {
                    // The pass is not over: the row was seen and not taken.
                    behind = read_to.map_or(Behind::Unread, Behind::More);
                    break;
                }
                let source = source(Place::Row(row.key.0));
                self.lanes.push(Job { appointment: row.appointment, attempts: row.attempts, source, since: now });
            }
            read_to = Some(row.key);
        }
        let Some(lane) = self.lanes.get(id) else { return };
        if let Some(at) = lane.rows.read(query.after, found.applied, behind, now, PAUSE) {
            self.scans.at(id, at);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::endpoint::tests::workspace;
    use crate::outcome::tests::appointment;
    use crate::progress::{Positions, Progress, Standing};
    use crate::stage::Owned;
    use crate::{Answer, Dispatcher, Options, SendError, Transport, WebhookRequest};
    use async_trait::async_trait;
    use leadway_domain::record::Topic;
    use leadway_domain::{Clock, LeadId, Offset, Partition};
    use leadway_eventlog::{MemoryLog, SettingsHandle};
    use leadway_tables::schema::OpenDeliveryRow;
    use leadway_tables::{Applied, Json, MemoryTables, TableRow, Tables};
    use rustc_hash::FxHashSet;
    use std::sync::Arc;
    use tokio_util::sync::CancellationToken;

    struct Nobody;

    #[async_trait]
    impl Transport for Nobody {
        async fn send(&self, _: WebhookRequest) -> Result<Answer, SendError> {
            Err(SendError::Timeout)
        }
    }

    pub(crate) fn w() -> WorkspaceId {
        WorkspaceId::new("w").unwrap()
    }

    /// A dispatcher with one partition and one workspace, of which a delivery is due on disk.
    pub(crate) async fn running(tables: &MemoryTables) -> Running {
        let clock = Clock::manual(Timestamp::from_second(1_000).unwrap());
        let mut row = OpenDeliveryRow::new(w(), clock.now(), LeadId(1));
        (row.attempts, row.appointment) = (Some(1), Some(Json(appointment(1, "w"))));
        tables.write(vec![row.upsert()], &[]).await.unwrap();
        let log = Arc::new(MemoryLog::new(1));
        let settings = SettingsHandle::follow(log.clone()).await.unwrap();
        let tables = Arc::new(tables.clone());
        let dispatcher = Dispatcher::new(log, tables, settings, clock, Arc::new(Nobody), 7, Options::default());
        let mut running = Running::start(dispatcher).await.unwrap();
        let (watermark, outcomes_from) = (Offset(0), Offset(0));
        let (outcomes_end, appointments_end, done) = (Offset(0), Offset(0), FxHashSet::default());
        let standing = Standing { watermark, outcomes_from, outcomes_end, appointments_end, done };
        let owned = Owned {
            assignment: 1,
            progress: Progress::resume(standing),
            committed: Some(Positions { watermark, outcomes_from }),
            ended: Default::default(),
        };
        running.partitions.insert(Partition(0), owned);
        running.lanes.follow(&w(), Some(Arc::new(workspace("w"))), &Default::default());
        running.scans.at(&w(), running.clock.now());
        running
    }

    /// Makes the scan that is due, if one is, and goes on to the next.
    async fn scan(running: &mut Running) {
        running.start_scan(running.clock.now());
        if let Some(found) = running.scan.join_next().await {
            running.found(found);
        }
        running.clock.advance_to(later(running.clock.now(), PAUSE));
    }

    #[tokio::test]
    async fn rows_that_waited_for_scoring_come_back_when_it_has_caught_up() {
        let tables = MemoryTables::default();
        let mut running = running(&tables).await;
        let ended = &mut running.partitions.get_mut(&Partition(0)).unwrap().ended;
        (0..MAX_ENDED as u64).for_each(|n| ended.note(LeadId(100 + n), Offset(n)));
        for _ in 0..3 {
            scan(&mut running).await;
            assert_eq!(running.lanes.queued(), 0, "no more is taken than can be remembered");
        }
        let next = Offset(MAX_ENDED as u64);
        let applied = Applied { topic: Topic::Deliveries, partition: Partition(0), from: Offset(0), next };
        tables.write(Vec::new(), &[applied]).await.unwrap();
        scan(&mut running).await;
        scan(&mut running).await;
        assert_eq!(running.lanes.queued(), 1);
    }

    #[tokio::test]
    async fn what_was_under_way_while_a_partition_went_and_came_back_is_found_again() {
        let mut running = running(&MemoryTables::default()).await;
        scan(&mut running).await;
        running.dispatch(running.clock.now());
        running.partitions.get_mut(&Partition(0)).unwrap().assignment = 2;
        running.scans.at(&w(), running.clock.now());
        scan(&mut running).await;
        assert_eq!(running.lanes.queued(), 0, "the earlier attempt has not ended");
        running.flights.ended().await;
        running.attempts_ended();
        let log = running.log.clone();
        let mut stage = log.stage("dispatcher", Topic::Appointments, &[Topic::Deliveries]).await.unwrap();
        running.commit(&mut *stage, &CancellationToken::new()).await.unwrap();
        assert_eq!(
            log.end(Topic::Deliveries, Partition(0)).await.unwrap(),
            Offset(0),
            "its outcome is not ours to tell"
        );
        scan(&mut running).await;
        assert_eq!(running.lanes.queued(), 1);
    }

    #[tokio::test]
    async fn a_row_for_which_there_was_no_room_any_more_is_found_again() {
        let mut running = running(&MemoryTables::default()).await;
        running.clock.advance_to(later(running.clock.now(), Duration::from_secs(60)));
        running.start_scan(running.clock.now());
        // The lane fills while its rows are read.
        let now = running.clock.now();
        let room = running.lanes.room(&w());
        for n in 0..room as u64 {
            let source = Source { partition: Partition(0), assignment: 1, place: Place::Log(Offset(n)) };
            running.lanes.push(Job { appointment: appointment(100 + n, "w").into(), attempts: 0, source, since: now });
        }
        let found = running.scan.join_next().await.unwrap();
        running.found(found);
        assert_eq!(running.lanes.queued(), room, "there is no room for it");
        for job in running.lanes.extract(&w(), |_| true) {
            running.lanes.left(job.id(), 1);
        }
        running.clock.advance_to(later(now, PAUSE));
        scan(&mut running).await;
        scan(&mut running).await;
        assert_eq!(running.lanes.queued(), 1);
    }

    #[tokio::test]
    async fn rows_are_looked_at_again_after_a_scan_that_broke_off() {
        let mut running = running(&MemoryTables::default()).await;
        running.start_scan(running.clock.now());
        running.scan.abort_all();
        scan(&mut running).await;
        assert_eq!(running.lanes.queued(), 0);
        scan(&mut running).await;
        assert_eq!(running.lanes.queued(), 1);
    }
}
