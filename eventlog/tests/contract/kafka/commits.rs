//! Commits that the library's own queue does not take as they are.

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use leadway_eventlog::{EventLog, KafkaOptions, LogError, Stage};

use super::{everything, next, open, shared, text};
use crate::{at, progress, record};

const NAME: &str = "router";
const LARGE: usize = 3 << 20;

/// The library's queue takes 4 MiB and a little.
fn small_queue() -> KafkaOptions {
    KafkaOptions { max_waiting_bytes: 1 << 20, max_record_bytes: 4 << 20, ..shared() }
}

async fn ready(log: &dyn EventLog) -> Box<dyn Stage> {
    let mut stage = log.stage(NAME, Topic::Leads, &[]).await.unwrap();
    next(&mut *stage).await.unwrap();
    stage
}

/// Where another member of the stage begins in the first partition.
async fn committed(log: &dyn EventLog) -> Offset {
    let positions = progress(log, NAME, &[]).await;
    positions.iter().find(|p| p.partition == Partition(0)).unwrap().next
}

#[tokio::test]
async fn a_commit_that_is_larger_than_the_queue_lands_whole() {
    let options = small_queue();
    let log = open(&options).await;
    let mut stage = ready(&*log).await;
    let outputs = ["a", "b", "c", "d"].map(|letter| record(Topic::Appointments, letter, letter.repeat(LARGE)));
    let addresses = stage.commit(&outputs, &[at(Topic::Leads, 0, 1)]).await.unwrap();
    assert_eq!(addresses.len(), 4);
    drop(stage);
    let mut seen: Vec<(String, usize)> =
        everything(&*log, Topic::Appointments).await.iter().map(|r| (r.key.to_string(), r.data.len())).collect();
    seen.sort();
    assert_eq!(seen, ["a", "b", "c", "d"].map(|letter| (letter.to_owned(), LARGE)));
    assert_eq!(committed(&*log).await, Offset(1));
}

/// Only the library sees how large a record is with its headers.
#[tokio::test]
async fn of_a_commit_with_a_record_that_the_library_refuses_nothing_lands() {
    let options = KafkaOptions { max_record_bytes: 1 << 20, ..shared() };
    let log = open(&options).await;
    let mut stage = ready(&*log).await;
    let mut refused = record(Topic::Appointments, "k", "x".repeat((1 << 20) - 10));
    refused.kind = "k".repeat(8 << 10).into();
    let small = |data: &str| record(Topic::Appointments, "k", data);
    let outputs = vec![small("before"), refused, small("behind")];
    let error = stage.commit(&outputs, &[at(Topic::Leads, 0, 1)]).await.unwrap_err();
    let LogError::TooLarge { topic: Some(Topic::Appointments), bytes, limit } = error else { panic!("{error}") };
    assert!(bytes > limit && limit == 1 << 20, "{bytes} of {limit}");
    // The same stage goes on, and the progress of the failed commit is not kept.
    stage.commit(&[small("again")], &[]).await.unwrap();
    drop(stage);
    let seen: Vec<String> = everything(&*log, Topic::Appointments).await.iter().map(text).collect();
    assert_eq!(seen, ["again"]);
    assert_eq!(committed(&*log).await, Offset(0));
}
