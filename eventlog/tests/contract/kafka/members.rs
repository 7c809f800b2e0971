//! Several members of one stage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use leadway_eventlog::{Compression, EventLog, KafkaOptions, LogError, Position, Record, Stage, StageEvent};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{eventually, everything, next, open, route_all, shared, text};
use crate::{at, lead, record};

const NAME: &str = "router";

/// Waits until a member has been told of as many partitions; leaves records aside.
async fn own(stage: &mut dyn Stage, own: &mut BTreeSet<Partition>, count: usize) {
    while own.len() != count {
        note(next(stage).await.unwrap(), own);
    }
}

fn note(event: StageEvent, own: &mut BTreeSet<Partition>) {
    match event {
        StageEvent::Assigned(new) => own.extend(new.iter().map(|a| a.partition)),
        StageEvent::Revoked(lost) => own.retain(|p| !lost.contains(p)),
        StageEvent::Records(_) => {}
    }
}

/// What routers have done, and how long it takes them to do what they were given.
#[derive(Clone, Default)]
struct Work {
    done: Arc<Mutex<Vec<String>>>,
    takes: Duration,
}

/// A router of sorts: one output for every record of `leads`, with progress. It dies, if it is told to, without a word.
struct Router {
    task: JoinHandle<()>,
    own: watch::Receiver<usize>,
}

impl Router {
    fn start(log: &Arc<dyn EventLog>) -> Self {
        Self::working(log, &Work::default())
    }

    fn working(log: &Arc<dyn EventLog>, work: &Work) -> Self {
        let (told, own) = watch::channel(0);
        let (log, work) = (log.clone(), work.clone());
        Self { task: tokio::spawn(async move { route(&*log, told, work).await }), own }
    }

    async fn wait_for(&self, partitions: usize) {
        self.own.clone().wait_for(|own| *own == partitions).await.unwrap();
    }

    fn kill(self) {
        self.task.abort();
    }
}

async fn route(log: &dyn EventLog, told: watch::Sender<usize>, work: Work) {
    let mut stage = log.stage(NAME, Topic::Leads, &[]).await.unwrap();
    let mut own = BTreeSet::new();
    loop {
        let event = next(&mut *stage).await.unwrap();
        let StageEvent::Records(records) = event else {
            note(event, &mut own);
            told.send_replace(own.len());
            continue;
        };
        let output = |r: &Record| record(Topic::Appointments, &r.key, text(r));
        work.done.lock().extend(records.iter().map(text));
        tokio::time::sleep(work.takes).await;
        route_all(&mut *stage, records, output, |event| note(event, &mut own)).await;
        told.send_replace(own.len());
    }
}

/// Every lead has one output.
async fn each_once(log: &dyn EventLog, leads: usize) {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for record in everything(log, Topic::Appointments).await {
        *counts.entry(text(&record)).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "decided more than once: {twice:?}");
    assert_eq!(counts.len(), leads);
}

async fn outputs(log: &dyn EventLog) -> usize {
    everything(log, Topic::Appointments).await.len()
}

#[tokio::test]
async fn members_share_what_one_had_and_take_over_what_one_leaves() {
    let options = KafkaOptions { partitions: 4, ..shared() };
    let (here, there) = (open(&options).await, open(&options).await);
    let (mut one, mut two) =
        (here.stage(NAME, Topic::Leads, &[]).await.unwrap(), there.stage(NAME, Topic::Leads, &[]).await.unwrap());
    let (mut ones, mut twos) = (BTreeSet::new(), BTreeSet::new());
    tokio::join!(own(&mut *one, &mut ones, 2), own(&mut *two, &mut twos, 2));
    assert!(ones.is_disjoint(&twos));

    let (mine, lost) = (*ones.first().unwrap(), *twos.first().unwrap());
    let to = |partition: Partition| [at(Topic::Leads, partition.0, 5)];
    one.commit(&[record(Topic::Settings, "", "mine")], &to(mine)).await.unwrap();
    let refused = one.commit(&[record(Topic::Settings, "", "not mine")], &to(lost)).await;
    assert!(matches!(refused, Err(LogError::Revoked { .. })), "{refused:?}");

    drop(one);
    own(&mut *two, &mut twos, 4).await;
    let landed: Vec<String> = everything(&*there, Topic::Settings).await.iter().map(text).collect();
    assert_eq!(landed, ["mine"]);
}

#[tokio::test]
async fn a_member_that_keeps_partitions_goes_on_with_them_while_others_come() {
    let options = KafkaOptions { partitions: 2, ..shared() };
    let log = open(&options).await;
    let mut one = log.stage(NAME, Topic::Leads, &[]).await.unwrap();
    let mut ones = BTreeSet::new();
    own(&mut *one, &mut ones, 2).await;
    let two = Router::start(&log);
    let mut told = Vec::new();
    while ones.len() != 1 {
        let event = next(&mut *one).await.unwrap();
        told.push(format!("{event:?}"));
        note(event, &mut ones);
    }
    assert!(told.len() == 1 && told[0].starts_with("Revoked([Partition("), "one event, for one partition: {told:?}");
    let kept = *ones.first().unwrap();
    one.commit(&[record(Topic::Settings, "", "kept")], &[at(Topic::Leads, kept.0, 1)]).await.unwrap();
    two.wait_for(1).await;
    two.kill();
}

/// What one member has done and not committed when a partition goes to another is done again.
#[tokio::test]
async fn what_members_do_is_done_once_though_their_partitions_go_to_others() {
    let options = KafkaOptions { partitions: 4, ..shared() };
    let log = open(&options).await;
    let work = Work { takes: Duration::from_millis(50), ..Work::default() };
    let mut members = vec![Router::working(&log, &work)];
    members[0].wait_for(4).await;
    let (end, ended) = watch::channel(false);
    let appending = tokio::spawn({
        let log = log.clone();
        async move {
            let mut leads = 0;
            while !*ended.borrow() {
                log.append(vec![lead(leads % 4, format!("{leads}"))]).await.unwrap();
                leads += 1;
            }
            leads as usize
        }
    });
    for share in [2, 1] {
        members.push(Router::working(&log, &work));
        members.last().unwrap().wait_for(share).await;
    }
    end.send_replace(true);
    let leads = appending.await.unwrap();
    eventually("every record has an output", async || outputs(&*log).await >= leads).await;
    each_once(&*log, leads).await;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    work.done.lock().iter().for_each(|done| *counts.entry(done.clone()).or_default() += 1);
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "done more than once: {twice:?}");
    members.into_iter().for_each(Router::kill);
}

#[tokio::test]
async fn every_record_is_decided_once_while_members_come_and_go() {
    let options = KafkaOptions { partitions: 4, ..shared() };
    let (here, there) = (open(&options).await, open(&options).await);
    let first = Router::start(&here);
    first.wait_for(4).await;
    let count = 1_200;
    let appending = tokio::spawn({
        let log = here.clone();
        async move {
            for n in 0..count {
                log.append(vec![lead(n % 4, format!("{n}"))]).await.unwrap();
            }
        }
    });
    let second = Router::start(&there);
    second.wait_for(2).await;
    // In the middle of whatever it does.
    first.kill();
    second.wait_for(4).await;
    let third = Router::start(&here);
    third.wait_for(2).await;
    second.kill();
    appending.await.unwrap();
    eventually("every record has an output", async || outputs(&*there).await >= count as usize).await;
    each_once(&*there, count as usize).await;
    third.kill();
}

/// A member that is silent for so long that the group gives its partitions to another, and does not know it.
#[tokio::test]
async fn what_a_member_commits_that_the_group_has_dropped_is_refused_and_never_seen() {
    let options = KafkaOptions { session_timeout_ms: 2_000, max_busy_ms: 4_000, partitions: 2, ..shared() };
    let (here, there) = (open(&options).await, open(&options).await);
    here.append(vec![lead(0, "a"), lead(1, "b")]).await.unwrap();
    let mut zombie = here.stage(NAME, Topic::Leads, &[]).await.unwrap();
    let mut zombies = BTreeSet::new();
    own(&mut *zombie, &mut zombies, 2).await;
    // From here on it asks for nothing: its thread leaves the client alone, and the client leaves the group.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let heir = Router::start(&there);
    heir.wait_for(2).await;
    eventually("the heir has decided", async || outputs(&*there).await == 2).await;
    // It does not know yet: only the brokers can refuse it.
    let outputs = vec![record(Topic::Appointments, "k", "from the dead")];
    let refused = zombie.commit(&outputs, &[at(Topic::Leads, 0, 1), at(Topic::Leads, 1, 1)]).await;
    assert!(matches!(refused, Err(LogError::Revoked { .. })), "{refused:?}");
    own(&mut *zombie, &mut zombies, 0).await;
    // It lives on as a member like any other.
    own(&mut *zombie, &mut zombies, 1).await;
    let own = *zombies.first().unwrap();
    zombie.commit(&[record(Topic::Appointments, "k", "of the living")], &[at(Topic::Leads, own.0, 1)]).await.unwrap();
    let mut seen: Vec<String> = everything(&*there, Topic::Appointments).await.iter().map(text).collect();
    seen.sort();
    assert_eq!(seen, ["a", "b", "of the living"]);
    heir.kill();
}

#[tokio::test]
async fn a_commit_from_before_a_partition_went_and_came_back_is_refused() {
    let options = KafkaOptions { partitions: 2, ..shared() };
    let log = open(&options).await;
    let mut one = log.stage(NAME, Topic::Leads, &[]).await.unwrap();
    own(&mut *one, &mut BTreeSet::new(), 2).await;
    // It asks for nothing from here on, and is told nothing of what happens now.
    let mut two = log.stage(NAME, Topic::Leads, &[]).await.unwrap();
    let mut twos = BTreeSet::new();
    own(&mut *two, &mut twos, 1).await;
    drop(two);
    let moved = *twos.first().unwrap();
    log.append(vec![lead(0, "a"), lead(1, "b")]).await.unwrap();
    eventually("it has both again", async || one.lag() == 2).await;

    let refused = one.commit(&[record(Topic::Settings, "", "old")], &[at(Topic::Leads, moved.0, 1)]).await;
    assert!(matches!(refused, Err(LogError::Revoked { .. })), "{refused:?}");
    assert!(matches!(next(&mut *one).await.unwrap(), StageEvent::Revoked(lost) if lost == [moved]));
    assert!(matches!(next(&mut *one).await.unwrap(), StageEvent::Assigned(new) if new[0].partition == moved));
    one.commit(&[record(Topic::Settings, "", "new")], &[at(Topic::Leads, moved.0, 1)]).await.unwrap();
    let landed: Vec<String> = everything(&*log, Topic::Settings).await.iter().map(text).collect();
    assert_eq!(landed, ["new"]);
}

#[tokio::test]
async fn marks_of_transactions_are_stepped_over_everywhere() {
    let options = shared();
    let log = open(&options).await;
    let mut stage = log.stage(NAME, Topic::Leads, &[]).await.unwrap();
    let mut owned = BTreeSet::new();
    own(&mut *stage, &mut owned, 3).await;
    let to = |n| record(Topic::Appointments, "k", format!("{n}")).in_partition(Partition(0));
    let mut expected = Vec::new();
    for n in 0..5_u64 {
        let landed = stage.commit(&[to(n)], &[at(Topic::Leads, 0, n + 1)]).await.unwrap();
        expected.push(landed[0].offset.0);
        let position = Position { topic: Topic::Appointments, partition: Partition(0), next: landed[0].offset };
        log.wait(&[position]).await.unwrap();
        assert_eq!(log.end(Topic::Appointments, Partition(0)).await.unwrap(), landed[0].offset.next());
    }
    assert_eq!(expected, [0, 2, 4, 6, 8], "each transaction left a mark");
    // Also for those who come later, at the very end, and in between.
    let other = open(&options).await;
    for log in [&log, &other] {
        assert_eq!(log.end(Topic::Appointments, Partition(0)).await.unwrap(), Offset(9));
        assert_eq!(log.seen(Topic::Appointments, Partition(0)), Offset(9));
        let found: Vec<u64> =
            everything(&**log, Topic::Appointments).await.iter().map(|r| r.address.offset.0).collect();
        assert_eq!(found, expected);
        let read = log.read(Topic::Appointments, Partition(0), Offset(3), Default::default()).await.unwrap();
        assert_eq!(read.first().unwrap().address.offset, Offset(4));
        let none = log.read(Topic::Appointments, Partition(0), Offset(9), Default::default()).await.unwrap();
        assert!(none.is_empty());
        let beyond = [Position { topic: Topic::Appointments, partition: Partition(0), next: Offset(9) }];
        let waited = tokio::time::timeout(Duration::from_millis(300), log.wait(&beyond)).await;
        assert!(waited.is_err(), "a mark is nothing to read");
    }
}

/// The brokers refuse one of its records, when another has been written already.
#[tokio::test]
async fn what_a_commit_wrote_before_it_failed_is_never_seen() {
    let options = KafkaOptions { max_record_bytes: 1 << 20, compression: Compression::None, ..shared() };
    drop(open(&options).await);
    let log = open(&KafkaOptions { max_record_bytes: 4 << 20, ..options }).await;
    let mut stage = log.stage(NAME, Topic::Leads, &[]).await.unwrap();
    own(&mut *stage, &mut BTreeSet::new(), 3).await;
    let to = |partition, data: &str| record(Topic::Appointments, "k", data).in_partition(Partition(partition));
    let progress = [at(Topic::Leads, 0, 1)];
    let outputs = vec![to(0, "small"), to(1, &"x".repeat(3 << 20))];
    let error = stage.commit(&outputs, &progress).await.unwrap_err();
    assert!(!error.is_transient() && !error.may_have_landed(), "{error}");
    for partition in 0..2 {
        assert_eq!(log.end(Topic::Appointments, Partition(partition)).await.unwrap(), Offset(0));
        let read = log.read(Topic::Appointments, Partition(partition), Offset(0), Default::default()).await.unwrap();
        assert!(read.is_empty());
    }
    let landed = stage.commit(&[to(0, "again")], &progress).await.unwrap();
    assert!(landed[0].offset > Offset(0), "the first one was written, and does not count");
    let seen: Vec<String> = everything(&*log, Topic::Appointments).await.iter().map(text).collect();
    assert_eq!(seen, ["again"]);
}

#[tokio::test]
async fn shares_of_a_topic_follow_who_is_there() {
    let options = KafkaOptions { partitions: 4, ..shared() };
    let (here, there) = (open(&options).await, open(&options).await);
    let mut one = here.membership("scoring", Topic::Leads).await.unwrap();
    assert_eq!(one.changed().await.unwrap().len(), 4);
    let mut two = there.membership("scoring", Topic::Leads).await.unwrap();
    let mut twos = two.changed().await.unwrap();
    let mut ones = one.changed().await.unwrap();
    while twos.len() != 2 {
        twos = two.changed().await.unwrap();
    }
    while ones.len() != 2 {
        ones = one.changed().await.unwrap();
    }
    assert_eq!(ones.iter().chain(&twos).collect::<BTreeSet<_>>().len(), 4);
    drop(one);
    while twos.len() != 4 {
        twos = two.changed().await.unwrap();
    }
}

#[tokio::test]
async fn what_one_node_appends_another_sees() {
    let options = shared();
    let (here, there) = (open(&options).await, open(&options).await);
    for n in 0..20 {
        let position = at(Topic::Settings, 0, n);
        let (_, address) = tokio::join!(async { there.wait(&[position]).await.unwrap() }, async {
            here.append(vec![record(Topic::Settings, "", format!("{n}"))]).await.unwrap()
        });
        let read = there.read(Topic::Settings, Partition(0), Offset(n), Default::default()).await.unwrap();
        assert_eq!((address[0].offset, text(&read[0])), (Offset(n), format!("{n}")));
        // Whoever asks how far it goes hears of everything that was acknowledged before, wherever.
        assert_eq!(there.end(Topic::Settings, Partition(0)).await.unwrap(), Offset(n + 1));
    }
}
