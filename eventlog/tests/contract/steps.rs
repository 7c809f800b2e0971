//! What the cases do again and again.

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition, Timestamp};
use leadway_eventlog::{EventLog, NewRecord, Position, ReadLimit, Record, Stage, StageEvent};
use uuid::Uuid;

pub(crate) fn record(topic: Topic, key: &str, data: impl Into<String>) -> NewRecord {
    NewRecord {
        topic,
        partition: None,
        key: key.into(),
        kind: "test.kind".into(),
        id: Uuid::from_u128(7),
        time: Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(),
        data: data.into().into(),
        decoded: Default::default(),
    }
}

pub(crate) fn lead(partition: u32, data: impl Into<String>) -> NewRecord {
    record(Topic::Leads, "k", data).in_partition(Partition(partition))
}

pub(crate) fn at(topic: Topic, partition: u32, next: u64) -> Position {
    Position { topic, partition: Partition(partition), next: Offset(next) }
}

pub(crate) fn data(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8(r.data.to_vec()).unwrap()).collect()
}

pub(crate) async fn all(log: &dyn EventLog, topic: Topic, partition: u32) -> Vec<Record> {
    let mut found: Vec<Record> = Vec::new();
    loop {
        let from = found.last().map_or(Offset(0), Record::next);
        let records = log.read(topic, Partition(partition), from, ReadLimit::default()).await.unwrap();
        if records.is_empty() {
            assert_eq!(log.end(topic, Partition(partition)).await.unwrap(), from);
            return found;
        }
        found.extend(records);
    }
}

pub(crate) async fn nothing_landed(log: &dyn EventLog) {
    for topic in Topic::ALL {
        for partition in 0..log.partitions(topic) {
            assert!(all(log, topic, partition).await.is_empty(), "{topic:?} {partition}");
        }
    }
}

/// Where the stage stands in each partition of `topics`; takes the stage over.
pub(crate) async fn progress(log: &dyn EventLog, name: &'static str, tracked: &[Topic]) -> Vec<Position> {
    let mut stage = log.stage(name, Topic::Leads, tracked).await.unwrap();
    assigned(&mut *stage).await
}

pub(crate) async fn assigned(stage: &mut dyn Stage) -> Vec<Position> {
    match stage.next(ReadLimit::default()).await.unwrap() {
        StageEvent::Assigned(assignments) => assignments.into_iter().flat_map(|a| a.progress).collect(),
        other => panic!("not assigned but {other:?}"),
    }
}

pub(crate) async fn records(stage: &mut dyn Stage) -> Vec<Record> {
    match stage.next(ReadLimit::default()).await.unwrap() {
        StageEvent::Records(records) => records,
        other => panic!("no records but {other:?}"),
    }
}

/// So many records of the stage, and no others.
pub(crate) async fn gathered(stage: &mut dyn Stage, count: usize) -> Vec<Record> {
    let mut found = Vec::new();
    while found.len() < count {
        found.extend(records(stage).await);
    }
    found
}
