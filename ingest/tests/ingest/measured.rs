//! What is counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use leadway_domain::telemetry::METRICS;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;

use crate::node::{KEY, LEAD, Node};

/// Keeps counters, gauges and how often a duration was recorded, by name and labels.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counts {
    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        let metric = METRICS.iter().find(|m| m.name == key.name()).unwrap_or_else(|| panic!("{key} is not specified"));
        let names: Vec<_> = key.labels().map(|label| label.key()).collect();
        assert_eq!(names, metric.labels, "{key}");
        let values: Vec<_> = key.labels().map(|label| label.value()).collect();
        Arc::clone(self.0.lock().entry(format!("{} {}", key.name(), values.join(" "))).or_default())
    }

    fn of(&self, prefix: &str) -> Vec<(String, u64)> {
        let cells = self.0.lock();
        let with_prefix = cells.iter().filter_map(|(name, cell)| Some((name.strip_prefix(prefix)?, cell)));
        with_prefix.map(|(name, cell)| (name.trim().to_owned(), cell.load(Ordering::SeqCst))).collect()
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Durations(self.cell(key))))
    }
}

/// How many durations were recorded.
struct Durations(Arc<AtomicU64>);

impl HistogramFn for Durations {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn requests_and_leads_are_counted_and_strangers_give_no_labels() {
    let counts = Counts::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&counts, || {
        runtime.block_on(async {
            let node = Node::start().await;
            let other = LEAD.replace("Ana", "Eva");
            node.webhook(format!("[{LEAD},{other},{LEAD},{{}}]")).await;
            node.webhook("{").await;
            node.post("/webhook/provider-stranger", &[("x-api-key", KEY)], LEAD).await;
        });
    });
    let told = |name, expected: &[(&str, u64)]| {
        let expected: Vec<_> = expected.iter().map(|(labels, n)| ((*labels).to_owned(), *n)).collect();
        assert_eq!(counts.of(name), expected);
    };
    told(
        "leadway_ingest_leads_total",
        &[("a accepted", 2), ("a conflict", 0), ("a duplicate", 1), ("a invalid", 1), ("a refused", 1)],
    );
    told("leadway_http_requests_total", &[("ingest 202", 1), ("ingest 400", 1), ("ingest 401", 1)]);
    told("leadway_http_request_seconds", &[("ingest", 3)]);
    told("leadway_ingest_dedupe_entries", &[("", 2f64.to_bits())]);
}
