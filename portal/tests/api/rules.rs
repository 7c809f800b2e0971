//! Finding rules, changing many of them at once, and pausing a workspace.

use leadway_domain::LeadId;
use leadway_portal::Options;
use leadway_tables::TableRow;
use leadway_tables::schema::{UnroutedRow, unrouted_shard};
use serde_json::{Value, json};

use crate::commands::commands_in_the_end;
use crate::world::{ParseZip, World, at, provider, rule, workspace};

const RULES: &str = "/api/routing-rules";

async fn with_rules() -> World {
    let world = World::new().await;
    world.furnish().await;
    let mut other = workspace();
    other["id"] = json!("east");
    world.post("/api/workspaces", other).await.expect(201);
    for (workspace, product, zips, priority, notes) in [
        ("east", "Solar", json!(["NY"]), 2, "Spring campaign"),
        ("east", "HVAC", json!(["10001-10099"]), 3, ""),
        ("east", "Solar", json!(["90210+25mi"]), 4, "spring leftovers"),
    ] {
        let mut rule = rule();
        (rule["workspace_id"], rule["product_types"], rule["zip_codes"]) = (json!(workspace), json!([product]), zips);
        (rule["priority"], rule["notes"], rule["is_active"]) = (json!(priority), json!(notes), json!(priority != 3));
        world.post(RULES, rule).await.expect(201);
    }
    world
}

async fn priorities(world: &World, filter: &str) -> Vec<u64> {
    let found = world.all_pages(&format!("{RULES}?{filter}"), 2).await;
    found.iter().map(|rule| rule["priority"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn rules_are_found_by_whatever_is_known_of_them() {
    let world = with_rules().await;
    for (filter, expected) in [
        ("workspace_id=east", vec![2, 3, 4]),
        ("product_type=solar", vec![1, 2, 4]),
        ("zip_code=10001", vec![2, 3]),
        ("zip_code=90210", vec![1, 4]),
        ("state=ca", vec![1, 4]),
        ("state=NY&is_active=true", vec![2]),
        ("state=TX", vec![]),
        ("q=SPRING", vec![2, 4]),
        ("q=902*", vec![1]),
        ("q=spring&zip_code=90210&workspace_id=east", vec![4]),
    ] {
        assert_eq!(priorities(&world, filter).await, expected, "{filter}");
    }
    for wrong in ["state=XX", "zip_code=00000", "state=NY&zip_code=90210", "product_type=Boats", "q=", "text=a"] {
        world.get(&format!("{RULES}?{wrong}")).await.expect(422);
    }
}

#[tokio::test]
async fn many_rules_are_changed_at_once_all_or_none() {
    let world = with_rules().await;
    let patch = async |filter: &str, body: Value| world.call("PATCH", &format!("{RULES}?{filter}"), Some(body)).await;
    let exported = async || world.get(&format!("{RULES}/export")).await.expect(200).json();
    let before = exported().await;
    for (filter, body) in [
        ("", json!({"is_active": false})),
        ("workspace_id=east", json!({})),
        ("workspace_id=east", json!({"priority": -1})),
        ("workspace_id=east", json!({"priority": 1, "zip_codes": ["000*"]})),
        ("workspace_id=east", json!({"workspace_id": "nobody"})),
        ("workspace_id=east", json!({"workspace_id": null})),
        ("workspace_id=east", json!({"external_id": "one"})),
        ("workspace_id=east", json!({"id": "one"})),
        ("workspace=east", json!({"is_active": false})),
    ] {
        patch(filter, body.clone()).await.expect(422);
        assert_eq!(exported().await, before, "{filter} {body}");
    }
    let off = json!({"is_active": false});
    let dry = patch("workspace_id=east&dry_run=true", off.clone()).await.expect(200).json();
    assert_eq!(dry, json!({"matched": 3, "changed": 2, "dry_run": true}));
    assert_eq!(exported().await, before);
    let told = patch("workspace_id=east", off.clone()).await.expect(200).json();
    assert_eq!(told, json!({"matched": 3, "changed": 2, "dry_run": false}));
    let active: Vec<Value> = exported().await.as_array().unwrap().iter().map(|r| r["is_active"].clone()).collect();
    assert_eq!(active, [true, false, false, false]);
    let none = patch("workspace_id=nobody", off).await.expect(200).json();
    assert_eq!(none, json!({"matched": 0, "changed": 0, "dry_run": false}));
    let reset = patch("workspace_id=east", json!({"is_active": null, "priority": 7})).await.expect(200).json();
    assert_eq!(reset["changed"], 3);
    assert_eq!(priorities(&world, "is_active=true").await, [1, 7, 7, 7]);
}

/// Unrouted Solar leads in 90210.
async fn with_unrouted(world: &World, count: u64) {
    world.grow_log(count).await;
    let mut rows = Vec::new();
    for id in (0..count).map(|offset| world.lead_id(0, offset)) {
        rows.extend(world.lead(id, at("2024-01-15T10:00:00Z")).1);
        let mut row = UnroutedRow::new(unrouted_shard(id), id);
        (row.decision, row.service_type) = (Some(1), Some("Solar".into()));
        row.customer_zip = Some("90210".parse_zip());
        rows.push(row.upsert());
    }
    world.write(rows).await;
}

#[tokio::test]
async fn leads_are_routed_again_when_their_workspace_is_paused_no_more() {
    let world = World::with(Options { retry_unrouted_on_rule_change: true, ..Options::default() }).await;
    world.post("/api/providers", provider()).await.expect(201);
    let mut paused = workspace();
    paused["paused"] = json!(true);
    let made = world.post("/api/workspaces", paused).await.expect(201).json();
    assert_eq!(made["paused"], true);
    with_unrouted(&world, 20).await;
    world.post(RULES, rule()).await.expect(201);
    let path = "/api/workspaces/solar_west_coast";
    world.call("PATCH", path, Some(json!({"name": "Still paused"}))).await.expect(200);
    assert_eq!(commands_in_the_end(&world, 0).await, Vec::<LeadId>::new(), "nobody takes them yet");
    world.call("PATCH", path, Some(json!({"paused": false}))).await.expect(200);
    assert_eq!(commands_in_the_end(&world, 20).await.len(), 20);
}
