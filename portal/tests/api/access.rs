//! Keys, roles, and requests that go nowhere.

use std::sync::Arc;

use axum::body::Body;
use http::Request;
use leadway_domain::Clock;
use leadway_domain::record::Topic;
use leadway_domain::settings::DEFAULT_PRODUCTS;
use leadway_eventlog::{EventLog, MemoryLog, SettingsHandle};
use leadway_portal::{Error, Random, first_start};
use serde_json::json;

use crate::world::{World, at, provider, ring};

#[tokio::test]
async fn nothing_under_api_answers_without_a_valid_key() {
    let world = World::new().await;
    let bare = |path: &str| Request::builder().uri(path.to_owned()).body(Body::empty()).unwrap();
    let there = world.send(bare("/api/providers")).await.expect(401);
    let nowhere = world.send(bare("/api/nothing")).await.expect(401);
    assert_eq!(there.text, nowhere.text, "whether a path exists is not told");
    assert_eq!(there.headers["www-authenticate"], "Bearer");
    for key in ["", "wrong", "Bearer", "lwk_the-admin-key-of-the-test"] {
        let reply = world.call_as(key, "GET", "/api/providers", None).await.expect(401);
        assert_eq!(reply.text, there.text);
    }
    world.send(bare("/openapi.json")).await.expect(200);
    world.send(bare("/docs/")).await.expect(200);
}

#[tokio::test]
async fn a_reader_reads_and_does_not_write() {
    let world = World::new().await;
    let made = world.post("/api/keys", json!({"name": "dashboard", "role": "reader"})).await.expect(201).json();
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    world.call_as(key, "GET", "/api/providers", None).await.expect(200);
    let body = provider().to_string();
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        world.call_as(key, method, "/api/providers", Some(("application/json", &body))).await.expect(403);
    }
    assert!(world.present().providers.is_empty());
    let listed = world.get("/api/keys").await.expect(200);
    assert!(!listed.text.contains("key_hash") && !listed.text.contains(key), "{}", listed.text);
    world.call("DELETE", &format!("/api/keys/{id}"), None).await.expect(204);
    world.call_as(key, "GET", "/api/providers", None).await.expect(401);
}

#[tokio::test]
async fn the_last_admin_cannot_be_revoked_and_names_are_unique() {
    let world = World::new().await;
    let admin = world.get("/api/keys").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    world.call("DELETE", &format!("/api/keys/{admin}"), None).await.expect(409);
    world.post("/api/keys", json!({"name": "admin", "role": "admin"})).await.expect(409);
    world.post("/api/keys", json!({"name": "second", "role": "boss"})).await.expect(422);
    world.post("/api/keys", json!({"name": "second", "role": "admin"})).await.expect(201);
    world.call("DELETE", &format!("/api/keys/{admin}"), None).await.expect(204);
}

#[tokio::test]
async fn requests_that_go_nowhere_are_told_why() {
    let world = World::new().await;
    let cases = [
        ("GET", "/api/nothing", None, 404),
        ("GET", "/nothing", None, 404),
        ("DELETE", "/api/providers", None, 405),
        ("POST", "/api/providers", Some(("text/plain", "x")), 415),
        ("POST", "/api/providers", Some(("application/json", "{\"id\": ")), 400),
        ("POST", "/api/providers", Some(("application/json", "[]")), 400),
        ("GET", "/api/providers?limit=501", None, 422),
        ("GET", "/api/providers?cursor=x", None, 422),
        ("GET", "/api/providers/%ff", None, 404),
        ("PUT", "/api/products/solar", Some(("application/json", "")), 400),
        ("POST", "/api/routing-rules/import", Some(("text/plain", "[]")), 415),
        ("GET", "/api/billing/events?workspace_id=", None, 422),
        ("GET", "/api/contacts?day=2024-01-15&from=2024-02-01", None, 422),
        ("GET", "/api/leads?colour=red", None, 422),
        ("GET", "/api/leads?product_type=Spaceships", None, 422),
        ("GET", "/api/leads?from=2024-01-02&to=2022-01-01", None, 422),
        ("GET", "/api/appointments?status=lost", None, 422),
    ];
    for (method, path, body, status) in cases {
        let reply = world.call_as(crate::world::ADMIN_KEY, method, path, body).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text);
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{method} {path}");
        assert_eq!(reply.json()["status"], status, "{method} {path}");
    }
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(3 << 20));
    world
        .call_as(crate::world::ADMIN_KEY, "POST", "/api/providers", Some(("application/json", &large)))
        .await
        .expect(413);
}

async fn start(log: &MemoryLog, key: Option<&str>) -> Result<(SettingsHandle, Option<String>), Error> {
    let shared: Arc<dyn EventLog> = Arc::new(log.clone());
    let settings = SettingsHandle::follow_with(shared.clone(), ring()).await?;
    let clock = Clock::manual(at("2024-01-15T10:30:00Z"));
    let first = first_start(shared, settings.clone(), clock, &Random::seeded(1), key.map(str::to_owned)).await?;
    Ok((settings, first.new_admin_key))
}

#[tokio::test]
async fn the_first_start_makes_products_and_an_admin_once() {
    let log = MemoryLog::new(1);
    let (settings, made) = start(&log, None).await.unwrap();
    let made = made.expect("a key to print");
    assert_eq!(settings.load().products.len(), DEFAULT_PRODUCTS.len());
    assert!(settings.load().account_by_key(&made).is_some());
    let end = log.end(Topic::Settings, leadway_domain::Partition(0)).await.unwrap();
    assert_eq!(end.0, 1, "one change: all of it or nothing");
    assert_eq!(start(&log, None).await.unwrap().1, None, "the second start prints nothing");
    assert_eq!(log.end(Topic::Settings, leadway_domain::Partition(0)).await.unwrap(), end);
}

#[tokio::test]
async fn the_environments_key_is_the_admins_at_every_start() {
    let log = MemoryLog::new(1);
    let key = |settings: &SettingsHandle, key: &str| settings.load().account_by_key(key).is_some();
    start(&log, Some("the-first-admin-key-of-all")).await.unwrap();
    let (settings, _) = start(&log, Some("the-second-admin-key-of-all")).await.unwrap();
    assert!(!key(&settings, "the-first-admin-key-of-all") && key(&settings, "the-second-admin-key-of-all"));
    assert_eq!(settings.load().accounts.len(), 1, "the account is the same");
    for bad in ["a key of characters that are not visible", "23-characters-are-short"] {
        assert!(matches!(start(&log, Some(bad)).await, Err(Error::AdminKey { .. })), "{bad}");
    }
}

#[tokio::test]
async fn a_key_has_few_reads_under_way_and_keeps_nobody_else_waiting() {
    let world = World::new().await;
    let mut keys = Vec::new();
    for name in ["greedy", "other"] {
        let made = world.post("/api/keys", json!({"name": name, "role": "reader"})).await.expect(201).json();
        keys.push(made["key"].as_str().unwrap().to_owned());
    }
    let (greedy, other) = (keys[0].as_str(), keys[1].as_str());
    let heavy = "/api/leads";
    let mut unread = Vec::new();
    for _ in 0..2 {
        unread.push(world.open(greedy, heavy).await);
    }
    let refused = world.call_as(greedy, "GET", heavy, None).await.expect(429);
    assert_eq!(refused.headers["retry-after"], "2");
    for path in [heavy, "/api/routing/coverage/gaps", "/api/routing/explain?product_type=Solar&zip_code=90210"] {
        for method in ["GET", "HEAD"] {
            world.call_as(greedy, method, path, None).await.expect(429);
        }
    }
    world.call_as(other, "GET", heavy, None).await.expect(200);
    world.call_as(greedy, "GET", "/api/products", None).await.expect(200);
    for _ in 0..16 {
        unread.push(world.open(greedy, "/api/products").await);
    }
    world.call_as(greedy, "GET", "/api/products", None).await.expect(429);
    world.call_as(crate::world::ADMIN_KEY, "GET", "/api/products", None).await.expect(200);
    unread.clear();
    world.call_as(greedy, "GET", heavy, None).await.expect(200);
    world.call_as(greedy, "GET", "/api/products", None).await.expect(200);
}

#[tokio::test]
async fn webhooks_without_tls_are_warned_of() {
    let world = World::new().await;
    let mut workspace = crate::world::workspace();
    let made = world.post("/api/workspaces", workspace.clone()).await.expect(201).json();
    assert!(made.get("warnings").is_none(), "{made}");
    workspace["id"] = json!("plain");
    workspace["outbound_webhook_url"] = json!("http://client.example.com/hook");
    let made = world.post("/api/workspaces", workspace).await.expect(201).json();
    assert!(
        made["warnings"][0].as_str().unwrap().starts_with("outbound_webhook_url must begin with https://"),
        "{made}"
    );
    let path = "/api/workspaces/plain";
    let read = world.get(path).await.expect(200).json();
    assert!(read.get("warnings").is_none(), "it is said when it is set");
    let changed = world.call("PATCH", path, Some(json!({"name": "Plain"}))).await.expect(200).json();
    assert_eq!(changed["warnings"], made["warnings"]);
    world.call("PUT", path, Some(changed)).await.expect(200);
    let secure = json!({"outbound_webhook_url": "https://client.example.com/hook"});
    let mended = world.call("PATCH", path, Some(secure)).await.expect(200).json();
    assert!(mended.get("warnings").is_none(), "{mended}");
}
