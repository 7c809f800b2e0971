//! The group commit of the embedded log: leads of as many callers as there are, and what a stage commits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use futures::future::join_all;
use leadway_domain::record::{LeadRecord, Topic};
use leadway_domain::{Offset, Partition};
use leadway_eventlog::{EmbeddedOptions, EventLog, NewRecord, Position};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::sample::Sample;
use crate::{BATCHES, folder};

/// Bytes of a lead's record: what a provider says in more words than the sample.
const RECORD_BYTES: usize = 600;

pub(crate) fn bench(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let leads = leads(1_000);
    let mut group = criterion.benchmark_group("commit");
    for count in BATCHES {
        let leads: Vec<NewRecord> = leads.iter().take(count).cloned().collect();
        group.throughput(Throughput::Elements(count as u64));
        let mut opened = None;
        group.bench_function(BenchmarkId::new("callers with a lead each", count), |b| {
            let (log, _) = opened.get_or_insert_with(|| open(&runtime));
            b.iter_custom(|rounds| runtime.block_on(append_each(log, &leads, rounds)));
        });
        let mut opened = None;
        group.bench_function(BenchmarkId::new("one caller with leads", count), |b| {
            let (log, _) = opened.get_or_insert_with(|| open(&runtime));
            let log = &*log;
            b.to_async(&runtime).iter_batched(|| leads.clone(), |leads| log.append(leads), BatchSize::SmallInput);
        });
        let (mut opened, mut progress) = (None, Offset(0));
        group.bench_function(BenchmarkId::new("a stage with outputs", count), |b| {
            let (log, _) = opened.get_or_insert_with(|| open(&runtime));
            b.iter_custom(|commits| runtime.block_on(commit(&**log, &leads, commits, &mut progress)));
        });
    }
    group.finish();
}

/// Records of leads whose notes fill them up.
fn leads(count: u64) -> Vec<NewRecord> {
    let sample = Sample::new();
    let filled = |n| {
        let plain = sample.received(n);
        let mut lead = sample.lead(n);
        lead.notes.push_str(&".".repeat(RECORD_BYTES - plain.data.len()));
        let record = NewRecord::of(&LeadRecord::Received(Arc::new(lead)), plain.time);
        assert_eq!(record.data.len(), RECORD_BYTES);
        record
    };
    (0..count).map(filled).collect()
}

/// A new log, and the folder that goes when it does.
fn open(runtime: &Runtime) -> (Arc<dyn EventLog>, TempDir) {
    let folder = folder();
    let options = EmbeddedOptions { folder: folder.path().to_owned(), ..Default::default() };
    (runtime.block_on(leadway_eventlog::open(options)).unwrap(), folder)
}

/// Every caller appends its lead so many times, each time when the one before is durable.
async fn append_each(log: &Arc<dyn EventLog>, leads: &[NewRecord], rounds: u64) -> Duration {
    let started = Instant::now();
    let callers = leads.iter().map(|lead| {
        let (log, lead) = (log.clone(), lead.clone());
        tokio::spawn(async move {
            for _ in 0..rounds {
                log.append(vec![lead.clone()]).await.unwrap();
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    started.elapsed()
}

/// A new member of a stage commits so many times: all the outputs, and progress in one partition.
async fn commit(log: &dyn EventLog, outputs: &[NewRecord], commits: u64, progress: &mut Offset) -> Duration {
    let mut stage = log.stage("bench", Topic::Appointments, &[]).await.unwrap();
    let mut took = Duration::ZERO;
    for _ in 0..commits {
        let outputs = outputs.to_vec();
        *progress = progress.next();
        let position = Position { topic: Topic::Appointments, partition: Partition(0), next: *progress };
        let started = Instant::now();
        stage.commit(&outputs, &[position]).await.unwrap();
        took += started.elapsed();
    }
    took
}
