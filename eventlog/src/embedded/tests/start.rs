//! Opening: who may, with what, and beside whom.

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};

use super::{Options, append, leads, newest, open, options, record};
use crate::{EventLog, LogError, Position, open_read_only};

fn unusable(error: &LogError) -> &str {
    match error {
        LogError::Unusable(message) => message,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_second_opening_is_refused_and_names_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).await.unwrap();
    let error = open(folder.path()).await.map(drop).unwrap_err();
    assert!(unusable(&error).contains(folder.path().to_str().unwrap()), "{error}");
    drop(first);
    open(folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_stage_keeps_the_log_open() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await.unwrap();
    let stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    drop(log);
    assert!(open(folder.path()).await.is_err());
    drop(stage);
    open(folder.path()).await.unwrap();
}

#[tokio::test]
async fn another_number_of_partitions_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    crate::open(Options { partitions: 3, ..options(folder.path()) }).await.unwrap();
    let error = crate::open(Options { partitions: 4, ..options(folder.path()) }).await.map(drop).unwrap_err();
    assert!(unusable(&error).contains("set partitions = 3"), "{error}");
    crate::open(Options { partitions: 3, ..options(folder.path()) }).await.unwrap();
}

#[tokio::test]
async fn settings_that_cannot_be_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (wrong, name) in [
        (Options { partitions: 0, ..options(folder.path()) }, "partitions"),
        (Options { partitions: 4_097, ..options(folder.path()) }, "partitions"),
        (Options { max_batch_bytes: 0, ..options(folder.path()) }, "max_batch_bytes"),
        (Options::default(), "folder"),
    ] {
        let error = crate::open(wrong).await.map(drop).unwrap_err();
        assert!(unusable(&error).contains(name), "{error}");
    }
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_refused_and_the_largest_lands() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_with_batch(folder.path(), 10_000).await;
    let error = append(&log, &"x".repeat(10_000)).await.unwrap_err();
    assert!(matches!(error, LogError::TooLarge { topic: Some(Topic::Leads), limit: 10_000, .. }), "{error}");
    // Larger than a segment, and still whole.
    let data = "x".repeat(9_900);
    append(&log, &data).await.unwrap();
    append(&log, "next").await.unwrap();
    drop(log);
    assert_eq!(leads(&open(folder.path()).await.unwrap()).await, [data.as_str(), "next"]);
}

#[tokio::test]
async fn one_call_may_append_more_than_a_frame_gathers() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_with_batch(folder.path(), Options::default().max_batch_bytes).await;
    // What an import of the largest default size may come to.
    let data = "x".repeat(100 << 20);
    append(&log, &data).await.unwrap();
    append(&log, "next").await.unwrap();
    drop(log);
    assert!(leads(&open(folder.path()).await.unwrap()).await == [data.as_str(), "next"]);
}

async fn open_with_batch(folder: &std::path::Path, max_batch_bytes: usize) -> super::Journal {
    let options = Options { max_batch_bytes, ..options(folder) };
    super::open_on(options, std::sync::Arc::new(super::OsDisk)).await.unwrap()
}

#[tokio::test]
async fn what_waits_when_the_last_handle_goes_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await.unwrap();
    {
        let mut abandoned: Vec<_> = (0..20).map(|_| Box::pin(append(&log, "abandoned"))).collect();
        for append in &mut abandoned {
            let _ = futures::poll!(append);
        }
    }
    drop(log);
    assert_eq!(leads(&open(folder.path()).await.unwrap()).await.len(), 20);
}

#[tokio::test]
async fn a_reader_beside_the_writer_sees_the_log_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await.unwrap();
    for n in 0..30 {
        append(&log, &format!("{n}{}", "x".repeat(400))).await.unwrap();
    }
    assert!(newest(&log).number > 1);
    let reader = open_read_only(folder.path()).await.unwrap();
    assert_eq!(leads(&*reader).await, leads(&log).await);
    let error = reader.append(vec![record(Topic::Leads, "k", "no")]).await.unwrap_err();
    assert!(unusable(&error).contains("reading only"), "{error}");
    assert!(reader.stage("router", Topic::Leads, &[]).await.is_err());
    let position = |next| [Position { topic: Topic::Leads, partition: Partition(0), next: Offset(next) }];
    reader.wait(&position(29)).await.unwrap();
    assert!(reader.wait(&position(30)).await.is_err());
    append(&log, "more").await.unwrap();
    assert_eq!(leads(&log).await.len(), 31);
}

#[tokio::test]
async fn readers_beside_a_busy_writer_never_see_damage() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await.unwrap();
    let writing = tokio::spawn({
        let log = log.clone();
        async move {
            for n in 0..400 {
                append(&log, &format!("{n}{}", "x".repeat(300))).await.unwrap();
            }
        }
    });
    let mut seen = 0;
    while !writing.is_finished() {
        let read = leads(&*open_read_only(folder.path()).await.unwrap()).await;
        assert!(read.len() >= seen, "what was there stays");
        seen = read.len();
    }
    writing.await.unwrap();
    assert_eq!(leads(&*open_read_only(folder.path()).await.unwrap()).await.len(), 400);
}

#[tokio::test]
async fn a_folder_without_a_log_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let error = open_read_only(folder.path()).await.map(drop).unwrap_err();
    assert!(unusable(&error).contains("holds no log"), "{error}");
}
