//! Offsets of groups that somebody moves back.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::e2e::{Client, around_today, http_client, sample_lead};
use crate::load::{Load, Operator, balances, eventually, take};
use crate::nodes::Nodes;
use crate::process::Process;
use crate::servers::{Servers, servers};

/// Has the group say that it stands at `offset` of the first three partitions of the topic. Nobody may be in it.
async fn move_back(servers: &Servers, group: &str, topic: &str, offset: i64) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers.kafka.bootstrap())
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..3 {
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    }
    eventually("the group to take the offsets", async || {
        tokio::task::block_in_place(|| consumer.commit(&list, CommitMode::Sync)).map_err(|e| e.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_whose_offsets_were_moved_back_send_nothing_again() {
    let servers = servers().await;
    let client = Client::willing().await;
    let mut nodes = Nodes::start(servers.environment("rewound")).await;
    let environment = servers.environment("rewound");
    let operator = Operator::of(&nodes.portal.base);
    let key = operator.furnish(&client, None).await;
    let load = Load::start(nodes.bases(), &key, 4, Duration::from_millis(10));
    load.flows(120).await;
    let mut acknowledged = load.end().await;
    balances(&operator, &client, &acknowledged).await;
    let mut received = client.received().len();
    let routed = async || {
        let report = operator.get(&format!("/api/analytics/performance?{}", around_today())).await;
        report["rows"][0]["appointments"].as_u64().unwrap()
    };

    for (round, offset) in [(1, 1), (2, 4)] {
        let before = routed().await;
        for node in nodes.routers.drain(..).chain(nodes.dispatchers.drain(..)) {
            node.stop().await;
        }
        move_back(&servers, "rewound-router", "rewound.leads", offset).await;
        move_back(&servers, "rewound-dispatcher", "rewound.appointments", offset).await;
        nodes.routers.push(Process::start("router,scoring", &environment).await);
        nodes.dispatchers.push(Process::start("dispatcher", &environment).await);
        let http = http_client(Duration::from_secs(10));
        for n in round * 1_000..round * 1_000 + 10 {
            let (base, lead) = (&nodes.ingest[0].base, sample_lead(n));
            let id = eventually("the lead to be taken", async || take(&http, base, &key, &lead).await).await;
            acknowledged.insert(n, id);
        }
        balances(&operator, &client, &acknowledged).await;
        received += 10;
        assert_eq!(client.received().len(), received, "no client got an appointment again");
        assert_eq!(routed().await, before + 10, "each lead is one appointment");
    }
}
