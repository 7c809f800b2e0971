//! What waits in memory, per workspace.

use std::collections::VecDeque;
use std::sync::Arc;

use leadway_domain::seal::Seals;
use leadway_domain::settings::Workspace;
use leadway_domain::{Clock, LeadId, Timestamp, WorkspaceId};
use rustc_hash::FxHashMap;

use crate::Options;
use crate::circuit::Circuit;
use crate::client::Client;
use crate::limits::Pace;
use crate::meters::{Tally, circuit_gauge, waiting_gauge};
use crate::open::Rows;
use crate::outcome::Job;
use crate::trouble::Trouble;

/// A workspace may always have this many waiting in memory, however full the node is.
const RESERVED: usize = 16;

/// One workspace's queue, first in first out, and what is known of its client.
pub(crate) struct Lane {
    /// `None` when it was deleted.
    pub(crate) client: Option<Arc<Client>>,
    pub(crate) queue: VecDeque<Job>,
    /// What the queue takes of memory.
    bytes: usize,
    pub(crate) in_flight: u32,
    pub(crate) circuit: Circuit,
    pub(crate) trouble: Trouble,
    /// Until when the client asked to be left alone (`Retry-After`).
    pub(crate) quiet_until: Option<Timestamp>,
    pub(crate) pace: Option<Pace>,
    pub(crate) rows: Rows,
    pub(crate) tally: Tally,
    /// Whether it is in the list of those that may be able to send.
    listed: bool,
    /// How many were last measured to wait in memory.
    measured: usize,
}

impl Lane {
    fn new(workspace: Option<Arc<Workspace>>, seals: &Seals, clock: &Clock) -> Self {
        let mut lane = Self {
            client: None,
            queue: VecDeque::new(),
            bytes: 0,
            in_flight: 0,
            circuit: Circuit::new(),
            trouble: Trouble::default(),
            quiet_until: None,
            pace: None,
            rows: Rows::default(),
            tally: Tally::default(),
            listed: false,
            measured: 0,
        };
        lane.follow(workspace, seals, clock);
        lane
    }

    /// Takes over changed settings. A pace whose limit stays keeps its count; what the client asked for is void, as
    /// somebody may have entered another address.
    fn follow(&mut self, workspace: Option<Arc<Workspace>>, seals: &Seals, clock: &Clock) {
        let limit = workspace.as_ref().and_then(|w| w.rate_limit);
        if limit != self.pace.as_ref().map(Pace::limit) {
            self.pace = limit.map(|limit| Pace::new(limit, clock));
        }
        self.client = workspace.map(|workspace| Arc::new(Client::new(workspace, seals)));
        self.quiet_until = None;
    }

    /// Until when nothing may go out because the client asked for that.
    pub(crate) fn quiet(&self, now: Timestamp) -> Option<Timestamp> {
        self.quiet_until.filter(|until| now < *until)
    }

    /// How many wait in memory and nowhere else.
    pub(crate) fn waiting_in_memory(&self) -> usize {
        self.queue.iter().filter(|job| !job.is_on_disk()).count()
    }

    /// Its settings; `None` when it was deleted.
    pub(crate) fn workspace(&self) -> Option<&Arc<Workspace>> {
        self.client.as_ref().map(|client| &client.workspace)
    }
}

/// All lanes, and the order in which they take turns.
pub(crate) struct Lanes {
    by_id: FxHashMap<WorkspaceId, Lane>,
    turns: VecDeque<WorkspaceId>,
    /// Appointments in memory: waiting, under way, or with an outcome that is not yet in the log.
    /// Each with the assignment that it belongs to.
    active: FxHashMap<LeadId, u64>,
    queued: usize,
    /// What all queues take of memory.
    bytes: usize,
    in_flight: u32,
    clock: Clock,
    max_queued: usize,
    max_queued_bytes: usize,
    max_queued_per_workspace: usize,
    max_in_flight: u32,
    max_in_flight_per_workspace: u32,
}

/// Whether one more attempt may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Free,
    /// The workspace has all that it may have.
    LaneFull,
    /// The node has.
    NodeFull,
}

impl Lanes {
    pub(crate) fn new(options: &Options, clock: Clock) -> Self {
        Self {
            by_id: FxHashMap::default(),
            turns: VecDeque::new(),
            active: FxHashMap::default(),
            queued: 0,
            bytes: 0,
            in_flight: 0,
            clock,
            max_queued: options.max_queued,
            max_queued_bytes: options.max_queued_bytes,
            max_queued_per_workspace: options.max_queued_per_workspace,
            max_in_flight: options.max_in_flight,
            max_in_flight_per_workspace: options.max_in_flight_per_workspace,
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(crate) fn get(&mut self, id: &WorkspaceId) -> Option<&mut Lane> {
        self.by_id.get_mut(id)
    }

    pub(crate) fn ids(&self) -> Vec<WorkspaceId> {
        self.by_id.keys().cloned().collect()
    }

    /// Sets what is known of a workspace; makes its lane if there is none.
    pub(crate) fn follow(&mut self, id: &WorkspaceId, workspace: Option<Arc<Workspace>>, seals: &Seals) {
        match self.by_id.get_mut(id) {
            Some(lane) => lane.follow(workspace, seals, &self.clock),
            None => {
                self.by_id.insert(id.clone(), Lane::new(workspace, seals, &self.clock));
            }
        }
        self.list(id);
    }

    /// The workspace is another member's to serve by now, and what was known of how far it has come is void.
    pub(crate) fn lost(&mut self, id: &WorkspaceId) {
        if let Some(lane) = self.by_id.get_mut(id) {
            lane.rows = Rows::default();
            lane.quiet_until = None;
            if !lane.circuit.is_closed() {
                lane.circuit = Circuit::new();
                circuit_gauge(id, false);
            }
            lane.pace = lane.pace.as_ref().map(|pace| Pace::new(pace.limit(), &self.clock));
        }
    }

    /// How many more of this workspace memory takes: as long as it leaves to the others at least what it has itself. So
    /// one workspace alone may have half of the node's memory, two a third each, and a new one always finds some.
    pub(crate) fn room(&self, id: &WorkspaceId) -> usize {
        let (waiting, bytes) = self.by_id.get(id).map_or((0, 0), |lane| (lane.queue.len(), lane.bytes));
        let left = match bytes <= self.max_queued_bytes.saturating_sub(self.bytes) {
            true => self.max_queued.saturating_sub(self.queued).saturating_sub(waiting),
            false => 0,
        };
        let own = self.max_queued_per_workspace.saturating_sub(waiting);
        own.min(left.max(RESERVED.saturating_sub(waiting)))
    }

    /// Whether this appointment is in memory.
    pub(crate) fn is_active(&self, appointment: LeadId) -> bool {
        self.active.contains_key(&appointment)
    }

    /// An appointment has left memory. What a later assignment has taken again stays.
    pub(crate) fn left(&mut self, appointment: LeadId, assignment: u64) {
        if self.active.get(&appointment) == Some(&assignment) {
            self.active.remove(&appointment);
        }
    }

    /// Lets a job wait in its lane. The caller has seen that there is room.
    pub(crate) fn push(&mut self, job: Job) {
        let id = job.appointment.workspace_id.clone();
        self.active.insert(job.id(), job.source.assignment);
        if let Some(lane) = self.by_id.get_mut(&id) {
            lane.bytes += job.bytes();
            self.bytes += job.bytes();
            self.queued += 1;
            lane.queue.push_back(job);
            self.list(&id);
        }
    }

    /// Takes the first job of a lane.
    pub(crate) fn pop(&mut self, id: &WorkspaceId) -> Option<Job> {
        let lane = self.by_id.get_mut(id)?;
        let job = lane.queue.pop_front()?;
        lane.bytes -= job.bytes();
        self.bytes -= job.bytes();
        self.queued -= 1;
        Some(job)
    }

    /// Takes the jobs of a lane for which `leaves` holds; the others keep their order.
    pub(crate) fn extract(&mut self, id: &WorkspaceId, leaves: impl Fn(&Job) -> bool) -> Vec<Job> {
        let Some(lane) = self.by_id.get_mut(id) else { return Vec::new() };
        let (leaving, staying): (Vec<Job>, VecDeque<Job>) = {
            let mut staying = VecDeque::with_capacity(lane.queue.len());
            let mut leaving = Vec::new();
            for job in lane.queue.drain(..) {
                if leaves(&job) { leaving.push(job) } else { staying.push_back(job) }
            }
            (leaving, staying)
        };
        lane.queue = staying;
        let bytes: usize = leaving.iter().map(Job::bytes).sum();
        lane.bytes -= bytes;
        self.bytes -= bytes;
        self.queued -= leaving.len();
        leaving
    }

    /// Lists a lane among those that may be able to send, behind the others.
    pub(crate) fn list(&mut self, id: &WorkspaceId) {
        if let Some(lane) = self.by_id.get_mut(id)
            && !lane.listed
        {
            lane.listed = true;
            self.turns.push_back(id.clone());
        }
    }

    /// The lane whose turn it is. It must be listed again to get another.
    pub(crate) fn next_turn(&mut self) -> Option<WorkspaceId> {
        let id = self.turns.pop_front()?;
        if let Some(lane) = self.by_id.get_mut(&id) {
            lane.listed = false;
        }
        Some(id)
    }

    pub(crate) fn slot(&self, id: &WorkspaceId) -> Slot {
        let Some(lane) = self.by_id.get(id) else { return Slot::LaneFull };
        let asked = lane.workspace().and_then(|w| w.max_concurrency).unwrap_or(u32::MAX).max(1);
        if lane.in_flight >= asked.min(self.max_in_flight_per_workspace) {
            Slot::LaneFull
        } else if self.in_flight >= self.max_in_flight && lane.in_flight > 0 {
            Slot::NodeFull
        } else {
            Slot::Free
        }
    }

    pub(crate) fn attempt_started(&mut self, id: &WorkspaceId) {
        self.in_flight += 1;
        if let Some(lane) = self.by_id.get_mut(id) {
            lane.in_flight += 1;
        }
    }

    pub(crate) fn attempt_ended(&mut self, id: &WorkspaceId) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(lane) = self.by_id.get_mut(id) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
        }
        self.list(id);
    }

    /// Measures how many of each workspace wait in memory.
    pub(crate) fn measure(&mut self) {
        for (id, lane) in &mut self.by_id {
            let waiting = lane.waiting_in_memory();
            if waiting != std::mem::replace(&mut lane.measured, waiting) {
                waiting_gauge(id, waiting);
            }
        }
    }

    /// Takes the jobs that came from the log before `before` and still wait.
    pub(crate) fn extract_waiting_since(&mut self, before: Timestamp) -> Vec<Job> {
        let late = |job: &Job| !job.is_on_disk() && job.since <= before;
        let ids: Vec<WorkspaceId> =
            self.by_id.iter().filter(|(_, lane)| lane.queue.iter().any(late)).map(|(id, _)| id.clone()).collect();
        ids.iter().flat_map(|id| self.extract(id, late)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::tests::workspace;
    use crate::outcome::tests::appointment;
    use crate::outcome::{Place, Source};
    use leadway_domain::{Offset, Partition};

    fn lanes(options: Options) -> Lanes {
        let mut lanes = Lanes::new(&options, Clock::manual(Timestamp::UNIX_EPOCH));
        for id in ["a", "b"] {
            lanes.follow(&ws(id), Some(Arc::new(workspace(id))), &Seals::default());
        }
        lanes
    }

    fn ws(id: &str) -> WorkspaceId {
        WorkspaceId::new(id).unwrap()
    }

    fn job(id: u64, workspace: &str) -> Job {
        let source = Source { partition: Partition(0), assignment: 1, place: Place::Log(Offset(id)) };
        Job { appointment: Arc::new(appointment(id, workspace)), attempts: 0, source, since: Timestamp::UNIX_EPOCH }
    }

    /// Lets a workspace wait with all that there is room for.
    fn fill(lanes: &mut Lanes, workspace: &str) -> usize {
        let waiting = lanes.queued();
        while lanes.room(&ws(workspace)) > 0 {
            lanes.push(job(lanes.queued() as u64, workspace));
        }
        lanes.queued() - waiting
    }

    #[test]
    fn a_workspace_leaves_to_the_others_what_it_has_itself() {
        let mut lanes = lanes(Options { max_queued: 400, ..Options::default() });
        assert_eq!(fill(&mut lanes, "a"), 200);
        assert_eq!(fill(&mut lanes, "b"), 100);
        lanes.pop(&ws("a"));
        assert_eq!((lanes.room(&ws("a")), lanes.room(&ws("b"))), (0, 1));
        while lanes.pop(&ws("a")).is_some() {}
        assert_eq!(fill(&mut lanes, "b"), 100, "what others do not need is its own");
        let mut capped = self::lanes(Options { max_queued: 400, max_queued_per_workspace: 10, ..Options::default() });
        assert_eq!(fill(&mut capped, "a"), 10);
    }

    #[test]
    fn large_appointments_fill_memory_with_fewer() {
        let twenty = 20 * job(0, "a").bytes();
        let mut lanes = lanes(Options { max_queued_bytes: twenty, ..Options::default() });
        assert!((RESERVED..=RESERVED + 1).contains(&fill(&mut lanes, "a")));
        assert_eq!(lanes.room(&ws("b")), lanes.max_queued - lanes.queued());
        lanes.extract(&ws("a"), |_| true);
        assert_eq!(lanes.bytes, 0);
    }

    #[test]
    fn a_full_node_keeps_some_room_for_every_workspace() {
        let mut lanes = lanes(Options { max_queued: 40, ..Options::default() });
        (0..40).for_each(|id| lanes.push(job(id, "a")));
        assert_eq!((lanes.room(&ws("a")), lanes.room(&ws("b"))), (0, RESERVED));
    }

    #[test]
    fn a_node_full_of_slow_attempts_still_serves_the_others() {
        let mut lanes = lanes(Options { max_in_flight: 4, max_in_flight_per_workspace: 4, ..Options::default() });
        (0..3).for_each(|_| lanes.attempt_started(&ws("a")));
        assert_eq!(lanes.slot(&ws("a")), Slot::Free);
        lanes.attempt_started(&ws("b"));
        assert_eq!((lanes.slot(&ws("a")), lanes.slot(&ws("b"))), (Slot::NodeFull, Slot::NodeFull));
        lanes.attempt_started(&ws("a"));
        lanes.attempt_ended(&ws("b"));
        assert_eq!((lanes.slot(&ws("a")), lanes.slot(&ws("b"))), (Slot::LaneFull, Slot::Free));
    }

    #[test]
    fn lanes_take_turns() {
        let mut lanes = lanes(Options::default());
        while lanes.next_turn().is_some() {}
        [job(1, "a"), job(2, "a"), job(3, "b")].into_iter().for_each(|j| lanes.push(j));
        let first = lanes.next_turn().unwrap();
        lanes.list(&first);
        assert_eq!((first, lanes.next_turn(), lanes.next_turn()), (ws("a"), Some(ws("b")), Some(ws("a"))));
        assert_eq!(lanes.next_turn(), None);
    }
}
