//! How full the workspaces' slots are, as far as somebody asked.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use leadway_domain::record::{AppointmentRecord, Topic};
use leadway_domain::settings::Workspace;
use leadway_domain::{Timestamp, WorkspaceId};
use leadway_eventlog::EventLog;
use leadway_tables::schema::SlotRow;
use leadway_tables::{Range, Tables, key, scan};
use rustc_hash::FxHashMap;

use crate::decide::NeedsSlots;
use crate::error::Error;

/// Appointments per moment.
pub type Taken = BTreeMap<Timestamp, u32>;

/// Appointments per workspace and moment, from now on. A workspace is loaded when a slot of it is first looked for,
/// and kept up by this router's own decisions from then on. When several nodes route, a workspace is loaded for each batch
/// anew: two nodes can then fill the last place of a slot only where they decide within the same moment.
pub struct Occupancy {
    workspaces: FxHashMap<WorkspaceId, Taken>,
    limit: usize,
}

impl Occupancy {
    /// Nothing loaded; at most `limit` workspaces will be.
    pub fn new(limit: usize) -> Self {
        Self { workspaces: FxHashMap::default(), limit: limit.max(1) }
    }

    /// The workspace's first slot with room, in the time zone given (UTC without one).
    pub fn next_free(
        &self,
        workspace: &Workspace,
        now: Timestamp,
        zone: Option<&TimeZone>,
    ) -> Result<Option<Timestamp>, NeedsSlots> {
        let Some(taken) = self.workspaces.get(&workspace.id) else { return Err(NeedsSlots(workspace.id.clone())) };
        let hours = &workspace.opening_hours;
        let length = SignedDuration::from_mins(i64::from(hours.slot_minutes.max(1)));
        // Dates that people gave need not stand on the slots' grid: an appointment counts in the slot it begins in.
        let count = |start: Timestamp| {
            let end = start.checked_add(length).unwrap_or(Timestamp::MAX);
            taken.range(start..end).map(|(_, n)| *n).fold(0, u32::saturating_add)
        };
        Ok(hours.next_free_slot(now, zone.unwrap_or(&TimeZone::UTC), count))
    }

    /// Sets what is known of a workspace. When too many are loaded all others are forgotten: they load again when
    /// they are next asked for.
    pub fn load(&mut self, workspace: WorkspaceId, taken: Taken) {
        if self.workspaces.len() >= self.limit {
            self.workspaces.clear();
        }
        self.workspaces.insert(workspace, taken);
    }

    /// Notes an appointment, if its workspace is loaded. A test takes nobody's time.
    pub fn note(&mut self, record: &AppointmentRecord) {
        if let AppointmentRecord::Routed(appointment) = record
            && !appointment.test
            && let Some(taken) = self.workspaces.get_mut(&appointment.workspace_id)
        {
            let count = taken.entry(appointment.appointment_date).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Drops what is past.
    pub fn forget_before(&mut self, now: Timestamp) {
        for taken in self.workspaces.values_mut() {
            if taken.first_key_value().is_some_and(|(start, _)| *start < now) {
                *taken = taken.split_off(&now);
            }
        }
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.workspaces.clear();
    }
}

/// Rows read at once.
const PAGE: usize = 1_000;
/// Beyond where slots are looked for.
const HORIZON: SignedDuration = SignedDuration::from_hours(24 * 62);

/// Reads a workspace's appointments from `now` on out of the tables, once they hold every appointment that is in
/// the log at this moment.
pub(crate) async fn read_taken(
    log: &dyn EventLog,
    tables: &dyn Tables,
    workspace: &WorkspaceId,
    now: Timestamp,
) -> Result<Taken, Error> {
    let partition = log.partition_of(Topic::Appointments, workspace.as_str());
    let end = log.end(Topic::Appointments, partition).await?;
    tables.wait_applied(Topic::Appointments, partition, end).await?;

    let horizon = now.checked_add(HORIZON).unwrap_or(Timestamp::MAX);
    let mut taken = Taken::new();
    let mut from = now;
    loop {
        let range = Range::first(PAGE).from(key![from]).before(key![horizon]);
        let rows = scan::<SlotRow>(tables, &key![workspace.clone()], range).await?;
        let full_page = rows.len() == PAGE;
        for row in rows {
            let count = row.taken.unwrap_or_default().clamp(0, i64::from(u32::MAX)) as u32;
            taken.insert(row.starts_at, count);
            from = row.starts_at;
        }
        if !full_page {
            return Ok(taken);
        }
        // Tables keep milliseconds: the next row is at least one later.
        from = from.checked_add(SignedDuration::from_millis(1)).unwrap_or(Timestamp::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{at, routed_to, workspace};

    #[test]
    fn a_workspace_must_be_loaded_before_its_slots_are_looked_for() {
        let mut slots = Occupancy::new(10);
        let solar = workspace("solar");
        let now = at("2024-11-27T00:00:00Z");
        assert_eq!(slots.next_free(&solar, now, None), Err(NeedsSlots(solar.id.clone())));
        slots.load(solar.id.clone(), Taken::new());
        assert_eq!(slots.next_free(&solar, now, None), Ok(Some(at("2024-11-27T09:00:00Z"))));
    }

    #[test]
    fn appointments_take_the_slot_they_begin_in() {
        let mut slots = Occupancy::new(10);
        let solar = workspace("solar");
        let now = at("2024-11-27T00:00:00Z");
        slots.load(solar.id.clone(), [(at("2024-11-27T09:00:00Z"), 1)].into());
        slots.note(&routed_to("solar", at("2024-11-27T10:30:00Z")));
        slots.note(&routed_to("another", at("2024-11-27T11:00:00Z")));
        assert_eq!(slots.next_free(&solar, now, None), Ok(Some(at("2024-11-27T11:00:00Z"))));
        slots.forget_before(at("2024-11-27T10:00:00Z"));
        assert_eq!(slots.next_free(&solar, now, None), Ok(Some(at("2024-11-27T09:00:00Z"))), "the past is forgotten");
    }

    #[test]
    fn no_more_workspaces_are_kept_than_the_limit() {
        let mut slots = Occupancy::new(2);
        for name in ["a", "b", "c"] {
            slots.load(WorkspaceId::new(name).unwrap(), Taken::new());
        }
        let now = at("2024-11-27T00:00:00Z");
        assert!(slots.next_free(&workspace("c"), now, None).is_ok());
        assert!(slots.next_free(&workspace("a"), now, None).is_err());
    }
}
