//! Scheduling, rules, unrouted leads and assignment by hand.

use http::StatusCode;
use leadway_config::LogKind;
use serde_json::json;

use crate::support::{ADMIN_KEY, Client, TestNode, eventually, sample_lead};

fn without_date(n: u32) -> serde_json::Value {
    let mut lead = sample_lead(n);
    lead.as_object_mut().unwrap().remove("appointment_date");
    lead
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_without_a_date_waits_for_one() {
    let node = TestNode::start().await;
    let client = Client::willing().await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let id = node.accepted("a", &key, &without_date(1)).await;
    let path = format!("/api/leads/{id}/schedule");
    let scheduled = node.post(&path, json!({"appointment_date": "2030-06-03T17:00:00Z"})).await;
    assert_eq!(scheduled["appointment_date"], "2030-06-03T17:00:00Z", "{scheduled}");
    node.delivered(id).await;
    assert_eq!(client.received()[0].body["appointment_date"], "2030-06-03T17:00:00Z");
    // A second request is refused: there is one appointment.
    let (status, problem) = node.call("POST", &path, Some(json!({"appointment_date": "2030-06-04T17:00:00Z"}))).await;
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    let (status, _) = node.call("POST", "/api/leads/4096000/schedule", Some(json!({}))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(client.received().len(), 1);
}

/// Schedules a lead under a name of the caller's, and tells the status and the answer.
async fn schedule_as(node: &TestNode, id: u64, name: &str, date: &str) -> (StatusCode, serde_json::Value) {
    let request = node.http.post(format!("{}/api/leads/{id}/schedule", node.base)).bearer_auth(ADMIN_KEY);
    let request = request.header("Idempotency-Key", name).json(&json!({"appointment_date": date}));
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_sent_again_under_its_idempotency_key_gets_the_same_answer() {
    // Embedded tables that are written once an hour, unless somebody waits for them.
    let mut node = TestNode::start_with(|config| {
        if config.log == LogKind::Embedded {
            config.scoring.linger_ms = 3_600_000;
        }
    })
    .await;
    let client = Client::willing().await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let id = node.accepted("a", &key, &without_date(1)).await;
    let date = "2030-06-03T17:00:00Z";
    let at_once = futures::future::join_all((0..8).map(|_| schedule_as(&node, id, "one", date))).await;
    for (status, appointment) in &at_once {
        assert_eq!((*status, &appointment["appointment_date"]), (StatusCode::OK, &json!(date)), "{appointment}");
    }
    node.restart().await;
    let (status, appointment) = schedule_as(&node, id, "one", date).await;
    assert_eq!((status, &appointment["appointment_date"]), (StatusCode::OK, &json!(date)), "{appointment}");
    let (status, problem) = schedule_as(&node, id, "one", "2030-06-04T17:00:00Z").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(problem["detail"].as_str().unwrap().contains("Idempotency-Key"), "{problem}");
    let (status, problem) = schedule_as(&node, id, "another", date).await;
    assert_eq!(status, StatusCode::CONFLICT, "one lead has one appointment: {problem}");
    assert!(problem["detail"].as_str().unwrap().contains("already has an appointment"), "{problem}");
    let (_, same) = schedule_as(&node, id, "another", date).await;
    assert_eq!(same["detail"], problem["detail"], "a refusal is an answer too");
    node.delivered(id).await;
    assert_eq!(client.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_set_to_schedule_by_itself_takes_the_next_free_slots() {
    let mut node = TestNode::start().await;
    let client = Client::willing().await;
    let key = node.provider("a").await;
    node.patch("/api/products/Solar", json!({"auto_schedule": true})).await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let mut dates = Vec::new();
    for n in 0..4 {
        let id = node.accepted("a", &key, &without_date(n)).await;
        dates.push(node.delivered(id).await["appointment_date"].as_str().unwrap().to_owned());
        if n == 2 {
            node.restart().await; // slots taken are remembered
        }
    }
    let mut distinct = dates.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct, dates, "each gets a later slot of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_matches_nothing_is_held_and_routed_again_when_a_rule_comes() {
    let node = TestNode::start().await;
    let client = Client::willing().await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    let id = node.accepted("a", &key, &sample_lead(1)).await;
    let held = node.appointment(id, |a| a["routing_status"] == "unrouted").await;
    assert!(held["unrouted_reason"].as_str().unwrap().contains("Solar"), "{held}");
    let unrouted = node.get("/api/unrouted").await;
    assert_eq!(unrouted["items"][0]["lead_id"], json!(id), "{unrouted}");

    node.rule("w", &["Solar"], &["90210+25mi"], 1).await;
    let answer = node.post("/api/unrouted/retry", json!({})).await;
    assert_eq!(answer["retried"], 1, "{answer}");
    node.delivered(id).await;
    eventually("the list of unrouted leads to be empty", async || {
        let unrouted = node.get("/api/unrouted").await;
        if unrouted["items"] == json!([]) { Ok(()) } else { Err(unrouted.to_string()) }
    })
    .await;
    assert_eq!(client.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_rule_routes_what_waits_for_it_if_the_node_is_set_to() {
    let node = TestNode::start_with(|c| c.portal.retry_unrouted_on_rule_change = true).await;
    let client = Client::willing().await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    let id = node.accepted("a", &key, &sample_lead(1)).await;
    node.appointment(id, |a| a["routing_status"] == "unrouted").await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    node.delivered(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appointment_can_be_assigned_by_hand() {
    let node = TestNode::start().await;
    let client = Client::willing().await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    let id = node.accepted("a", &key, &sample_lead(1)).await;
    node.appointment(id, |a| a["routing_status"] == "unrouted").await;
    let path = format!("/api/appointments/{id}/assign");
    let (status, _) = node.call("POST", &path, Some(json!({"workspace_id": "nobody"}))).await;
    assert!(status.is_client_error(), "{status}");
    node.post(&path, json!({"workspace_id": "w"})).await;
    assert_eq!(node.delivered(id).await["routing_method"], "manual");
    assert_eq!(client.received()[0].body["routing_method"], "manual");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_rule_takes_effect_for_the_next_lead() {
    let node = TestNode::start().await;
    let (first, second) = (Client::willing().await, Client::willing().await);
    let key = node.provider("a").await;
    node.workspace("first", &first).await;
    node.workspace("second", &second).await;
    let rule = node.rule("first", &["Solar"], &["CA"], 2).await;
    node.rule("second", &["Solar"], &["CA"], 3).await;
    let one = node.accepted("a", &key, &sample_lead(1)).await;
    assert_eq!(node.delivered(one).await["workspace_id"], "first");
    let path = format!("/api/routing-rules/{}", rule["id"].as_str().unwrap());
    node.patch(&path, json!({"priority": 4})).await;
    let two = node.accepted("a", &key, &sample_lead(2)).await;
    assert_eq!(node.delivered(two).await["workspace_id"], "second");
    let explained = node.get("/api/routing/explain?product_type=Solar&zip_code=90210").await;
    assert_eq!(explained["winner"]["workspace_id"], "second", "{explained}");
    let coverage = node.get("/api/routing/coverage").await;
    assert!(coverage.to_string().contains("first"), "{coverage}");
}
