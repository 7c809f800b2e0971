//! Brokers that go away and come back. Each test has a cluster of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use leadway_domain::record::Topic;
use leadway_eventlog::{EventLog, KafkaOptions, LogError, ReadLimit, Record, StageEvent};
use leadway_servers::KafkaCluster;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::task::JoinHandle;

use super::{eventually, everything, open, route_all, text, within};
use crate::provider::kafka_options;
use crate::{lead, record};

async fn cluster(brokers: usize) -> Arc<KafkaCluster> {
    tokio::task::spawn_blocking(move || Arc::new(KafkaCluster::start(brokers).unwrap())).await.unwrap()
}

/// What a test does to the brokers blocks.
async fn with(cluster: &Arc<KafkaCluster>, act: impl FnOnce(&KafkaCluster) + Send + 'static) {
    let cluster = cluster.clone();
    tokio::task::spawn_blocking(move || act(&cluster)).await.unwrap();
}

/// Appends what it is told until it is answered.
async fn append(log: &dyn EventLog, partition: u32, data: &str) {
    let patience = Instant::now() + Duration::from_secs(120);
    while let Err(error) = log.append(vec![lead(partition, data)]).await {
        assert!(error.is_transient() || error.may_have_landed(), "{error}");
        assert!(Instant::now() < patience, "still not appended: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Gives every lead one appointment, until it is aborted.
fn route(log: &Arc<dyn EventLog>) -> JoinHandle<()> {
    let log = log.clone();
    tokio::spawn(async move {
        let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
        loop {
            let event = stage.next(ReadLimit { records: 7, ..ReadLimit::default() }).await.unwrap();
            let StageEvent::Records(records) = event else { continue };
            let output = |r: &Record| record(Topic::Appointments, "w", text(r));
            route_all(&mut *stage, records, output, |_| {}).await;
        }
    })
}

/// Each record of `leads` gets exactly one output (a lead may stand there twice, when its first append was not answered).
async fn each_record_once(log: &dyn EventLog) {
    let sorted = async |topic| {
        let mut texts: Vec<String> = everything(log, topic).await.iter().map(text).collect();
        texts.sort();
        texts
    };
    let leads = sorted(Topic::Leads).await;
    eventually("every record has an output", async || everything(log, Topic::Appointments).await.len() >= leads.len())
        .await;
    assert_eq!(leads, sorted(Topic::Appointments).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_out_of_three_dies_while_appending_and_committing() {
    let cluster = cluster(3).await;
    let options = KafkaOptions { replication: 3, min_insync: 2, ..kafka_options(&cluster.bootstrap()) };
    let log = open(&options).await;
    let count = 300;
    let routing = route(&log);
    for n in 0..count {
        append(&*log, n as u32 % 3, &format!("{n}")).await;
        match n {
            50 => with(&cluster, |c| c.kill(0).unwrap()).await,
            150 => with(&cluster, |c| c.restart(0).unwrap()).await,
            200 => with(&cluster, |c| c.kill(1).unwrap()).await,
            _ => {}
        }
    }
    let landed: BTreeSet<String> = everything(&*log, Topic::Leads).await.iter().map(text).collect();
    assert_eq!(landed.len(), count, "what was acknowledged is there");
    each_record_once(&*log).await;
    routing.abort();
}

fn client(bootstrap: &str) -> BaseConsumer {
    ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap()
}

/// The brokers that the cluster tells of.
fn brokers(bootstrap: &str) -> Vec<usize> {
    let metadata = client(bootstrap).fetch_metadata(None, Duration::from_secs(10)).unwrap();
    metadata.brokers().iter().map(|broker| usize::try_from(broker.id()).unwrap()).collect()
}

/// The broker that keeps a group: the leader of its partition of the offsets' topic.
fn coordinator(bootstrap: &str, group: &str) -> usize {
    let metadata = client(bootstrap).fetch_metadata(Some("__consumer_offsets"), Duration::from_secs(10)).unwrap();
    let partitions = metadata.topics()[0].partitions();
    let hash = group.encode_utf16().fold(0_i32, |hash, c| hash.wrapping_mul(31).wrapping_add(i32::from(c)));
    let partition = hash.unsigned_abs() as usize % partitions.len();
    let leader = partitions.iter().find(|p| p.id() as usize == partition).unwrap().leader();
    usize::try_from(leader).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_goes_on_when_the_broker_that_kept_its_group_never_comes_back() {
    let cluster = cluster(3).await;
    let options = KafkaOptions { replication: 3, min_insync: 2, ..kafka_options(&cluster.bootstrap()) };
    let log = open(&options).await;
    let routing = route(&log);
    append(&*log, 0, "before").await;
    each_record_once(&*log).await;
    let group = format!("{}router", options.group_prefix);
    let killed = tokio::task::spawn_blocking({
        let cluster = cluster.clone();
        move || {
            let broker = coordinator(&cluster.bootstrap(), &group);
            cluster.kill(broker).unwrap();
            broker
        }
    });
    let killed = killed.await.unwrap();
    // The clients ask every half a minute which brokers there are, and forget this one.
    tokio::time::sleep(Duration::from_secs(40)).await;
    with(&cluster, move |c| assert!(!brokers(&c.bootstrap()).contains(&killed))).await;
    append(&*log, 0, "after").await;
    each_record_once(&*log).await;
    routing.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_no_broker_answers_calls_fail_in_time_and_bounded_and_then_it_heals() {
    let cluster = cluster(1).await;
    let options = KafkaOptions {
        request_timeout_ms: 2_000,
        session_timeout_ms: 3_000,
        transaction_timeout_ms: 5_000,
        max_waiting_bytes: 1 << 20,
        ..kafka_options(&cluster.bootstrap())
    };
    let log = open(&options).await;
    append(&*log, 0, "before").await;
    let routing = route(&log);
    eventually("the first is routed", async || everything(&*log, Topic::Appointments).await.len() == 1).await;

    with(&cluster, |c| c.pause_all().unwrap()).await;
    // More than may wait: the rest is refused at once, and nothing of it is kept.
    let large = "x".repeat(100 << 10);
    let calls = (0..40).map(|_| log.append(vec![record(Topic::Quarantine, "k", large.clone())]));
    let errors: Vec<LogError> = join_all(calls).await.into_iter().map(Result::unwrap_err).collect();
    let refused = errors.iter().filter(|e| matches!(e, LogError::Unavailable(_))).count();
    let unknown = errors.iter().filter(|e| e.may_have_landed()).count();
    assert!(refused >= 25 && unknown >= 5 && refused + unknown == 40, "{refused} refused, {unknown} unknown");
    let error = log.end(Topic::Quarantine, leadway_domain::Partition(0)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    tokio::time::sleep(Duration::from_secs(4)).await;
    with(&cluster, |c| c.resume_all().unwrap()).await;

    let healing = async {
        for n in 0..4 {
            append(&*log, n % 3, &format!("after {n}")).await;
        }
    };
    within("it heals", healing).await;
    each_record_once(&*log).await;
    routing.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_was_dead_for_a_while_is_found_again() {
    let cluster = cluster(1).await;
    let options = KafkaOptions { request_timeout_ms: 2_000, ..kafka_options(&cluster.bootstrap()) };
    let log = open(&options).await;
    append(&*log, 0, "before").await;
    let routing = route(&log);
    with(&cluster, |c| c.kill_all().unwrap()).await;
    assert!(log.append(vec![lead(0, "lost")]).await.is_err());
    with(&cluster, |c| c.restart_all().unwrap()).await;
    let healing = async {
        append(&*log, 1, "after").await;
        append(&*log, 2, "after that").await;
    };
    within("it heals", healing).await;
    each_record_once(&*log).await;
    routing.abort();
}
