//! What is run, in which order, and what it is compared with.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tempfile::TempDir;

use crate::disk;
use crate::load::Pace;
use crate::measure::{Load, Measured, PATIENCE};
use crate::process::MemoryWatch;
use crate::report::{self, Figures, Report, Verdict};
use crate::sink::{SLOW_PATH, Sink, UNSURE_PATH};
use crate::subject::{Client, Leadway, Minimal, Storage};
use crate::track::Track;
use crate::{Log, Plan, Scenario};

/// Seconds of a round of one node that is compared with another node.
const ROUND: u32 = 30;
/// Rounds of each: in turns, as the machine becomes faster and slower. A disk that stands still for over a second in one of them is
/// their p99 all the same: the JSON tells each round's.
const ROUNDS: usize = 4;
/// Deliveries a second that the client takes that was down.
const RATE_LIMIT: u32 = 2_000;

pub(crate) async fn run(plan: &Plan, binary: &Path) -> anyhow::Result<()> {
    let mut bench = Bench { plan, binary, sink: Sink::start().await?, report: Report::default() };
    for scenario in &plan.scenarios {
        match scenario {
            Scenario::Throughput => bench.throughput().await?,
            Scenario::Accepted => bench.accepted().await?,
            Scenario::Latency => bench.latency().await?,
            Scenario::Growth => bench.growth().await?,
            Scenario::SlowClient => bench.slow_client().await?,
            Scenario::ClientDown => bench.client_down().await?,
        }
    }
    bench.report.finish(&plan.json)
}

struct Bench<'a> {
    plan: &'a Plan,
    binary: &'a Path,
    sink: Sink,
    report: Report,
}

fn solar(_: u32) -> &'static str {
    "Solar"
}

/// Every fifth lead is the other client's.
fn one_in_five(number: u32) -> &'static str {
    if is_other(number) { "Roofing" } else { "Solar" }
}

fn is_other(number: u32) -> bool {
    number.is_multiple_of(5)
}

impl Bench<'_> {
    async fn throughput(&mut self) -> anyhow::Result<()> {
        let load = self.load("throughput", 300_000, Pace::Closed);
        let before = self.null(&load).await?;
        let least = self.least(&load, true).await?;
        let ours = self.ours(&load, true).await?;
        let after = self.null(&load).await?;
        let null = mean(before.per_second, after.per_second);
        let null_cpu = mean(before.cpu_per_10000, after.cpu_per_10000);
        let behind = ours.tables_behind_ms.unwrap_or(0.0);
        self.judge(Verdict::at_least("delivered leads/s, of null's", ours.per_second / null, 0.6));
        self.judge(Verdict::at_most("CPU per delivered lead, of null's", ours.cpu_per_10000 / null_cpu, 2.0));
        self.judge(Verdict::at_most("tables behind the last delivery, ms", behind, 1_000.0));
        self.add([before, least, ours, after])
    }

    async fn accepted(&mut self) -> anyhow::Result<()> {
        let load = Load { awaited: |_| false, ..self.load("accepted", 300_000, Pace::Closed) };
        let before = self.bare(&load).await?;
        let least = self.least(&load, false).await?;
        let ours = self.ours(&load, false).await?;
        let after = self.bare(&load).await?;
        let ratio = ours.per_second / mean(before.per_second, after.per_second);
        self.judge(Verdict::at_least("accepted leads/s with delivery held, of the bare server's", ratio, 0.5));
        self.add([before, least, ours, after])
    }

    async fn latency(&mut self) -> anyhow::Result<()> {
        let rate = self.rate(if self.plan.log == Log::Kafka { 500 } else { 1_000 });
        let load = self.load("latency", rate * 20, Pace::Rate(rate));
        let before = self.null(&load).await?;
        let ours = self.ours(&load, true).await?;
        let after = self.null(&load).await?;
        if self.plan.log == Log::Kafka {
            self.judge(Verdict::at_most(format!("p99 at {rate} leads/s, ms"), ours.latency.p99_ms, 100.0));
        } else {
            let ratio = ours.latency.p99_ms / mean(before.latency.p99_ms, after.latency.p99_ms);
            self.judge(Verdict::at_most(format!("p50 at {rate} leads/s, ms"), ours.latency.p50_ms, 3.0));
            self.judge(Verdict::at_most(format!("p99 at {rate} leads/s, of null's"), ratio, 3.0));
            let folder = self.folder()?;
            let commits = move || disk::commits(folder.path(), rate * 10, rate);
            let latency = tokio::task::spawn_blocking(commits).await??;
            let (subject, per_second) = ("the disk alone, one commit".to_owned(), f64::from(rate));
            self.add([Figures { scenario: "latency", subject, per_second, latency, ..Figures::default() }])?;
        }
        self.add([before, ours, after])
    }

    async fn growth(&mut self) -> anyhow::Result<()> {
        let rate = self.rate(1_000);
        let fill = Load { subject: "filling".into(), ..self.load("growth", 10_000_000, Pace::Closed) };
        let clients = [self.solar_client(true)];
        let leadway = self.leadway(&clients).await?;
        self.warm_up(&leadway, &self.round("growth", "full", rate)).await?;
        let filling = self.on(&leadway, &fill).await?;
        leadway.settle().await?;
        let empty = self.another(&leadway, &clients).await?;
        let rounds =
            [(&leadway, self.round("growth", "full", rate)), (&empty, self.round("growth", "nothing stored", rate))];
        let [full, none] = self.in_turns(rounds).await?;
        let (storage, emptied) = (leadway.stop()?, empty.stop()?);
        let again = Leadway::start(self.binary, self.plan.nodes, storage, &clients).await?;
        // Removing what the other one stored would have slowed down the start.
        drop(emptied);
        if let Some(folder) = again.storage().folder() {
            self.report.note_folder(folder, u64::from(fill.leads));
        }
        let anonymous = filling.peak_anonymous_mb.max(full.peak_anonymous_mb) as f64;
        let ready = again.ready_after().as_secs_f64();
        self.judge(Verdict::at_most(
            "growth: CPU per lead, full of empty",
            full.cpu_per_10000 / none.cpu_per_10000,
            1.15,
        ));
        self.judge(Verdict::at_most("growth: p99, full of empty", full.latency.p99_ms / none.latency.p99_ms, 1.15));
        self.judge(Verdict::at_most("growth: anonymous MB", anonymous, 500.0));
        self.judge(Verdict::at_most("growth: seconds until a full node is ready", ready, 3.0));
        self.add([filling, full, none])
    }

    async fn slow_client(&mut self) -> anyhow::Result<()> {
        let rate = self.rate(1_000);
        // What the slow client has not taken when a round ends stays.
        let others = |subject: &str| Load {
            leads: self.plan.leads.unwrap_or(rate * ROUND),
            product: one_in_five,
            awaited: |number| !is_other(number),
            ..self.round("slow client", subject, rate)
        };
        let slow = self.leadway(&[self.other_client(SLOW_PATH, None), self.solar_client(true)]).await?;
        let fast = self.another(&slow, &[self.other_client("/fast", None), self.solar_client(true)]).await?;
        let [slow, fast] = self.in_turns([(&slow, others("one slow")), (&fast, others("all fast"))]).await?;
        let ratio = slow.latency.p99_ms / fast.latency.p99_ms;
        self.judge(Verdict::at_most("the others' p99 beside a slow client, of without", ratio, 1.1));
        self.add([slow, fast])
    }

    async fn client_down(&mut self) -> anyhow::Result<()> {
        let rate = self.rate(500);
        let others = |subject: &str| self.round("client down", subject, rate);
        let fill = Load {
            subject: "filling".into(),
            product: |_| "Roofing",
            awaited: |_| false,
            ..self.load("client down", 1_000_000, Pace::Closed)
        };
        let clients = [self.other_client(UNSURE_PATH, Some(RATE_LIMIT)), self.solar_client(true)];
        let leadway = self.leadway(&clients).await?;
        let memory = MemoryWatch::start(leadway.pids());
        self.sink.set_down(true);
        let backlog = Arc::new(Track::new(fill.leads, fill.awaited));
        self.sink.follow_unsure(backlog.clone());
        let filled = Measured::from(&leadway).run(&fill, &backlog).await?;
        leadway.settle().await?;
        let empty = self.another(&leadway, &clients).await?;
        let rounds = [(&leadway, others("others, beside the waiting")), (&empty, others("others, none waiting"))];
        let [beside, alone] = self.in_turns(rounds).await?;

        // The client is back: its circuit is probed within a minute, then it gets what its limit allows. This node alone is
        // measured now, as its work would slow down the other one; that one comes when it is done.
        self.sink.set_down(false);
        back(&backlog).await?;
        let while_draining = Load { leads: rate * ROUND * 2, ..others("others, while it drains") };
        let (drained, draining) = tokio::join!(drain(&backlog), self.on(&leadway, &while_draining));
        let (drained, draining) = (drained / f64::from(RATE_LIMIT), draining?);
        let anonymous = (memory.peak().anonymous >> 20) as f64;
        let (_outer, empty) = (leadway.stop()?, empty);
        disk::quiet().await?;
        let afterwards = Load { subject: "others, none waiting, afterwards".into(), ..while_draining };
        let afterwards = self.on(&empty, &afterwards).await?;
        let noticed = beside.latency.p99_ms / alone.latency.p99_ms;
        let draining_noticed = draining.latency.p99_ms / alone.latency.p99_ms.min(afterwards.latency.p99_ms);
        self.judge(Verdict::at_most("client down: anonymous MB", anonymous, 600.0));
        self.judge(Verdict::at_least("client back: drains, of its rate limit", drained, 0.9));
        self.judge(Verdict::at_most("client back: drains, of its rate limit", drained, 1.02));
        self.judge(Verdict::at_most("client down: the others' p99, of without", noticed, 1.1));
        self.judge(Verdict::at_most("client back: the others' p99 while it drains, of without", draining_noticed, 1.1));
        self.add([filled, beside, alone, draining, afterwards])
    }

    fn load(&self, scenario: &'static str, leads: u32, pace: Pace) -> Load {
        Load {
            scenario,
            subject: String::new(),
            leads: self.plan.leads.unwrap_or(leads),
            pace,
            connections: self.plan.connections,
            product: solar,
            awaited: |_| true,
        }
    }

    /// One round at this rate.
    fn round(&self, scenario: &'static str, subject: &str, rate: u32) -> Load {
        let load = self.load(scenario, 0, Pace::Rate(rate));
        Load { subject: subject.into(), leads: rate * ROUND, ..load }
    }

    /// A folder on the disk that is measured.
    fn folder(&self) -> std::io::Result<TempDir> {
        self.plan.data.as_ref().map_or_else(tempfile::tempdir, tempfile::tempdir_in)
    }

    fn rate(&self, default: u32) -> u32 {
        self.plan.rate.unwrap_or(default)
    }

    fn solar_client(&self, active: bool) -> Client<'static> {
        Client { id: "solar", product: "Solar", url: format!("{}/solar", self.sink.url), active, rate_limit: None }
    }

    fn other_client(&self, path: &str, rate_limit: Option<u32>) -> Client<'static> {
        Client { id: "roofing", product: "Roofing", url: format!("{}{path}", self.sink.url), active: true, rate_limit }
    }

    async fn leadway(&self, clients: &[Client<'_>]) -> anyhow::Result<Leadway> {
        Leadway::start(self.binary, self.plan.nodes, Storage::start(self.plan).await?, clients).await
    }

    /// One more, with nothing stored, beside another, which must stay as long: its folder lies in the other's.
    async fn another(&self, beside: &Leadway, clients: &[Client<'_>]) -> anyhow::Result<Leadway> {
        let storage = beside.storage().another(self.plan).await?;
        Leadway::start(self.binary, self.plan.nodes, storage, clients).await
    }

    async fn null(&self, load: &Load) -> anyhow::Result<Figures> {
        let null = Minimal::pipeline(&format!("{}/null", self.sink.url))?;
        self.on(&null, &Load { subject: "null".into(), ..load.clone() }).await
    }

    async fn least(&self, load: &Load, onward: bool) -> anyhow::Result<Figures> {
        let (folder, target) = (self.folder()?, format!("{}/null", self.sink.url));
        let least = Minimal::durable(&folder.path().to_string_lossy(), onward.then_some(&*target))?;
        self.on(&least, &Load { subject: "the least durable".into(), ..load.clone() }).await
    }

    async fn bare(&self, load: &Load) -> anyhow::Result<Figures> {
        self.on(&Minimal::bare()?, &Load { subject: "bare".into(), ..load.clone() }).await
    }

    /// leadway with one client, whose deliveries are held unless it is active.
    async fn ours(&self, load: &Load, active: bool) -> anyhow::Result<Figures> {
        let subject = match (self.plan.log, self.plan.nodes) {
            (Log::Embedded, _) => "leadway".into(),
            (Log::Kafka, 1) => "leadway, Kafka + Cassandra".into(),
            (Log::Kafka, nodes) => format!("leadway, {nodes} nodes, Kafka + Cassandra"),
        };
        let leadway = self.leadway(&[self.solar_client(active)]).await?;
        self.warm_up(&leadway, load).await?;
        self.on(&leadway, &Load { subject, ..load.clone() }).await
    }

    /// Lets every connection, cache and just-in-time compiler do what it does once.
    async fn warm_up(&self, leadway: &Leadway, load: &Load) -> anyhow::Result<()> {
        let leads = self.plan.warm_up.unwrap_or(if self.plan.log == Log::Kafka { 60_000 } else { 5_000 });
        self.on(leadway, &Load { leads, ..load.clone() }).await.map(drop)
    }

    /// Runs the rounds of two nodes in turns; what all rounds of each showed. A round begins once the disk is quiet, and half as many
    /// leads come before those that are measured: pages are on their way to the disk then, as they always are.
    async fn in_turns(&self, nodes: [(&Leadway, Load); 2]) -> anyhow::Result<[Figures; 2]> {
        for (leadway, load) in &nodes {
            self.warm_up(leadway, load).await?;
        }
        let mut rounds = [const { Vec::new() }; 2];
        for round in 0..ROUNDS {
            // Whoever comes first is second in the next round.
            let mut order: Vec<_> = nodes.iter().zip(&mut rounds).collect();
            if !round.is_multiple_of(2) {
                order.reverse();
            }
            for ((leadway, load), rounds) in order {
                disk::quiet().await?;
                self.on(*leadway, &Load { leads: load.leads / 2, ..load.clone() }).await?;
                let figures = self.on(*leadway, load).await?;
                report::line(&figures);
                rounds.push(figures);
            }
        }
        Ok(rounds.map(Figures::pooled))
    }

    /// Runs the load and follows its leads.
    async fn on<'s>(&self, subject: impl Into<Measured<'s>>, load: &Load) -> anyhow::Result<Figures> {
        let track = Arc::new(Track::new(load.leads, load.awaited));
        self.sink.follow(track.clone());
        subject.into().run(load, &track).await
    }

    fn judge(&mut self, verdict: Verdict) {
        self.report.judge(verdict);
    }

    fn add(&mut self, figures: impl IntoIterator<Item = Figures>) -> anyhow::Result<()> {
        figures.into_iter().for_each(|figures| self.report.add(figures));
        Ok(())
    }
}

fn mean(a: f64, b: f64) -> f64 {
    (a + b) / 2.0
}

/// Waits until the client that is back gets deliveries.
async fn back(track: &Track) -> anyhow::Result<()> {
    let started = Instant::now();
    while track.count_delivered() < u64::from(RATE_LIMIT) {
        ensure!(started.elapsed() < PATIENCE * 3, "nothing is delivered to the client that is back");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Deliveries a second to the client that is back, until all have come or a minute is over.
async fn drain(track: &Track) -> f64 {
    let (before, from) = (track.count_delivered(), Instant::now());
    while track.count_delivered() < u64::from(track.leads()) && from.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (track.count_delivered() - before) as f64 / from.elapsed().as_secs_f64()
}
