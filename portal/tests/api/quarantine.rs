//! Leads that were refused: corrected, released, discarded.

use leadway_domain::lead::Lead;
use leadway_domain::record::{LeadRecord, PostedAs, QuarantineRecord, Topic};
use leadway_domain::{LeadId, Offset, Partition, ProviderId};
use leadway_eventlog::{EventLog, ReadLimit};
use leadway_portal::Options;
use leadway_tables::schema::{ContactRow, QuarantineRow};
use leadway_tables::{Json, TableRow};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{PARTITIONS, World, at};

/// No scoring follows here: what is written is not waited for.
async fn world() -> World {
    let world = World::with(Options { catch_up_timeout_ms: 1, ..Options::default() }).await;
    world.furnish().await;
    world
}

async fn refused(world: &World, n: u128, body: Value) -> String {
    let id = Uuid::from_u128(n);
    let mut row = QuarantineRow::new(ProviderId::new("a").unwrap(), id);
    (row.posted_as, row.body) = (Some(Json(PostedAs::Lead)), Some(Json(body)));
    row.received_at = Some(at("2024-01-15T10:00:00Z"));
    world.write(vec![row.upsert()]).await;
    format!("/api/quarantine/a/{id}")
}

async fn leads(world: &World) -> Vec<(LeadId, Lead)> {
    let mut found = Vec::new();
    for partition in (0..PARTITIONS).map(Partition) {
        for record in world.log.read(Topic::Leads, partition, Offset(0), ReadLimit::default()).await.unwrap() {
            if let Ok(LeadRecord::Received(lead)) = record.decode() {
                found.push((world.addressing.id(partition, record.address.offset), (*lead).clone()));
            }
        }
    }
    found
}

async fn ends(world: &World) -> Vec<(String, Option<LeadId>)> {
    let mut found = Vec::new();
    for partition in (0..PARTITIONS).map(Partition) {
        for record in world.log.read(Topic::Quarantine, partition, Offset(0), ReadLimit::default()).await.unwrap() {
            if let Ok(QuarantineRecord::Ended(end)) = record.decode() {
                found.push((end.actor, end.lead_id));
            }
        }
    }
    found
}

fn wrong() -> Value {
    json!({"phone": "911", "zip": "90210", "product": "Solar", "roof": "tile"})
}

#[tokio::test]
async fn a_corrected_lead_is_accepted_like_any_other() {
    let world = world().await;
    let path = refused(&world, 1, wrong()).await;
    let still = world.call("POST", &format!("{path}/release"), None).await.expect(422);
    assert_eq!(still.errors(), [("phone".to_owned(), "invalid".to_owned())]);
    assert!(leads(&world).await.is_empty() && ends(&world).await.is_empty(), "it stays");
    let body = json!({"lead": {"phone": "(213) 555-0123"}});
    let reply = world.post(&format!("{path}/release"), body).await.expect(200).json();
    let [(id, lead)] = &leads(&world).await[..] else { panic!("one lead") };
    assert_eq!((&reply["status"], &reply["lead_id"]), (&json!("accepted"), &json!(id.0)));
    assert_eq!((lead.phone.e164().as_str(), &lead.extra["roof"]), ("+12135550123", &json!("tile")));
    assert_eq!(ends(&world).await, [("admin".to_owned(), Some(*id))]);
}

#[tokio::test]
async fn a_released_duplicate_is_told_so_and_is_no_second_lead() {
    let world = world().await;
    let good = json!({"phone": "2135550123", "zip": "90210", "product": "Solar"});
    let first = refused(&world, 1, good.clone()).await;
    let second = refused(&world, 2, good).await;
    let accepted = world.call("POST", &format!("{first}/release"), None).await.expect(200).json();
    let (id, lead) = leads(&world).await.remove(0);
    // It is not the contact's last one.
    let (mut next, mut rows) = world.lead(LeadId(id.0 + 4096), lead.received_at);
    next.previous_lead_id = Some(id);
    let mut contact = ContactRow::new(lead.contact_id);
    contact.last_lead_id = Some(next.lead_id);
    rows.extend(world.lead(id, lead.received_at).1);
    rows.extend([next.upsert(), contact.upsert()]);
    world.write(rows).await;
    let reply = world.call("POST", &format!("{second}/release"), None).await.expect(200).json();
    assert_eq!((&reply["status"], &reply["lead_id"]), (&json!("duplicate"), &accepted["lead_id"]));
    assert_eq!(leads(&world).await.len(), 1);
    assert_eq!(ends(&world).await.len(), 2);
}

#[tokio::test]
async fn a_discarded_lead_ends_without_a_lead() {
    let world = world().await;
    let path = refused(&world, 1, wrong()).await;
    world.get(&path).await.expect(200);
    world.call("DELETE", &path, None).await.expect(204);
    assert_eq!(ends(&world).await, [("admin".to_owned(), None)]);
    world.get("/api/quarantine/a/00000000-0000-0000-0000-000000000009").await.expect(404);
    world.get("/api/quarantine/nobody/x").await.expect(404);
    let provider = world.call("DELETE", "/api/providers/a", None).await.expect(409);
    assert!(provider.text.contains("quarantine"), "{}", provider.text);
}

#[tokio::test]
async fn pages_over_all_providers_hold_each_one_once() {
    let world = world().await;
    for provider in ["b", "c", "d"] {
        let body = json!({"id": provider, "name": provider, "cost_per_lead": 1});
        world.post("/api/providers", body).await.expect(201);
    }
    let mut rows = Vec::new();
    for n in 0..23u128 {
        // Provider b has none.
        let provider = ["a", "c", "d"][n as usize % 3];
        rows.push(QuarantineRow::new(ProviderId::new(provider).unwrap(), Uuid::from_u128(n)).upsert());
    }
    world.write(rows).await;
    for limit in [1, 4, 8, 100] {
        let found = world.all_pages("/api/quarantine", limit).await;
        let mut ids: Vec<&str> = found.iter().map(|q| q["id"].as_str().unwrap()).collect();
        assert!(found.iter().map(|q| q["provider_id"].as_str().unwrap()).is_sorted());
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), found.len()), (23, 23), "limit {limit}");
    }
    assert_eq!(world.all_pages("/api/quarantine?provider_id=c", 3).await.len(), 8);
}

#[tokio::test]
async fn a_released_lead_keeps_within_the_size_of_a_lead() {
    let world = World::with(Options { catch_up_timeout_ms: 1, max_lead_bytes: 1_000, ..Options::default() }).await;
    world.furnish().await;
    let path = refused(&world, 1, wrong()).await;
    let corrected = json!({"lead": {"phone": "213-555-0123", "blob": "x".repeat(2_000)}});
    let answer = world.post(&format!("{path}/release"), corrected).await.expect(422);
    assert_eq!(answer.errors(), [("blob".to_owned(), "too_large".to_owned())]);
    assert!(leads(&world).await.is_empty());
}
