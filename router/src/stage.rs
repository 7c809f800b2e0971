//! The stage `router`: reads `leads`, decides, writes `appointments`.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use leadway_domain::record::{AppointmentRecord, Topic};
use leadway_domain::{Addressing, Clock, LeadId, Offset, Partition, WorkspaceId, ZipDirectory, telemetry};
use leadway_eventlog::{Assignment, EventLog, LogError, Position, ReadLimit, Record, Stage, StageEvent};
use leadway_tables::Tables;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoff, patiently};
use crate::batch::{Batch, Item, commanded, read_items};
use crate::decide::{NeedsSlots, Scene};
use crate::earlier::{self, Earlier};
use crate::error::Error;
use crate::matcher::{Matcher, Routing};
use crate::refill::Source;
use crate::slots::{Occupancy, read_taken};
use crate::standing::{Sources, Subjects};
use crate::submissions::Submissions;

/// How the router works.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Leads decided and committed together, at most.
    pub batch_records: usize,
    /// Bytes of leads decided and committed together, at most.
    pub batch_bytes: usize,
    /// How many seconds apart two leads with the same submission key are still one submission. It settles the race
    /// between ingest nodes that do not know of each other's lead yet, and catches a lead that was posted again because
    /// the log took long to answer, so it should be longer than the log may ever take. It must not be longer than the ingest's own
    /// window: a lead that ingest took for a new one on purpose would be dropped as a duplicate. 0 turns it off.
    pub dedupe_window_seconds: u64,
    /// Submissions remembered per partition of the log, at most. One takes about 50 bytes.
    pub dedupe_entries: usize,
    /// Workspaces whose booked slots are kept in memory, at most.
    pub slot_workspaces: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            batch_records: 1_000,
            batch_bytes: 1 << 20,
            dedupe_window_seconds: 600,
            // Just below where its table doubles.
            dedupe_entries: 57_000,
            slot_workspaces: 10_000,
        }
    }
}

/// What the router works with.
#[derive(Clone)]
pub struct Deps {
    /// Where leads come from and decisions go.
    pub log: Arc<dyn EventLog>,
    /// Where earlier decisions and booked slots are read.
    pub tables: Arc<dyn Tables>,
    /// The rules in force.
    pub matcher: Matcher,
    /// The list of ZIPs.
    pub zips: Arc<ZipDirectory>,
    /// Tells the time.
    pub clock: Clock,
    /// Makes lead ids.
    pub addressing: Addressing,
}

/// The stage. It owns everything it remembers: after an error a new one starts from the log.
pub struct Router {
    deps: Deps,
    options: Options,
    /// The submissions remembered of each partition that is this router's.
    partitions: FxHashMap<Partition, Submissions>,
    earlier: Earlier,
    slots: Occupancy,
}

/// The stage's name in the log and in metrics.
const STAGE: &str = "router";
/// How often the lag is measured while there is nothing to decide.
const TICK: Duration = Duration::from_secs(1);

/// Whether the stage goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continue,
    /// It was told to stop; what it had not committed is decided again by the next one.
    Stop,
}

impl Router {
    /// A router that has not started.
    pub fn new(deps: Deps, options: Options) -> Self {
        let slots = Occupancy::new(options.slot_workspaces);
        Self { deps, options, partitions: FxHashMap::default(), earlier: Earlier::default(), slots }
    }

    /// Decides leads until it is told to stop. Every decision lands together with the progress past its lead, or not
    /// at all. Fails when the log closes, another member takes over or the tables cannot be read; then a new router
    /// goes on where the last commit ended.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let mut stage = self.deps.log.stage(STAGE, Topic::Leads, &[]).await?;
        metrics::counter!(telemetry::ROUTER_ALREADY_DECIDED).increment(0);
        // A decision has no effect before it is committed.
        stage.read_ahead();
        let limit = self.limit();
        loop {
            let lag = stage.lag();
            metrics::gauge!(telemetry::STAGE_LAG, "stage" => STAGE, "topic" => Topic::Leads.name()).set(lag as f64);
            let event = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                event = stage.next(limit) => event,
                // Only for the lag's sake.
                () = tokio::time::sleep(TICK) => continue,
            };
            let flow = match event? {
                StageEvent::Assigned(assignments) => self.assigned(assignments, &stop).await?,
                StageEvent::Revoked(partitions) => self.revoked(&partitions),
                StageEvent::Records(records) => self.decide(&mut *stage, records, &stop).await?,
            };
            if flow == Flow::Stop {
                return Ok(());
            }
        }
    }

    async fn assigned(&mut self, assignments: Vec<Assignment>, stop: &CancellationToken) -> Result<Flow, Error> {
        // Others may have booked slots meanwhile.
        self.slots.clear();
        let position =
            |a: &Assignment| a.progress.iter().find(|p| p.topic == Topic::Leads).map_or(Offset(0), |p| p.next);
        let assigned: Vec<_> = assignments.iter().map(|a| (a.partition, position(a))).collect();
        let look = || Earlier::assigned(self.sources(), &assigned);
        let Some(earlier) = patiently(stop, "looking for earlier decisions", look).await? else {
            return Ok(Flow::Stop);
        };
        assigned.iter().for_each(|(partition, _)| self.earlier.forget(*partition));
        self.earlier.add(earlier);
        let (window, entries) = (self.options.dedupe_window_seconds, self.options.dedupe_entries);
        // Side by side: while it reads, nobody decides the leads of these partitions.
        let refill = || {
            try_join_all(assigned.iter().map(|&(partition, position)| {
                let source = Source { log: &*self.deps.log, addressing: self.deps.addressing, partition };
                async move { Ok((partition, source.refill(position, window, entries).await?)) }
            }))
        };
        let Some(refilled) = patiently(stop, "reading the last leads", refill).await? else {
            return Ok(Flow::Stop);
        };
        self.partitions.extend(refilled);
        Ok(Flow::Continue)
    }

    fn revoked(&mut self, partitions: &[Partition]) -> Flow {
        self.slots.clear();
        for partition in partitions {
            self.partitions.remove(partition);
            self.earlier.forget(*partition);
        }
        Flow::Continue
    }

    /// Decides a batch and commits the decisions with the progress past it. When a partition was lost meanwhile nothing has
    /// landed, and the records of the others are decided again.
    async fn decide(
        &mut self,
        stage: &mut dyn Stage,
        mut records: Vec<Record>,
        stop: &CancellationToken,
    ) -> Result<Flow, Error> {
        while !records.is_empty() {
            match self.decide_once(stage, &records, stop).await {
                Err(Error::Log(LogError::Revoked { .. })) => {}
                decided => return decided,
            }
            let Some(event) = stop.run_until_cancelled(stage.next(self.limit())).await else { return Ok(Flow::Stop) };
            match event? {
                StageEvent::Revoked(lost) => {
                    self.revoked(&lost);
                    records.retain(|record| !lost.contains(&record.address.partition));
                }
                StageEvent::Assigned(assignments) => {
                    if self.assigned(assignments, stop).await? == Flow::Stop {
                        return Ok(Flow::Stop);
                    }
                }
                StageEvent::Records(_) => {
                    let told = "a stage that lost partitions went on without telling which";
                    return Err(LogError::Unusable(told.to_owned()).into());
                }
            }
        }
        Ok(Flow::Continue)
    }

    async fn decide_once(
        &mut self,
        stage: &mut dyn Stage,
        records: &[Record],
        stop: &CancellationToken,
    ) -> Result<Flow, Error> {
        let mut items = read_items(records, self.deps.addressing);
        let Some(decided) = self.decided_before(&items, stop).await? else { return Ok(Flow::Stop) };
        let repeated = || self.sources().repeated(&items);
        let Some(repeated) = patiently(stop, "looking for commands asked before", repeated).await? else {
            return Ok(Flow::Stop);
        };
        items.retain(|item| !matches!(item, Item::Command(id, _) if repeated.contains(id)));
        let Some(routing) = stop.run_until_cancelled(self.deps.matcher.latest()).await else { return Ok(Flow::Stop) };
        let Some(subjects) = self.subjects(&items, &decided, stop).await? else { return Ok(Flow::Stop) };
        if self.partitions.len() < self.deps.log.partitions(Topic::Leads) as usize {
            // Other routers book slots too: what was loaded for an earlier batch may be full by now.
            self.slots.clear();
        }
        self.slots.forget_before(self.deps.clock.now());
        let mut batch = Batch::new(subjects);
        for item in &items {
            if decided.contains(&item.id()) {
                // Later leads of the same submission are still duplicates of it.
                self.first_of(item);
                continue;
            }
            if self.decide_one(&mut batch, &routing, item, stop).await? == Flow::Stop {
                return Ok(Flow::Stop);
            }
        }
        if self.commit(stage, &batch, &past(records), stop).await? == Flow::Stop {
            return Ok(Flow::Stop);
        }
        batch.measure(self.deps.clock.now());
        Ok(Flow::Continue)
    }

    fn limit(&self) -> ReadLimit {
        ReadLimit { records: self.options.batch_records, bytes: self.options.batch_bytes }
    }

    /// What the batch's open commands are about; empty without such. Everything decided before this batch is
    /// committed, so the wait for the tables ends.
    async fn subjects(
        &self,
        items: &[Item],
        decided: &FxHashSet<LeadId>,
        stop: &CancellationToken,
    ) -> Result<Option<Subjects>, Error> {
        let open = items.iter().filter(|item| !decided.contains(&item.id()));
        let ids = commanded(open, self.deps.addressing);
        if ids.is_empty() {
            return Ok(Some(Subjects::default()));
        }
        patiently(stop, "reading the leads of commands", || self.sources().read(&ids)).await
    }

    /// Those of the batch that an earlier router decided, though the log gave them to this one.
    async fn decided_before(
        &mut self,
        items: &[Item],
        stop: &CancellationToken,
    ) -> Result<Option<FxHashSet<LeadId>>, Error> {
        let Deps { log, tables, addressing, .. } = &self.deps;
        let sources = Sources { log: &**log, tables: &**tables, addressing: *addressing };
        let earlier = &mut self.earlier;
        let open = earlier.open(*addressing, items);
        let look = || earlier.decided(sources, &open);
        let decided = patiently(stop, "looking for earlier decisions", look).await?;
        decided.iter().for_each(|decided| earlier::tell(decided, *addressing));
        Ok(decided)
    }

    fn sources(&self) -> Sources<'_> {
        Sources { log: &*self.deps.log, tables: &*self.deps.tables, addressing: self.deps.addressing }
    }

    async fn decide_one(
        &mut self,
        batch: &mut Batch,
        routing: &Routing,
        item: &Item,
        stop: &CancellationToken,
    ) -> Result<Flow, Error> {
        let first = self.first_of(item);
        loop {
            let scene = Scene {
                settings: &routing.settings,
                index: &routing.index,
                zips: &self.deps.zips,
                slots: &self.slots,
                now: self.deps.clock.now(),
            };
            match batch.decide(scene, item, first) {
                Ok(None) => {
                    batch.waiting += 1;
                    return Ok(Flow::Continue);
                }
                Ok(Some(decision)) => {
                    self.slots.note(&decision);
                    batch.note(item, decision);
                    return Ok(Flow::Continue);
                }
                Err(NeedsSlots(workspace)) => {
                    if self.load_slots(&workspace, batch, stop).await? == Flow::Stop {
                        return Ok(Flow::Stop);
                    }
                }
            }
        }
    }

    fn first_of(&mut self, item: &Item) -> Option<LeadId> {
        match item {
            Item::Lead(id, lead) if self.options.dedupe_window_seconds > 0 => {
                let (partition, _) = self.deps.addressing.address(*id)?;
                self.partitions.get_mut(&partition)?.first_of_lead(lead, *id)
            }
            _ => None,
        }
    }

    /// Loads a workspace's booked slots: those in the tables, and those of this batch, which are nowhere yet.
    async fn load_slots(
        &mut self,
        workspace: &WorkspaceId,
        batch: &Batch,
        stop: &CancellationToken,
    ) -> Result<Flow, Error> {
        let now = self.deps.clock.now();
        let read = || read_taken(&*self.deps.log, &*self.deps.tables, workspace, now);
        let Some(taken) = patiently(stop, "reading booked slots", read).await? else { return Ok(Flow::Stop) };
        self.slots.load(workspace.clone(), taken);
        let own = batch
            .decisions
            .iter()
            .filter(|d| matches!(d, AppointmentRecord::Routed(a) if a.workspace_id == *workspace));
        own.for_each(|d| self.slots.note(d));
        Ok(Flow::Continue)
    }

    /// Commits; while the log cannot take records, tries the very same again, so that nothing is decided twice.
    async fn commit(
        &self,
        stage: &mut dyn Stage,
        batch: &Batch,
        progress: &[Position],
        stop: &CancellationToken,
    ) -> Result<Flow, Error> {
        let outputs = batch.outputs(self.deps.clock.now());
        let mut backoff = Backoff::new();
        loop {
            match stage.commit(&outputs, progress).await {
                Ok(_) => return Ok(Flow::Continue),
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "decisions cannot be committed now; trying again");
                    if !backoff.pause(stop).await {
                        return Ok(Flow::Stop);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The progress past these records: by partition, behind the last one.
fn past(records: &[Record]) -> Vec<Position> {
    let mut progress: Vec<Position> = Vec::new();
    for record in records {
        let (partition, next) = (record.address.partition, record.next());
        match progress.iter_mut().find(|p| p.partition == partition) {
            Some(position) => position.next = next,
            None => progress.push(Position { topic: Topic::Leads, partition, next }),
        }
    }
    progress
}

#[cfg(test)]
mod tests;
