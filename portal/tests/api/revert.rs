//! Taking changes of settings back.

use serde_json::{Value, json};

use crate::world::{Reply, World, rule, workspace};

/// Takes back the change whose record is this many before the last one.
async fn revert(world: &World, back: u64, part: &str) -> Reply {
    use leadway_domain::Partition;
    use leadway_domain::record::Topic;
    use leadway_eventlog::EventLog;
    let end = world.log.end(Topic::Settings, Partition(0)).await.unwrap().0;
    world.call("POST", &format!("/api/settings/changes/{}{part}/revert", end - 1 - back), None).await
}

async fn rules(world: &World) -> Value {
    let mut rules = world.get("/api/routing-rules/export").await.expect(200).json();
    rules.as_array_mut().unwrap().iter_mut().for_each(|rule| {
        rule.as_object_mut().unwrap().remove("updated_at");
    });
    rules
}

fn detail(reply: &Reply) -> String {
    reply.json()["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_import_is_taken_back_whole_or_by_its_parts() {
    let world = World::new().await;
    world.furnish().await;
    let before = rules(&world).await;
    let rows = json!([rule(), rule()]);
    world.post("/api/routing-rules/import?replace=true", rows).await.expect(200);
    assert_eq!(rules(&world).await.as_array().unwrap().len(), 2);
    let reply = revert(&world, 0, "").await.expect(200).json();
    assert_eq!(reply, json!({"reverted": 3, "new_credentials": []}));
    assert_eq!(rules(&world).await, before, "with their ids and so their age");

    // What was taken back can be brought back, one part or all.
    revert(&world, 0, "-2").await.expect(200);
    assert_eq!(rules(&world).await, json!([]));
    let reply = revert(&world, 1, "").await.expect(409);
    assert!(detail(&reply).contains("was changed since"), "{}", reply.text);
    revert(&world, 0, "-9").await.expect(404);
    revert(&world, 0, "-x").await.expect(404);
    world.call("POST", "/api/settings/changes/900/revert", None).await.expect(404);
    world.call("POST", "/api/settings/changes/nonsense/revert", None).await.expect(404);
}

#[tokio::test]
async fn a_change_that_others_build_on_is_not_taken_back() {
    let world = World::new().await;
    world.furnish().await;
    // The workspace, before its rule.
    let reply = revert(&world, 1, "").await.expect(409);
    assert!(detail(&reply).contains("Routing rules refer to the workspace solar_west_coast"), "{}", reply.text);
    let id = rules(&world).await[0]["id"].as_str().unwrap().to_owned();
    world.call("DELETE", &format!("/api/routing-rules/{id}"), None).await.expect(204);
    world.call("DELETE", "/api/workspaces/solar_west_coast", None).await.expect(204);
    let reply = revert(&world, 1, "").await.expect(409);
    assert!(detail(&reply).contains("workspace solar_west_coast of rule"), "{}", reply.text);

    let change = json!({"synonyms": ["sun power"]});
    world.call("PATCH", "/api/products/Solar", Some(change)).await.expect(200);
    world.call("PATCH", "/api/products/Solar", Some(json!({"synonyms": []}))).await.expect(200);
    world.post("/api/products", json!({"name": "Sun Power"})).await.expect(201);
    let reply = revert(&world, 1, "").await.expect(409);
    assert!(detail(&reply).contains("means \"Sun Power\" now"), "{}", reply.text);
}

#[tokio::test]
async fn keys_and_secrets_do_not_come_back() {
    let world = World::new().await;
    world.furnish().await;
    world.call("PATCH", "/api/providers/a", Some(json!({"cost_per_lead": 80}))).await.expect(200);
    let old = world.present().providers.get("a").unwrap().key_hash;
    let rotated = world.post("/api/providers/a/rotate-key", json!({"revoke_now": true})).await.expect(200).json();
    let reply = revert(&world, 0, "").await.expect(409);
    assert!(detail(&reply).contains("keys or secrets"), "{}", reply.text);
    revert(&world, 1, "").await.expect(200);
    let provider = world.present().providers.get("a").unwrap().clone();
    assert_eq!(provider.cost_per_lead.to_string(), "75", "what was set is as it was");
    assert_ne!(provider.key_hash, old);
    let now = world.clock.now();
    let rotated = rotated["key"].as_str().unwrap();
    assert!(world.present().provider_by_key(rotated, now).is_some(), "the key is the new one");

    let signing = json!({"signing": "standard_webhooks"});
    world.call("PATCH", "/api/providers/a", Some(signing)).await.expect(200);
    world.call("DELETE", "/api/providers/a", None).await.expect(204);
    let reply = revert(&world, 0, "").await.expect(200).json();
    let made = &reply["new_credentials"][0];
    assert_eq!((&made["entity"], &made["entity_id"]), (&json!("provider"), &json!("a")));
    assert!(world.present().provider_by_key(made["key"].as_str().unwrap(), now).is_some());
    assert!(world.present().provider_by_key(rotated, now).is_none());
    let secrets = world.present().providers.get("a").unwrap().credentials.hmac_secrets.len();
    assert!(secrets == 1 && made["hmac_secret"].as_str().unwrap().starts_with("whsec_"), "{reply}");

    let mut other = workspace();
    other["id"] = json!("other");
    let secret = world.post("/api/workspaces", other).await.expect(201).json()["signing_secret"].clone();
    world.call("DELETE", "/api/workspaces/other", None).await.expect(204);
    let reply = revert(&world, 0, "").await.expect(200).json();
    let made = reply["new_credentials"][0]["signing_secret"].as_str().unwrap();
    assert_ne!(json!(made), secret);
    assert_eq!(world.present().workspaces.get("other").unwrap().signing_secrets.len(), 1);

    let key = world.post("/api/keys", json!({"name": "dashboard", "role": "reader"})).await.expect(201).json();
    let path = format!("/api/keys/{}", key["id"].as_str().unwrap());
    world.call("DELETE", &path, None).await.expect(204);
    assert!(detail(&revert(&world, 0, "").await.expect(409)).contains("POST /api/keys"));
}

#[tokio::test]
async fn credentials_of_a_url_do_not_go_to_another() {
    let world = World::new().await;
    world.furnish().await;
    let path = "/api/workspaces/solar_west_coast";
    let url = |url: &str| json!({"outbound_webhook_url": url});
    world.call("PATCH", path, Some(url("https://user:secret@new-client.com/hook"))).await.expect(200);
    let credentials = |world: &World| {
        let present = world.present();
        let workspace = present.workspaces.get("solar_west_coast").unwrap();
        (workspace.outbound_webhook_url.clone().unwrap().to_string(), workspace.webhook_credentials.outbound.is_some())
    };
    assert_eq!(credentials(&world), ("https://new-client.com/hook".to_owned(), true));
    world.call("PATCH", path, Some(json!({"name": "Other"}))).await.expect(200);
    revert(&world, 0, "").await.expect(200);
    assert_eq!(credentials(&world), ("https://new-client.com/hook".to_owned(), true), "the URL is the same");
    revert(&world, 2, "").await.expect(200);
    assert_eq!(credentials(&world), ("https://solar-client.com/webhooks/appts".to_owned(), false));
}

#[tokio::test]
async fn a_reader_takes_nothing_back() {
    let world = World::new().await;
    world.furnish().await;
    let made = world.post("/api/keys", json!({"name": "dashboard", "role": "reader"})).await.expect(201).json();
    let key = made["key"].as_str().unwrap();
    world.call_as(key, "POST", "/api/settings/changes/1/revert", None).await.expect(403);
}
