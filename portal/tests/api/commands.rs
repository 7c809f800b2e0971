//! What people ask to be done with leads.

use leadway_domain::record::{LeadAction, LeadCommand, LeadRecord, Topic};
use leadway_domain::{LeadId, Offset, Partition};
use leadway_eventlog::{EventLog, Fault, MemoryLog, ReadLimit};
use leadway_portal::Options;
use leadway_tables::schema::{CommandRow, UnroutedRow, unrouted_shard};
use leadway_tables::{TableRow, Tables, Write};
use serde_json::json;

use crate::world::{PARTITIONS, ParseZip, World, at, provider, rule, workspace};

/// Every command in the log, with its id.
async fn commands(world: &World) -> Vec<(LeadId, LeadCommand)> {
    let mut found = Vec::new();
    for partition in (0..PARTITIONS).map(Partition) {
        for record in read(&world.log, partition).await {
            if let Ok(LeadRecord::Command(command)) = record.decode() {
                found.push((world.addressing.id(partition, record.address.offset), command));
            }
        }
    }
    found
}

async fn read(log: &MemoryLog, partition: Partition) -> Vec<leadway_eventlog::Record> {
    let limit = ReadLimit { records: 100_000, bytes: 1 << 30 };
    log.read(Topic::Leads, partition, Offset(0), limit).await.unwrap()
}

async fn with_lead(world: &World) -> LeadId {
    world.furnish().await;
    world.grow_log(5).await;
    let id = world.lead_id(1, 3);
    world.write(world.lead(id, at("2024-01-15T10:00:00Z")).1).await;
    id
}

/// Answers the next command as router and scoring do: with these rows and the command's own.
fn answer(world: &World, id: LeadId, status: &'static str, rows: Vec<Write>) -> tokio::task::JoinHandle<()> {
    let (log, tables, addressing) = (world.log.clone(), world.tables.clone(), world.addressing);
    let (partition, _) = addressing.address(id).unwrap();
    tokio::spawn(async move {
        let next = log.end(Topic::Leads, partition).await.unwrap();
        log.wait(&[leadway_eventlog::Position { topic: Topic::Leads, partition, next }]).await.unwrap();
        let mut row = CommandRow::new(addressing.id(partition, next));
        row.lead_id = Some(id);
        row.status = Some(status.into());
        row.reason = Some(if status == "refused" { "the lead has an appointment already" } else { "" }.into());
        tables.write(rows.into_iter().chain([row.upsert()]).collect(), &[]).await.unwrap();
    })
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_lead_is_answered_with_its_appointment() {
    let world = World::new().await;
    let id = with_lead(&world).await;
    let rows = vec![world.appointment(id, "solar_west_coast", at("2024-01-15T10:00:00Z")).upsert()];
    let answering = answer(&world, id, "routed", rows);
    tokio::task::yield_now().await;
    // A local time is the customer's: 90210 is on Pacific time.
    let body = json!({"appointment_date": "2024-12-01T14:00"});
    let reply = world.post(&format!("/api/leads/{id}/schedule"), body).await.expect(200).json();
    answering.await.unwrap();
    assert_eq!((&reply["workspace_id"], &reply["forward_status"]), (&json!("solar_west_coast"), &json!("pending")));
    let [(command_id, command)] = &commands(&world).await[..] else { panic!("one command") };
    assert_eq!((command.lead_id, command.actor.as_str()), (id, "admin"));
    assert_eq!(command.lead_key, "+12135550123/a");
    assert_eq!(world.addressing.address(*command_id).unwrap().0, Partition(1), "in the lead's own partition");
    let date = Some(at("2024-12-01T22:00:00Z"));
    assert_eq!(command.action, LeadAction::Schedule { appointment_date: date });
}

#[tokio::test(start_paused = true)]
async fn a_refused_command_is_a_conflict_with_the_reason() {
    let world = World::new().await;
    let id = with_lead(&world).await;
    let answering = answer(&world, id, "refused", Vec::new());
    tokio::task::yield_now().await;
    let body = json!({"workspace_id": "solar_west_coast"});
    let reply = world.post(&format!("/api/appointments/{id}/assign"), body).await.expect(409);
    answering.await.unwrap();
    assert_eq!(reply.json()["detail"], "the lead has an appointment already");
}

#[tokio::test(start_paused = true)]
async fn a_slow_command_is_answered_with_where_to_look() {
    let world = World::new().await;
    let id = with_lead(&world).await;
    let reply = world.call("POST", &format!("/api/leads/{id}/schedule"), None).await.expect(202).json();
    let href = reply["href"].as_str().unwrap();
    assert_eq!(world.get(href).await.expect(200).json()["status"], "pending");
    let mut row = CommandRow::new(LeadId(reply["command_id"].as_u64().unwrap()));
    (row.lead_id, row.status) = (Some(id), Some("unrouted".into()));
    world.write(vec![row.upsert()]).await;
    assert_eq!(world.get(href).await.expect(200).json()["status"], "unrouted");
    world.get(&format!("/api/commands/{id}")).await.expect(404);
    world.get("/api/commands/999999999").await.expect(404);
}

#[tokio::test]
async fn commands_with_wrong_fields_reach_no_log() {
    let world = World::new().await;
    let id = with_lead(&world).await;
    world.post(&format!("/api/leads/{id}/schedule"), json!({"appointment_date": "tomorrow"})).await.expect(422);
    world.post(&format!("/api/appointments/{id}/assign"), json!({"workspace_id": "nobody"})).await.expect(422);
    world.post(&format!("/api/appointments/{id}/assign"), json!({})).await.expect(422);
    world.post(&format!("/api/leads/{}/schedule", world.lead_id(0, 4_000)), json!({})).await.expect(404);
    assert!(commands(&world).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_date_that_is_over_is_refused_unless_somebody_takes_it() {
    let world = World::new().await;
    let id = with_lead(&world).await;
    let path = format!("/api/leads/{id}/schedule");
    // Now is 10:30.
    let (recent, over) =
        (json!({"appointment_date": "2024-01-15T09:30:00Z"}), json!({"appointment_date": "2024-01-15T09:29:59Z"}));
    world.post(&path, recent).await.expect(202);
    let reply = world.post(&path, over.clone()).await.expect(422);
    assert_eq!(reply.errors(), [("appointment_date".to_owned(), "past".to_owned())]);
    for (kind, takes) in
        [("workspaces/solar_west_coast", "take"), ("workspaces/solar_west_coast", "refuse"), ("providers/a", "take")]
    {
        world.call("PATCH", &format!("/api/{kind}"), Some(json!({"past_dates": takes}))).await.expect(200);
        let expected = if takes == "take" { 202 } else { 422 };
        world.post(&path, over.clone()).await.expect(expected);
    }
    world.call("PATCH", "/api/providers/a", Some(json!({"past_dates": "maybe"}))).await.expect(422);
}

/// Unrouted leads at these offsets of partition 0; those of odd offsets are for HVAC.
async fn with_unrouted(world: &World, offsets: std::ops::Range<u64>) {
    world.post("/api/providers", provider()).await.expect(201);
    world.post("/api/workspaces", workspace()).await.expect(201);
    world.grow_log(offsets.end).await;
    let mut rows = Vec::new();
    for offset in offsets {
        let id = world.lead_id(0, offset);
        rows.extend(world.lead(id, at("2024-01-15T10:00:00Z")).1);
        let mut row = UnroutedRow::new(unrouted_shard(id), id);
        row.decision = Some(1);
        row.service_type = Some(if offset % 2 == 1 { "HVAC" } else { "Solar" }.into());
        row.customer_zip = Some("90210".parse_zip());
        rows.push(row.upsert());
    }
    world.write(rows).await;
}

#[tokio::test]
async fn a_retry_takes_the_oldest_and_tells_what_remains() {
    let world = World::new().await;
    with_unrouted(&world, 0..40).await;
    let body = json!({"product_type": "ac", "limit": 5});
    let reply = world.post("/api/unrouted/retry", body).await.expect(200).json();
    assert_eq!(reply, json!({"retried": 5, "remaining": 15}));
    let mut retried: Vec<LeadId> = commands(&world).await.into_iter().map(|(_, c)| c.lead_id).collect();
    retried.sort_unstable();
    assert_eq!(retried, [1, 3, 5, 7, 9].map(|offset| world.lead_id(0, offset)));
    assert!(commands(&world).await.iter().all(|(_, c)| c.action == LeadAction::Retry));
    let none = world.post("/api/unrouted/retry", json!({"zip_code": "10001"})).await.expect(200).json();
    assert_eq!(none, json!({"retried": 0, "remaining": 0}));
    world.post("/api/unrouted/retry", json!({"limit": 10_001, "product_type": "Spaceships"})).await.expect(422);
}

#[tokio::test]
async fn a_new_rule_retries_what_it_matches_if_the_node_is_set_to() {
    for (set, retried) in [(false, 0), (true, 20)] {
        let world = World::with(Options { retry_unrouted_on_rule_change: set, ..Options::default() }).await;
        with_unrouted(&world, 0..40).await;
        let mut inactive = rule();
        inactive["is_active"] = json!(false);
        world.post("/api/routing-rules", inactive).await.expect(201);
        let mut elsewhere = rule();
        elsewhere["zip_codes"] = json!(["10001"]);
        world.post("/api/routing-rules", elsewhere).await.expect(201);
        world.post("/api/routing-rules", rule()).await.expect(201);
        let found = commands_in_the_end(&world, retried).await;
        assert_eq!(found.len(), retried, "neither of the other rules matches");
    }
}

/// The leads of all commands, once there are at least so many and what goes on beside the requests has had the time to
/// make more.
pub(crate) async fn commands_in_the_end(world: &World, at_least: usize) -> Vec<LeadId> {
    let mut found = Vec::new();
    for round in 0..1_000 {
        found = commands(world).await.into_iter().map(|(_, command)| command.lead_id).collect();
        if found.len() >= at_least && round > 0 {
            break;
        }
        for _ in 0..100 {
            tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    found
}

#[tokio::test(start_paused = true)]
async fn a_new_rule_retries_all_that_it_matches_each_once_though_the_log_fails_now_and_then() {
    let world = World::with(Options { retry_unrouted_on_rule_change: true, ..Options::default() }).await;
    with_unrouted(&world, 0..21_000).await;
    world.post("/api/routing-rules", rule()).await.expect(201);
    let mut writes = 0;
    world.log.set_faults(move || {
        writes += 1;
        if writes % 3 == 1 { Fault::Refuse } else { Fault::None }
    });
    let mut leads = commands_in_the_end(&world, 10_500).await;
    let count = leads.len();
    leads.sort_unstable();
    leads.dedup();
    assert_eq!((count, leads.len()), (10_500, 10_500));
}

#[tokio::test]
async fn a_retry_that_ends_halfway_tells_how_far_it_came() {
    let world = World::new().await;
    with_unrouted(&world, 0..3_000).await;
    let mut writes = 0;
    world.log.set_faults(move || {
        writes += 1;
        if writes == 1 { Fault::None } else { Fault::Refuse }
    });
    let reply = world.post("/api/unrouted/retry", json!({"product_type": "Solar"})).await.expect(200).json();
    assert_eq!(reply, json!({"retried": 1_000, "remaining": 500}));
    assert_eq!(commands(&world).await.len(), 1_000);
    world.post("/api/unrouted/retry", json!({})).await.expect(503);
}

#[tokio::test]
async fn a_field_that_a_command_does_not_take_is_refused_by_name() {
    let world = World::new().await;
    let id = with_lead(&world).await;
    for path in [format!("/api/leads/{id}/schedule"), format!("/api/appointments/{id}/assign")] {
        let errors = world.post(&path, json!({"workspace_id_": "solar_west_coast"})).await.expect(422).errors();
        assert!(errors.contains(&("workspace_id_".to_owned(), "unknown".to_owned())), "{path}: {errors:?}");
    }
    assert!(commands(&world).await.is_empty());
}
