//! One webhook, from the appointment's record to that of its outcome: the whole dispatcher over a log in memory and a
//! client that answers at once. With a second secret each body is signed once more: the difference is one signature.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use leadway_dispatcher::{Dispatcher, Options};
use leadway_domain::record::{AppointmentRecord, Topic};
use leadway_domain::{Clock, LeadId};
use leadway_eventlog::{EventLog, MemoryLog, NewRecord, Position, SettingsHandle};
use leadway_tables::MemoryTables;
use tokio_util::sync::CancellationToken;

use crate::at_once::ClientsAtOnce;
use crate::one_thread;
use crate::sample::{self, Sample, workspace_id};

/// As many as come from as many connections.
const BATCH: u64 = 64;

pub(crate) fn bench(criterion: &mut Criterion) {
    let sample = Sample::new();
    let mut group = criterion.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(BATCH));
    for secrets in [1, 2] {
        let runtime = one_thread();
        let log = runtime.block_on(dispatched(secrets));
        let mut numbers = 1..;
        group.bench_function(BenchmarkId::new("64 webhooks, secrets", secrets), |b| {
            b.iter_custom(|batches| {
                let batches = (0..batches).map(|_| routed(&sample, numbers.by_ref().take(BATCH as usize))).collect();
                runtime.block_on(deliver(&log, batches))
            });
        });
    }
    group.finish();
}

/// A log whose appointments are delivered for as long as its runtime lives.
async fn dispatched(secrets: u8) -> MemoryLog {
    let log = sample::log_with_settings(secrets).await;
    let shared: Arc<dyn EventLog> = Arc::new(log.clone());
    let settings = SettingsHandle::follow(shared.clone()).await.unwrap();
    let (tables, clients, clock) = (Arc::new(MemoryTables::default()), Arc::new(ClientsAtOnce), Clock::system());
    let dispatcher = Dispatcher::new(shared, tables, settings, clock, clients, 7, Options::default());
    tokio::spawn(dispatcher.run(CancellationToken::new()));
    log
}

fn routed(sample: &Sample, numbers: impl Iterator<Item = u64>) -> Vec<NewRecord> {
    let record = |n| {
        let appointment = sample::appointment(LeadId(n), workspace_id(0), sample.lead(n));
        let matched_at = appointment.matched_at;
        NewRecord::of(&AppointmentRecord::Routed(Arc::new(appointment)), matched_at)
    };
    numbers.map(record).collect()
}

async fn deliver(log: &MemoryLog, batches: Vec<Vec<NewRecord>>) -> Duration {
    let (topic, partition) = (Topic::Deliveries, log.partition_of(Topic::Deliveries, workspace_id(0).as_str()));
    let started = Instant::now();
    for batch in batches {
        let mut last = log.seen(topic, partition);
        last.0 += batch.len() as u64 - 1;
        log.append(batch).await.unwrap();
        log.wait(&[Position { topic, partition, next: last }]).await.unwrap();
    }
    started.elapsed()
}
