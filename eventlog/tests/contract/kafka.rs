//! What only Kafka does: members that share, transactions that fail, brokers that go away.

mod access;
mod commits;
mod members;
mod outages;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use leadway_eventlog::{
    Address, EventLog, KafkaOptions, LogError, NewRecord, Position, ReadLimit, Record, Stage, StageEvent, open_kafka,
};

use crate::provider::kafka_options;

/// A log on the shared broker.
fn shared() -> KafkaOptions {
    kafka_options(&leadway_servers::shared_kafka().unwrap().bootstrap())
}

async fn open(options: &KafkaOptions) -> Arc<dyn EventLog> {
    open_kafka(options.clone(), &Topic::ALL).await.unwrap()
}

/// What comes of `waiting`, within a minute.
async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    waited.unwrap_or_else(|_| panic!("in vain for a minute: {what}"))
}

/// Waits until `check` holds, a minute at most.
async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(what, waiting).await;
}

/// What a question to the brokers comes to: it is asked again, for a minute, while they cannot answer.
async fn answered<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, LogError>) -> T {
    let asking = async {
        loop {
            match ask().await {
                Ok(answer) => return answer,
                Err(error) => assert!(error.is_transient(), "{what}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(what, asking).await
}

/// All records of a topic, by partition and offset.
async fn everything(log: &dyn EventLog, topic: Topic) -> Vec<Record> {
    let mut found = Vec::new();
    for partition in (0..log.partitions(topic)).map(Partition) {
        let end = answered("where a partition ends", async || log.end(topic, partition).await).await;
        let mut next = Offset(0);
        while next < end {
            let read = async || log.read(topic, partition, next, ReadLimit::default()).await;
            let mut records = answered("what a partition holds", read).await;
            // More may have come since.
            records.retain(|record| record.address.offset < end);
            assert!(!records.is_empty(), "there is more before the end");
            next = records.last().unwrap().next();
            found.extend(records);
        }
        assert_eq!(next, end, "the end is behind the last record");
    }
    found
}

fn text(record: &Record) -> String {
    String::from_utf8(record.data.to_vec()).unwrap()
}

/// What a stage is told next, within a minute.
async fn next(stage: &mut dyn Stage) -> Result<StageEvent, LogError> {
    let next = stage.next(ReadLimit { records: 7, ..ReadLimit::default() });
    within("the stage is told something", next).await
}

/// The positions behind the records, by partition.
fn behind(records: &[Record]) -> Vec<Position> {
    let mut positions: BTreeMap<Partition, Position> = BTreeMap::new();
    for record in records {
        let Address { topic, partition, .. } = record.address;
        positions.insert(partition, Position { topic, partition, next: record.next() });
    }
    positions.into_values().collect()
}

/// Writes an output for every record, with the progress past them, until it has landed; leaves out the partitions that
/// are lost meanwhile. Returns the records that have one; of what else happens `told` is told.
async fn route_all(
    stage: &mut dyn Stage,
    mut records: Vec<Record>,
    output: impl Fn(&Record) -> NewRecord,
    mut told: impl FnMut(StageEvent),
) -> Vec<Record> {
    while !records.is_empty() {
        match stage.commit(&records.iter().map(&output).collect::<Vec<_>>(), &behind(&records)).await {
            Ok(_) => break,
            Err(LogError::Revoked { .. }) => {
                let event = next(stage).await.unwrap();
                let StageEvent::Revoked(lost) = &event else { panic!("not revoked but {event:?}") };
                records.retain(|record| !lost.contains(&record.address.partition));
                told(event);
            }
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    records
}
