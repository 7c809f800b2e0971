//! Moving up from one machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::e2e::{ADMIN_KEY, Client, Reply, TestNode, sample_lead};
use crate::load::{Operator, balances, eventually, take};
use crate::nodes::Nodes;
use crate::process::leadway;
use crate::servers::{seal_key, servers};

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_moves_to_kafka_and_scylla_with_its_ids_settings_and_open_deliveries() {
    let servers = servers().await;
    let down = Arc::new(AtomicBool::new(false));
    let client = {
        let down = down.clone();
        Client::start(move |_| if down.load(Ordering::Relaxed) { Reply::status(500) } else { Reply::ok() }).await
    };
    // One machine: some leads are delivered, some wait for a client that is down.
    let mut node = TestNode::start_with(|c| {
        c.embedded.log.partitions = 6;
        c.seal_key = leadway_domain::secret::Secret::new(seal_key());
    })
    .await;
    let key = Operator::with_key(&node.base, ADMIN_KEY).furnish(&client, None).await;
    let mut acknowledged = BTreeMap::new();
    for n in 0..40 {
        down.store(n >= 30, Ordering::Relaxed);
        let id = node.accepted("a", &key, &sample_lead(n)).await;
        acknowledged.insert(n, id);
        match n >= 30 {
            false => drop(node.delivered(id).await),
            true => drop(node.appointment(id, |a| !a["next_attempt_at"].is_null()).await),
        }
    }
    let before = node.get("/api/leads?limit=500").await;
    node.stop().await;

    let environment = servers.environment("moved");
    let migrate = || {
        let mut command = leadway(&environment);
        command.args(["migrate", "--to", "kafka+scylla", "--from"]).arg(node.data());
        tokio::task::block_in_place(|| command.output().unwrap())
    };
    let moved = migrate();
    let said = String::from_utf8_lossy(&moved.stdout).into_owned() + &String::from_utf8_lossy(&moved.stderr);
    assert!(moved.status.success(), "{said}");
    assert!(said.contains("leads         40 records"), "{said}");

    // The old folder is not to be used any more.
    let mut old = leadway(&[]);
    let refused = old.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(node.data()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("was moved to Kafka"), "{said}");

    let nodes = Nodes::start(environment.clone()).await;
    let operator = Operator::of(&nodes.portal.base);
    assert_eq!(
        operator.get("/api/leads?limit=500").await["items"],
        before["items"],
        "every lead has its id and its facts"
    );
    let waiting = operator.get(&format!("/api/appointments/{}", acknowledged[&39])).await;
    assert_eq!(waiting["forward_status"], json!("pending"), "{waiting}");

    // The client is back: what waited is delivered, and new leads get new ids.
    down.store(false, Ordering::Relaxed);
    let http = crate::e2e::http_client(std::time::Duration::from_secs(10));
    for n in 40..60 {
        let (base, lead) = (&nodes.ingest[0].base, sample_lead(n));
        let id = eventually("the lead to be taken", async || take(&http, base, &key, &lead).await).await;
        acknowledged.insert(n, id);
    }
    let ids: BTreeSet<u64> = acknowledged.values().copied().collect();
    assert_eq!(ids.len(), 60, "no id is given twice");
    eventually("all to be delivered", async || {
        let answered: BTreeSet<u64> =
            client.received().iter().map(|r| r.body["appointment_id"].as_u64().unwrap()).collect();
        if answered.len() >= 60 { Ok(()) } else { Err(format!("{} of 60", answered.len())) }
    })
    .await;
    balances(&operator, &client, &acknowledged).await;

    // Nodes have run there: the folder's state would overwrite theirs.
    drop(nodes);
    let again = migrate();
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("nodes have run there already"), "{said}");
}
