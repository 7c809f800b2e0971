//! How fast the log on Kafka is on this machine: `cargo run --example kafka_speed -- [brokers]`.
//!
//! Without an argument it starts a broker of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use leadway_domain::record::Topic;
use leadway_domain::{Partition, Timestamp};
use leadway_eventlog::{EventLog, KafkaOptions, NewRecord, Position, ReadLimit, StageEvent, open_kafka};

fn record(topic: Topic, n: usize) -> NewRecord {
    NewRecord {
        topic,
        partition: None,
        key: format!("key {n}"),
        kind: "lead.received".into(),
        id: uuid::Uuid::from_u128(n as u128),
        time: Timestamp::UNIX_EPOCH,
        data: format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(380)).into(),
    }
}

fn say(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what}: p50 {:?}, p99 {:?}, worst {:?} ({} times)", at(0.5), at(0.99), at(1.0), times.len());
}

async fn appends(log: &Arc<dyn EventLog>) {
    let mut times = Vec::new();
    for n in 0..300 {
        let started = Instant::now();
        log.append(vec![record(Topic::Leads, n)]).await.unwrap();
        times.push(started.elapsed());
    }
    say("append of 1, alone", times);

    let mut times = Vec::new();
    for n in 0..50 {
        let batch = (0..1_000).map(|m| record(Topic::Leads, n * 1_000 + m)).collect();
        let started = Instant::now();
        log.append(batch).await.unwrap();
        times.push(started.elapsed());
    }
    say("append of 1,000", times);

    let started = Instant::now();
    let (callers, calls) = (500, 100);
    let busy = (0..callers).map(|caller| {
        let log = log.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            for n in 0..calls {
                let started = Instant::now();
                log.append(vec![record(Topic::Leads, caller * calls + n)]).await.unwrap();
                times.push(started.elapsed());
            }
            times
        })
    });
    let times: Vec<Duration> = join_all(busy).await.into_iter().flat_map(Result::unwrap).collect();
    println!("{:.0} appends of 1 a second, 500 callers", (callers * calls) as f64 / started.elapsed().as_secs_f64());
    say("append of 1, 500 callers", times);
}

async fn wake_ups(here: &Arc<dyn EventLog>, there: &Arc<dyn EventLog>) {
    let mut next = there.end(Topic::Settings, Partition(0)).await.unwrap();
    let (mut answered, mut woken) = (Vec::new(), Vec::new());
    for n in 0..200 {
        let at = [Position { topic: Topic::Settings, partition: Partition(0), next }];
        let started = Instant::now();
        let (acknowledged, seen) = tokio::join!(
            async {
                here.append(vec![record(Topic::Settings, n)]).await.unwrap();
                started.elapsed()
            },
            async {
                there.wait(&at).await.unwrap();
                started.elapsed()
            }
        );
        next = next.next();
        answered.push(acknowledged);
        woken.push(seen);
        tokio::time::sleep(Duration::from_millis(n as u64 % 7)).await;
    }
    say("appended and acknowledged", answered);
    say("appended and seen by another client", woken);
}

async fn commits(log: &Arc<dyn EventLog>) {
    let mut stage = log.stage("speed", Topic::Leads, &[]).await.unwrap();
    let started = Instant::now();
    let StageEvent::Assigned(mut own) = stage.next(ReadLimit::default()).await.unwrap() else { return };
    println!("joined in {:?}", started.elapsed());
    let position = &mut own[0].progress[0];
    for (what, outputs, pause) in [
        ("commit of progress, without pause", 0, 0),
        ("commit of 1, without pause", 1, 0),
        ("commit of 1, every 50 ms", 1, 50),
        ("commit of 100, without pause", 100, 0),
        ("commit of 1,000, without pause", 1_000, 0),
    ] {
        let mut times = Vec::new();
        for n in 0..100 {
            position.next = position.next.next();
            let outputs = (0..outputs).map(|m| record(Topic::Appointments, n * 1_000 + m)).collect();
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let started = Instant::now();
            stage.commit(outputs, &[*position]).await.unwrap();
            times.push(started.elapsed());
        }
        say(what, times);
    }
}

async fn ends_and_reads(log: &Arc<dyn EventLog>, fresh: &Arc<dyn EventLog>) {
    let mut times = Vec::new();
    for n in 0..200 {
        let started = Instant::now();
        log.end(Topic::Appointments, Partition(n % 12)).await.unwrap();
        times.push(started.elapsed());
    }
    say("end", times);
    let (mut times, mut from, mut count) = (Vec::new(), Default::default(), 0);
    let all = Instant::now();
    loop {
        let started = Instant::now();
        let records = fresh.read(Topic::Leads, Partition(0), from, ReadLimit::default()).await.unwrap();
        times.push(started.elapsed());
        let Some(last) = records.last() else { break };
        count += records.len();
        from = last.next();
    }
    println!("{:.0} old records read a second", f64::from(count as u32) / all.elapsed().as_secs_f64());
    say("read of 1,000 old records", times);
}

#[tokio::main]
async fn main() {
    let given = std::env::args().nth(1);
    let brokers = given.unwrap_or_else(|| leadway_servers::shared_kafka().unwrap().bootstrap());
    let name = format!("speed-{}-", std::process::id());
    let (topic_prefix, group_prefix) = (name.clone(), name);
    let replication = if brokers.contains(',') { 3 } else { 1 };
    let min_insync = replication.min(2);
    let options =
        KafkaOptions { brokers, topic_prefix, group_prefix, replication, min_insync, ..KafkaOptions::default() };
    let started = Instant::now();
    let log = open_kafka(options.clone()).await.unwrap();
    println!("topics made in {:?}", started.elapsed());
    let started = Instant::now();
    let other = open_kafka(options).await.unwrap();
    println!("opened in {:?}", started.elapsed());
    let started = Instant::now();
    log.end(Topic::Settings, Partition(0)).await.unwrap();
    println!("first end in {:?}", started.elapsed());
    let started = Instant::now();
    log.append(vec![record(Topic::Settings, 0)]).await.unwrap();
    println!("first append in {:?}", started.elapsed());
    wake_ups(&log, &other).await;
    appends(&log).await;
    commits(&log).await;
    ends_and_reads(&log, &other).await;
}
