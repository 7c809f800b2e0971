//! The loop: one task owns all state, attempts run beside it, and everything that is decided is committed before the next
//! records are read.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use leadway_domain::record::{Appointment, AppointmentRecord, Topic};
use leadway_domain::settings::Settings;
use leadway_domain::telemetry::{STAGE_LAG, UNREADABLE_RECORDS};
use leadway_domain::{Clock, LeadId, Offset, Partition, Timestamp, WorkspaceId};
use leadway_eventlog::{Address, Assignment, EventLog, LogError, ReadLimit, Record, SettingsHandle, Stage, StageEvent};
use leadway_tables::{Tables, TablesError};
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::agenda::Agenda;
use crate::circuit::Rule;
use crate::commit::Landing;
use crate::flights::Flights;
use crate::lane::Lanes;
use crate::meters::Meters;
use crate::open::{Ended, Found, Query, deleted_workspaces};
use crate::outcome::{Job, Place, Settled, Source};
use crate::progress::{Positions, Progress};
use crate::resume::{standing, with_outcome};
use crate::schedule::{Schedule, later};
use crate::{Error, Options, Transport};

/// The stage's name in the log.
const NAME: &str = "dispatcher";
/// One read: what does not fit in memory of it goes to disk in one commit.
const READ: ReadLimit = ReadLimit { records: 512, bytes: 1 << 20 };
/// How often what nothing else causes is done: metrics, progress without outcomes, putting on disk what waits long. Also
/// how long the loop sleeps at most, because the wall clock may leap (a suspended machine, a test) and timers do not.
const TICK: Duration = Duration::from_secs(1);
/// A turn that comes so long after the last one: shorter than a log takes to give partitions to others.
pub(crate) const STOOD_STILL: Duration = Duration::from_secs(3);
/// Pause after something that failed for a moment.
pub(crate) const PAUSE: Duration = Duration::from_millis(200);
/// How long the settings may take to show what the log holds.
const SETTINGS_LAG: Duration = Duration::from_secs(10);

/// Delivers appointments to the workspaces' webhooks: the stage between `appointments` and `deliveries`.
pub struct Dispatcher {
    log: Arc<dyn EventLog>,
    tables: Arc<dyn Tables>,
    settings: SettingsHandle,
    clock: Clock,
    transport: Arc<dyn Transport>,
    seed: u64,
    options: Options,
}

impl Dispatcher {
    /// A dispatcher that posts by `transport` and draws the jitter of retries from `rng_seed`.
    pub fn new(
        log: Arc<dyn EventLog>,
        tables: Arc<dyn Tables>,
        settings: SettingsHandle,
        clock: Clock,
        transport: Arc<dyn Transport>,
        rng_seed: u64,
        options: Options,
    ) -> Self {
        Self { log, tables, settings, clock, transport, seed: rng_seed, options }
    }

    /// Joins the stage and runs until `stop`: then it takes nothing new, waits for the attempts under way as long as the
    /// options say, commits their outcomes and returns `Ok`.
    ///
    /// Nothing is lost by an error: a dispatcher that is started anew goes on from the log. It must not be when another
    /// member has taken over ([`LogError::Fenced`]), and it is of no use when a setting is wrong ([`Error::Setting`]):
    /// ask [`Options::check`] before the first start.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        self.options.check()?;
        let mut stage = self.log.stage(NAME, Topic::Appointments, &[Topic::Deliveries]).await?;
        let mut running = Running::start(self).await?;
        while !stop.is_cancelled() {
            running.turn(&mut *stage, &stop).await?;
        }
        running.drain(&mut *stage, &stop).await
    }
}

/// All state of a running dispatcher. What it does is spread over this file (the loop, records, settings), `deliver`
/// (attempts), `due` (what is due on disk) and `commit` (outcomes).
pub(crate) struct Running {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) tables: Arc<dyn Tables>,
    pub(crate) clock: Clock,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) options: Options,
    pub(crate) schedule: Schedule,
    pub(crate) circuit_rule: Rule,
    pub(crate) random: fastrand::Rng,
    handle: SettingsHandle,
    changes: watch::Receiver<Offset>,
    settings: Arc<Settings>,
    deleted: FxHashSet<WorkspaceId>,
    pub(crate) partitions: FxHashMap<Partition, Owned>,
    assignments: u64,
    pub(crate) lanes: Lanes,
    /// When a lane that waits for its rate or its circuit may go on.
    pub(crate) wakes: Agenda,
    /// When a workspace's rows are to be looked at.
    pub(crate) scans: Agenda,
    pub(crate) flights: Flights,
    /// At most one scan at a time: they are answered in the order in which they were asked.
    pub(crate) scan: JoinSet<(Query, Result<Found, TablesError>)>,
    /// Whose rows it reads: known also when it breaks off.
    pub(crate) scanned: Option<WorkspaceId>,
    /// Outcomes to be committed.
    pub(crate) outbox: VecDeque<Settled>,
    pub(crate) progress_due: bool,
    pub(crate) meters: Meters,
    next_tick: Timestamp,
    /// When the loop last came round.
    pub(crate) last_turn: Timestamp,
    /// Whether partitions may have been lost without this member's being told.
    pub(crate) unproven: bool,
    /// When outcomes were committed last.
    pub(crate) last_commit: Timestamp,
    /// Whether it is to stop: no attempt is started any more.
    pub(crate) stopping: bool,
}

/// A partition that is this member's.
pub(crate) struct Owned {
    pub(crate) assignment: u64,
    pub(crate) progress: Progress,
    /// What was committed last; `None` when the next commit has to name the positions, whatever they are.
    pub(crate) committed: Option<Positions>,
    pub(crate) ended: Ended,
}

/// Why the loop goes on.
enum Woken {
    Event(Result<StageEvent, LogError>),
    Found(Result<(Query, Result<Found, TablesError>), JoinError>),
    /// A time has come, outcomes are to be committed, the settings have changed, or it is to stop: the next turn sees to it.
    Turn,
}

impl Running {
    pub(crate) async fn start(from: Dispatcher) -> Result<Self, Error> {
        let deleted = deleted_workspaces(&*from.log).await?;
        let now = from.clock.now();
        Ok(Self {
            schedule: Schedule::new(&from.options),
            circuit_rule: Rule::new(&from.options),
            random: fastrand::Rng::with_seed(from.seed),
            changes: from.settings.changes(),
            settings: from.settings.load(),
            handle: from.settings,
            deleted,
            partitions: FxHashMap::default(),
            assignments: 0,
            lanes: Lanes::new(&from.options, from.clock.clone()),
            wakes: Agenda::default(),
            scans: Agenda::default(),
            flights: Flights::default(),
            scan: JoinSet::new(),
            scanned: None,
            outbox: VecDeque::new(),
            progress_due: false,
            meters: Meters::new(),
            next_tick: now,
            last_turn: now,
            unproven: false,
            last_commit: now,
            stopping: false,
            log: from.log,
            tables: from.tables,
            clock: from.clock,
            transport: from.transport,
            options: from.options,
        })
    }

    async fn turn(&mut self, stage: &mut dyn Stage, stop: &CancellationToken) -> Result<(), Error> {
        let now = self.clock.now();
        self.follow_settings(now);
        if now >= self.next_tick {
            self.next_tick = later(now, TICK);
            self.tick(now, stage.lag());
        }
        // A process that stood still may have lost its partitions without knowing, and a commit that was refused says that
        // one was lost: nothing is sent before a commit has gone well.
        self.unproven |= now > later(std::mem::replace(&mut self.last_turn, now), STOOD_STILL);
        if self.unproven {
            self.unproven = self.prove(stage, stop).await? == Landing::Revoked;
            if !self.unproven {
                return Ok(()); // the next turn sees whether it stood still while it asked
            }
        } else {
            self.start_scan(now);
            self.dispatch(now);
            if self.commit_is_due(now) {
                self.unproven = self.commit(stage, stop).await? == Landing::Revoked;
            }
        }
        match self.wait(stage, stop).await {
            Woken::Event(Ok(StageEvent::Assigned(assignments))) => self.assign(assignments).await?,
            Woken::Event(Ok(StageEvent::Revoked(partitions))) => partitions.into_iter().for_each(|p| self.forget(p)),
            Woken::Event(Ok(StageEvent::Records(records))) => self.take(records).await?,
            Woken::Event(Err(error)) if error.is_transient() => {
                tracing::warn!(%error, "appointments cannot be read; trying again");
                self.while_sending(tokio::time::sleep(PAUSE)).await;
            }
            Woken::Event(Err(error)) => return Err(error.into()),
            Woken::Found(found) => self.found(found),
            Woken::Turn => {}
        }
        Ok(())
    }

    /// Waits for what the next turn is for; meanwhile attempts end, and others take their places.
    async fn wait(&mut self, stage: &mut dyn Stage, stop: &CancellationToken) -> Woken {
        let (mut event, mut stopped) = (pin!(stage.next(READ)), pin!(stop.cancelled()));
        let (mut due, pause) = self.next_turn(self.clock.now());
        let mut alarm = pin!(tokio::time::sleep(pause));
        loop {
            tokio::select! {
                () = &mut stopped => return Woken::Turn,
                event = &mut event => return Woken::Event(event),
                () = self.flights.ended() => {}
                Some(found) = self.scan.join_next() => return Woken::Found(found),
                Ok(()) = self.changes.changed() => return Woken::Turn,
                () = &mut alarm => return Woken::Turn,
            }
            self.attempts_ended();
            let now = self.clock.now();
            if !self.may_send(now) {
                return Woken::Turn;
            }
            self.dispatch(now);
            if self.commit_is_due(now) {
                return Woken::Turn;
            }
            let (earlier, pause) = self.next_turn(now);
            if earlier < due {
                due = earlier;
                alarm.as_mut().reset(Instant::now() + pause);
            }
        }
    }

    /// When the next turn is due if nothing happens, and how long that is from now.
    fn next_turn(&self, now: Timestamp) -> (Timestamp, Duration) {
        let scans = if self.scan.is_empty() { self.scans.next() } else { None };
        let times = [self.wakes.next(), scans, self.next_commit(), Some(self.next_tick)];
        let next = times.into_iter().flatten().min().unwrap_or(now);
        let micros = u64::try_from(next.as_microsecond() - now.as_microsecond()).unwrap_or(0);
        (next, Duration::from_micros(micros).clamp(Duration::from_millis(1), TICK))
    }

    async fn drain(mut self, stage: &mut dyn Stage, stop: &CancellationToken) -> Result<(), Error> {
        self.stopping = true;
        let deadline = Instant::now() + self.options.drain();
        self.last_commit(stage, stop).await?;
        while self.flights.len() > 0 && timeout_at(deadline, self.flights.ended()).await.is_ok() {
            self.attempts_ended();
            self.last_commit(stage, stop).await?;
        }
        let cut_off = self.flights.len();
        if cut_off > 0 {
            tracing::warn!(attempts = cut_off, "attempts were cut off; they are made again after the start");
        }
        self.progress_due = true;
        self.last_commit(stage, stop).await
    }

    /// Commits while nothing is taken any more. What was lost to another member is made again there.
    async fn last_commit(&mut self, stage: &mut dyn Stage, stop: &CancellationToken) -> Result<(), Error> {
        while self.commit(stage, stop).await? == Landing::Revoked {
            // The stage tells before anything else which partitions these were.
            let Ok(event) = tokio::time::timeout(PAUSE, stage.next(READ)).await else { return Ok(()) };
            match event? {
                StageEvent::Revoked(partitions) => partitions.into_iter().for_each(|p| self.forget(p)),
                StageEvent::Assigned(assignments) => assignments.iter().for_each(|a| self.forget(a.partition)),
                StageEvent::Records(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Takes over partitions.
    async fn assign(&mut self, assignments: Vec<Assignment>) -> Result<(), Error> {
        assignments.iter().for_each(|assignment| self.forget(assignment.partition));
        // Side by side: while it reads, nobody delivers what stands in these partitions.
        let standings = loop {
            let log = self.log.clone();
            let read = try_join_all(assignments.iter().map(|assignment| standing(&*log, assignment)));
            match self.while_sending(read).await {
                Ok(standings) => break standings,
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "outcomes cannot be read; trying again");
                    self.while_sending(tokio::time::sleep(PAUSE)).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        for (assignment, standing) in assignments.iter().zip(standings) {
            let (watermark, outcomes_from) = (standing.watermark, standing.outcomes_from);
            self.assignments += 1;
            let owned = Owned {
                assignment: self.assignments,
                progress: Progress::resume(standing),
                committed: Some(Positions { watermark, outcomes_from }),
                ended: Ended::default(),
            };
            self.partitions.insert(assignment.partition, owned);
        }
        let now = self.clock.now();
        let known: Vec<WorkspaceId> = self.settings.workspaces.keys().chain(&self.deleted).cloned().collect();
        for id in known {
            if self.partitions.contains_key(&self.partition_of(&id)) {
                self.look_at_rows(&id, now);
            }
        }
        Ok(())
    }

    /// Everything known of a partition is void. Attempts under way end, and their outcomes are dropped.
    fn forget(&mut self, partition: Partition) {
        self.partitions.remove(&partition);
        for id in self.lanes.ids() {
            if self.partition_of(&id) == partition {
                self.scans.forget(&id);
                for job in self.lanes.extract(&id, |_| true) {
                    self.lanes.left(job.id(), job.source.assignment);
                }
                self.lanes.lost(&id);
            }
        }
    }

    async fn take(&mut self, records: Vec<Record>) -> Result<(), Error> {
        let now = self.clock.now();
        let appointments: Vec<_> = records.iter().map(|record| (record.address, routed(record))).collect();
        let done = self.done_before(&appointments).await;
        for (address, appointment) in appointments {
            let Some(owned) = self.partitions.get_mut(&address.partition) else { continue };
            let source = Source {
                partition: address.partition,
                assignment: owned.assignment,
                place: Place::Log(address.offset),
            };
            let Some(appointment) = appointment.filter(|a| !done.contains(&a.appointment_id)) else {
                owned.progress.pass(address.offset);
                continue;
            };
            if !owned.progress.take(address.offset, appointment.appointment_id) {
                continue;
            }
            self.know(&appointment.workspace_id).await?;
            self.admit(Job { appointment, attempts: 0, source, since: now }, now);
        }
        Ok(())
    }

    /// Appointments that the tables show with an outcome which the log's positions do not lead to. While the tables cannot be
    /// read they are delivered again rather than held up.
    async fn done_before(&mut self, appointments: &[(Address, Option<Arc<Appointment>>)]) -> FxHashSet<LeadId> {
        let unsure = |(address, appointment): &(Address, Option<Arc<Appointment>>)| {
            let id = appointment.as_ref()?.appointment_id;
            let owned = self.partitions.get(&address.partition)?;
            owned.progress.may_be_done(address.offset, id).then_some(id)
        };
        let unsure: Vec<LeadId> = appointments.iter().filter_map(unsure).collect();
        if unsure.is_empty() {
            return FxHashSet::default();
        }
        let tables = self.tables.clone();
        match self.while_sending(with_outcome(&*tables, &unsure)).await {
            Ok(done) => {
                if !done.is_empty() {
                    tracing::warn!(
                        appointments = done.len(),
                        "the dispatcher's position in `appointments` was moved back: what has an outcome is not sent again"
                    );
                }
                done
            }
            Err(error) => {
                tracing::warn!(%error, appointments = unsure.len(), "it cannot be seen whether these have an outcome");
                FxHashSet::default()
            }
        }
    }

    /// Makes sure that there is a lane, and that a workspace is not taken for deleted because the settings here lag
    /// behind those that the router had.
    async fn know(&mut self, id: &WorkspaceId) -> Result<(), Error> {
        if self.lanes.get(id).is_some_and(|lane| lane.client.is_some()) {
            return Ok(());
        }
        if !self.settings.workspaces.contains_key(id) {
            let end = self.log.end(Topic::Settings, Partition(0)).await?;
            if let Some(last) = end.0.checked_sub(1) {
                let handle = self.handle.clone();
                let caught_up = tokio::time::timeout(SETTINGS_LAG, handle.wait_for(Offset(last)));
                self.while_sending(caught_up)
                    .await
                    .map_err(|_| LogError::Unavailable("the settings do not follow the log".into()))??;
            }
            self.follow_settings(self.clock.now());
        }
        if self.lanes.get(id).is_none() {
            self.lanes.follow(id, self.settings.workspaces.get(id).cloned(), self.settings.seals());
        }
        Ok(())
    }

    /// Takes over changed settings: what was stopped may go on, what went may have to stop.
    fn follow_settings(&mut self, now: Timestamp) {
        let settings = self.handle.load();
        if Arc::ptr_eq(&settings, &self.settings) {
            return;
        }
        self.settings = settings;
        for id in self.lanes.ids() {
            let workspace = self.settings.workspaces.get(&id).cloned();
            let Some(lane) = self.lanes.get(&id) else { continue };
            if lane.workspace() != workspace.as_ref() {
                lane.rows.begin_again();
                self.lanes.follow(&id, workspace, self.settings.seals());
                self.scans.at(&id, now);
            }
        }
    }

    /// Has the rows of a workspace looked at from the first on, now.
    fn look_at_rows(&mut self, id: &WorkspaceId, now: Timestamp) {
        if self.lanes.get(id).is_none() {
            self.lanes.follow(id, self.settings.workspaces.get(id).cloned(), self.settings.seals());
        }
        self.scans.at(id, now);
    }

    fn tick(&mut self, now: Timestamp, lag: u64) {
        self.progress_due = true;
        self.spill_waiting(now);
        self.meters.in_flight.set(f64::from(self.lanes.in_flight()));
        self.meters.queued.set(self.lanes.queued() as f64);
        self.lanes.measure();
        metrics::gauge!(STAGE_LAG, "stage" => NAME, "topic" => Topic::Appointments.name()).set(lag as f64);
    }

    /// The partition in which this workspace's appointments and outcomes stand.
    pub(crate) fn partition_of(&self, id: &WorkspaceId) -> Partition {
        self.log.partition_of(Topic::Deliveries, id.as_str())
    }
}

/// The appointment that a record is about, if it is about one to be delivered.
fn routed(record: &Record) -> Option<Arc<Appointment>> {
    match record.decode::<AppointmentRecord>() {
        Ok(AppointmentRecord::Routed(appointment)) => Some(appointment),
        Ok(_) => None,
        Err(error) => {
            metrics::counter!(UNREADABLE_RECORDS, "topic" => Topic::Appointments.name()).increment(1);
            tracing::error!(%error, offset = record.address.offset.0, "an appointment was set aside");
            None
        }
    }
}
