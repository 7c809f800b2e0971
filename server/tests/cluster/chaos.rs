//! Servers that die, stand still and come back. No node is started again in these tests: the system heals by itself.

use std::time::Duration;

use crate::e2e::{Client, Reply};
use crate::load::{Load, Operator, balances};
use crate::nodes::Nodes;
use crate::servers::servers;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_dies_kafka_stands_still_and_the_database_restarts_while_leads_flow() {
    let servers = servers().await;
    let blocking = |work: &(dyn Fn() + Sync)| tokio::task::block_in_place(work);
    let mut random = fastrand::Rng::with_seed(11);
    let client = Client::start(move |_| if random.u32(0..20) == 0 { Reply::status(500) } else { Reply::ok() }).await;
    let mut nodes = Nodes::start(servers.environment("chaos")).await;
    let operator = Operator::of(&nodes.portal.base);
    let key = operator.furnish(&client, None).await;
    let load = Load::start(nodes.bases(), &key, 4, Duration::from_millis(10));
    load.flows(100).await;

    // One broker of three: leads go on.
    blocking(&|| servers.kafka.kill(1).unwrap());
    load.flows(300).await;
    blocking(&|| servers.kafka.restart(1).unwrap());
    load.flows(100).await;

    // The database, killed and started again: leads go on meanwhile.
    blocking(&|| servers.cassandra.kill().unwrap());
    load.flows(200).await;
    blocking(&|| servers.cassandra.restart().unwrap());
    load.flows(100).await;

    // All of Kafka for a minute: nothing can be accepted, and nothing is lost.
    blocking(&|| servers.kafka.pause_all().unwrap());
    tokio::time::sleep(Duration::from_secs(60)).await;
    blocking(&|| servers.kafka.resume_all().unwrap());
    load.flows(200).await;

    let acknowledged = load.end().await;
    println!("{} leads acknowledged", acknowledged.len());
    balances(&operator, &client, &acknowledged).await;
    nodes.all_run();
}
