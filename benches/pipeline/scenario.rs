//! What is run, in which order, and what it is compared with.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::disk;
use crate::load::Pace;
use crate::measure::{Load, Measured, PATIENCE};
use crate::process::MemoryWatch;
use crate::report::{Figures, Report, Verdict};
use crate::sink::{SLOW_PATH, Sink, UNSURE_PATH};
use crate::subject::{Client, Leadway, Minimal, Storage};
use crate::track::Track;
use crate::{Log, Plan, Scenario};

/// Seconds of each phase that is compared with another one of leadway: long enough that one stall of the disk is not its p99.
const PHASE: u32 = 60;
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
        let ours = self.ours(&load, true).await?;
        let after = self.null(&load).await?;
        let null = mean(before.per_second, after.per_second);
        let null_cpu = mean(before.cpu_per_10000, after.cpu_per_10000);
        let behind = ours.tables_behind_ms.unwrap_or(0.0);
        self.judge(Verdict::at_least("delivered leads/s, of null's", ours.per_second / null, 0.6));
        self.judge(Verdict::at_most("CPU per delivered lead, of null's", ours.cpu_per_10000 / null_cpu, 2.0));
        self.judge(Verdict::at_most("tables behind the last delivery, ms", behind, 1_000.0));
        self.add([before, ours, after])
    }

    async fn accepted(&mut self) -> anyhow::Result<()> {
        let load = Load { awaited: |_| false, ..self.load("accepted", 300_000, Pace::Closed) };
        let before = self.bare(&load).await?;
        let ours = self.ours(&load, false).await?;
        let after = self.bare(&load).await?;
        let ratio = ours.per_second / mean(before.per_second, after.per_second);
        self.judge(Verdict::at_least("accepted leads/s with delivery held, of the bare server's", ratio, 0.5));
        self.add([before, ours, after])
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
            let folder = match &self.plan.data {
                Some(data) => tempfile::tempdir_in(data)?,
                None => tempfile::tempdir()?,
            };
            let commits = move || disk::commits(folder.path(), rate * 10, rate);
            let latency = tokio::task::spawn_blocking(commits).await??;
            let (subject, per_second) = ("the disk alone, one commit".to_owned(), f64::from(rate));
            self.add([Figures { scenario: "latency", subject, per_second, latency, ..Figures::default() }])?;
        }
        self.add([before, ours, after])
    }

    async fn growth(&mut self) -> anyhow::Result<()> {
        let rate = self.rate(1_000);
        let probe = self.load("growth", rate * PHASE, Pace::Rate(rate));
        let probe = |subject: &str| Load { subject: subject.into(), leads: rate * PHASE, ..probe.clone() };
        let fill = Load { subject: "filling".into(), ..self.load("growth", 10_000_000, Pace::Closed) };
        let leadway = self.leadway(&[self.solar_client(true)]).await?;
        let before = self.once_quiet(&leadway, &probe("nothing stored")).await?;
        let filling = self.on(&leadway, &fill).await?;
        leadway.settle().await?;
        disk::quiet().await?;
        let full = self.on(&leadway, &probe("full")).await?;
        let storage = leadway.stop()?;
        let again = Leadway::start(self.binary, self.plan.nodes, storage, &[self.solar_client(true)]).await?;
        let anonymous = filling.peak_anonymous_mb.max(full.peak_anonymous_mb);
        let ready = again.ready_after().as_secs_f64();
        if let Some(folder) = again.storage().folder() {
            self.report.note_folder(folder, u64::from(fill.leads));
        }
        let (_kept, fresh) = self.fresh(again, &[self.solar_client(true)]).await?;
        let after = self.once_quiet(&fresh, &probe("nothing stored")).await?;
        let cpu = full.cpu_per_10000 / mean(before.cpu_per_10000, after.cpu_per_10000);
        let p99 = full.latency.p99_ms / mean(before.latency.p99_ms, after.latency.p99_ms);
        self.judge(Verdict::at_most("growth: CPU per lead, full of empty", cpu, 1.15));
        self.judge(Verdict::at_most("growth: p99, full of empty", p99, 1.15));
        self.judge(Verdict::at_most("growth: anonymous MB", anonymous as f64, 500.0));
        self.judge(Verdict::at_most("growth: seconds until a full node is ready", ready, 3.0));
        self.add([before, filling, full, after])
    }

    async fn slow_client(&mut self) -> anyhow::Result<()> {
        let rate = self.rate(1_000);
        let mut p99 = Vec::new();
        for (path, subject) in [("/fast", "all fast"), (SLOW_PATH, "one slow"), ("/fast", "all fast")] {
            // What the slow client has not taken when the load ends stays.
            let load = Load {
                subject: subject.into(),
                product: one_in_five,
                awaited: |number| !is_other(number),
                ..self.load("slow client", rate * PHASE, Pace::Rate(rate))
            };
            let leadway = self.leadway(&[self.other_client(path, None), self.solar_client(true)]).await?;
            let figures = self.once_quiet(&leadway, &load).await?;
            p99.push(figures.latency.p99_ms);
            self.add([figures])?;
        }
        if let [before, slow, after] = p99[..] {
            let ratio = slow / mean(before, after);
            self.judge(Verdict::at_most("the others' p99 beside a slow client, of without", ratio, 1.1));
        }
        Ok(())
    }

    async fn client_down(&mut self) -> anyhow::Result<()> {
        let rate = self.rate(500);
        let others = self.load("client down", rate * PHASE, Pace::Rate(rate));
        let others = |subject: &str| Load { subject: subject.into(), leads: rate * PHASE, ..others.clone() };
        let fill = Load {
            subject: "filling".into(),
            product: |_| "Roofing",
            awaited: |_| false,
            ..self.load("client down", 1_000_000, Pace::Closed)
        };
        let clients = || [self.other_client(UNSURE_PATH, Some(RATE_LIMIT)), self.solar_client(true)];
        let leadway = self.leadway(&clients()).await?;
        let memory = MemoryWatch::start(leadway.pids());
        let alone = self.once_quiet(&leadway, &others("others, none waiting")).await?;

        self.sink.set_down(true);
        let backlog = Arc::new(Track::new(fill.leads, fill.awaited));
        self.sink.follow_unsure(backlog.clone());
        let filled = Measured::from(&leadway).run(&fill, &backlog).await?;
        leadway.settle().await?;
        disk::quiet().await?;
        let beside = self.on(&leadway, &others("others, beside the waiting")).await?;

        // The client is back: its circuit is probed within a minute, then it gets what its limit allows.
        self.sink.set_down(false);
        let while_draining = others("others, while it drains");
        let (drained, draining) = tokio::join!(drain(&backlog), self.on(&leadway, &while_draining));
        let (drained, draining) = (drained? / f64::from(RATE_LIMIT), draining?);
        let anonymous = (memory.peak().anonymous >> 20) as f64;
        let (_kept, fresh) = self.fresh(leadway, &clients()).await?;
        let again = self.once_quiet(&fresh, &others("others, none waiting")).await?;
        let beside_it = beside.latency.p99_ms.max(draining.latency.p99_ms);
        let noticed = beside_it / mean(alone.latency.p99_ms, again.latency.p99_ms);
        self.judge(Verdict::at_most("client down: anonymous MB", anonymous, 600.0));
        self.judge(Verdict::at_least("client back: drains, of its rate limit", drained, 0.9));
        self.judge(Verdict::at_most("client back: drains, of its rate limit", drained, 1.02));
        self.judge(Verdict::at_most("client down: the others' p99, of without", noticed, 1.1));
        self.add([alone, filled, beside, draining, again])
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

    /// Stops leadway and starts another with nothing stored: meanwhile the machine may have become faster or slower. First comes
    /// what must stay until that one has stopped.
    async fn fresh(&self, full: Leadway, clients: &[Client<'_>]) -> anyhow::Result<(Option<Storage>, Leadway)> {
        let (kept, storage) = full.stop()?.another(self.plan).await?;
        Ok((kept, Leadway::start(self.binary, self.plan.nodes, storage, clients).await?))
    }

    async fn null(&self, load: &Load) -> anyhow::Result<Figures> {
        let null = Minimal::pipeline(&format!("{}/null", self.sink.url))?;
        self.on(&null, &Load { subject: "null".into(), ..load.clone() }).await
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

    /// Warms up, waits until the disk is quiet and runs the load.
    async fn once_quiet(&self, leadway: &Leadway, load: &Load) -> anyhow::Result<Figures> {
        self.warm_up(leadway, load).await?;
        disk::quiet().await?;
        self.on(leadway, load).await
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

/// Deliveries a second to the client that is back: from a moment after the first, until all have come or a minute is over.
async fn drain(track: &Track) -> anyhow::Result<f64> {
    let started = Instant::now();
    while track.count_delivered() < u64::from(RATE_LIMIT) {
        ensure!(started.elapsed() < PATIENCE * 3, "nothing is delivered to the client that is back");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (before, from) = (track.count_delivered(), Instant::now());
    while track.count_delivered() < u64::from(track.leads()) && from.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok((track.count_delivered() - before) as f64 / from.elapsed().as_secs_f64())
}
