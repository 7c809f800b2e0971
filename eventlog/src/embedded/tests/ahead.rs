//! Members that read ahead: what they are given before it is durable, and what becomes of it when it never is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::faulty_disk::{Fault, FaultyDisk, Op};
use super::{Journal, Options, all, append, leads, open, open_on, open_with, options, record};
use crate::{EventLog, LogError, Position, ReadLimit, Stage, StageEvent};

/// A disk on which one sync waits until it is told how it ends.
struct Held {
    disk: FaultyDisk,
    /// Whether it fails.
    end: mpsc::Sender<bool>,
}

impl Held {
    fn disk() -> Self {
        Self { disk: FaultyDisk::new(|_| Fault::None), end: mpsc::channel().0 }
    }

    /// Appends a lead whose sync is held.
    async fn append(&mut self, log: &Journal, data: &'static str) -> JoinHandle<Result<Offset, LogError>> {
        self.append_before(log, data, Fault::None).await
    }

    /// The same, and `then` befalls the sync after it.
    async fn append_before(
        &mut self,
        log: &Journal,
        data: &'static str,
        then: Fault,
    ) -> JoinHandle<Result<Offset, LogError>> {
        let (entered, has_entered) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        self.end = end;
        let mut syncs = 0;
        self.disk.set_script(move |op| {
            syncs += u32::from(op == Op::Sync);
            match (op, syncs) {
                (Op::Sync, 1) => {
                    entered.send(()).unwrap();
                    if ended.recv().unwrap() { Fault::Fail(1_000) } else { Fault::None }
                }
                (Op::Sync, 2) => then,
                _ => Fault::None,
            }
        });
        let log = log.clone();
        let appending = tokio::spawn(async move { append(&log, data).await });
        tokio::task::spawn_blocking(move || has_entered.recv().unwrap()).await.unwrap();
        appending
    }
}

/// A member that reads ahead and has answered once, a lead named "first".
async fn joined(log: &Journal) -> Box<dyn Stage> {
    let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    stage.read_ahead();
    assert_eq!(assigned(&mut *stage).await, Offset(0));
    append(log, "first").await.unwrap();
    assert_eq!(given(&mut *stage).await, ["first"]);
    route(&mut *stage, "first", 1).await.unwrap();
    stage
}

/// A log on a disk that can be held, and a member that has answered once.
async fn scene() -> (TempDir, Held, Journal, Box<dyn Stage>) {
    let folder = tempfile::tempdir().unwrap();
    let held = Held::disk();
    let log = open_with(folder.path(), held.disk.clone()).await;
    let stage = joined(&log).await;
    (folder, held, log, stage)
}

async fn next(stage: &mut dyn Stage) -> StageEvent {
    let next = stage.next(ReadLimit::default());
    tokio::time::timeout(Duration::from_secs(60), next).await.expect("something is told").unwrap()
}

/// Where the member is to begin.
async fn assigned(stage: &mut dyn Stage) -> Offset {
    match next(stage).await {
        StageEvent::Assigned(assignments) => assignments[0].progress[0].next,
        other => panic!("{other:?}"),
    }
}

async fn given(stage: &mut dyn Stage) -> Vec<String> {
    match next(stage).await {
        StageEvent::Records(records) => records.iter().map(|r| String::from_utf8(r.data.to_vec()).unwrap()).collect(),
        other => panic!("{other:?}"),
    }
}

async fn revoked(stage: &mut dyn Stage) {
    let event = next(stage).await;
    assert!(matches!(&event, StageEvent::Revoked(lost) if *lost == [Partition(0)]), "{event:?}");
}

async fn route(stage: &mut dyn Stage, lead: &str, next: u64) -> Result<(), LogError> {
    let progress = Position { topic: Topic::Leads, partition: Partition(0), next: Offset(next) };
    stage.commit(&[record(Topic::Appointments, "w", lead)], &[progress]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_reads_ahead_is_given_what_is_not_durable_yet() {
    let (_folder, mut held, log, mut ahead) = scene().await;
    let mut other = log.stage("dispatcher", Topic::Leads, &[]).await.unwrap();
    assigned(&mut *other).await;
    assert_eq!(given(&mut *other).await, ["first"]);
    let appending = held.append(&log, "lead").await;
    assert_eq!(given(&mut *ahead).await, ["lead"]);
    assert!(!appending.is_finished(), "nothing is answered before it is durable");
    assert_eq!(leads(&log).await, ["first"], "readers see what is durable");
    let mut waiting = Box::pin(other.next(ReadLimit::default()));
    assert!(futures::poll!(&mut waiting).is_pending());
    let routing = tokio::spawn(async move {
        route(&mut *ahead, "lead", 2).await.unwrap();
    });
    held.end.send(false).unwrap();
    assert_eq!(appending.await.unwrap().unwrap(), Offset(1));
    routing.await.unwrap();
    assert!(matches!(waiting.await.unwrap(), StageEvent::Records(records) if records.len() == 1));
    assert_eq!(all(&log, Topic::Appointments, 0).await.unwrap(), ["first", "lead"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_and_what_is_made_of_it_in_time_share_one_fsync() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(|_| Fault::None);
    let log = open_with(folder.path(), disk.clone()).await;
    let mut stage = joined(&log).await;
    let shared = async {
        for n in 2.. {
            let syncs = Arc::new(AtomicUsize::new(0));
            let counted = syncs.clone();
            disk.set_script(move |op| {
                counted.fetch_add(usize::from(op == Op::Sync), Ordering::Relaxed);
                Fault::None
            });
            let answering = async {
                given(&mut *stage).await;
                route(&mut *stage, "another", n).await.unwrap();
            };
            let (appended, ()) = tokio::join!(append(&log, "another"), answering);
            appended.unwrap();
            // A busy machine answers too late at one time or another.
            if syncs.load(Ordering::Relaxed) == 1 {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), shared).await.expect("one of them shares its fsync");
    assert_eq!(all(&log, Topic::Appointments, 0).await.unwrap(), leads(&log).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_decided_of_a_record_that_never_became_durable_is_refused() {
    let (_folder, mut held, log, mut stage) = scene().await;
    let appending = held.append(&log, "withdrawn").await;
    assert_eq!(given(&mut *stage).await, ["withdrawn"]);
    held.end.send(true).unwrap();
    assert!(appending.await.unwrap().unwrap_err().is_transient());
    append(&log, "in its place").await.unwrap();
    let error = route(&mut *stage, "withdrawn", 2).await.unwrap_err();
    assert!(matches!(error, LogError::Revoked { .. }), "{error}");
    revoked(&mut *stage).await;
    assert_eq!(assigned(&mut *stage).await, Offset(1));
    assert_eq!(given(&mut *stage).await, ["in its place"]);
    route(&mut *stage, "in its place", 2).await.unwrap();
    assert_eq!(leads(&log).await, ["first", "in its place"]);
    assert_eq!(all(&log, Topic::Appointments, 0).await.unwrap(), ["first", "in its place"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_has_a_commit_in_the_frame_is_shown_nothing_of_it() {
    let (_folder, mut held, log, mut stage) = scene().await;
    let appending = held.append_before(&log, "second", Fault::Fail(1_000)).await;
    assert_eq!(given(&mut *stage).await, ["second"]);
    // The frame that follows has the commit and a lead, and fails once.
    let retried = tokio::spawn(async move {
        let error = route(&mut *stage, "second", 2).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        route(&mut *stage, "second", 2).await.unwrap();
        assert_eq!(given(&mut *stage).await, ["fourth"]);
    });
    let beside = tokio::spawn({
        let log = log.clone();
        async move { append(&log, "third").await }
    });
    while log.writing().unwrap().queue.len() < 2 {
        tokio::task::yield_now().await;
    }
    held.end.send(false).unwrap();
    appending.await.unwrap().unwrap();
    assert!(beside.await.unwrap().unwrap_err().is_transient());
    append(&log, "fourth").await.unwrap();
    retried.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_did_not_answer_is_shown_nothing_early_until_it_has_committed() {
    let (_folder, mut held, log, mut stage) = scene().await;
    append(&log, "second").await.unwrap();
    let appending = held.append(&log, "third").await;
    assert_eq!(given(&mut *stage).await, ["second"], "the one before was not answered");
    let routing = tokio::spawn(async move {
        route(&mut *stage, "second", 2).await.unwrap();
        stage
    });
    held.end.send(false).unwrap();
    appending.await.unwrap().unwrap();
    let mut stage = routing.await.unwrap();
    assert_eq!(given(&mut *stage).await, ["third"]);
    let appending = held.append(&log, "fourth").await;
    assert_eq!(given(&mut *stage).await, ["fourth"]);
    held.end.send(false).unwrap();
    appending.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_frame_that_failed_nothing_is_shown_early_until_the_member_has_committed() {
    let (_folder, mut held, log, mut stage) = scene().await;
    let answered_in_time = async {
        for next in 2.. {
            let answering = tokio::spawn(async move {
                assert_eq!(given(&mut *stage).await, ["withdrawn"]);
                let answer = route(&mut *stage, "withdrawn", next).await;
                (stage, answer.unwrap_err())
            });
            let appending = held.append(&log, "withdrawn").await;
            held.end.send(true).unwrap();
            assert!(appending.await.unwrap().unwrap_err().is_transient());
            let error;
            (stage, error) = answering.await.unwrap();
            revoked(&mut *stage).await;
            assert_eq!(assigned(&mut *stage).await, Offset(next - 1));
            // Otherwise it came after that frame, as on a busy machine.
            if error.is_transient() {
                return stage;
            }
            append(&log, "another").await.unwrap();
            assert_eq!(given(&mut *stage).await, ["another"]);
            route(&mut *stage, "another", next).await.unwrap();
        }
        unreachable!()
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), answered_in_time).await;
    let mut stage = waited.expect("one of them is answered in time");
    let appending = held.append(&log, "last").await;
    assert!(futures::poll!(Box::pin(stage.next(ReadLimit::default()))).is_pending());
    held.end.send(false).unwrap();
    appending.await.unwrap().unwrap();
    assert_eq!(given(&mut *stage).await, ["last"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_of_which_nothing_was_read_ahead_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut held = Held::disk();
    let options = Options { partitions: 3, ..options(folder.path()) };
    let log = open_on(options, Arc::new(held.disk.clone())).await.unwrap();
    let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    stage.read_ahead();
    assigned(&mut *stage).await;
    append(&log, "first").await.unwrap();
    let StageEvent::Records(records) = next(&mut *stage).await else { panic!("no records") };
    let partition = records[0].address.partition;
    let progress = Position { topic: Topic::Leads, partition, next: Offset(1) };
    stage.commit(&[record(Topic::Appointments, "w", "first")], &[progress]).await.unwrap();
    let appending = held.append(&log, "withdrawn").await;
    assert_eq!(given(&mut *stage).await, ["withdrawn"]);
    held.end.send(true).unwrap();
    appending.await.unwrap().unwrap_err();
    let event = next(&mut *stage).await;
    assert!(matches!(&event, StageEvent::Revoked(lost) if *lost == [partition]), "{event:?}");
    assert_eq!(assigned(&mut *stage).await, Offset(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_more_is_told_that_what_it_had_is_withdrawn() {
    let (_folder, mut held, log, mut stage) = scene().await;
    let appending = held.append(&log, "withdrawn").await;
    assert_eq!(given(&mut *stage).await, ["withdrawn"]);
    let waiting = tokio::spawn(async move {
        revoked(&mut *stage).await;
        stage
    });
    held.end.send(true).unwrap();
    appending.await.unwrap().unwrap_err();
    let mut stage = waiting.await.unwrap();
    assert_eq!(assigned(&mut *stage).await, Offset(1));
    append(&log, "lead").await.unwrap();
    assert_eq!(given(&mut *stage).await, ["lead"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_taken_over_does_not_come_back_by_what_was_withdrawn() {
    let (_folder, mut held, log, mut earlier) = scene().await;
    let appending = held.append(&log, "withdrawn").await;
    assert_eq!(given(&mut *earlier).await, ["withdrawn"]);
    let joining = tokio::spawn({
        let log = log.clone();
        async move { log.stage("router", Topic::Leads, &[]).await.unwrap() }
    });
    held.end.send(true).unwrap();
    appending.await.unwrap().unwrap_err();
    let mut later = joining.await.unwrap();
    let error = earlier.next(ReadLimit::default()).await.unwrap_err();
    assert!(matches!(error, LogError::Fenced { .. }), "{error}");
    assert!(matches!(route(&mut *earlier, "x", 2).await, Err(LogError::Fenced { .. })));
    assert_eq!(assigned(&mut *later).await, Offset(1));
    append(&log, "second").await.unwrap();
    assert_eq!(given(&mut *later).await, ["second"]);
    route(&mut *later, "second", 2).await.unwrap();
}

/// Copies leads to appointments until it is `done` and as many are there.
async fn copy(log: Journal, done: Arc<AtomicBool>) -> u32 {
    let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    stage.read_ahead();
    let mut revocations = 0;
    loop {
        let end = |topic| log.seen(topic, Partition(0));
        let finished = done.load(Ordering::Relaxed) && end(Topic::Appointments) == end(Topic::Leads);
        let limit = ReadLimit { records: 3, ..ReadLimit::default() };
        let event = match tokio::time::timeout(Duration::from_millis(20), stage.next(limit)).await {
            Ok(event) => event,
            Err(_) if finished => return revocations,
            Err(_) => continue,
        };
        match event {
            Ok(StageEvent::Assigned(_)) => {}
            Ok(StageEvent::Revoked(_)) => revocations += 1,
            Ok(StageEvent::Records(records)) => {
                let last = records.last().unwrap().next();
                let outputs: Vec<_> = records
                    .iter()
                    .map(|r| record(Topic::Appointments, "w", String::from_utf8(r.data.to_vec()).unwrap()))
                    .collect();
                let progress = [Position { topic: Topic::Leads, partition: Partition(0), next: last }];
                loop {
                    match stage.commit(&outputs, &progress).await {
                        Ok(_) | Err(LogError::Revoked { .. }) => break,
                        Err(error) if error.is_transient() => tokio::task::yield_now().await,
                        // Not taken back durably: it is not known whether a restart finds it; here it is gone.
                        Err(LogError::Closed) => {
                            stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
                            stage.read_ahead();
                            break;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_failing_disk_everything_that_landed_is_decided_once_and_nothing_else() {
    let mut revocations = 0;
    for seed in 0..40 {
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(|_| Fault::None);
        let log = open_with(folder.path(), disk.clone()).await;
        let mut rng = fastrand::Rng::with_seed(seed);
        disk.set_script(move |op| {
            if op == Op::Sync {
                std::thread::sleep(Duration::from_micros(rng.u64(0..200)));
            }
            if rng.u32(0..10) == 0 { Fault::Fail(rng.u16(0..=1_000)) } else { Fault::None }
        });
        let done = Arc::new(AtomicBool::new(false));
        let copying = tokio::spawn(copy(log.clone(), done.clone()));
        for n in 0..100 {
            let (one, other) = (format!("{n}, one"), format!("{n}, the other"));
            // Whether they land is not this test's matter.
            let _ = tokio::join!(append(&log, &one), append(&log, &other));
        }
        disk.set_script(|_| Fault::None);
        append(&log, "last").await.unwrap();
        done.store(true, Ordering::Relaxed);
        revocations += copying.await.unwrap();
        let landed = leads(&log).await;
        assert_eq!(all(&log, Topic::Appointments, 0).await.unwrap(), landed, "seed {seed}");
        drop(log);
        let log = open(folder.path()).await.unwrap();
        assert_eq!(leads(&log).await, landed, "seed {seed}");
        assert_eq!(all(&log, Topic::Appointments, 0).await.unwrap(), landed, "seed {seed}");
        let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
        assert_eq!(assigned(&mut *stage).await, Offset(landed.len() as u64), "seed {seed}");
    }
    assert!(revocations > 0, "no sync failed that a member had read ahead of");
}
