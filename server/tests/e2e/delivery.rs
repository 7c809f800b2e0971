//! Retries, holding, rotation, slow clients, restarts.

use std::time::Duration;

use serde_json::json;

use crate::support::{Client, Reply, TestNode, sample_lead};

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_client_is_tried_again_with_the_same_id_until_it_answers() {
    let node = TestNode::start().await;
    let mut left = 3;
    let client = Client::start(move |_| {
        left -= 1;
        if left >= 0 { Reply::status(500) } else { Reply::ok() }
    })
    .await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let id = node.accepted("a", &key, &sample_lead(1)).await;
    let appointment = node.delivered(id).await;
    assert_eq!(appointment["forward_attempts"], 4, "{appointment}");
    let received = client.received();
    assert!(received.iter().all(|r| r.headers["webhook-id"] == received[0].headers["webhook-id"] && r.verified));
    let events = node.get(&format!("/api/appointments/{id}/events")).await;
    let retries = events["items"].as_array().unwrap().iter().filter(|e| e["event_type"] == "delivery.retry").count();
    assert_eq!(retries, 3, "{events}");
    assert_eq!(node.reconciliation().await["differences"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_ends_in_failed_and_no_bill() {
    let node = TestNode::start_with(|c| c.dispatcher.max_attempts = 3).await;
    let client = Client::start(|_| Reply::status(422)).await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let id = node.accepted("a", &key, &sample_lead(1)).await;
    let appointment = node.appointment(id, |a| a["forward_status"] == "failed").await;
    assert_eq!(appointment["forward_attempts"], 3, "{appointment}");
    assert_eq!(client.received().len(), 3);
    let reconciliation = node.reconciliation().await;
    assert_eq!(reconciliation["differences"], json!([]), "{reconciliation}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inactive_webhook_holds_deliveries_over_a_restart_until_it_is_active() {
    let mut node = TestNode::start().await;
    let client = Client::willing().await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.patch("/api/workspaces/w", json!({"webhook_active": false})).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(node.accepted("a", &key, &sample_lead(n)).await);
    }
    node.appointment(ids[4], |a| a["held_reason"] == "webhook_inactive").await;
    node.restart().await;
    assert!(client.received().is_empty());
    node.patch("/api/workspaces/w", json!({"webhook_active": true})).await;
    for id in ids {
        node.delivered(id).await;
    }
    assert_eq!(client.received().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_does_not_delay_another() {
    let node = TestNode::start_with(|c| c.dispatcher.request_timeout_ms = 60_000).await;
    let hanging = Client::start(|_| Reply::ok().after(Duration::from_secs(3_600))).await;
    let quick = Client::willing().await;
    let key = node.provider("a").await;
    node.workspace("hanging", &hanging).await;
    node.workspace("quick", &quick).await;
    node.rule("hanging", &["HVAC"], &["CA"], 1).await;
    node.rule("quick", &["Solar"], &["CA"], 1).await;
    for n in 0..50 {
        let mut lead = sample_lead(n);
        lead["product_type"] = json!("HVAC");
        node.accepted("a", &key, &lead).await;
    }
    hanging.wait_for(1).await;
    // While fifty wait on the client that hangs, each of these is delivered long before its timeout.
    for n in 100..110 {
        let id = node.accepted("a", &key, &sample_lead(n)).await;
        node.delivered(id).await;
    }
    assert_eq!(quick.received().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_both_secrets_verify() {
    let node = TestNode::start().await;
    let client = Client::willing().await;
    let key = node.provider("a").await;
    let made = node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let rotated = node.post("/api/workspaces/w/rotate-secret", json!({})).await;
    for (n, secret) in [&made["signing_secret"], &rotated["signing_secret"]].into_iter().enumerate() {
        client.trust_only(secret.as_str().unwrap());
        let id = node.accepted("a", &key, &sample_lead(n as u32)).await;
        node.delivered(id).await;
        assert!(client.received()[n].verified, "secret {n}");
    }
    let shown = node.get("/api/workspaces/w").await.to_string();
    assert!(!shown.contains("whsec_"), "a secret is shown once: {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_targets_are_refused_unless_allowed() {
    let mut node = TestNode::start().await;
    let client = Client::willing().await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    // What was stored while it was allowed is checked again when it is connected to.
    node.config.dispatcher.allow_private_targets = false;
    node.config.dispatcher.max_attempts = 1;
    node.restart().await;
    let id = node.accepted("a", &key, &sample_lead(1)).await;
    let failed = node.appointment(id, |a| a["forward_status"] == "failed").await;
    assert!(failed["forward_error"].as_str().unwrap().contains("refused"), "{failed}");
    assert!(client.received().is_empty());
    let body = json!({"outbound_webhook_url": client.url()});
    let (status, problem) = node.call("PATCH", "/api/workspaces/w", Some(body)).await;
    assert_eq!(status, 422);
    assert!(problem.to_string().contains("LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS"), "the way out: {problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed_and_retry_after_is_honoured() {
    let node = TestNode::start().await;
    let elsewhere = Client::willing().await;
    let target = elsewhere.url();
    let mut answers = vec![
        Reply { headers: vec![("location", target)], ..Reply::status(307) },
        Reply { headers: vec![("retry-after", "1".into())], ..Reply::status(429) },
    ]
    .into_iter();
    let client = Client::start(move |_| answers.next().unwrap_or_else(Reply::ok)).await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let id = node.accepted("a", &key, &sample_lead(1)).await;
    node.delivered(id).await;
    assert!(elsewhere.received().is_empty());
    let received = client.received();
    let at = |n: usize| received[n].headers["webhook-timestamp"].to_str().unwrap().parse::<i64>().unwrap();
    assert_eq!(received.len(), 3);
    assert!(at(2) > at(1), "the third attempt waits for the second that Retry-After asks for");
}
