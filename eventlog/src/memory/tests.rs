//! What only a shared log does: several members in one process, of which one can be thrown out.

use futures::FutureExt;
use leadway_domain::{Offset, Timestamp};
use uuid::Uuid;

use super::*;
use crate::{ReadLimit, Stage, StageEvent};

const PARTITIONS: u32 = 4;

fn lead(partition: u32, data: &'static str) -> NewRecord {
    let record = NewRecord {
        topic: Topic::Leads,
        partition: None,
        key: "k".into(),
        kind: "test.kind".into(),
        id: Uuid::from_u128(7),
        time: Timestamp::UNIX_EPOCH,
        data: data.into(),
        decoded: Default::default(),
    };
    record.in_partition(Partition(partition))
}

fn output() -> Vec<NewRecord> {
    vec![NewRecord { topic: Topic::Settings, partition: None, ..lead(0, "output") }]
}

fn at(partition: u32, next: u64) -> Position {
    Position { topic: Topic::Leads, partition: Partition(partition), next: Offset(next) }
}

async fn join(log: &MemoryLog, node: u32) -> Box<dyn Stage> {
    log.of_node(node).stage("router", Topic::Leads, &[]).await.unwrap()
}

/// The next event in a word, if there is one.
fn told(stage: &mut dyn Stage) -> Option<String> {
    let numbers =
        |partitions: &mut dyn Iterator<Item = Partition>| partitions.map(|p| p.0.to_string()).collect::<String>();
    stage.next(ReadLimit::default()).now_or_never().map(|event| match event.unwrap() {
        StageEvent::Assigned(assignments) => {
            let at: Vec<_> =
                assignments.iter().map(|a| format!("{}@{}", a.partition.0, a.progress[0].next.0)).collect();
            format!("+{}", at.join(" "))
        }
        StageEvent::Revoked(partitions) => format!("-{}", numbers(&mut partitions.into_iter())),
        StageEvent::Records(records) => format!("records of {}", records[0].address.partition.0),
    })
}

fn settings(log: &MemoryLog) -> Offset {
    log.seen(Topic::Settings, Partition(0))
}

#[tokio::test]
async fn members_divide_the_partitions_and_learn_of_losses_first() {
    let log = MemoryLog::shared(PARTITIONS);
    log.append((0..PARTITIONS).map(|p| lead(p, "a")).collect()).await.unwrap();
    let mut first = join(&log, 1).await;
    assert_eq!(told(&mut *first).unwrap(), "+0@0 1@0 2@0 3@0");
    assert!(told(&mut *first).unwrap().starts_with("records"));
    first.commit(&[], &[at(1, 1)]).await.unwrap();

    let mut second = join(&log, 2).await;
    assert_eq!(told(&mut *first).unwrap(), "-13");
    assert_eq!(told(&mut *second).unwrap(), "+1@1 3@0", "it goes on where the other one stood");
    assert_eq!(told(&mut *second).unwrap(), "records of 3");
    assert_eq!(told(&mut *second), None);

    drop(first);
    assert_eq!(told(&mut *second).unwrap(), "+0@0 2@0");
}

#[tokio::test]
async fn a_commit_for_a_lost_partition_lands_nothing() {
    let log = MemoryLog::shared(PARTITIONS);
    let mut first = join(&log, 1).await;
    told(&mut *first);
    let mut second = join(&log, 2).await;
    let error = first.commit(&output(), &[at(0, 5), at(1, 5)]).await.unwrap_err();
    assert!(matches!(error, LogError::Revoked { .. }), "{error}");
    assert_eq!(settings(&log), Offset(0));
    first.commit(&output(), &[at(0, 5)]).await.unwrap();
    assert_eq!(told(&mut *second).unwrap(), "+1@0 3@0");
    second.commit(&output(), &[at(1, 6)]).await.unwrap();
    assert_eq!(settings(&log), Offset(2));
}

#[tokio::test]
async fn what_came_back_meanwhile_was_lost_all_the_same() {
    let log = MemoryLog::shared(PARTITIONS);
    let mut first = join(&log, 1).await;
    told(&mut *first);
    let mut second = join(&log, 2).await;
    told(&mut *second);
    second.commit(&[], &[at(1, 8)]).await.unwrap();
    drop(second);
    let error = first.commit(&output(), &[at(1, 1)]).await.unwrap_err();
    assert!(matches!(error, LogError::Revoked { .. }), "{error}");
    assert_eq!(told(&mut *first).unwrap(), "-13");
    assert_eq!(told(&mut *first).unwrap(), "+1@8 3@0");
    first.commit(&output(), &[at(1, 9)]).await.unwrap();
}

#[tokio::test]
async fn who_was_thrown_out_is_refused_and_joins_again() {
    let log = MemoryLog::shared(PARTITIONS);
    let (mut first, mut second) = (join(&log, 1).await, join(&log, 2).await);
    told(&mut *first);
    told(&mut *second);
    log.expel(1);
    assert_eq!(told(&mut *second).unwrap(), "+0@0 2@0");
    for progress in [&[at(0, 1)][..], &[]] {
        let error = first.commit(&output(), progress).await.unwrap_err();
        assert!(matches!(error, LogError::Revoked { .. }), "{error}");
    }
    assert_eq!(settings(&log), Offset(0));
    assert_eq!(told(&mut *first).unwrap(), "-02");
    assert_eq!(told(&mut *first).unwrap(), "+1@0 3@0");
    assert_eq!(told(&mut *second).unwrap(), "-13");
}

#[tokio::test]
async fn nothing_is_divided_while_a_member_stands_still() {
    let log = MemoryLog::shared(PARTITIONS);
    let mut first = join(&log, 1).await;
    told(&mut *first);
    log.stand_still(1, true);
    let mut second = join(&log, 2).await;
    assert_eq!(told(&mut *second), None);
    log.stand_still(1, false);
    assert_eq!(told(&mut *second).unwrap(), "+1@0 3@0");
    assert_eq!(told(&mut *first).unwrap(), "-13");
    log.stand_still(1, true);
    log.expel(1);
    assert_eq!(told(&mut *second).unwrap(), "+0@0 2@0");
}

#[tokio::test]
async fn a_waiting_member_is_woken_by_a_change() {
    let log = MemoryLog::shared(PARTITIONS);
    let mut first = join(&log, 1).await;
    told(&mut *first);
    let waiting = tokio::spawn(async move { first.next(ReadLimit::default()).await });
    tokio::task::yield_now().await;
    let _second = join(&log, 2).await;
    assert!(matches!(waiting.await.unwrap().unwrap(), StageEvent::Revoked(_)));
}

#[tokio::test]
async fn memberships_share_as_stages_do() {
    let log = MemoryLog::shared(PARTITIONS);
    let mut first = log.of_node(1).membership("scoring", Topic::Leads).await.unwrap();
    assert_eq!(first.changed().await.unwrap().len(), 4);
    assert!(first.changed().now_or_never().is_none());
    let mut second = log.of_node(2).membership("scoring", Topic::Leads).await.unwrap();
    assert_eq!(first.changed().await.unwrap(), [Partition(0), Partition(2)]);
    assert_eq!(second.changed().await.unwrap(), [Partition(1), Partition(3)]);
    log.expel(1);
    assert_eq!(second.changed().await.unwrap().len(), 4);
}
