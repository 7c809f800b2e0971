//! The embedded tables have grown as far as they may.

use http::StatusCode;
use serde_json::json;

use crate::support::{ADMIN_KEY, TestNode, answer, eventually, sample_lead};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_tables_are_full_is_not_ready_and_says_that_its_reads_are_old() {
    let mut node = TestNode::start_with(|c| {
        c.embedded.tables.map_bytes = 3 << 20;
        c.portal.catch_up_timeout_ms = 100;
    })
    .await;
    let key = node.provider("a").await;
    let first = node.accepted("a", &key, &sample_lead(0)).await;
    node.get(&format!("/api/leads/{first}")).await;
    let ready = async |node: &TestNode| answer(node.http.get(format!("{}/readyz", node.base))).await;
    assert_eq!(ready(&node).await.0, StatusCode::OK);

    let mut last = first;
    let mut posted = 1;
    eventually("the tables are full", async || {
        for _ in 0..200 {
            let mut lead = sample_lead(posted);
            lead["notes"] = json!("n".repeat(1_000));
            last = node.accepted("a", &key, &lead).await;
            posted += 1;
        }
        let (status, components) = ready(&node).await;
        if status == StatusCode::SERVICE_UNAVAILABLE && components["tables"] == false {
            Ok(())
        } else {
            Err(format!("{components} after {posted}"))
        }
    })
    .await;
    let read = node.http.get(format!("{}/api/leads/{first}", node.base)).bearer_auth(ADMIN_KEY).send().await.unwrap();
    assert_eq!(read.status(), StatusCode::OK, "what is there can be read");
    assert_eq!(read.headers()["x-leadway-stale"], "the tables are full");
    let (status, problem) = node.call("GET", &format!("/api/leads/{last}"), None).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(problem["detail"].as_str().unwrap().contains("embedded.tables.map_bytes"), "{problem}");
    node.accepted("a", &key, &sample_lead(posted)).await;

    node.config.embedded.tables.map_bytes = 1 << 30;
    node.restart().await;
    eventually("the last lead is shown", async || {
        let (status, lead) = node.call("GET", &format!("/api/leads/{last}"), None).await;
        if status == StatusCode::OK { Ok(()) } else { Err(lead.to_string()) }
    })
    .await;
    assert_eq!(ready(&node).await.0, StatusCode::OK);
}
