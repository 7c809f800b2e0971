//! The process-wide metrics recorder.

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;

use leadway_config::{Config, StageName};
use leadway_domain::record::Topic;
use leadway_domain::settings::Settings;
use leadway_domain::telemetry::{
    BILLED_CENTS, BUILD_INFO, CIRCUIT_OPEN, DELIVERED_COST_CENTS, DELIVERY_OLDEST_SECONDS, DELIVERY_OUTCOMES,
    DELIVERY_WAITING, DISK_AVAILABLE_BYTES, DISK_SIZE_BYTES, INGEST_LEADS, INGEST_RESULTS, LEAD_COST_CENTS,
    LEAD_COST_RETURNED_CENTS, LOG_FAILURES, METRICS, MetricKind, QUARANTINE_LEADS, ROUTER_DECISIONS, SETTINGS_INFO,
    TABLES_FAILURES, UNREADABLE_RECORDS, UNROUTED_LEADS,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use xxhash_rust::xxh3::xxh3_64;

/// Upper bounds of latency buckets, in seconds.
const BUCKETS: [f64; 17] =
    [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Installs the recorder, once a process, and describes every metric of the specification.
pub fn install() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    let installed = HANDLE.get_or_init(|| install_once().map_err(|e| e.to_string()));
    installed.clone().map_err(|e| anyhow::anyhow!("metrics cannot be recorded: {e}"))
}

fn install_once() -> Result<PrometheusHandle, BuildError> {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)?;
    let handle = builder.install_recorder()?;
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
    metrics_process::Collector::default().describe();
    metrics::counter!(LOG_FAILURES).increment(0);
    for topic in Topic::ALL {
        metrics::counter!(UNREADABLE_RECORDS, "topic" => topic.name()).increment(0);
    }
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Tells the hash of the settings that all nodes of an installation should share.
pub fn tell_settings(config: &Config) -> anyhow::Result<()> {
    metrics::gauge!(SETTINGS_INFO, "hash" => shared_hash(config)?).set(1.0);
    Ok(())
}

fn shared_hash(config: &Config) -> anyhow::Result<String> {
    let mut shared = config.clone();
    let own = Config::default();
    // Where a node is, what it runs and what it writes about it are its own.
    (shared.listen, shared.data, shared.stages) = (own.listen, own.data, own.stages);
    (shared.drain_seconds, shared.logging) = (own.drain_seconds, own.logging);
    let http = &mut shared.http;
    (http.providers_listen, http.api_listen, http.ops_listen) = (None, None, None);
    Ok(format!("{:016x}", xxh3_64(toml::to_string(&shared)?.as_bytes())))
}

/// Measures what is only looked at now and then: the process, and the disk of its folder if it has one.
pub fn measure(folder: Option<&Path>) {
    metrics_process::Collector::default().collect();
    if let Some(Ok(space)) = folder.map(fs4::statvfs) {
        metrics::gauge!(DISK_AVAILABLE_BYTES).set(space.available_space() as f64);
        metrics::gauge!(DISK_SIZE_BYTES).set(space.total_space() as f64);
    }
}

/// What Prometheus is shown: everything but the series of workspaces and providers that are no more. The recorder keeps
/// each series until the node ends, and cannot be told otherwise.
pub fn without_deleted(exposition: &str, settings: &Settings) -> String {
    let exists = |line: &&str| {
        let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) else { return true };
        // Ids hold no quotes and no commas.
        let label = |name: &str| {
            let at =
                labels.starts_with(name).then_some(0).or_else(|| labels.find(&format!(",{name}")).map(|at| at + 1))?;
            labels.get(at + name.len()..)?.split_once('"').map(|(value, _)| value)
        };
        label("workspace=\"").is_none_or(|id| settings.workspaces.contains_key(id))
            && label("provider=\"").is_none_or(|id| settings.providers.contains_key(id))
    };
    let mut shown = String::with_capacity(exposition.len());
    for line in exposition.split_inclusive('\n').filter(exists) {
        shown.push_str(line);
    }
    shown
}

/// Series begin at zero, before anything happens: Prometheus does not see the first step of a series that begins with it,
/// and the first appointment given up would raise no alert.
pub struct Births {
    stages: Vec<StageName>,
    providers: HashSet<String>,
    workspaces: HashSet<String>,
}

impl Births {
    /// Of a node that runs these stages.
    pub fn new(stages: Vec<StageName>) -> Self {
        if stages.contains(&StageName::Router) {
            for result in ["routed", "unrouted", "waiting", "duplicate", "refused"] {
                metrics::counter!(ROUTER_DECISIONS, "result" => result).increment(0);
            }
        }
        if stages.contains(&StageName::Scoring) {
            metrics::counter!(TABLES_FAILURES).increment(0);
            metrics::gauge!(UNROUTED_LEADS).increment(0.0);
        }
        Self { stages, providers: HashSet::new(), workspaces: HashSet::new() }
    }

    /// Begins the series of providers and workspaces that are new.
    pub fn follow(&mut self, settings: &Settings) {
        self.providers.retain(|id| settings.providers.contains_key(id.as_str()));
        self.workspaces.retain(|id| settings.workspaces.contains_key(id.as_str()));
        for id in settings.providers.keys().map(ToString::to_string) {
            if self.providers.insert(id.clone()) {
                self.provider(&id);
            }
        }
        for id in settings.workspaces.keys().map(ToString::to_string) {
            if self.workspaces.insert(id.clone()) {
                self.workspace(&id);
            }
        }
    }

    fn provider(&self, id: &str) {
        if self.stages.contains(&StageName::Ingest) {
            for result in INGEST_RESULTS {
                metrics::counter!(INGEST_LEADS, "provider" => id.to_owned(), "result" => result).increment(0);
            }
        }
        if self.stages.contains(&StageName::Scoring) {
            for cents in [LEAD_COST_CENTS, LEAD_COST_RETURNED_CENTS] {
                metrics::counter!(cents, "provider" => id.to_owned()).increment(0);
            }
            metrics::gauge!(QUARANTINE_LEADS, "provider" => id.to_owned()).increment(0.0);
        }
    }

    fn workspace(&self, id: &str) {
        if self.stages.contains(&StageName::Dispatcher) {
            for result in ["delivered", "retry", "given_up", "held"] {
                metrics::counter!(DELIVERY_OUTCOMES, "workspace" => id.to_owned(), "result" => result).increment(0);
            }
            metrics::gauge!(CIRCUIT_OPEN, "workspace" => id.to_owned()).increment(0.0);
            metrics::gauge!(DELIVERY_WAITING, "workspace" => id.to_owned(), "where" => "memory").increment(0.0);
        }
        if self.stages.contains(&StageName::Scoring) {
            for cents in [BILLED_CENTS, DELIVERED_COST_CENTS] {
                metrics::counter!(cents, "workspace" => id.to_owned()).increment(0);
            }
            metrics::gauge!(DELIVERY_WAITING, "workspace" => id.to_owned(), "where" => "disk").increment(0.0);
            metrics::gauge!(DELIVERY_OLDEST_SECONDS, "workspace" => id.to_owned()).increment(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_may_become_of_a_lead_is_counted_from_zero() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || Births::new(vec![StageName::Ingest]).provider("a"));
        let shown = recorder.handle().render();
        for result in ["accepted", "duplicate", "invalid", "refused", "conflict"] {
            assert!(shown.contains(&format!("result=\"{result}\"}} 0")), "{result} in {shown}");
        }
    }
}
