//! What `EventLog` and `Stage` promise, checked with every provider. A further provider joins by a line in `contract!`.

// The leave that clippy.toml gives to tests does not reach functions that are no tests themselves.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod kafka;
mod provider;
mod steps;

use std::collections::HashSet;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use leadway_eventlog::{Address, LogError, NewRecord, ReadLimit, Stage, StageEvent};
use provider::{PARTITIONS, Provider};
use steps::{all, assigned, at, data, gathered, lead, nothing_landed, progress, record, records};

macro_rules! contract {
    ($group:ident, [$($provider:ident),*], $tests:tt) => {
        mod $group {
            $(contract!(@ $provider, $tests);)*
        }
    };
    (@ $provider:ident, [$($test:ident),* $(,)?]) => {
        mod $provider {
            $(
                #[tokio::test]
                async fn $test() {
                    let test = super::super::$test(super::super::Provider::$provider());
                    tokio::time::timeout(super::super::LONG, test).await.unwrap();
                }
            )*
        }
    };
}

/// After this a test hangs.
const LONG: Duration = Duration::from_secs(60);

contract!(
    everywhere,
    [memory, memory_shared, embedded, embedded_on_files, kafka],
    [
        what_was_answered_is_there_after_reopening,
        a_record_reads_back_as_it_was_appended,
        addresses_come_in_the_order_given_and_leave_no_gap,
        concurrent_calls_each_keep_their_order,
        a_refused_call_leaves_nothing,
        a_key_has_a_home,
        a_named_partition_is_obeyed,
        settings_have_one_partition,
        reads_keep_to_their_limits_and_return_at_least_one,
        reading_beyond_the_end_returns_nothing,
        waiting_ends_when_there_is_something_to_read,
        waiting_for_several_ends_with_the_first,
        a_wait_that_was_dropped_does_no_harm,
        a_stage_is_told_its_partitions_first,
        a_stage_gets_every_record_once_and_in_order,
        outputs_and_progress_land_together,
        a_refused_commit_leaves_nothing,
        what_was_not_committed_is_delivered_again,
        what_was_not_given_yet_is_the_lag,
        progress_never_moves_back,
        tracked_topics_keep_their_progress,
        stages_do_not_know_of_each_other,
        dropping_next_loses_nothing,
        everything_is_the_share_of_a_lone_member,
    ]
);

// Where the log belongs to one process, who joins a stage later takes all of it over. On Kafka both share it: `kafka`.
contract!(
    in_one_process,
    [memory, embedded, embedded_on_files],
    [who_was_taken_over_is_fenced_off, a_commit_under_way_when_a_stage_is_taken_over_counts_or_is_refused]
);

async fn what_was_answered_is_there_after_reopening(provider: Provider) {
    let mut expected = Vec::new();
    for round in 0..4 {
        let log = provider.open().await;
        assert_eq!(data(&all(&*log, Topic::Leads, 1).await), expected);
        for n in 0..30 {
            let text = format!("{round}.{n}{}", "x".repeat(n * 10));
            log.append(vec![lead(1, &text), record(Topic::Settings, "", &text)]).await.unwrap();
            expected.push(text);
        }
        assert_eq!(data(&all(&*log, Topic::Leads, 1).await), expected);
        assert_eq!(data(&all(&*log, Topic::Settings, 0).await), expected);
    }
}

async fn a_record_reads_back_as_it_was_appended(provider: Provider) {
    let new = NewRecord { kind: "lead.received".into(), ..record(Topic::Leads, "kéy ☀", "{\"a\":1}") };
    let address = provider.open().await.append(vec![new.clone()]).await.unwrap()[0];
    let log = provider.open().await;
    let read = log.read(address.topic, address.partition, address.offset, ReadLimit::default()).await.unwrap();
    let read = &read[0];
    assert_eq!((read.address, &read.key, &*read.kind), (address, &new.key, &*new.kind));
    assert_eq!((read.id, read.time, &read.data), (new.id, new.time, &new.data));
}

async fn addresses_come_in_the_order_given_and_leave_no_gap(provider: Provider) {
    let log = provider.open().await;
    let batch = vec![lead(0, "a"), lead(2, "b"), record(Topic::Settings, "", "c"), lead(0, "d")];
    let addresses = log.append(batch).await.unwrap();
    let address = |topic, partition, offset| Address { topic, partition: Partition(partition), offset: Offset(offset) };
    let expected = [
        address(Topic::Leads, 0, 0),
        address(Topic::Leads, 2, 0),
        address(Topic::Settings, 0, 0),
        address(Topic::Leads, 0, 1),
    ];
    assert_eq!(addresses, expected);
    assert_eq!(log.append(vec![lead(0, "e")]).await.unwrap(), [address(Topic::Leads, 0, 2)]);
    assert_eq!(data(&all(&*log, Topic::Leads, 0).await), ["a", "d", "e"]);
    assert!(log.append(Vec::new()).await.unwrap().is_empty());
}

async fn concurrent_calls_each_keep_their_order(provider: Provider) {
    let log = provider.open().await;
    let calls = (0..50).map(|call| {
        let log = log.clone();
        tokio::spawn(async move { log.append((0..5).map(|n| lead(0, format!("{call}.{n}"))).collect()).await.unwrap() })
    });
    let answers = join_all(calls).await;
    let found = data(&all(&*log, Topic::Leads, 0).await);
    assert_eq!(found.len(), 250);
    for (call, addresses) in answers.into_iter().enumerate() {
        let offsets: Vec<u64> = addresses.unwrap().iter().map(|a| a.offset.0).collect();
        assert!(offsets.is_sorted());
        for (n, offset) in offsets.into_iter().enumerate() {
            assert_eq!(found[offset as usize], format!("{call}.{n}"));
        }
    }
}

async fn a_refused_call_leaves_nothing(provider: Provider) {
    let log = provider.open().await;
    let error =
        log.append(vec![lead(0, "a"), record(Topic::Settings, "", "b"), lead(PARTITIONS, "c")]).await.unwrap_err();
    assert!(!error.is_transient() && !error.may_have_landed(), "{error}");
    nothing_landed(&*log).await;
}

async fn a_key_has_a_home(provider: Provider) {
    let log = provider.open().await;
    let mut homes = HashSet::new();
    for n in 0..40 {
        let key = format!("key {n}");
        let mut places = Vec::new();
        for _ in 0..2 {
            places.push(log.append(vec![record(Topic::Leads, &key, "")]).await.unwrap()[0].partition);
        }
        let home = log.partition_of(Topic::Leads, &key);
        assert_eq!(places, [home, home]);
        homes.insert(home);
    }
    assert_eq!(homes.len() as u32, log.partitions(Topic::Leads), "keys spread over all partitions");
}

async fn a_named_partition_is_obeyed(provider: Provider) {
    let log = provider.open().await;
    for partition in 0..PARTITIONS {
        assert_eq!(log.append(vec![lead(partition, "a")]).await.unwrap()[0].partition, Partition(partition));
    }
}

async fn settings_have_one_partition(provider: Provider) {
    let log = provider.open().await;
    assert_eq!((log.partitions(Topic::Settings), log.partitions(Topic::Leads)), (1, PARTITIONS));
    for n in 0..5 {
        let address = log.append(vec![record(Topic::Settings, &format!("key {n}"), "")]).await.unwrap()[0];
        assert_eq!((address.partition, address.offset), (Partition(0), Offset(n)));
    }
}

async fn reads_keep_to_their_limits_and_return_at_least_one(provider: Provider) {
    let log = provider.open().await;
    for _ in 0..10 {
        log.append(vec![lead(0, "x".repeat(1_000)), lead(1, "other")]).await.unwrap();
    }
    let read = async |from, records, bytes| {
        let limit = ReadLimit { records, bytes };
        log.read(Topic::Leads, Partition(0), Offset(from), limit).await.unwrap()
    };
    let few = read(2, 3, 1 << 20).await;
    assert_eq!(few.iter().map(|r| r.address.offset.0).collect::<Vec<_>>(), [2, 3, 4]);
    let bounded = read(0, 100, 3_500).await;
    assert!((1..=3).contains(&bounded.len()), "{}", bounded.len());
    assert_eq!(read(4, 100, 10).await[0].address.offset, Offset(4));
    assert_eq!(read(9, 0, 0).await.len(), 1);
}

async fn reading_beyond_the_end_returns_nothing(provider: Provider) {
    let log = provider.open().await;
    log.append(vec![lead(0, "a")]).await.unwrap();
    for (partition, from) in [(0, 1), (0, 100), (1, 0)] {
        let read = log.read(Topic::Leads, Partition(partition), Offset(from), ReadLimit::default()).await.unwrap();
        assert!(read.is_empty());
    }
    assert_eq!(log.end(Topic::Leads, Partition(0)).await.unwrap(), Offset(1));
    assert_eq!(log.end(Topic::Leads, Partition(1)).await.unwrap(), Offset(0));
}

async fn waiting_ends_when_there_is_something_to_read(provider: Provider) {
    let log = provider.open().await;
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { log.wait(&[at(Topic::Leads, 0, 1)]).await }
    });
    log.append(vec![lead(1, "another partition")]).await.unwrap();
    log.append(vec![lead(0, "offset 0")]).await.unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished(), "offset 1 is not there yet");
    log.append(vec![lead(0, "offset 1")]).await.unwrap();
    waiting.await.unwrap().unwrap();
    log.wait(&[at(Topic::Leads, 0, 0)]).await.unwrap();
}

async fn waiting_for_several_ends_with_the_first(provider: Provider) {
    let log = provider.open().await;
    let positions = [at(Topic::Leads, 0, 0), at(Topic::Appointments, 1, 0), at(Topic::Settings, 0, 0)];
    let mut waiting = log.wait(&positions);
    assert!((&mut waiting).now_or_never().is_none());
    log.append(vec![record(Topic::Settings, "", "a")]).await.unwrap();
    waiting.await.unwrap();
}

async fn a_wait_that_was_dropped_does_no_harm(provider: Provider) {
    let log = provider.open().await;
    for n in 0..10 {
        for _ in 0..5 {
            assert!(log.wait(&[at(Topic::Leads, 0, n)]).now_or_never().is_none());
        }
        log.append(vec![lead(0, "a")]).await.unwrap();
        log.wait(&[at(Topic::Leads, 0, n)]).await.unwrap();
    }
}

async fn a_stage_is_told_its_partitions_first(provider: Provider) {
    let log = provider.open().await;
    log.append(vec![lead(0, "already there")]).await.unwrap();
    let mut stage = log.stage("router", Topic::Leads, &[Topic::Deliveries]).await.unwrap();
    let StageEvent::Assigned(assignments) = stage.next(ReadLimit::default()).await.unwrap() else { panic!("records") };
    assert_eq!(assignments.len() as u32, PARTITIONS);
    for (n, assignment) in (0..).zip(assignments) {
        assert_eq!(assignment.partition, Partition(n));
        assert_eq!(assignment.progress, [at(Topic::Leads, n, 0), at(Topic::Deliveries, n, 0)], "input first");
    }
}

async fn a_stage_gets_every_record_once_and_in_order(provider: Provider) {
    let log = provider.open().await;
    let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    assigned(&mut *stage).await;
    let appending = tokio::spawn({
        let log = log.clone();
        async move {
            for n in 0..60 {
                log.append(vec![lead(n % PARTITIONS, format!("{n}")), record(Topic::Settings, "", "no")])
                    .await
                    .unwrap();
            }
        }
    });
    let mut next = [0; PARTITIONS as usize];
    let mut count = 0;
    while count < 60 {
        let batch = records(&mut *stage).await;
        for record in batch {
            let partition = record.address.partition.0;
            let expected = &mut next[partition as usize];
            assert_eq!((record.address.topic, record.address.offset), (Topic::Leads, Offset(*expected)));
            assert_eq!(record.data, format!("{}", *expected * u64::from(PARTITIONS) + u64::from(partition)));
            *expected += 1;
            count += 1;
        }
    }
    appending.await.unwrap();
    assert!(stage.next(ReadLimit::default()).now_or_never().is_none());
}

async fn outputs_and_progress_land_together(provider: Provider) {
    {
        let log = provider.open().await;
        log.append(vec![lead(0, "a"), lead(0, "b")]).await.unwrap();
        let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
        assigned(&mut *stage).await;
        let outputs = vec![record(Topic::Appointments, "w", "of a"), record(Topic::Appointments, "w", "of b")];
        let home = log.partition_of(Topic::Appointments, "w");
        let addresses = stage.commit(&outputs, &[at(Topic::Leads, 0, 2)]).await.unwrap();
        let places: Vec<_> = addresses.iter().map(|a| (a.topic, a.partition, a.offset.0)).collect();
        assert_eq!(places, [(Topic::Appointments, home, 0), (Topic::Appointments, home, 1)]);
    }
    let log = provider.open().await;
    let home = log.partition_of(Topic::Appointments, "w").0;
    assert_eq!(data(&all(&*log, Topic::Appointments, home).await), ["of a", "of b"]);
    assert_eq!(progress(&*log, "router", &[]).await[0], at(Topic::Leads, 0, 2));
}

async fn a_refused_commit_leaves_nothing(provider: Provider) {
    let log = provider.open().await;
    let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    let outputs = vec![record(Topic::Settings, "", "a"), lead(PARTITIONS, "no such partition")];
    assigned(&mut *stage).await;
    stage.commit(&outputs, &[at(Topic::Leads, 0, 5)]).await.unwrap_err();
    nothing_landed(&*log).await;
    drop(stage);
    assert_eq!(progress(&*log, "router", &[]).await[0], at(Topic::Leads, 0, 0));
}

async fn what_was_not_committed_is_delivered_again(provider: Provider) {
    {
        let log = provider.open().await;
        log.append(vec![lead(0, "a"), lead(0, "b"), lead(0, "c")]).await.unwrap();
        let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
        assigned(&mut *stage).await;
        assert_eq!(data(&gathered(&mut *stage, 3).await), ["a", "b", "c"]);
        stage.commit(&[], &[at(Topic::Leads, 0, 1)]).await.unwrap();
    }
    let log = provider.open().await;
    let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    assert_eq!(assigned(&mut *stage).await[0], at(Topic::Leads, 0, 1));
    assert_eq!(data(&gathered(&mut *stage, 2).await), ["b", "c"]);
}

async fn who_was_taken_over_is_fenced_off(provider: Provider) {
    let log = provider.open().await;
    let mut earlier = log.stage("router", Topic::Leads, &[]).await.unwrap();
    let mut later = log.stage("router", Topic::Leads, &[]).await.unwrap();
    let output = || vec![record(Topic::Settings, "", "output")];
    let error = earlier.commit(&output(), &[at(Topic::Leads, 0, 9)]).await.unwrap_err();
    assert!(matches!(&error, LogError::Fenced { stage } if stage == "router"), "{error}");
    // Also when there would be nothing to write.
    assert!(matches!(earlier.commit(&[], &[]).await, Err(LogError::Fenced { .. })));
    nothing_landed(&*log).await;
    assert_eq!(assigned(&mut *later).await[0], at(Topic::Leads, 0, 0));
    later.commit(&output(), &[at(Topic::Leads, 0, 1)]).await.unwrap();
    assert_eq!(all(&*log, Topic::Settings, 0).await.len(), 1);
    assert_eq!(progress(&*log, "router", &[]).await[0], at(Topic::Leads, 0, 1));
}

async fn a_commit_under_way_when_a_stage_is_taken_over_counts_or_is_refused(provider: Provider) {
    let log = provider.open().await;
    let mut expected = 0;
    for round in 1..=40 {
        let mut earlier = log.stage("router", Topic::Leads, &[]).await.unwrap();
        let position = [at(Topic::Leads, 0, round)];
        let outputs = [record(Topic::Settings, "", "output")];
        let commit = earlier.commit(&outputs, &position);
        let take_over = progress(&*log, "router", &[]);
        let (committed, told) = match round % 2 {
            0 => tokio::join!(commit, take_over),
            _ => {
                let (told, committed) = tokio::join!(take_over, commit);
                (committed, told)
            }
        };
        match committed {
            Ok(_) => expected = round,
            Err(error) => assert!(matches!(error, LogError::Fenced { .. }), "{error}"),
        }
        assert_eq!(told[0].next, Offset(expected), "the new member is told what counts");
    }
    assert!(expected > 0 && all(&*log, Topic::Settings, 0).await.len() < 40, "both cases occurred");
}

async fn progress_never_moves_back(provider: Provider) {
    {
        let log = provider.open().await;
        let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
        assigned(&mut *stage).await;
        stage.commit(&[], &[at(Topic::Leads, 0, 7)]).await.unwrap();
        // The commit itself counts all the same.
        stage.commit(&[record(Topic::Settings, "", "output")], &[at(Topic::Leads, 0, 3)]).await.unwrap();
        drop(stage);
        assert_eq!(progress(&*log, "router", &[]).await[0], at(Topic::Leads, 0, 7));
    }
    let log = provider.open().await;
    assert_eq!(progress(&*log, "router", &[]).await[0], at(Topic::Leads, 0, 7));
    assert_eq!(all(&*log, Topic::Settings, 0).await.len(), 1);
}

async fn tracked_topics_keep_their_progress(provider: Provider) {
    {
        let log = provider.open().await;
        log.append(vec![lead(1, "input"), record(Topic::Deliveries, "w", "tracked")]).await.unwrap();
        let mut stage = log.stage("dispatcher", Topic::Leads, &[Topic::Deliveries]).await.unwrap();
        assigned(&mut *stage).await;
        assert_eq!(data(&records(&mut *stage).await), ["input"]);
        assert!(stage.next(ReadLimit::default()).now_or_never().is_none(), "tracked topics are not delivered");
        stage.commit(&[], &[at(Topic::Deliveries, 1, 4)]).await.unwrap();
        stage.commit(&[], &[at(Topic::Leads, 1, 1), at(Topic::Deliveries, 1, 5)]).await.unwrap();
    }
    let log = provider.open().await;
    let told = progress(&*log, "dispatcher", &[Topic::Deliveries]).await;
    assert_eq!(told[2..4], [at(Topic::Leads, 1, 1), at(Topic::Deliveries, 1, 5)]);
}

async fn stages_do_not_know_of_each_other(provider: Provider) {
    let log = provider.open().await;
    log.append(vec![lead(0, "a")]).await.unwrap();
    let mut router = log.stage("router", Topic::Leads, &[]).await.unwrap();
    let mut scoring = log.stage("scoring", Topic::Leads, &[]).await.unwrap();
    assigned(&mut *router).await;
    router.commit(&[], &[at(Topic::Leads, 0, 1)]).await.unwrap();
    assert_eq!(assigned(&mut *scoring).await[0], at(Topic::Leads, 0, 0));
    assert_eq!(data(&records(&mut *scoring).await), ["a"]);
    scoring.commit(&[], &[]).await.unwrap();
}

async fn dropping_next_loses_nothing(provider: Provider) {
    let log = provider.open().await;
    let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    assigned(&mut *stage).await;
    let mut found = Vec::new();
    for n in 0..60 {
        for _ in 0..3 {
            if let Some(event) = stage.next(ReadLimit { records: 1, bytes: 1 }).now_or_never() {
                let StageEvent::Records(records) = event.unwrap() else { panic!("assigned twice") };
                found.extend(data(&records));
            }
        }
        log.append(vec![lead(n % PARTITIONS, format!("{n}"))]).await.unwrap();
    }
    while found.len() < 60 {
        found.extend(data(&records(&mut *stage).await));
    }
    assert!(stage.next(ReadLimit::default()).now_or_never().is_none());
    found.sort_by_key(|n| n.parse::<u32>().unwrap());
    assert_eq!(found, (0..60).map(|n| format!("{n}")).collect::<Vec<_>>());
}

async fn what_was_not_given_yet_is_the_lag(provider: Provider) {
    let log = provider.open().await;
    log.append((0..4).map(|n| lead(n % 2, "a")).collect()).await.unwrap();
    let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    assigned(&mut *stage).await;
    let lag = async |stage: &mut Box<dyn Stage>, lag| {
        while stage.lag() != lag {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    lag(&mut stage, 4).await;
    gathered(&mut *stage, 4).await;
    log.append(vec![lead(1, "one more")]).await.unwrap();
    lag(&mut stage, 1).await;
    gathered(&mut *stage, 1).await;
    stage.commit(&[], &[at(Topic::Leads, 0, 2), at(Topic::Leads, 1, 3)]).await.unwrap();
    lag(&mut stage, 0).await;
}

async fn everything_is_the_share_of_a_lone_member(provider: Provider) {
    let log = provider.open().await;
    let mut membership = log.membership("scoring", Topic::Leads).await.unwrap();
    let mut share = membership.changed().await.unwrap();
    share.sort_unstable();
    assert_eq!(share, (0..PARTITIONS).map(Partition).collect::<Vec<_>>());
    assert!(membership.changed().now_or_never().is_none(), "it stays so");
}
