//! Every table on its own: changes as scoring makes them, written to the embedded tables in batches.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use leadway_tables::{Applied, EmbeddedOptions, Table, Tables, Write, schema};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{BATCHES, folder, history, recorder};

/// Enough that every table gets a thousand changes.
const LEADS: u64 = 16_000;

pub(crate) fn bench(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    // Made when the first bench asks: others may be wanted alone.
    let changes =
        LazyCell::new(|| runtime.block_on(async { recorder::changes_of(Arc::new(history::of(LEADS).await)).await }));
    let mut group = criterion.benchmark_group("tables");
    for table in schema::ALL {
        for size in BATCHES {
            group.throughput(Throughput::Elements(size as u64));
            let mut feed = None;
            group.bench_function(BenchmarkId::new(table.name, size), |b| {
                let feed = feed.get_or_insert_with(|| runtime.block_on(Feed::open(of_table(&changes, table))));
                b.iter_custom(|batches| runtime.block_on(feed.write(batches, size)));
            });
        }
    }
    group.finish();
}

fn of_table(changes: &[Write], table: &Table) -> Vec<Write> {
    let of_it = |change: &&Write| change.table() == table;
    changes.iter().filter(of_it).cloned().collect()
}

/// One table's changes, again and again, each time into empty tables.
struct Feed {
    tables: Arc<dyn Tables>,
    changes: Vec<Write>,
    /// How many were written since the tables were empty.
    written: usize,
    position: Offset,
    _folder: TempDir,
}

impl Feed {
    async fn open(changes: Vec<Write>) -> Self {
        let folder = folder();
        let options = EmbeddedOptions { folder: folder.path().to_owned(), ..Default::default() };
        let tables = leadway_tables::open(options).await.unwrap();
        Self { tables, changes, written: 0, position: Offset(0), _folder: folder }
    }

    /// How long so many batches of so many changes take.
    async fn write(&mut self, batches: u64, size: usize) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..batches {
            let batch = self.next(size).await;
            let (from, next) = (self.position, self.position.next());
            let applied = [Applied { topic: Topic::Leads, partition: Partition(0), from, next }];
            self.position = next;
            let started = Instant::now();
            self.tables.write(batch, &applied).await.unwrap();
            took += started.elapsed();
        }
        took
    }

    async fn next(&mut self, size: usize) -> Vec<Write> {
        if self.written >= self.changes.len() {
            self.tables.clear().await.unwrap();
            (self.written, self.position) = (0, Offset(0));
        }
        let numbers = self.written..self.written + size;
        self.written = numbers.end;
        numbers.filter_map(|n| self.changes.get(n % self.changes.len())).cloned().collect()
    }
}
