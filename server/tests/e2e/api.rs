//! The management API over HTTP: what only a running node can show.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Client, TestNode, answer, sample_lead};

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_bodies_work_word_for_word() {
    let node = TestNode::start().await;
    let provider =
        node.call("POST", "/api/providers", Some(json!({"id":"a","name":"Provider A","cost_per_lead":75}))).await;
    assert_eq!(provider.0, StatusCode::CREATED, "{}", provider.1);
    assert!(provider.1["key"].is_string());
    let workspace = json!({"id":"solar_west_coast","name":"Solar West Coast Team","outbound_webhook_url":"https://solar-client.com/webhooks/appts",
        "webhook_active":true,"business_type":"Solar Installation","payment_rate":150});
    let workspace = node.call("POST", "/api/workspaces", Some(workspace)).await;
    assert_eq!(workspace.0, StatusCode::CREATED, "{}", workspace.1);
    assert!(workspace.1["signing_secret"].as_str().unwrap().starts_with("whsec_"));
    let rule = json!({"workspace_id":"solar_west_coast","product_types":["Solar"],"zip_codes":["90210","902*"],"priority":1,"is_active":true});
    let rule = node.call("POST", "/api/routing-rules", Some(rule)).await;
    assert_eq!(rule.0, StatusCode::CREATED, "{}", rule.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_needs_a_key_and_documents_itself() {
    let node = TestNode::start().await;
    let (status, problem) = answer(node.http.get(format!("{}/api/leads", node.base))).await;
    assert_eq!((status, &problem["status"]), (StatusCode::UNAUTHORIZED, &json!(401)));
    let (status, openapi) = answer(node.http.get(format!("{}/openapi.json", node.base))).await;
    assert_eq!(status, StatusCode::OK);
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths: Vec<&String> = openapi["paths"].as_object().unwrap().keys().collect();
    for path in ["/api/providers", "/api/routing/explain", "/api/routing/coverage", "/api/billing/reconciliation"] {
        assert!(paths.iter().any(|p| *p == path), "{path} in {paths:?}");
    }
    let docs = node.http.get(format!("{}/docs/", node.base)).send().await.unwrap();
    assert_eq!(docs.status(), StatusCode::OK);
    let (status, problem) = answer(node.http.get(format!("{}/nothing", node.base))).await;
    assert_eq!((status, &problem["status"]), (StatusCode::NOT_FOUND, &json!(404)), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_logged_and_survives_a_restart() {
    let mut node = TestNode::start().await;
    node.provider("a").await;
    node.patch("/api/providers/a", json!({"name": "Renamed"})).await;
    node.restart().await;
    assert_eq!(node.get("/api/providers/a").await["name"], "Renamed");
    let changes = crate::support::eventually("the change", async || {
        let changes = node.get("/api/settings/changes").await;
        match changes["items"].as_array().unwrap().iter().find(|c| c["after"]["name"] == "Renamed") {
            Some(change) => Ok(change.clone()),
            None => Err(changes.to_string()),
        }
    })
    .await;
    assert_eq!((&changes["actor"], &changes["before"]["name"]), (&json!("admin"), &json!("Provider A")), "{changes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_that_cover_everything_once() {
    let node = TestNode::start().await;
    let key = node.provider("a").await;
    let mut expected = Vec::new();
    for n in 0..23 {
        expected.push(node.accepted("a", &key, &crate::support::sample_lead(n)).await);
    }
    node.appointment(expected[22], |a| a["routing_status"] == "unrouted").await;
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: Value = node.get(&format!("/api/leads?limit=5{cursor}")).await;
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 5);
        let time = |lead: &Value| lead["received_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        found.extend(items.iter().map(|l| (time(l), l["lead_id"].as_u64().unwrap())));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert!(found.is_sorted_by(|one, next| one.0 >= next.0), "the newest first: {found:?}");
    let mut ids: Vec<u64> = found.into_iter().map(|(_, id)| id).collect();
    ids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ids, expected, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_is_as_the_documentation_describes_it() {
    let node = TestNode::start().await;
    let (_, openapi) = answer(node.http.get(format!("{}/openapi.json", node.base))).await;
    let webhook = &openapi["webhooks"]["appointment"]["post"];
    let sample = &webhook["x-sample"];
    let header = |name: &str| sample["headers"][name].as_str().unwrap();
    let signer = standardwebhooks::Webhook::new(sample["secret"].as_str().unwrap()).unwrap();
    let (at, body) = (header("webhook-timestamp").parse().unwrap(), sample["body"].as_str().unwrap());
    assert_eq!(signer.sign(header("webhook-id"), at, body.as_bytes()).unwrap(), header("webhook-signature"));

    let client = Client::willing().await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let id = node.accepted("a", &key, &sample_lead(1)).await;
    node.delivered(id).await;
    let received = &client.received()[0];
    let schema = &openapi["components"]["schemas"]["AppointmentWebhook"];
    let fields: std::collections::BTreeSet<&String> = received.body.as_object().unwrap().keys().collect();
    assert_eq!(fields, schema["properties"].as_object().unwrap().keys().collect());
    for header in webhook["parameters"].as_array().unwrap() {
        let name = header["name"].as_str().unwrap();
        assert!(received.headers.contains_key(name), "{name}");
    }
    let page = node.http.get(format!("{}/", node.base)).send().await.unwrap();
    assert_eq!(
        (page.status(), &page.headers()["content-type"]),
        (StatusCode::OK, &"text/html; charset=utf-8".parse().unwrap())
    );
}
