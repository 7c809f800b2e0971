//! `leadway migrate`: the records of a data folder, moved to Kafka and ScyllaDB.
//!
//! The log is copied record by record to the same offsets, so that every id leads where it led before, and the next lead
//! gets the next id: none is ever given twice. What the stages have done is copied with it, and the tables are made of the
//! log as they always are. So nothing is lost on the way: not settings, not deliveries that wait, not what was billed.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use leadway_config::{Config, LogKind, TablesKind};
use leadway_domain::record::Topic;
use leadway_domain::{Addressing, Offset, Partition};
use leadway_eventlog::{EventLog, NewRecord, ReadLimit, Record, SettingsHandle, Stage, StageEvent};
use leadway_tables::{LogOfTables, Tables};
use uuid::Uuid;

use crate::seal_key::SealKeys;
use crate::{output, storage};

/// The stages that keep their progress in the log, with their topics.
const STAGES: [(&str, Topic, &[Topic]); 2] =
    [("router", Topic::Leads, &[]), ("dispatcher", Topic::Appointments, &[Topic::Deliveries])];

/// Partitions copied side by side.
const AT_ONCE: usize = 8;

/// Copies everything of the data folder to the Kafka and ScyllaDB of `config`. It can be broken off and started again: it
/// goes on where it stopped. Fails when somebody else has written there.
pub async fn run(data: &Path, mut config: Config) -> anyhow::Result<()> {
    ensure!(data.join("log").is_dir(), "--from {}: there is no log of leadway", data.display());
    // Their number is fixed in the folder, whatever the settings say.
    let partitions = leadway_eventlog::open_read_only(&data.join("log")).await?.partitions(Topic::Leads);
    config.embedded.log.partitions = partitions;
    let source = leadway_eventlog::open(storage::embedded_log(&config, data))
        .await
        .context("a node that runs on this folder must be stopped first")?;
    (config.log, config.tables) = (LogKind::Kafka, TablesKind::Scylla);
    config.kafka.partitions = partitions;
    // The nodes there must have the key that the secrets of this log are sealed with.
    let keys = SealKeys::load(&config)?;
    let settings = SettingsHandle::follow_with(source.clone(), keys.ring.clone()).await?;
    keys.settle(&settings.load())?;
    drop(settings);
    let (target, tables) = storage::open_any(&config).await?;
    check_partitions(&*source, &*target)?;
    let id = leadway_eventlog::identity(&*source).await?;
    check_tables(&*tables, id).await?;

    let mut copied = Vec::new();
    for topic in Topic::ALL {
        let records = copy_topic(&source, &target, topic).await?;
        output::print(&format!("{:<13} {records} records\n", topic.name()))?;
        copied.push(records);
    }
    for (name, input, tracked) in STAGES {
        copy_progress(&*source, &*target, name, input, tracked).await?;
    }
    let summary =
        leadway_scoring::rebuild(source, tables.clone(), Addressing::default(), config.scoring.clone()).await?;
    if let Some(id) = id {
        // It went along with the settings.
        let holders = target.holders().await?;
        tables.set_log(&LogOfTables { id, settled: true, holders, ..LogOfTables::default() }).await?;
    }
    storage::mark_moved(data, &format!("Kafka at {}", config.kafka.brokers))?;
    output::print(&format!(
        "moved {} records with their ids, the progress of the stages, and made the tables of {} records.\n\
         Start the nodes with log = \"kafka\" and tables = \"scylla\"; {} stays as it was, and no node starts on it.\n",
        copied.iter().sum::<u64>(),
        summary.records,
        data.display()
    ))
}

/// Refuses tables that are of another log.
async fn check_tables(tables: &dyn Tables, id: Option<Uuid>) -> anyhow::Result<()> {
    let other = tables.log().await?.filter(|said| said.settled && id.is_some_and(|id| id != said.id));
    match other {
        None => Ok(()),
        Some(said) => anyhow::bail!(
            "the tables there are of another log, {}: give another scylla.keyspace, or remove that one",
            said.id
        ),
    }
}

/// An id names a partition and an offset: both must stay.
fn check_partitions(source: &dyn EventLog, target: &dyn EventLog) -> anyhow::Result<()> {
    for topic in Topic::ALL {
        let (has, takes) = (source.partitions(topic), target.partitions(topic));
        ensure!(
            has == takes,
            "topic {} has {has} partitions here and {takes} on Kafka; ids name partitions, so the numbers must be the \
             same: remove the topics on Kafka, or give another kafka.topic_prefix, and leadway makes them as needed",
            topic.name()
        );
    }
    Ok(())
}

async fn copy_topic(source: &Arc<dyn EventLog>, target: &Arc<dyn EventLog>, topic: Topic) -> anyhow::Result<u64> {
    stream::iter((0..source.partitions(topic)).map(Partition))
        .map(|partition| copy_partition(&**source, &**target, topic, partition))
        .buffer_unordered(AT_ONCE)
        .try_fold(0, async |sum, records| Ok(sum + records))
        .await
}

/// Copies one partition to its end; returns how many records it has.
async fn copy_partition(
    source: &dyn EventLog,
    target: &dyn EventLog,
    topic: Topic,
    partition: Partition,
) -> anyhow::Result<u64> {
    let place = || format!("topic {} partition {}", topic.name(), partition.0);
    let end = source.end(topic, partition).await?;
    let mut next = target.end(topic, partition).await?;
    ensure!(next <= end, "{}: Kafka has more records than this log: nodes have run there already", place());
    if let Some(last) = next.0.checked_sub(1).map(Offset) {
        let (here, there) = (one(source, topic, partition, last).await?, one(target, topic, partition, last).await?);
        let same = here.zip(there).is_some_and(|(a, b)| a.id == b.id && a.data == b.data);
        ensure!(same, "{}: Kafka holds other records than this log; give another kafka.topic_prefix", place());
    }
    while next < end {
        let records = source.read(topic, partition, next, ReadLimit::default()).await?;
        let Some(last) = records.last() else { break };
        let to = last.next();
        let offsets: Vec<Offset> = records.iter().map(|r| r.address.offset).collect();
        let addresses = target
            .append(records.into_iter().map(NewRecord::copy_of).collect())
            .await
            .with_context(|| format!("{}: copying stopped at offset {}; start it again to go on", place(), next.0))?;
        let same = addresses.iter().map(|a| a.offset).eq(offsets);
        ensure!(same, "{}: Kafka gave other offsets than this log has: somebody else writes there", place());
        next = to;
    }
    Ok(end.0)
}

async fn one(log: &dyn EventLog, topic: Topic, partition: Partition, at: Offset) -> anyhow::Result<Option<Record>> {
    let one = ReadLimit { records: 1, ..ReadLimit::default() };
    let records = log.read(topic, partition, at, one).await?;
    Ok(records.into_iter().find(|r| r.address.offset == at))
}

/// Has the stage of the target stand where the source's stands.
async fn copy_progress(
    source: &dyn EventLog,
    target: &dyn EventLog,
    name: &'static str,
    input: Topic,
    tracked: &[Topic],
) -> anyhow::Result<()> {
    let mut from = source.stage(name, input, tracked).await?;
    let mut to = target.stage(name, input, tracked).await?;
    let progress = progress(&mut *from, source.partitions(input)).await?;
    // All of the target's partitions must be this process's, or a node is running there.
    let there = self::progress(&mut *to, target.partitions(input));
    tokio::time::timeout(std::time::Duration::from_secs(60), there)
        .await
        .with_context(|| format!("stage {name} has other members on Kafka: stop the nodes that run there"))??;
    to.commit(&[], &progress).await.with_context(|| format!("the progress of stage {name}"))?;
    Ok(())
}

/// Where the stage stands in all of its partitions.
async fn progress(stage: &mut dyn Stage, partitions: u32) -> anyhow::Result<Vec<leadway_eventlog::Position>> {
    let mut progress = Vec::new();
    let mut assigned = 0;
    while assigned < partitions as usize {
        if let StageEvent::Assigned(assignments) = stage.next(ReadLimit::default()).await? {
            assigned += assignments.len();
            progress.extend(assignments.into_iter().flat_map(|a| a.progress));
        }
    }
    Ok(progress)
}
