//! Providers, workspaces, rules, products: create, read, change, delete.

use std::sync::Arc;

use leadway_domain::Money;
use leadway_domain::record::Topic;
use leadway_domain::secret::KeyHash;
use leadway_domain::settings::SettingsChange;
use leadway_domain::{Offset, Partition};
use leadway_eventlog::{EventLog, Fault, MemoryLog, ReadLimit};
use leadway_portal::Options;
use serde_json::{Value, json};

use crate::world::{SlowLog, World, at, provider, rule, workspace};

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(f, c)| ((*f).to_owned(), (*c).to_owned())).collect()
}

#[tokio::test]
async fn the_bodies_of_the_issue_work_to_the_letter() {
    let world = World::new().await;
    let made = world.post("/api/providers", provider()).await.expect(201).json();
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("lwp_"), "{key}");
    assert_eq!(made["hmac_secret"], KeyHash::of(key).as_hex());
    assert_eq!(made["cost_per_lead"], json!(75));
    let settings = world.present();
    assert_eq!(settings.provider_by_key(&KeyHash::of(key)).unwrap().cost_per_lead, Money::from_cents(7_500));

    let made = world.post("/api/workspaces", workspace()).await.expect(201).json();
    let secret = made["signing_secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == "whsec_".len() + 44, "{secret}");
    assert_eq!(world.present().workspaces["solar_west_coast"].signing_secrets[0].secret, secret);

    let made = world.post("/api/routing-rules", rule()).await.expect(201).json();
    let id = made["id"].as_str().unwrap();
    assert_eq!(made["zip_codes"], json!(["90210", "902*"]));
    assert_eq!(world.get(&format!("/api/routing-rules/{id}")).await.expect(200).json(), made);

    for list in ["/api/providers", "/api/workspaces"] {
        let text = world.get(list).await.expect(200).text;
        assert!(!text.contains("secret") && !text.contains("key"), "{list} shows no credentials: {text}");
    }
}

#[tokio::test]
async fn every_wrong_field_is_told_at_once() {
    let world = World::new().await;
    let wrong = json!({"id": "_x", "name": " ", "cost_per_lead": 1.005, "is_active": 1, "colour": "red",
        "mapping": {"fields": {"tel": "fone"}}, "rate_limit": {"per_second": 0}});
    let reply = world.post("/api/providers", wrong).await.expect(422);
    let expected = [
        ("colour", "unknown"),
        ("cost_per_lead", "invalid"),
        ("id", "invalid"),
        ("is_active", "invalid"),
        ("mapping", "unknown"),
        ("name", "required"),
        ("rate_limit", "invalid"),
    ];
    assert_eq!(reply.errors(), pairs(&expected));
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert!(reply.text.contains("cost_per_lead, is_active"), "the allowed fields are named: {}", reply.text);

    let wrong = json!({"id": "w", "name": "W", "payment_rate": -1, "outbound_webhook_url": "https://u:p@x.example/",
        "test_webhook_url": "http://127.0.0.1/", "phone_format": "roman", "max_concurrency": 0,
        "opening_hours": {"slot_minutes": 1}});
    let reply = world.post("/api/workspaces", wrong).await.expect(422);
    let fields: Vec<String> = reply.errors().into_iter().map(|(field, _)| field).collect();
    let expected = [
        "max_concurrency",
        "opening_hours",
        "outbound_webhook_url",
        "payment_rate",
        "phone_format",
        "test_webhook_url",
    ];
    assert_eq!(fields, expected);
    assert!(reply.text.contains("LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS"));

    let wrong = json!({"workspace_id": "nobody", "product_types": ["Spaceships", "solar panels"],
        "zip_codes": ["00000", "902*", "x"], "priority": 1_000_001});
    let reply = world.post("/api/routing-rules", wrong).await.expect(422);
    let expected = [
        ("priority", "invalid"),
        ("product_types", "unknown"),
        ("workspace_id", "unknown"),
        ("zip_codes", "invalid"),
        ("zip_codes", "invalid"),
    ];
    assert_eq!(reply.errors(), pairs(&expected));
}

#[tokio::test]
async fn a_rule_keeps_products_by_their_canonical_names() {
    let world = World::new().await;
    world.furnish().await;
    let mut body = rule();
    body["product_types"] = json!(["solar panels", "SOLAR", "ev charger"]);
    let made = world.post("/api/routing-rules", body).await.expect(201).json();
    assert_eq!(made["product_types"], json!(["Solar", "Electrical"]));
}

#[tokio::test]
async fn put_replaces_and_patch_merges() {
    let world = World::new().await;
    world.furnish().await;
    let path = "/api/workspaces/solar_west_coast";
    let patch = json!({"payment_rate": 149.50, "rate_limit": {"per_second": 5}});
    let patched = world.call("PATCH", path, Some(patch)).await.expect(200).json();
    assert_eq!((&patched["payment_rate"], &patched["webhook_active"]), (&json!(149.50), &json!(true)));
    let removed = world.call("PATCH", path, Some(json!({"rate_limit": null}))).await.expect(200).json();
    assert_eq!((&removed["rate_limit"], &removed["payment_rate"]), (&Value::Null, &json!(149.50)));
    // What was read can be sent back as it is.
    world.call("PUT", path, Some(removed)).await.expect(200);
    let replaced = world.call("PUT", path, Some(json!({"name": "New", "payment_rate": 1}))).await.expect(200).json();
    assert_eq!((&replaced["webhook_active"], &replaced["business_type"]), (&json!(false), &json!("")));
    let missing = world.call("PATCH", path, Some(json!({"name": null}))).await.expect(422);
    assert_eq!(missing.errors(), pairs(&[("name", "required")]));
    let renamed = world.call("PATCH", path, Some(json!({"id": "other"}))).await.expect(422);
    assert_eq!(renamed.errors(), pairs(&[("id", "invalid")]));
    assert_eq!(world.present().workspaces["solar_west_coast"].payment_rate, Money::from_cents(100));
    world.call("PUT", "/api/workspaces/nobody", Some(json!({}))).await.expect(404);
}

#[tokio::test]
async fn a_taken_id_is_a_conflict() {
    let world = World::new().await;
    world.furnish().await;
    world.post("/api/providers", provider()).await.expect(409);
    world.post("/api/workspaces", workspace()).await.expect(409);
    let taken = world.post("/api/products", json!({"name": "solar PANELS"})).await.expect(409);
    assert!(taken.text.contains("Solar"), "names what has it: {}", taken.text);
    let synonym = json!({"name": "Sauna", "synonyms": ["furnace"]});
    assert_eq!(world.post("/api/products", synonym).await.expect(422).errors(), pairs(&[("synonyms", "taken")]));
}

#[tokio::test]
async fn what_is_referred_to_cannot_be_deleted() {
    let world = World::new().await;
    world.furnish().await;
    let rules = world.get("/api/routing-rules").await.json();
    let id = rules["items"][0]["id"].as_str().unwrap();
    for path in ["/api/workspaces/solar_west_coast", "/api/products/Solar"] {
        let refused = world.call("DELETE", path, None).await.expect(409);
        assert!(refused.text.contains(id), "names the rule: {}", refused.text);
    }
    world.call("DELETE", &format!("/api/routing-rules/{id}"), None).await.expect(204);
    for path in ["/api/workspaces/solar_west_coast", "/api/products/Solar", "/api/providers/a"] {
        world.call("DELETE", path, None).await.expect(204);
        world.get(path).await.expect(404);
        world.call("DELETE", path, None).await.expect(404);
    }
}

#[tokio::test]
async fn a_rotated_key_is_in_force_at_once_and_an_old_secret_for_a_day() {
    let world = World::new().await;
    let old = world.post("/api/providers", provider()).await.json()["key"].as_str().unwrap().to_owned();
    let new = world.call("POST", "/api/providers/a/rotate-key", None).await.expect(200).json();
    let settings = world.present();
    assert!(settings.provider_by_key(&KeyHash::of(&old)).is_none());
    assert!(settings.provider_by_key(&KeyHash::of(new["key"].as_str().unwrap())).is_some());

    let first = world.post("/api/workspaces", workspace()).await.json()["signing_secret"].clone();
    let rotated = world.call("POST", "/api/workspaces/solar_west_coast/rotate-secret", None).await.expect(200).json();
    assert_ne!(rotated["signing_secret"], first);
    let settings = world.present();
    let secrets = &settings.workspaces["solar_west_coast"].signing_secrets;
    assert_eq!(
        (secrets[1].secret.as_str(), secrets[1].valid_until),
        (first.as_str().unwrap(), Some(at("2024-01-16T10:30:00Z")))
    );
    assert_eq!(secrets[0].valid_until, None);
}

#[tokio::test]
async fn every_change_says_who_when_before_and_after() {
    let world = World::new().await;
    world.post("/api/providers", provider()).await.expect(201);
    world.call("PATCH", "/api/providers/a", Some(json!({"cost_per_lead": 80}))).await.expect(200);
    let end = world.log.end(Topic::Settings, Partition(0)).await.unwrap();
    let records = world.log.read(Topic::Settings, Partition(0), Offset(end.0 - 1), ReadLimit::default()).await.unwrap();
    let change: SettingsChange = records[0].decode().unwrap();
    assert_eq!((change.actor.as_str(), change.at), ("admin", at("2024-01-15T10:30:00Z")));
    let before = serde_json::to_value(&change.before).unwrap();
    let after = serde_json::to_value(&change.change).unwrap();
    assert_eq!(before[0]["provider"]["cost_per_lead"], json!(75));
    assert_eq!(after["put"]["provider"]["cost_per_lead"], json!(80));
}

#[tokio::test]
async fn a_log_that_takes_nothing_answers_503_and_nothing_changes() {
    let world = World::new().await;
    world.log.set_faults(|| Fault::Refuse);
    let reply = world.post("/api/providers", provider()).await.expect(503);
    assert!(reply.headers.contains_key("retry-after"), "{:?}", reply.headers);
    world.log.clear_faults();
    world.get("/api/providers/a").await.expect(404);
    world.post("/api/providers", provider()).await.expect(201);
}

#[tokio::test(start_paused = true)]
async fn changes_made_at_once_are_each_checked_against_the_others() {
    let log = MemoryLog::new(1);
    let slow = Arc::new(SlowLog(log.clone()));
    let world = World::over(log, slow, Options::default()).await;
    let post = || world.post("/api/providers", provider());
    let replies = tokio::join!(post(), post(), post(), post());
    let mut statuses = [replies.0.status, replies.1.status, replies.2.status, replies.3.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409]);
}
