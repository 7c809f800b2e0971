//! Bringing back what is due on disk.

use leadway_domain::{Timestamp, WorkspaceId};
use leadway_tables::TablesError;
use tokio::task::JoinError;

use crate::circuit::Permit;
use crate::endpoint::takes_rows;
use crate::open::{Behind, Found, Query, find};
use crate::outcome::{Job, Place, Source};
use crate::schedule::later;
use crate::stage::{PAUSE, Running};

/// Rows that one scan reads at most.
const PAGE: usize = 256;
/// How many ended deliveries are remembered per partition while scoring is behind; then rows wait.
const MAX_ENDED: usize = 100_000;

impl Running {
    /// Starts the next scan, if one is due and none is under way.
    pub(crate) fn start_scan(&mut self, now: Timestamp) {
        while self.scan.is_empty()
            && let Some(id) = self.scans.take_due(now)
        {
            if let Some(query) = self.query(&id, now) {
                let tables = self.tables.clone();
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
        if !takes_rows(lane.workspace.as_deref()) {
            return None; // until the settings change
        }
        match lane.circuit.permit(now) {
            Permit::NotBefore(until) => {
                self.scans.at(id, until);
                return None;
            }
            Permit::AfterProbe => return None, // until the probe has ended
            Permit::Go if ended >= MAX_ENDED => {
                self.scans.at(id, later(now, PAUSE));
                return None;
            }
            Permit::Go => {}
        }
        if room == 0 {
            lane.rows.parked = true;
            return None; // until jobs of it have gone
        }
        let after = lane.rows.start();
        Some(Query { workspace: id.clone(), partition, assignment, after, now, limit: room.min(PAGE) })
    }

    pub(crate) fn found(&mut self, found: Result<(Query, Result<Found, TablesError>), JoinError>) {
        let now = self.clock.now();
        match found {
            Ok((query, Ok(found))) => self.bring_back(&query, found, now),
            Ok((query, Err(error))) => {
                tracing::warn!(%error, workspace = %query.workspace, "open deliveries cannot be read; trying again");
                self.scans.at(&query.workspace, later(now, PAUSE));
            }
            Err(error) => tracing::error!(%error, "reading open deliveries broke off"),
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
                    behind = read_to.map_or(Behind::DueAt(now), Behind::More);
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
