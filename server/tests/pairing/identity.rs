//! Topics and a keyspace that do not belong together: what the brokers have lost, or another installation's.

use std::time::Duration;

use leadway_config::Config;
use leadway_server::flow::Node;
use leadway_server::identity::Accepted;
use leadway_server::rebuild;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::json;

use crate::support::{ADMIN_KEY, Client, TestNode, ask_again, sample_lead};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The operator of the brokers.
struct Brokers {
    brokers: String,
    admin: AdminClient<DefaultClientContext>,
    prefix: String,
}

impl Brokers {
    fn of(node: &TestNode) -> Self {
        let brokers = node.config.kafka.brokers.clone();
        let admin = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        Self { brokers, admin, prefix: node.config.kafka.topic_prefix.clone() }
    }

    fn options() -> AdminOptions {
        AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
    }

    async fn delete(&self, topic: &str) {
        let name = format!("{}{topic}", self.prefix);
        self.admin.delete_topics(&[&name], &Self::options()).await.unwrap()[0].as_ref().unwrap();
        ask_again("the topic to be gone", TIMEOUT, Duration::from_millis(100), async || {
            if self.names().contains(&name) { Err("there".to_owned()) } else { Ok(()) }
        })
        .await;
    }

    async fn make(&self, topic: &str) {
        let name = format!("{}{topic}", self.prefix);
        let new =
            NewTopic::new(&name, 4, TopicReplication::Fixed(1)).set("retention.ms", "-1").set("retention.bytes", "-1");
        self.admin.create_topics(&[new], &Self::options()).await.unwrap()[0].as_ref().unwrap();
    }

    /// Deletes the oldest record of every partition that has some; returns whether there was one.
    async fn trim(&self, topic: &str) {
        let (name, asker) = (format!("{}{topic}", self.prefix), self.consumer());
        let mut before = TopicPartitionList::new();
        for partition in 0..4 {
            let (_, end) = asker.fetch_watermarks(&name, partition, TIMEOUT).unwrap();
            if end > 0 {
                before.add_partition_offset(&name, partition, Offset::Offset(1)).unwrap();
            }
        }
        assert!(before.count() > 0);
        self.admin.delete_records(&before, &Self::options()).await.unwrap();
    }

    fn consumer(&self) -> BaseConsumer {
        ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap()
    }

    fn names(&self) -> Vec<String> {
        let metadata = self.consumer().fetch_metadata(None, TIMEOUT).unwrap();
        metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
    }
}

/// A node that has delivered some appointments.
async fn used() -> TestNode {
    let client = Client::willing().await;
    let node = TestNode::start().await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    for n in 0..6 {
        let id = node.accepted("a", &key, &sample_lead(n)).await;
        node.delivered(id).await;
    }
    assert_eq!(node.reconciliation().await["balanced"], json!(true));
    node
}

async fn refusal(config: &Config) -> String {
    match Node::start(config.clone(), Some(ADMIN_KEY.into())).await {
        Ok(_) => panic!("a node started"),
        Err(error) => format!("{error:#}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tables_and_other_topics_are_refused() {
    let mut node = used().await;
    let brokers = Brokers::of(&node);
    // Production's topics and groups, and another keyspace: it would take scoring's partitions away.
    let mut config = node.config.clone();
    config.scylla.keyspace += "_other";
    let said = refusal(&config).await;
    assert!(said.contains("is in use with other tables") && said.contains("leadway rebuild"), "{said}");
    // Production's keyspace, and other topics: none are made, and its positions stay.
    let mut config = node.config.clone();
    config.kafka.topic_prefix = format!("other-{}", config.kafka.topic_prefix);
    let said = refusal(&config).await;
    assert!(said.contains("do not exist") && said.contains("kafka.topic_prefix"), "{said}");
    assert!(!brokers.names().iter().any(|name| name.starts_with(&config.kafka.topic_prefix)), "no topics were made");
    // Another log that exists.
    let mut another = used().await;
    another.stop().await;
    let mut config = node.config.clone();
    config.kafka.topic_prefix = another.config.kafka.topic_prefix.clone();
    let said = refusal(&config).await;
    assert!(said.contains("the tables were made of log"), "{said}");
    // All the while the node itself went on, and starts again.
    node.restart().await;
    assert_eq!(node.reconciliation().await["balanced"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_refused_until_they_are_accepted() {
    let mut node = used().await;
    node.stop().await;
    Brokers::of(&node).trim("deliveries").await;
    Brokers::of(&node).trim("leads").await;
    let said = refusal(&node.config).await;
    assert!(said.contains("begins at offset 1") && said.contains("--accept-truncated"), "{said}");
    let error = rebuild::run(&node.config, Accepted::default()).await.unwrap_err();
    assert!(format!("{error:#}").contains("--accept-truncated"), "{error:#}");
    // Accepted once, the tables are as they were, and every later start takes it so.
    node.config.accept_truncated = true;
    node.restart().await;
    node.config.accept_truncated = false;
    node.restart().await;
    assert_eq!(node.get("/api/leads").await["items"].as_array().unwrap().len(), 6);
    assert_eq!(node.reconciliation().await["balanced"], json!(true));
    node.stop().await;
    // Made anew, they have what is left.
    rebuild::run(&node.config, Accepted { truncated: true, ..Accepted::default() }).await.unwrap();
    node.restart().await;
    assert!(node.get("/api/leads").await["items"].as_array().unwrap().len() < 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_is_not_made_anew_and_a_new_one_is_not_taken_for_it() {
    let mut node = used().await;
    node.stop().await;
    let brokers = Brokers::of(&node);
    brokers.delete("deliveries").await;
    let name = format!("{}deliveries", node.config.kafka.topic_prefix);
    let said = refusal(&node.config).await;
    assert!(said.contains(&format!("topic {name} does not exist")), "{said}");
    assert!(!brokers.names().contains(&name), "it was not made");
    brokers.make("deliveries").await;
    let said = refusal(&node.config).await;
    assert!(said.contains(&name) && said.contains("the tables were made of"), "{said}");
    assert!(rebuild::run(&node.config, Accepted::default()).await.is_err());
    rebuild::run(&node.config, Accepted { loss: true, ..Accepted::default() }).await.unwrap();
    node.restart().await;
    assert_eq!(node.get("/api/leads").await["items"].as_array().unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_whose_topic_is_deleted_stops_loudly() {
    let node = used().await;
    let brokers = Brokers::of(&node);
    brokers.admin.delete_topics(&[&format!("{}leads", brokers.prefix)], &Brokers::options()).await.unwrap();
    ask_again("the node is not ready", Duration::from_secs(120), Duration::from_millis(200), async || {
        let (status, body) = node.call("GET", "/readyz", None).await;
        let stopped = status == 503 && body["log"] == json!(false) && body["scoring"] == json!(false);
        if stopped { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
}
