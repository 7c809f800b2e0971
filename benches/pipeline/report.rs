//! The figures, as a table and as JSON.

use std::path::Path;

use serde::Serialize;

use crate::track::Percentiles;

/// What one run showed.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    pub(crate) scenario: &'static str,
    /// Who ran.
    pub(crate) subject: String,
    pub(crate) leads: u64,
    /// Posted but refused.
    pub(crate) refused: u64,
    /// Distinct leads delivered.
    pub(crate) delivered: u64,
    /// Deliveries of a lead that had been delivered.
    pub(crate) delivered_again: u64,
    /// Leads a second: delivered, or accepted where nothing is delivered.
    pub(crate) per_second: f64,
    /// From posting to the answer.
    pub(crate) accepted: Percentiles,
    /// From posting to delivery; from posting to the answer where nothing is delivered.
    pub(crate) latency: Percentiles,
    /// CPU seconds of the processes under test per 10,000 leads.
    pub(crate) cpu_per_10000: f64,
    /// The same of the brokers and the database.
    pub(crate) servers_cpu_per_10000: Option<f64>,
    pub(crate) peak_resident_mb: u64,
    pub(crate) peak_anonymous_mb: u64,
    /// From the last delivery until the tables had everything.
    pub(crate) tables_behind_ms: Option<f64>,
    /// The p99 of the latency in each round, where these are of several.
    pub(crate) rounds_p99_ms: Vec<f64>,
}

impl Figures {
    /// Of several rounds of the same.
    pub(crate) fn pooled(rounds: Vec<Self>) -> Self {
        let sum = |of: fn(&Self) -> u64| rounds.iter().map(of).sum();
        let most = |of: fn(&Self) -> u64| rounds.iter().map(of).max().unwrap_or_default();
        let mean = |of: fn(&Self) -> f64| rounds.iter().map(of).sum::<f64>() / rounds.len() as f64;
        let servers: Option<f64> = rounds.iter().map(|round| round.servers_cpu_per_10000).sum();
        let first = rounds.first().cloned().unwrap_or_default();
        Self {
            scenario: first.scenario,
            subject: first.subject,
            leads: sum(|round| round.leads),
            refused: sum(|round| round.refused),
            delivered: sum(|round| round.delivered),
            delivered_again: sum(|round| round.delivered_again),
            per_second: mean(|round| round.per_second),
            cpu_per_10000: mean(|round| round.cpu_per_10000),
            servers_cpu_per_10000: servers.map(|sum| sum / rounds.len() as f64),
            peak_resident_mb: most(|round| round.peak_resident_mb),
            peak_anonymous_mb: most(|round| round.peak_anonymous_mb),
            tables_behind_ms: rounds.iter().filter_map(|round| round.tables_behind_ms).max_by(f64::total_cmp),
            rounds_p99_ms: rounds.iter().map(|round| round.latency.p99_ms).collect(),
            accepted: Percentiles::pooled(rounds.iter().map(|round| round.accepted.clone())),
            latency: Percentiles::pooled(rounds.into_iter().map(|round| round.latency)),
        }
    }
}

/// A figure beside its goal.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) measured: f64,
    pub(crate) goal: String,
    pub(crate) met: bool,
}

impl Verdict {
    pub(crate) fn at_least(what: impl Into<String>, measured: f64, goal: f64) -> Self {
        Self { what: what.into(), measured, goal: format!("≥ {goal}"), met: measured >= goal }
    }

    pub(crate) fn at_most(what: impl Into<String>, measured: f64, goal: f64) -> Self {
        Self { what: what.into(), measured, goal: format!("≤ {goal}"), met: measured <= goal }
    }
}

/// Everything that was measured.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    runs: Vec<Figures>,
    verdicts: Vec<Verdict>,
}

impl Report {
    pub(crate) fn add(&mut self, figures: Figures) {
        line(&figures);
        let (accepted, latency) = (figures.accepted.without_samples(), figures.latency.without_samples());
        self.runs.push(Figures { accepted, latency, ..figures });
    }

    pub(crate) fn judge(&mut self, verdict: Verdict) {
        self.verdicts.push(verdict);
    }

    /// Says what is on disk.
    #[allow(clippy::print_stderr)]
    pub(crate) fn note_folder(&mut self, folder: &Path, leads: u64) {
        let bytes = size(folder);
        eprintln!("{} bytes in {}, {} per lead", bytes, folder.display(), bytes / leads.max(1));
    }

    /// Prints the table and writes the JSON.
    #[allow(clippy::print_stdout)]
    pub(crate) fn finish(&self, json: &Path) -> anyhow::Result<()> {
        println!(
            "\n| run | leads/s | p50 ms | p95 ms | p99 ms | 202 p99 ms | CPU s per 10,000 | its servers' | peak RSS MB | anonymous MB | tables behind ms |"
        );
        println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        self.runs.iter().for_each(row);
        self.runs.iter().filter(|run| !run.rounds_p99_ms.is_empty()).for_each(rounds);
        println!("\n| figure | measured | goal | |\n| --- | ---: | ---: | --- |");
        for verdict in &self.verdicts {
            let met = if verdict.met { "met" } else { "missed" };
            println!("| {} | {:.2} | {} | {met} |", verdict.what, verdict.measured, verdict.goal);
        }
        if let Some(folder) = json.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(json, serde_json::to_vec_pretty(self)?)?;
        println!("\nwritten to {}", json.display());
        Ok(())
    }
}

/// Tells of a run, or of a round; the table comes at the end.
#[allow(clippy::print_stderr)]
pub(crate) fn line(f: &Figures) {
    eprintln!(
        "{} {}: {} leads, {} refused, {} delivered ({} again), {:.0}/s, p50 {:.1} p99 {:.1} ms, CPU {:.2} s per 10,000",
        f.scenario,
        f.subject,
        f.leads,
        f.refused,
        f.delivered,
        f.delivered_again,
        f.per_second,
        f.latency.p50_ms,
        f.latency.p99_ms,
        f.cpu_per_10000
    );
}

#[allow(clippy::print_stdout)]
fn row(f: &Figures) {
    let or_dash = |value: Option<f64>, digits| value.map_or("–".to_owned(), |v| format!("{v:.digits$}"));
    println!(
        "| {}: {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {} | {} | {} | {} |",
        f.scenario,
        f.subject,
        f.per_second,
        f.latency.p50_ms,
        f.latency.p95_ms,
        f.latency.p99_ms,
        f.accepted.p99_ms,
        f.cpu_per_10000,
        or_dash(f.servers_cpu_per_10000, 2),
        f.peak_resident_mb,
        f.peak_anonymous_mb,
        or_dash(f.tables_behind_ms, 0)
    );
}

/// A round that met a standstill of the disk decides the percentile of all together: the median tells of the others.
#[allow(clippy::print_stdout)]
fn rounds(f: &Figures) {
    let each: Vec<String> = f.rounds_p99_ms.iter().map(|p99| format!("{p99:.2}")).collect();
    let median = median(&f.rounds_p99_ms);
    println!("\np99 ms of the rounds, {}: {}: {}; median {median:.2}", f.scenario, f.subject, each.join(", "));
}

/// The value in the middle; of an even number of values the mean of the two there.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let in_the_middle = 2 - sorted.len() % 2;
    sorted.iter().skip((sorted.len() - in_the_middle) / 2).take(in_the_middle).sum::<f64>() / in_the_middle as f64
}

/// Bytes of the files of a folder that are really on disk.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let kind = entry.metadata().ok()?;
        Some(if kind.is_dir() { size(&entry.path()) } else { std::os::unix::fs::MetadataExt::blocks(&kind) * 512 })
    });
    sizes.sum()
}
