//! Getting in: wrong settings are told apart, TLS and passwords work.

use std::time::{Duration, Instant};

use leadway_domain::record::Topic;
use leadway_domain::secret::Secret;
use leadway_domain::{Offset, Partition};
use leadway_eventlog::{KafkaOptions, LogError, SaslMechanism, Security, open_kafka};
use leadway_servers::KafkaCluster;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::TopicPartitionList;

use super::{eventually, open, shared};
use crate::provider::kafka_options;
use crate::{lead, record};

async fn refusal(options: KafkaOptions) -> LogError {
    let started = Instant::now();
    let opened = tokio::time::timeout(Duration::from_secs(20), open_kafka(options, &Topic::ALL)).await;
    let Err(error) = opened.unwrap_or_else(|_| panic!("no answer after {:?}", started.elapsed())) else {
        panic!("it was opened")
    };
    error
}

#[tokio::test]
async fn a_wrong_address_is_told_in_time() {
    let options = KafkaOptions { start_timeout_ms: 2_000, ..kafka_options("127.0.0.1:1") };
    let error = refusal(options).await;
    assert!(error.is_transient(), "{error}");
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:1") && text.contains("check kafka.brokers") && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn more_replicas_than_brokers_are_told() {
    let options = KafkaOptions { replication: 3, start_timeout_ms: 1_000, ..shared() };
    let text = refusal(options).await.to_string();
    assert!(text.contains("cannot be made with 3 replicas") && text.contains("kafka.replication"), "{text}");
}

#[tokio::test]
async fn topics_that_exist_keep_their_number_of_partitions() {
    let options = shared();
    assert_eq!(open(&options).await.partitions(Topic::Leads), 3);
    let more = KafkaOptions { partitions: 7, ..options };
    assert_eq!(open(&more).await.partitions(Topic::Leads), 3);
}

fn admin(options: &KafkaOptions) -> AdminClient<DefaultClientContext> {
    rdkafka::ClientConfig::new().set("bootstrap.servers", &options.brokers).create().unwrap()
}

/// Gives the topic these settings; what is not named is as the brokers have it.
async fn set(admin: &AdminClient<DefaultClientContext>, topic: &str, settings: &[(&str, &str)]) {
    let start = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let change = settings.iter().fold(start, |change, (name, value)| change.set(name, value));
    let answers = admin.alter_configs(&[change], &AdminOptions::new()).await.unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

/// Topics that somebody else made, or changed.
#[tokio::test]
async fn topics_that_forget_records_are_refused_until_they_do_not() {
    let options = KafkaOptions { start_timeout_ms: 10_000, ..shared() };
    drop(open(&options).await);
    let (admin, topic) = (admin(&options), format!("{}leads", options.topic_prefix));
    let keeps = ("retention.ms", "-1");
    let cases = [
        (vec![("retention.ms", "86400000")], "retention.ms=86400000"),
        (vec![keeps, ("retention.bytes", "1073741824")], "retention.bytes=1073741824"),
        (vec![keeps, ("cleanup.policy", "compact")], "cleanup.policy=compact"),
        // As a topic is that was made without a word about it.
        (vec![], "retention.ms=604800000"),
    ];
    for (settings, wrong) in cases {
        set(&admin, &topic, &settings).await;
        let parts = [&format!("topic {topic} has {wrong}"), "kafka-configs.sh", &format!("--entity-name {topic}")];
        // Brokers take a moment until they go by it.
        eventually(wrong, async || match open_kafka(options.clone(), &Topic::ALL).await {
            Err(error) => !error.is_transient() && parts.iter().all(|part| error.to_string().contains(part)),
            Ok(_) => false,
        })
        .await;
    }
    set(&admin, &topic, &[keeps]).await;
    eventually("it keeps everything", async || open_kafka(options.clone(), &Topic::ALL).await.is_ok()).await;
}

#[tokio::test]
async fn settings_whose_beginning_was_deleted_are_refused() {
    let options = KafkaOptions { start_timeout_ms: 10_000, ..shared() };
    let log = open(&options).await;
    for n in 0..3 {
        log.append(vec![record(Topic::Settings, "", format!("{n}"))]).await.unwrap();
    }
    let topic = format!("{}settings", options.topic_prefix);
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic, 0, rdkafka::Offset::Offset(2)).unwrap();
    admin(&options).delete_records(&before, &AdminOptions::new()).await.unwrap();
    let error = refusal(options).await;
    let text = error.to_string();
    assert!(!error.is_transient() && text.starts_with(&format!("topic {topic} begins at offset 2")), "{text}");
}

#[tokio::test]
async fn nodes_that_start_at_one_moment_make_the_topics_once() {
    let options = shared();
    let logs = futures::future::join_all((0..4).map(|_| open(&options))).await;
    for (n, log) in (0..).zip(&logs) {
        assert_eq!(log.append(vec![lead(0, "a")]).await.unwrap()[0].offset, Offset(n));
    }
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_and_one_that_just_fits_is_not() {
    let options = KafkaOptions { max_record_bytes: 2 << 20, ..shared() };
    let log = open(&options).await;
    let fits = "x".repeat((2 << 20) - 10);
    log.append(vec![record(Topic::Leads, "k", fits.clone())]).await.unwrap();
    let error = log.append(vec![record(Topic::Leads, "k", format!("{fits}{fits}"))]).await.unwrap_err();
    assert!(matches!(error, LogError::TooLarge { topic: Some(Topic::Leads), .. }), "{error}");
    let home = log.partition_of(Topic::Leads, "k");
    assert_eq!(log.read(Topic::Leads, home, Offset(0), Default::default()).await.unwrap()[0].data.len(), fits.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(feature = "tls"), ignore = "needs the feature tls")]
async fn tls_and_passwords_let_in_whom_they_should() {
    let asked = leadway_servers::KafkaOptions { sasl: true, tls: true, ..Default::default() };
    let cluster = tokio::task::spawn_blocking(move || KafkaCluster::start_with(&asked).unwrap()).await.unwrap();
    let credentials = cluster.credentials().clone();
    let good = KafkaOptions {
        security: Security::SaslTls,
        sasl_mechanism: SaslMechanism::ScramSha512,
        user: credentials.username.unwrap(),
        password: Secret::new(credentials.password.unwrap()),
        ca_file: credentials.ca_file,
        start_timeout_ms: 15_000,
        ..kafka_options(&cluster.bootstrap())
    };
    let log = open(&good).await;
    log.append(vec![lead(0, "a")]).await.unwrap();
    assert_eq!(log.end(Topic::Leads, Partition(0)).await.unwrap(), Offset(1));
    let mut stage = log.stage("router", Topic::Leads, &[]).await.unwrap();
    crate::assigned(&mut *stage).await;
    stage.commit(&[lead(1, "b")], &[crate::at(Topic::Leads, 0, 1)]).await.unwrap();

    let wrong = KafkaOptions { password: Secret::new("guessed"), ..good.clone() };
    let error = refusal(wrong).await;
    let text = error.to_string();
    assert!(!error.is_transient() && text.contains("check kafka.security, kafka.user, kafka.password"), "{text}");
    assert!(!text.contains("guessed"), "{text}");

    let stranger = KafkaOptions { ca_file: None, ..good };
    let error = refusal(stranger).await;
    assert!(!error.is_transient() && error.to_string().contains("kafka.ca_file"), "{error}");
}

/// Other consumers of the same Kafka read our records, and others may write beside us.
#[tokio::test]
async fn others_read_our_records_as_cloud_events_and_theirs_do_no_harm() {
    let options = shared();
    let log = open(&options).await;
    let topic = format!("{}leads", options.topic_prefix);
    let mut client = rdkafka::ClientConfig::new();
    client.set("bootstrap.servers", &options.brokers).set("group.id", "others").set("auto.offset.reset", "earliest");

    let producer: FutureProducer = client.create().unwrap();
    let foreign =
        FutureRecord::<(), _>::to(&topic).partition(0).payload(&b"\xff no JSON"[..]).timestamp(1_700_000_000_123);
    producer.send(foreign, Duration::from_secs(10)).await.unwrap();
    let ours = log.append(vec![lead(0, "{}")]).await.unwrap();
    assert_eq!(ours[0].offset, Offset(1));
    let read = log.read(Topic::Leads, Partition(0), Offset(0), Default::default()).await.unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!((&*read[0].kind, &*read[0].key, read[0].time.as_millisecond()), ("", "", 1_700_000_000_123));
    assert_eq!((&*read[1].kind, &*read[1].key), ("test.kind", "k"));

    let consumer: StreamConsumer = client.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, rdkafka::Offset::Offset(1)).unwrap();
    consumer.assign(&list).unwrap();
    let message = tokio::time::timeout(Duration::from_secs(20), consumer.recv()).await.unwrap().unwrap();
    let headers: Vec<(&str, String)> = message
        .headers()
        .unwrap()
        .iter()
        .map(|h| (h.key, String::from_utf8(h.value.unwrap().to_vec()).unwrap()))
        .collect();
    let expected = [
        ("ce_specversion", "1.0"),
        ("ce_id", "00000000-0000-0000-0000-000000000007"),
        ("ce_source", "leadway/portal"),
        ("ce_type", "test.kind"),
        ("ce_time", "2023-11-14T22:13:20.123456Z"),
        ("content-type", "application/json"),
    ];
    assert_eq!(headers, expected.map(|(key, value)| (key, value.to_owned())));
    assert_eq!((message.key(), message.payload()), (Some(&b"k"[..]), Some(&b"{}"[..])));
}
