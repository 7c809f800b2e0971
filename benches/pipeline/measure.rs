//! One load on one subject: post, wait for the deliveries and for the tables, count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::load::{self, Door, Pace, Product};
use crate::process::{MemoryWatch, cpu_seconds};
use crate::report::Figures;
use crate::subject::{Leadway, Minimal, Recorded};
use crate::track::Track;

/// How long nothing may be delivered before a run is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What is posted, and what is waited for.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) scenario: &'static str,
    pub(crate) subject: String,
    pub(crate) leads: u32,
    pub(crate) pace: Pace,
    pub(crate) connections: usize,
    pub(crate) product: Product,
    /// The leads that come to the sink before the run ends.
    pub(crate) awaited: fn(u32) -> bool,
}

/// A subject, as far as measuring goes.
pub(crate) struct Measured<'a> {
    doors: Vec<Door>,
    pids: Vec<u32>,
    leadway: Option<&'a Leadway>,
}

impl<'a> From<&'a Leadway> for Measured<'a> {
    fn from(leadway: &'a Leadway) -> Self {
        Self { doors: leadway.doors().to_vec(), pids: leadway.pids(), leadway: Some(leadway) }
    }
}

impl From<&Minimal> for Measured<'_> {
    fn from(minimal: &Minimal) -> Self {
        Self { doors: minimal.doors(), pids: minimal.pids(), leadway: None }
    }
}

impl Measured<'_> {
    /// Runs the load whose leads are followed by `track`.
    pub(crate) async fn run(&self, load: &Load, track: &Arc<Track>) -> anyhow::Result<Figures> {
        let servers = self.leadway.map(|leadway| leadway.storage().pids()).unwrap_or_default();
        let before = self.recorded().await?;
        let (cpu_before, servers_before) = (cpu_seconds(&self.pids), cpu_seconds(&servers));
        let memory = MemoryWatch::start(self.pids.clone());
        let started = Instant::now();
        load::post(&self.doors, load.connections, load.pace, load.product, track).await?;
        let posting = started.elapsed();
        let awaited = track.count_awaited().saturating_sub(track.count_refused());
        all_delivered(track, awaited).await?;
        let last = Instant::now();
        let accepted = u64::from(load.leads) - track.count_refused();
        let leads = before.leads + accepted;
        let billed = before.billed + awaited;
        self.until_recorded(|recorded| recorded.leads >= leads && recorded.billed >= billed).await?;
        let tables_behind_ms = self.leadway.map(|_| last.elapsed().as_secs_f64() * 1_000.0);
        let per_lead = |seconds: f64| seconds / accepted.max(1) as f64 * 10_000.0;
        let (seconds, latency) = match awaited {
            0 => (posting, track.accept_latency()),
            _ => (track.time_to_last_delivery(), track.delivery_latency()),
        };
        Ok(Figures {
            scenario: load.scenario,
            subject: load.subject.clone(),
            leads: u64::from(load.leads),
            refused: track.count_refused(),
            delivered: track.count_delivered(),
            delivered_again: track.count_again(),
            per_second: accepted as f64 / seconds.as_secs_f64(),
            accepted: track.accept_latency(),
            latency,
            cpu_per_10000: per_lead(cpu_seconds(&self.pids) - cpu_before),
            servers_cpu_per_10000: (!servers.is_empty()).then(|| per_lead(cpu_seconds(&servers) - servers_before)),
            peak_resident_mb: memory.peak().resident >> 20,
            peak_anonymous_mb: memory.peak().anonymous >> 20,
            tables_behind_ms,
            rounds_p99_ms: Vec::new(),
        })
    }

    async fn recorded(&self) -> anyhow::Result<Recorded> {
        match self.leadway {
            Some(leadway) => leadway.recorded().await,
            None => Ok(Recorded::default()),
        }
    }

    async fn until_recorded(&self, is_there: impl Fn(Recorded) -> bool) -> anyhow::Result<()> {
        let Some(leadway) = self.leadway else { return Ok(()) };
        let started = Instant::now();
        while !is_there(leadway.recorded().await?) {
            ensure!(started.elapsed() < PATIENCE * 5, "the tables do not catch up");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

async fn all_delivered(track: &Track, awaited: u64) -> anyhow::Result<()> {
    let mut last = (Instant::now(), 0);
    while !track.is_complete(awaited) {
        let delivered = track.count_delivered();
        if delivered > last.1 {
            last = (Instant::now(), delivered);
        }
        ensure!(last.0.elapsed() < PATIENCE, "{delivered} of {awaited} leads were delivered, and no more for a minute");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
