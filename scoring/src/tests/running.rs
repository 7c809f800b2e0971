//! The loop, the reading and the rebuild.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leadway_domain::Partition;
use leadway_domain::record::{LeadRecord, Topic};
use leadway_eventlog::{EventLog, MemoryLog, NewRecord, ReadLimit};
use leadway_tables::{MemoryTables, Tables};
use tokio_util::sync::CancellationToken;

use super::fixtures::*;
use super::{apply, dump, history, positions, read};
use crate::options::Options;
use crate::rebuild::{Summary, rebuild};
use crate::sources::Sources;
use crate::stage::Scoring;

fn scoring(log: &MemoryLog, tables: &MemoryTables, options: Options) -> Scoring {
    Scoring::new(Arc::new(log.clone()), Arc::new(tables.clone()), Default::default(), options)
}

async fn all_applied(log: &MemoryLog, tables: &MemoryTables) {
    for p in positions(log, tables).await {
        let end = log.end(p.topic, p.partition).await.unwrap();
        let applied = tables.wait_applied(p.topic, p.partition, end);
        tokio::time::timeout(Duration::from_secs(600), applied).await.unwrap().unwrap();
    }
}

async fn rebuilt(log: &MemoryLog) -> MemoryTables {
    let tables = MemoryTables::default();
    rebuild(Arc::new(log.clone()), Arc::new(tables.clone()), Default::default(), Options::default()).await.unwrap();
    tables
}

#[tokio::test(start_paused = true)]
async fn running_applies_everything_in_spite_of_failed_writes_and_stops_when_told() {
    let log = history::random(1, 60).await.log;
    let tables = MemoryTables::default();
    let failures = Arc::new(AtomicUsize::new(0));
    let (counter, mut chance) = (failures.clone(), fastrand::Rng::with_seed(1));
    tables.set_faults(move || chance.bool() && counter.fetch_add(1, Ordering::Relaxed) < 50);
    let stop = CancellationToken::new();
    let options = Options { batch_records: 7, ..Options::default() };
    let running = tokio::spawn(scoring(&log, &tables, options).run(stop.clone()));
    all_applied(&log, &tables).await;
    log.append(vec![record(&LeadRecord::Received(Arc::new(lead(1))), 1)]).await.unwrap();
    all_applied(&log, &tables).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(failures.load(Ordering::Relaxed) > 10, "the writes failed indeed");
    assert_eq!(dump(&tables), dump(&rebuilt(&log).await));
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_more_records_unless_somebody_waits_for_it() {
    let (log, tables) = (MemoryLog::new(1), MemoryTables::default());
    let stop = CancellationToken::new();
    let linger = Duration::from_secs(3_600);
    let options = Options { linger_ms: linger.as_millis() as u64, ..Options::default() };
    let running = tokio::spawn(scoring(&log, &tables, options).run(stop.clone()));
    let received = |minutes| record(&LeadRecord::Received(Arc::new(lead(minutes))), minutes);
    let applied = || async { tables.applied(Topic::Leads, Partition(0)).await.unwrap().0 };
    log.append(vec![received(1)]).await.unwrap();
    tokio::time::sleep(linger * 2).await;
    log.append(vec![received(2)]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(applied().await, 2, "nothing was written for long");
    log.append(vec![received(3)]).await.unwrap();
    tokio::time::sleep(linger / 2).await;
    assert_eq!(applied().await, 2, "it waits for more");
    // The clock stands still while this waits, unless scoring only waits for the clock.
    let asked = tokio::time::Instant::now();
    all_applied(&log, &tables).await;
    assert_eq!((applied().await, asked.elapsed()), (3, Duration::ZERO));
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_that_run_at_once_apply_each_record_once() {
    let log = history::random(2, 60).await.log;
    let tables = MemoryTables::default();
    let stop = CancellationToken::new();
    // Large enough to be folded with a pause, in which the other one comes first.
    let options = Options { batch_records: 80, ..Options::default() };
    let both: Vec<_> =
        [0, 1].map(|_| tokio::spawn(scoring(&log, &tables, options.clone()).run(stop.clone()))).into_iter().collect();
    all_applied(&log, &tables).await;
    stop.cancel();
    for one in both {
        one.await.unwrap().unwrap();
    }
    assert_eq!(dump(&tables), dump(&rebuilt(&log).await));
}

#[tokio::test(start_paused = true)]
async fn what_another_writer_applied_is_not_applied_again() {
    let (log, tables) = (MemoryLog::new(1), MemoryTables::default());
    let stop = CancellationToken::new();
    let running = tokio::spawn(scoring(&log, &tables, Options::default()).run(stop.clone()));
    let received = |minutes| record(&LeadRecord::Received(Arc::new(lead(minutes))), minutes);
    log.append(vec![received(1)]).await.unwrap();
    all_applied(&log, &tables).await;
    // Nothing here waits, so the other writer comes before the one that runs, which then reads both records.
    log.append(vec![received(2)]).await.unwrap();
    let [position] = positions(&log, &tables).await.into_iter().filter(|p| p.next.0 == 1).collect::<Vec<_>>()[..]
    else {
        panic!("one record was applied")
    };
    let (records, to) = read(&log, position, 1).await.unwrap();
    apply(&tables, &Options::default(), &records, &[to]).await.unwrap();
    log.append(vec![received(3)]).await.unwrap();
    all_applied(&log, &tables).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(dump(&tables), dump(&rebuilt(&log).await));
}

#[tokio::test]
async fn a_rebuild_forgets_what_stood_there_and_counts_what_it_read() {
    let log = history::random(3, 30).await.log;
    let other = history::random(4, 30).await.log;
    let tables = rebuilt(&other).await;
    let mut unreadable: NewRecord = record(&LeadRecord::Received(Arc::new(lead(1))), 1);
    unreadable.kind = "lead.teleported".into();
    log.append(vec![unreadable]).await.unwrap();
    let shared: Arc<dyn EventLog> = Arc::new(log.clone());
    let small = Options { batch_records: 5, ..Options::default() };
    let summary = rebuild(shared, Arc::new(tables.clone()), Default::default(), small).await.unwrap();
    let mut records = 0;
    for p in positions(&log, &tables).await {
        assert_eq!(p.next, log.end(p.topic, p.partition).await.unwrap());
        records += p.next.0;
    }
    assert_eq!(summary, Summary { records, unreadable: 1 });
    assert_eq!(dump(&tables), dump(&rebuilt(&log).await));
}

#[tokio::test]
async fn a_flood_in_one_partition_leaves_the_others_their_share() {
    let log = MemoryLog::new(2);
    let received = record(&LeadRecord::Received(Arc::new(lead(1))), 1);
    let flood = vec![received.clone().in_partition(Partition(0)); 1_000];
    log.append(flood).await.unwrap();
    log.append(vec![received.in_partition(Partition(1)), record(&quarantined("a", 1, 1), 1)]).await.unwrap();
    let mut sources = Sources::new(Arc::new(log));
    sources.own_all();
    for turn in 0..3 {
        let gathered = sources.gather(ReadLimit { records: 100, bytes: 1 << 20 }).await.unwrap();
        let of = |topic, p| {
            let from = |r: &&leadway_eventlog::Record| (r.address.topic, r.address.partition.0) == (topic, p);
            gathered.records.iter().filter(from).count()
        };
        assert_eq!(of(Topic::Leads, 1), 1, "turn {turn}");
        assert_eq!(gathered.records.len() - of(Topic::Leads, 0) - of(Topic::Leads, 1), 1, "turn {turn}");
        assert_eq!(of(Topic::Leads, 0), 98, "the flood has what the others leave, turn {turn}");
        assert!(gathered.more);
    }
}

#[tokio::test(start_paused = true)]
async fn batches_follow_one_another_without_a_pause_while_more_waits() {
    let (log, tables) = (MemoryLog::new(2), MemoryTables::default());
    let received = record(&LeadRecord::Received(Arc::new(lead(1))), 1);
    for partition in [0, 0, 0, 1] {
        log.append(vec![received.clone().in_partition(Partition(partition)); 250]).await.unwrap();
    }
    let stop = CancellationToken::new();
    let begun = tokio::time::Instant::now();
    // No batch has as many records as it may: their bytes fill it.
    let options = Options { batch_records: 100, batch_bytes: 20_000, linger_ms: 1_000, ..Options::default() };
    let running = tokio::spawn(scoring(&log, &tables, options).run(stop.clone()));
    // Who waits for the tables would keep the writer from waiting.
    let applied = async |p| tables.applied(Topic::Leads, Partition(p)).await.unwrap().0;
    while applied(0).await + applied(1).await < 1_000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    stop.cancel();
    running.await.unwrap().unwrap();
}
