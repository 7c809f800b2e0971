//! Damaged folders, drills on copies, and the end of a node.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::{ADMIN_KEY, Client, Reply, TestNode, eventually, sample_lead};

fn leadway(args: &[&str], option: &str, data: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leadway")).args(args).arg(option).arg(data).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A node with 40 leads in several files, stopped.
async fn filled(client: &Client) -> (TestNode, String, Vec<u64>) {
    let mut node = TestNode::start_with(|c| c.embedded.log.segment_bytes = 16 << 10).await;
    let key = node.provider("a").await;
    node.workspace("w", client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let mut ids = Vec::new();
    for n in 0..40 {
        let id = node.accepted("a", &key, &sample_lead(n)).await;
        node.delivered(id).await;
        ids.push(id);
    }
    node.stop().await;
    (node, key, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_named_and_what_can_be_read_of_it_keeps_its_ids() {
    let client = Client::willing().await;
    let (mut node, _, ids) = filled(&client).await;
    let whole = leadway(&["verify"], "--data", &node.data());
    assert!(whole.status.success(), "{}", said(&whole));

    // One byte in the middle of the second file.
    let file = node.data().join("log").join("000000000001.log");
    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let damaged = leadway(&["verify"], "--data", &node.data());
    let report = said(&damaged);
    assert!(
        !damaged.status.success() && report.contains("000000000001.log") && report.contains("lost: topic"),
        "{report}"
    );

    let target = tempfile::tempdir().unwrap();
    let new = target.path().join("new");
    let salvaged = leadway(&["salvage", "--from", node.data().to_str().unwrap()], "--to", &new);
    assert!(salvaged.status.success(), "{}", said(&salvaged));
    let whole = leadway(&["verify"], "--data", &new);
    assert!(whole.status.success(), "{}", said(&whole));

    node.config.data = new;
    node.restart().await;
    let leads = node.get("/api/leads?limit=500").await;
    let known: Vec<u64> = leads["items"].as_array().unwrap().iter().map(|l| l["lead_id"].as_u64().unwrap()).collect();
    assert!(known.iter().all(|id| ids.contains(id)), "no id changes its meaning: {known:?}");
    assert!(known.len() >= 30, "a frame or two are lost, not more: {known:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_on_a_copy_sends_nothing_and_says_so() {
    let client = Client::willing().await;
    let (mut node, key, _) = filled(&client).await;
    let sent = client.received().len();
    node.config.deliver = false;
    node.restart().await;
    let id = node.accepted("a", &key, &sample_lead(100)).await;
    let routed = node.appointment(id, |a| a["routing_status"] == "routed").await;
    assert!(routed["forward_status"] == "pending" || routed["forward_status"].is_null(), "{routed}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(client.received().len(), sent, "nothing is sent");
    let answer = node.http.get(format!("{}/readyz", node.base)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("told to deliver nothing"));
    let answer = node.http.get(format!("{}/api/leads", node.base)).bearer_auth(ADMIN_KEY).send().await;
    assert_eq!(answer.unwrap().headers()["leadway-deliveries"], "off");
    // The same folder, no drill any more: what waited is delivered.
    node.config.deliver = true;
    node.restart().await;
    node.delivered(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_says_that_it_is_not_ready_until_the_last() {
    let client = Client::start(|_| Reply::ok().after(Duration::from_secs(2))).await;
    let mut node = TestNode::start_with(|c| c.http.ops_listen = Some(([127, 0, 0, 1], 0).into())).await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    node.accepted("a", &key, &sample_lead(1)).await;
    client.wait_for(1).await; // the attempt is under way, and the stop waits for it
    let running = node.node.take().unwrap();
    let ready = format!("http://{}/readyz", running.addresses.ops);
    let health = format!("http://{}/healthz", running.addresses.ops);
    assert_eq!(node.http.get(&ready).send().await.unwrap().status(), 200);
    let stopping = tokio::spawn(running.stop());
    eventually("the node to say that it is not ready", async || match node.http.get(&ready).send().await {
        Ok(answer) if answer.status() == 503 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    eventually("providers to be sent elsewhere", async || {
        match node.http.get(format!("{}/docs", node.base)).send().await {
            Err(_) => Ok(()),
            Ok(answer) => Err(answer.status().to_string()),
        }
    })
    .await;
    assert!(!stopping.is_finished(), "the attempt is still under way");
    assert_eq!(node.http.get(&health).send().await.unwrap().status(), 200);
    stopping.await.unwrap().unwrap();
    assert!(node.http.get(&ready).send().await.is_err(), "nothing answers any more");
}
