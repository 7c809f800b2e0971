//! Disks that fail: nothing acknowledged is lost, nothing refused appears, and the log goes on afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use parking_lot::Mutex;

use super::faulty_disk::{Fault, FaultyDisk, Op};
use super::{all, append, leads, open, open_with, record};
use crate::embedded::disk::OsDisk;
use crate::{EventLog, LogError, Position, ReadLimit, Stage, StageEvent};

/// What fails at the moment, and how.
type Failing = Arc<Mutex<Option<(Op, u16)>>>;

/// A disk on which everything of one kind fails while `Failing` names it.
fn switch() -> (FaultyDisk, Failing) {
    let failing = Arc::new(Mutex::new(None));
    let switch = failing.clone();
    let script = move |op| match *switch.lock() {
        Some((fails, thousandths)) if fails == op => Fault::Fail(thousandths),
        _ => Fault::None,
    };
    (FaultyDisk::new(script), failing)
}

#[tokio::test]
async fn a_failed_write_is_refused_and_the_log_goes_on() {
    for (op, thousandths) in [(Op::Write, 0), (Op::Write, 500), (Op::Write, 1_000), (Op::Sync, 0), (Op::Sync, 500)] {
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(|_| Fault::None);
        let log = open_with(folder.path(), disk.clone()).await;
        append(&log, "first").await.unwrap();
        // A disk that fails once: taking the write back succeeds.
        let once = AtomicUsize::new(0);
        disk.set_script(move |asked| {
            let fails = asked == op && once.fetch_add(1, Ordering::Relaxed) == 0;
            if fails { Fault::Fail(thousandths) } else { Fault::None }
        });
        let error = append(&log, "refused").await.unwrap_err();
        assert!(error.is_transient() && !error.may_have_landed(), "{op:?} {thousandths}: {error}");
        assert_eq!(leads(&log).await, ["first"], "{op:?} {thousandths}");
        assert_eq!(append(&log, "second").await.unwrap(), Offset(1), "{op:?} {thousandths}");
        drop(log);
        let log = open(folder.path()).await.unwrap();
        assert_eq!(leads(&log).await, ["first", "second"], "{op:?} {thousandths}");
    }
}

#[tokio::test]
async fn zeros_for_which_the_disk_has_no_room_refuse_no_frame_and_are_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let zeros = Arc::new(AtomicUsize::new(0));
    let counted = zeros.clone();
    let disk = FaultyDisk::new(move |op| match op {
        Op::WriteZeros if counted.fetch_add(1, Ordering::Relaxed) < 2 => Fault::Fail(0),
        _ => Fault::None,
    });
    let log = open_with(folder.path(), disk).await;
    for (offset, data) in (0..).zip(["a", "b", "c", "d"]) {
        assert_eq!(append(&log, data).await.unwrap(), Offset(offset));
    }
    assert_eq!(zeros.load(Ordering::Relaxed), 3, "the third time they could be written");
    drop(log);
    assert_eq!(leads(&open(folder.path()).await.unwrap()).await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn few_frames_need_blocks_of_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let zeros = Arc::new(AtomicUsize::new(0));
    let counted = zeros.clone();
    let disk = FaultyDisk::new(move |op| {
        counted.fetch_add(usize::from(op == Op::WriteZeros), Ordering::Relaxed);
        Fault::None
    });
    let mut options = super::options(folder.path());
    options.segment_bytes = 1 << 20;
    let log = super::open_on(options.clone(), Arc::new(disk)).await.unwrap();
    let large = "x".repeat(10_000);
    for _ in 0..250 {
        append(&log, &large).await.unwrap();
    }
    assert_eq!(zeros.load(Ordering::Relaxed), 10, "for 2.5 MB in three segments");
    drop(log);
    let log = super::open_on(options, Arc::new(OsDisk)).await.unwrap();
    assert_eq!(leads(&log).await.len(), 250, "zeros are no frames");
    assert_eq!(append(&log, "next").await.unwrap(), Offset(250));
}

#[tokio::test]
async fn what_is_cut_off_takes_the_zeros_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let zeros = Arc::new(AtomicUsize::new(0));
    let (counted, mut syncs) = (zeros.clone(), 0);
    let disk = FaultyDisk::new(|_| Fault::None);
    let log = open_with(folder.path(), disk.clone()).await;
    disk.set_script(move |op| {
        counted.fetch_add(usize::from(op == Op::WriteZeros), Ordering::Relaxed);
        syncs += usize::from(op == Op::Sync);
        if (op, syncs) == (Op::Sync, 2) { Fault::Fail(0) } else { Fault::None }
    });
    append(&log, "first").await.unwrap();
    append(&log, "refused").await.unwrap_err();
    assert_eq!(zeros.load(Ordering::Relaxed), 1);
    append(&log, "second").await.unwrap();
    assert_eq!(zeros.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn what_an_fsync_lost_is_not_trusted_later() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, failing) = switch();
    let log = open_with(folder.path(), disk).await;
    append(&log, "first").await.unwrap();
    *failing.lock() = Some((Op::Sync, 0));
    // Neither the write nor its taking back can be made durable: what a restart finds is not known.
    assert!(append(&log, "unknown").await.unwrap_err().may_have_landed());
    assert!(append(&log, "refused").await.unwrap_err().is_transient());
    *failing.lock() = None;
    assert_eq!(append(&log, "second").await.unwrap(), Offset(1));
    drop(log);
    assert_eq!(leads(&open(folder.path()).await.unwrap()).await, ["first", "second"]);
}

#[tokio::test]
async fn a_segment_that_cannot_be_made_is_made_later() {
    for op in [Op::Create, Op::SetLen, Op::Write, Op::Sync, Op::SyncFolder] {
        let folder = tempfile::tempdir().unwrap();
        let (disk, failing) = switch();
        let log = open_with(folder.path(), disk).await;
        let large = "x".repeat(1_500);
        for _ in 0..2 {
            append(&log, &large).await.unwrap();
        }
        *failing.lock() = Some((op, 300));
        for _ in 0..3 {
            assert!(append(&log, &large).await.unwrap_err().is_transient(), "{op:?}");
            // A small one would still fit into the segment before, which is over.
            assert!(append(&log, "small").await.unwrap_err().is_transient(), "{op:?}");
        }
        *failing.lock() = None;
        assert_eq!(append(&log, "after").await.unwrap(), Offset(2), "{op:?}");
        drop(log);
        let log = open(folder.path()).await.unwrap();
        assert_eq!(leads(&log).await, [large.as_str(), &large, "after"], "{op:?}");
    }
}

#[tokio::test]
async fn a_commit_that_failed_moves_no_progress() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, failing) = switch();
    let log = open_with(folder.path(), disk).await;
    append(&log, "lead").await.unwrap();
    let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    let position = Position { topic: Topic::Leads, partition: Partition(0), next: Offset(1) };
    *failing.lock() = Some((Op::Write, 900));
    let output = || vec![record(Topic::Appointments, "w", "routed")];
    assert!(stage.commit(&output(), &[position]).await.unwrap_err().is_transient());
    *failing.lock() = None;
    assert_eq!(progress(&log).await, 0);
    let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    stage.commit(&output(), &[position]).await.unwrap();
    assert_eq!(progress(&log).await, 1);
    assert_eq!(all(&log, Topic::Appointments, 0).await.unwrap(), ["routed"]);
}

#[tokio::test]
async fn all_who_wait_share_one_write_and_one_fsync() {
    let folder = tempfile::tempdir().unwrap();
    let (entered, has_entered) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let disk = FaultyDisk::new(|_| Fault::None);
    let log = open_with(folder.path(), disk.clone()).await;
    let counts = Arc::new(Mutex::new((0, 0)));
    let counted = counts.clone();
    disk.set_script(move |op| {
        let mut counts = counted.lock();
        match op {
            Op::Write => {
                if counts.0 == 0 {
                    entered.send(()).unwrap();
                    released.recv().unwrap();
                }
                counts.0 += 1;
            }
            Op::Sync => counts.1 += 1,
            _ => {}
        }
        Fault::None
    });
    // The first write is held up; whatever comes meanwhile waits.
    let first = tokio::spawn({
        let log = log.clone();
        async move { append(&log, "0").await }
    });
    tokio::task::spawn_blocking(move || has_entered.recv().unwrap()).await.unwrap();
    let others = (1..=40).map(|n| {
        let log = log.clone();
        async move { append(&log, &n.to_string()).await.unwrap() }
    });
    let mut others = Box::pin(join_all(others));
    assert!(futures::poll!(&mut others).is_pending());
    release.send(()).unwrap();
    others.await;
    first.await.unwrap().unwrap();
    assert_eq!(*counts.lock(), (2, 2));
    assert_eq!(leads(&log).await.len(), 41);
}

#[tokio::test]
async fn what_does_not_fit_into_the_queue_is_refused_for_the_moment() {
    let folder = tempfile::tempdir().unwrap();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let disk = FaultyDisk::new(|_| Fault::None);
    let mut options = super::options(folder.path());
    options.max_waiting_bytes = 1_000;
    let log = super::open_on(options, Arc::new(disk.clone())).await.unwrap();
    let mut held = false;
    disk.set_script(move |op| {
        if op == Op::Write && !std::mem::replace(&mut held, true) {
            released.recv().unwrap();
        }
        Fault::None
    });
    let appends = (0..200).map(|n| {
        let log = log.clone();
        async move { append(&log, &n.to_string()).await }
    });
    let mut appends = Box::pin(join_all(appends));
    assert!(futures::poll!(&mut appends).is_pending());
    release.send(()).unwrap();
    let results = appends.await;
    let landed = results.iter().filter(|r| r.is_ok()).count();
    assert!(landed > 0 && landed < 200, "{landed}");
    assert!(results.iter().flat_map(|r| r.as_ref().err()).all(LogError::is_transient));
    assert_eq!(leads(&log).await.len(), landed);
    append(&log, "later").await.unwrap();
}

async fn progress(log: &dyn EventLog) -> u64 {
    let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    match stage.next(ReadLimit::default()).await.unwrap() {
        StageEvent::Assigned(assignments) => assignments[0].progress[0].next.0,
        other => panic!("{other:?}"),
    }
}

/// Histories on a failing disk that dies at a random moment, against a model of what must be there.
#[tokio::test]
async fn random_faults_and_crashes_lose_nothing_and_leave_nothing_partial() {
    let seeds = std::env::var("LEADWAY_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(150);
    for seed in 0..seeds {
        println!("seed {seed}");
        History::new(seed).run().await;
    }
}

/// One call's records: by topic, what was appended to its only partition.
type Call = Vec<(Topic, String)>;

struct History {
    seed: u64,
    rng: fastrand::Rng,
    /// By topic: everything acknowledged.
    acknowledged: BTreeMap<Topic, Vec<String>>,
    /// Acknowledged progress of the stage.
    progress: u64,
    count: u64,
}

/// Calls whose answer does not tell whether they landed, and the progress that each would bring.
type Unknown = Vec<(Call, Option<u64>)>;

impl History {
    fn new(seed: u64) -> Self {
        Self { seed, rng: fastrand::Rng::with_seed(seed), acknowledged: BTreeMap::new(), progress: 0, count: 0 }
    }

    async fn run(&mut self) {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..4 {
            let disk = FaultyDisk::new(|_| Fault::None);
            let log = open_with(folder.path(), disk.clone()).await;
            self.check(&log, &mut Unknown::new()).await;
            let mut rng = self.rng.fork();
            let mut left = rng.u32(5..150);
            disk.set_script(move |_| {
                left = left.saturating_sub(1);
                if left == 0 || rng.u32(0..12) == 0 { Fault::Fail(rng.u16(0..=1_000)) } else { Fault::None }
            });
            let mut unknown = self.live(&log).await;
            drop(log);
            let log = open(folder.path()).await.unwrap_or_else(|e| panic!("seed {}: {e}", self.seed));
            self.check(&log, &mut unknown).await;
        }
    }

    /// Appends and commits until the disk is dead for good; returns what a restart may or may not find.
    async fn live(&mut self, log: &super::Journal) -> Unknown {
        let mut stage: Box<dyn Stage> = log.stage("router", Topic::Leads, &[]).await.unwrap();
        let mut unknown = Unknown::new();
        let mut failures = 0;
        while failures < 8 {
            let calls: Vec<Call> = (0..self.rng.usize(1..4)).map(|_| self.call()).collect();
            let output = self.call();
            let next = self.progress + 1;
            let progress = [Position { topic: Topic::Leads, partition: Partition(0), next: Offset(next) }];
            let appends = join_all(calls.iter().map(|call| log.append(records(call))));
            let outputs = records(&output);
            let (appended, committed) = tokio::join!(appends, stage.commit(&outputs, &progress));
            let answers = appended.into_iter().chain([committed]);
            let calls = calls.into_iter().map(|call| (call, None)).chain([(output, Some(next))]);
            failures += 1;
            let unknown_before = unknown.len();
            let mut landed = Vec::new();
            for ((call, progress), answer) in calls.zip(answers) {
                match answer {
                    Ok(addresses) => landed.push((addresses, call, progress)),
                    Err(error) if error.may_have_landed() => unknown.push((call, progress)),
                    Err(error) => assert!(error.is_transient(), "seed {}: {error}", self.seed),
                }
            }
            if !landed.is_empty() {
                // What was unknown before this round has been cut off, or this could not have been written.
                unknown.drain(..unknown_before);
                failures = 0;
            }
            landed.sort_by_key(|(addresses, ..)| addresses[0].offset);
            for (addresses, call, progress) in landed {
                self.acknowledge(addresses.iter().map(|a| a.offset.0), call, progress);
            }
        }
        unknown
    }

    /// Every call begins with one record of `leads`, so that calls can be put in order.
    fn call(&mut self) -> Call {
        let topics = [Topic::Leads, Topic::Appointments, Topic::Deliveries, Topic::Settings];
        (0..self.rng.usize(1..4))
            .map(|n| {
                self.count += 1;
                let filler = "x".repeat(self.rng.usize(0..400));
                let topic = if n == 0 { Topic::Leads } else { topics[self.rng.usize(0..topics.len())] };
                (topic, format!("{}-{filler}", self.count))
            })
            .collect()
    }

    fn acknowledge(&mut self, offsets: impl Iterator<Item = u64>, call: Call, progress: Option<u64>) {
        for ((topic, data), offset) in call.into_iter().zip(offsets) {
            let lane = self.acknowledged.entry(topic).or_default();
            assert_eq!(lane.len() as u64, offset, "seed {}: offsets have no gap and are given once", self.seed);
            lane.push(data);
        }
        self.progress = self.progress.max(progress.unwrap_or_default());
    }

    /// The log holds what was acknowledged, and of the unknown calls each wholly or not at all.
    async fn check(&mut self, log: &super::Journal, unknown: &mut Unknown) {
        let mut found: BTreeMap<Topic, Vec<String>> = BTreeMap::new();
        for topic in Topic::ALL {
            found.insert(topic, all(log, topic, 0).await.unwrap());
        }
        unknown.sort_by_key(|(call, _)| found[&Topic::Leads].iter().position(|d| *d == call[0].1));
        for (call, progress) in unknown.drain(..) {
            let there = call.iter().filter(|(topic, data)| found[topic].contains(data)).count();
            assert!(there == 0 || there == call.len(), "seed {}: a call landed in part", self.seed);
            if there > 0 {
                let next: Vec<u64> = call
                    .iter()
                    .map(|(topic, data)| found[topic].iter().position(|d| d == data).unwrap() as u64)
                    .collect();
                self.acknowledge(next.into_iter(), call, progress);
            }
        }
        for topic in Topic::ALL {
            let expected = self.acknowledged.get(&topic).cloned().unwrap_or_default();
            assert_eq!(found[&topic], expected, "seed {}: topic {topic:?}", self.seed);
        }
        assert_eq!(progress(log).await, self.progress, "seed {}", self.seed);
    }
}

fn records(call: &Call) -> Vec<crate::NewRecord> {
    call.iter().map(|(topic, data)| record(*topic, "k", data.clone())).collect()
}
