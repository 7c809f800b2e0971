//! The main job: a posted lead reaches the right client, is recorded and billed.

use http::StatusCode;
use serde_json::json;

use crate::support::{Client, TestNode, around_today, sample_lead};

#[tokio::test(flavor = "multi_thread")]
async fn a_posted_lead_reaches_the_right_client_and_is_recorded_and_billed() {
    let node = TestNode::start().await;
    let (right, wrong) = (Client::willing().await, Client::willing().await);
    let key = node.provider("a").await;
    node.workspace("solar_west_coast", &right).await;
    node.workspace("hvac_northeast", &wrong).await;
    node.rule("solar_west_coast", &["Solar"], &["90210", "902*"], 1).await;
    node.rule("hvac_northeast", &["HVAC"], &["902*"], 1).await;

    let id = node.accepted("a", &key, &sample_lead(123)).await;
    let webhook = right.wait_for(1).await.remove(0);
    assert_eq!(
        webhook.body,
        json!({
            "appointment_id": id, "customer_name": "John Solar Customer", "customer_phone": "213-220-0123",
            "customer_email": "john@example.com", "service_type": "Solar", "customer_zip": "90210",
            "appointment_date": "2030-12-01T14:00:00Z", "estimated_value": 25000,
            "notes": "Interested in 10kW solar system", "routing_method": "auto",
            "matched_at": webhook.body["matched_at"], "workspace_id": "solar_west_coast",
        }),
        "exactly the twelve fields"
    );
    assert!(webhook.verified, "a client's own library verifies the signature");
    let header = |name: &str| webhook.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("user-agent"), "Convio-Appointment-Router/1.0");
    assert_eq!(header("x-webhook-source"), "appointment-routing");
    assert_eq!(header("content-type"), "application/json");

    let appointment = node.delivered(id).await;
    assert_eq!(appointment["forward_attempts"], 1);
    assert_eq!(appointment["forward_response"], r#"{"status": "received"}"#);
    assert!(appointment["forwarded_at"].is_string(), "{appointment}");
    let events = node.get(&format!("/api/appointments/{id}/events")).await;
    let kinds: Vec<&str> =
        events["items"].as_array().unwrap().iter().map(|e| e["event_type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["lead.received", "appointment.routed", "delivery.delivered"], "{events}");

    let billing = node.get(&format!("/api/billing/events?{}", around_today())).await;
    let billed = billing["items"].as_array().unwrap();
    assert_eq!(billed.len(), 1, "{billing}");
    assert_eq!((&billed[0]["appointment_id"], &billed[0]["billable_amount"]), (&json!(id), &json!(150)));
    let reconciliation = node.reconciliation().await;
    assert_eq!(reconciliation["differences"], json!([]), "{reconciliation}");
    assert!(wrong.received().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_submission_is_answered_with_the_first_ones_ids() {
    let mut node = TestNode::start().await;
    let client = Client::willing().await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let (status, first) = node.lead("a", &key, &sample_lead(1)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    node.delivered(first["lead_id"].as_u64().unwrap()).await;
    for round in 0..2 {
        let (status, again) = node.lead("a", &key, &sample_lead(1)).await;
        assert_eq!((status, &again["status"]), (StatusCode::OK, &json!("duplicate")), "{again}");
        assert_eq!((&again["lead_id"], &again["contact_id"]), (&first["lead_id"], &first["contact_id"]));
        if round == 0 {
            node.restart().await; // the window outlives the process
        }
    }
    // The same contact with another lead is a lead of its own.
    let mut other = sample_lead(1);
    other["external_id"] = json!("x-other");
    let (status, second) = node.lead("a", &key, &other).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert_eq!(second["contact_id"], first["contact_id"]);
    assert_ne!(second["lead_id"], first["lead_id"]);
    node.delivered(second["lead_id"].as_u64().unwrap()).await;
    assert_eq!(client.received().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_identical_posts_at_one_moment_are_one_lead() {
    let node = TestNode::start().await;
    let key = node.provider("a").await;
    let lead = sample_lead(7);
    let answers = futures::future::join_all((0..100).map(|_| node.lead("a", &key, &lead))).await;
    let accepted = answers.iter().filter(|(status, _)| *status == StatusCode::ACCEPTED).count();
    assert_eq!(accepted, 1);
    assert!(answers.iter().all(|(_, body)| body["lead_id"] == answers[0].1["lead_id"]), "one id for all");
    let id = answers[0].1["lead_id"].as_u64().unwrap();
    node.appointment(id, |a| a["routing_status"] == "unrouted").await;
    let leads = node.get("/api/leads").await;
    assert_eq!(leads["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_lead_runs_the_whole_path_to_the_test_url_and_is_never_billed() {
    let node = TestNode::start().await;
    let (live, testing) = (Client::willing().await, Client::willing().await);
    let key = node.provider("a").await;
    node.workspace("w", &live).await;
    node.patch("/api/workspaces/w", json!({"test_webhook_url": testing.url()})).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let mut lead = sample_lead(1);
    lead["test"] = json!(true);
    let id = node.accepted("a", &key, &lead).await;
    let appointment = node.delivered(id).await;
    assert_eq!(appointment["test"], true);
    assert_eq!((testing.received().len(), live.received().len()), (1, 0));
    assert_eq!(node.reconciliation().await["differences"], json!([]));
    let billing = node.get(&format!("/api/billing/events?{}", around_today())).await;
    assert_eq!(billing["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn money_adds_up_to_the_cent() {
    let node = TestNode::start().await;
    let client = Client::willing().await;
    let key = node.provider("a").await;
    node.patch("/api/providers/a", json!({"cost_per_lead": 33.33})).await;
    node.workspace("w", &client).await;
    node.patch("/api/workspaces/w", json!({"payment_rate": 100.10})).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    for n in 0..3 {
        let id = node.accepted("a", &key, &sample_lead(n)).await;
        node.delivered(id).await;
    }
    let margin = node.get(&format!("/api/billing/margin?{}&group_by=provider", around_today())).await;
    let row = &margin["rows"][0];
    assert_eq!(row["revenue"].to_string(), "300.3", "{margin}");
    assert_eq!(row["provider_cost"].to_string(), "99.99", "{margin}");
    assert_eq!(row["margin"].to_string(), "200.31", "{margin}");
    let performance = node.get(&format!("/api/analytics/performance?{}&group_by=workspace", around_today())).await;
    let delivered: u64 = performance["rows"].as_array().unwrap().iter().filter_map(|r| r["delivered"].as_u64()).sum();
    assert_eq!(delivered, 3, "{performance}");
}
