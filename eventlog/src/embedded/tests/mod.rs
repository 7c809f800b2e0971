//! Tests that reach behind the contract: failing disks, damaged files, starts. They share these helpers.

mod ahead;
mod damage;
mod faults;
mod faulty_disk;
mod salvage;
mod start;

use std::path::Path;
use std::sync::Arc;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition, Timestamp};
use uuid::Uuid;

use super::disk::{Disk, OsDisk};
use super::view::SegmentInfo;
use super::{Journal, Options, open_on};
use crate::{EventLog, LogError, NewRecord, ReadLimit, Record};

fn record(topic: Topic, key: &str, data: impl Into<String>) -> NewRecord {
    NewRecord {
        topic,
        partition: None,
        key: key.into(),
        kind: "test.kind".into(),
        id: Uuid::nil(),
        time: Timestamp::UNIX_EPOCH,
        data: data.into().into(),
        decoded: Default::default(),
    }
}

fn options(folder: &Path) -> Options {
    Options { folder: folder.into(), partitions: 1, segment_bytes: 4 << 10, tail_bytes: 2 << 10, ..Options::default() }
}

async fn open(folder: &Path) -> Result<Journal, LogError> {
    open_on(options(folder), Arc::new(OsDisk)).await
}

async fn open_with(folder: &Path, disk: impl Disk + 'static) -> Journal {
    open_on(options(folder), Arc::new(disk)).await.unwrap()
}

/// The data of all records of a partition.
async fn all(log: &dyn EventLog, topic: Topic, partition: u32) -> Result<Vec<String>, LogError> {
    let mut found: Vec<Record> = Vec::new();
    loop {
        let from = Offset(found.len() as u64);
        let records = log.read(topic, Partition(partition), from, ReadLimit::default()).await?;
        assert_eq!(records.first().map_or(from, |r| r.address.offset), from);
        if records.is_empty() {
            let end = log.end(topic, Partition(partition)).await?;
            assert_eq!(end, from, "every record up to the end can be read");
            return Ok(found.iter().map(|r| String::from_utf8(r.data.to_vec()).unwrap()).collect());
        }
        found.extend(records);
    }
}

async fn leads(log: &dyn EventLog) -> Vec<String> {
    all(log, Topic::Leads, 0).await.unwrap()
}

async fn append(log: &Journal, data: &str) -> Result<Offset, LogError> {
    log.append(vec![record(Topic::Leads, "k", data)]).await.map(|addresses| addresses[0].offset)
}

fn newest(log: &Journal) -> SegmentInfo {
    *log.shared.view.read().segments().last().unwrap()
}
