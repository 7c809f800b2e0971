//! Scoring as it runs: the records of leads that are received, routed and delivered, into rows of the embedded tables.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use leadway_domain::record::Topic;
use leadway_domain::{Addressing, Partition};
use leadway_eventlog::{EventLog, MemoryLog};
use leadway_scoring::{Options, Scoring};
use leadway_tables::{EmbeddedOptions, Tables};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::sample::Sample;
use crate::{BATCHES, PARTITIONS, folder, history, one_thread};

pub(crate) fn bench(criterion: &mut Criterion) {
    let sample = Sample::new();
    let mut group = criterion.benchmark_group("scoring");
    for leads in BATCHES {
        group.throughput(Throughput::Elements(leads as u64));
        // The runtime goes first: scoring must let go of the tables before their folder goes.
        let (mut scored, mut numbers, runtime) = (None, 0.., one_thread());
        group.bench_function(BenchmarkId::new("leads", leads), |b| {
            let scored = scored.get_or_insert_with(|| runtime.block_on(Scored::start()));
            b.iter_custom(|batches| runtime.block_on(scored.score(&sample, batches, leads, &mut numbers)));
        });
    }
    group.finish();
}

/// A log and tables that follow it for as long as the runtime lives.
struct Scored {
    log: MemoryLog,
    tables: Arc<dyn Tables>,
    _folder: TempDir,
}

impl Scored {
    async fn start() -> Self {
        let folder = folder();
        let options = EmbeddedOptions { folder: folder.path().to_owned(), ..Default::default() };
        let (log, tables) = (MemoryLog::new(PARTITIONS), leadway_tables::open(options).await.unwrap());
        // Waiting for more records costs nothing: it would only hide the work.
        let options = Options { linger_ms: 0, ..Options::default() };
        let scoring = Scoring::new(Arc::new(log.clone()), tables.clone(), Addressing::default(), options);
        tokio::spawn(scoring.run(CancellationToken::new()));
        Self { log, tables, _folder: folder }
    }

    /// Puts leads into the log. It does not let go of the only thread: scoring has not begun when it returns.
    async fn append(&self, sample: &Sample, numbers: impl Iterator<Item = u64>) {
        for n in numbers {
            let id = history::append_one(&self.log, sample.received(n)).await;
            self.log.append(history::delivered(id, n, sample.lead(n))).await.unwrap();
        }
    }

    /// How long so many batches of so many leads take.
    async fn score(
        &self,
        sample: &Sample,
        batches: u64,
        leads: usize,
        numbers: &mut impl Iterator<Item = u64>,
    ) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..batches {
            self.append(sample, numbers.take(leads)).await;
            let started = Instant::now();
            self.caught_up().await;
            took += started.elapsed();
        }
        took
    }

    async fn caught_up(&self) {
        for topic in [Topic::Leads, Topic::Appointments, Topic::Deliveries] {
            for partition in (0..PARTITIONS).map(Partition) {
                let end = self.log.seen(topic, partition);
                self.tables.wait_applied(topic, partition, end).await.unwrap();
            }
        }
    }
}
