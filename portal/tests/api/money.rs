//! Reconciliation, billing events, margin, performance.

use std::time::Duration;

use jiff::SignedDuration;
use leadway_domain::histogram::LatencyHistogram;
use leadway_domain::record::Topic;
use leadway_domain::{Addressing, LeadId, Money, Offset, Partition, ProviderId, WorkspaceId};
use leadway_eventlog::{EventLog, NewRecord};
use leadway_tables::schema::{AppointmentByWorkspaceRow, BillingEventRow, DailyRow, DeliveryRow, day, quarter};
use leadway_tables::{Applied, Json, TableRow, Tables, Write};
use serde_json::{Value, json};

use crate::world::{World, at};

const DAY: &str = "2024-01-15T09:00:00Z";

fn ws(name: &str) -> WorkspaceId {
    WorkspaceId::new(name).unwrap()
}

fn lead(n: u64) -> LeadId {
    Addressing::default().id(Partition(0), Offset(n))
}

/// An appointment that was routed so many days before it was taken, as the router and the dispatcher left it.
fn taken(world: &World, workspace: &str, n: u64, cents: i64, test: bool, days_before: i64) -> Vec<Write> {
    let matched_at = at(DAY) - SignedDuration::from_hours(24 * days_before);
    let mut row = world.appointment(lead(n), workspace, matched_at);
    (row.price, row.test) = (Some(Money::from_cents(cents)), Some(test));
    (row.forward_status, row.forwarded_at) = (Some("success".into()), Some(at(DAY)));
    let index = AppointmentByWorkspaceRow::new(ws(workspace), day(matched_at), lead(n));
    vec![row.upsert(), index.upsert()]
}

fn event(workspace: &str, n: u64, cents: i64) -> Write {
    let mut row = BillingEventRow::new(ws(workspace), day(at(DAY)), lead(n));
    (row.delivered_at, row.amount) = (Some(at(DAY)), Some(Money::from_cents(cents)));
    row.upsert()
}

#[tokio::test]
async fn reconciliation_is_balanced_when_everything_is_billed_once() {
    let world = World::new().await;
    world.furnish().await;
    // The second one was routed longer ago than is looked for by day: its event leads to it.
    for (n, days_before) in [(1, 0), (2, 40), (3, 9)] {
        world.write(taken(&world, "solar_west_coast", n, 14_999, false, days_before)).await;
        world.write(vec![event("solar_west_coast", n, 14_999)]).await;
    }
    world.write(taken(&world, "solar_west_coast", 9, 14_999, true, 0)).await;
    // Routed but not taken: nothing is owed for it.
    let mut waiting = world.appointment(lead(8), "solar_west_coast", at(DAY));
    waiting.forward_status = Some("pending".into());
    let index = AppointmentByWorkspaceRow::new(ws("solar_west_coast"), day(at(DAY)), lead(8));
    world.write(vec![waiting.upsert(), index.upsert()]).await;
    let report = world.get("/api/billing/reconciliation?from=2024-01-15&to=2024-01-15").await.expect(200).json();
    assert_eq!((&report["balanced"], &report["differences"]), (&json!(true), &json!([])));
    let csv = world.get("/api/billing/reconciliation?format=csv&from=2020-01-01&to=2020-01-02").await.expect(200).text;
    assert_eq!(csv.lines().count(), 1, "nothing is there and nothing is wrong: {csv}");
    let expected = json!([{"workspace_id": "solar_west_coast", "deliveries": 3, "delivered_amount": 449.97,
        "billing_events": 3, "billed_amount": 449.97, "differences": 0}]);
    assert_eq!(report["workspaces"], expected);
}

#[tokio::test]
async fn reconciliation_lists_every_planted_difference() {
    let world = World::new().await;
    world.furnish().await;
    let workspace = "solar_west_coast";
    let mut rows = taken(&world, workspace, 1, 15_000, false, 0);
    rows.push(event(workspace, 1, 15_000));
    // Neither an event nor a row of `deliveries` speaks of it: the appointment itself does.
    rows.extend(taken(&world, workspace, 2, 15_000, false, 3));
    rows.push(event(workspace, 3, 15_000));
    rows.extend(taken(&world, workspace, 4, 15_000, false, 0));
    rows.push(event(workspace, 4, 14_999));
    rows.extend(taken(&world, workspace, 5, 15_000, true, 0));
    rows.push(event(workspace, 5, 15_000));
    // Taken by one workspace, billed to another.
    rows.extend(taken(&world, "removed", 6, 100, false, 0));
    rows.push(event(workspace, 6, 100));
    // Long under way, taken, and not billed: what was delivered tells of it.
    rows.extend(taken(&world, workspace, 7, 15_000, false, 40));
    rows.push(DeliveryRow::new(ws(workspace), day(at(DAY)), lead(7)).upsert());
    // A workspace that was removed since is still compared: its name stands in the daily sums.
    rows.push(daily("a", "removed", "Solar", Topic::Deliveries).upsert());
    world.write(rows).await;
    let report = world.get("/api/billing/reconciliation?from=2024-01-15&to=2024-01-15").await.expect(200).json();
    let differences = report["differences"].as_array().unwrap().iter();
    let found: Vec<(u64, &str)> =
        differences.map(|d| (d["appointment_id"].as_u64().unwrap(), d["kind"].as_str().unwrap())).collect();
    let expected = [
        (6, "missing_event"),
        (2, "missing_event"),
        (3, "event_without_delivery"),
        (4, "amount_differs"),
        (5, "test_billed"),
        (6, "event_without_delivery"),
        (7, "missing_event"),
    ];
    assert_eq!(found, expected.map(|(n, kind)| (lead(n).0, kind)));
    assert_eq!((&report["balanced"], &report["differences_total"]), (&json!(false), &json!(7)));
    assert_eq!(report["workspaces"][1]["differences"], 6);
    let one = "/api/billing/reconciliation?workspace_id=removed&from=2024-01-15&to=2024-01-15";
    assert_eq!(world.get(one).await.expect(200).json()["differences_total"], 1);
    let before = world.get("/api/billing/reconciliation?from=2024-01-01&to=2024-01-14").await.expect(200).json();
    assert_eq!(before["balanced"], true, "another span does not have them");
}

#[tokio::test]
async fn reconciliation_of_tables_that_are_ahead_of_the_log_is_not_balanced() {
    let world = World::new().await;
    world.furnish().await;
    let balanced = world.get("/api/billing/reconciliation").await.expect(200).json();
    assert_eq!((&balanced["balanced"], &balanced["positions_ahead"]), (&json!(true), &json!([])));
    // The tables have applied what the log does not have: it was shortened, or is another one.
    let (topic, partition) = (Topic::Quarantine, Partition(0));
    let end = world.log.end(topic, partition).await.unwrap();
    let from = world.tables.applied(topic, partition).await.unwrap();
    let next = Offset(end.0 + 3);
    world.tables.write(vec![], &[Applied { topic, partition, from, next }]).await.unwrap();
    let report = world.get("/api/billing/reconciliation").await.expect(200).json();
    let ahead = json!([{"topic": "quarantine", "partition": 0, "applied": end.0 + 3, "log_end": end.0}]);
    assert_eq!((&report["balanced"], &report["positions_ahead"]), (&json!(false), &ahead));
    let csv = world.get("/api/billing/reconciliation?format=csv").await.expect(200).text;
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.ends_with(",false")), "{csv}");
    assert_eq!(report["differences"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn reconciliation_waits_for_the_tables_instead_of_reporting_lag() {
    let world = World::new().await;
    world.furnish().await;
    let record = NewRecord {
        topic: Topic::Deliveries,
        partition: Some(Partition(2)),
        key: "".into(),
        kind: "delivery.delivered".into(),
        id: uuid::Uuid::nil(),
        time: at(DAY),
        data: "{}".into(),
        decoded: Default::default(),
    };
    world.log.append(vec![record]).await.unwrap();
    let late = world.get("/api/billing/reconciliation").await.expect(503);
    assert!(late.headers.contains_key("retry-after"));
    let tables = world.tables.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let applied = [Applied { topic: Topic::Deliveries, partition: Partition(2), from: Offset(0), next: Offset(1) }];
        tables.write(Vec::new(), &applied).await.unwrap();
    });
    world.get("/api/billing/reconciliation").await.expect(200);
}

#[tokio::test]
async fn pages_of_billing_events_hold_each_one_once() {
    let world = World::new().await;
    world.furnish().await;
    let other = json!({"id": "hvac", "name": "HVAC", "payment_rate": 125});
    world.post("/api/workspaces", other).await.expect(201);
    let mut rows = Vec::new();
    for id in 0..60u64 {
        let workspace = if id % 3 == 0 { "hvac" } else { "solar_west_coast" };
        let moment = at(DAY) - SignedDuration::from_hours(24 * (id as i64 % 4));
        let mut row = BillingEventRow::new(ws(workspace), day(moment), LeadId(id));
        (row.delivered_at, row.amount) = (Some(moment), Some(Money::from_cents(15_000)));
        rows.push(row.upsert());
    }
    world.write(rows).await;
    for limit in [1, 7, 500] {
        let found = world.all_pages("/api/billing/events", limit).await;
        let mut ids: Vec<u64> = found.iter().map(|e| e["appointment_id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..60).collect::<Vec<_>>(), "limit {limit}");
    }
    assert_eq!(world.all_pages("/api/billing/events?workspace_id=hvac", 6).await.len(), 20);
    let day = world.all_pages("/api/billing/events?from=2024-01-15&to=2024-01-15", 6).await;
    assert_eq!((day.len(), &day[0]["billable_amount"]), (15, &json!(150)));
}

fn daily(provider: &str, workspace: &str, product: &str, topic: Topic) -> DailyRow {
    let provider = ProviderId::new(provider).unwrap();
    DailyRow::new(
        day(at(DAY)),
        quarter(at(DAY)),
        provider,
        workspace.into(),
        product.into(),
        topic.name().into(),
        Partition(0),
    )
}

/// 30 leads of two providers at 75.01 and 50.10, of which 12 and 6 were delivered.
async fn with_sums(world: &World) {
    let cents = |n: i64| Some(Money::from_cents(n));
    let mut rows = Vec::new();
    for (provider, leads, cost, delivered) in [("a", 20, 7_501, 12), ("b", 10, 5_010, 6)] {
        let mut arrived = daily(provider, "", "Solar", Topic::Leads);
        (arrived.leads, arrived.lead_cost) = (Some(leads), cents(leads * cost));
        rows.push(arrived.upsert());
        let mut routed = daily(provider, "solar_west_coast", "Solar", Topic::Appointments);
        (routed.appointments, routed.unrouted) = (Some(delivered + 3), Some(1));
        let mut latency = LatencyHistogram::default();
        latency.record(Duration::from_millis(4));
        routed.routing_latency = Some(Json(latency));
        rows.push(routed.upsert());
        let mut taken = daily(provider, "solar_west_coast", "Solar", Topic::Deliveries);
        (taken.delivered, taken.given_up) = (Some(delivered), Some(1));
        (taken.attempts, taken.accepted_attempts) = (Some(delivered * 2), Some(delivered));
        (taken.revenue, taken.delivered_cost) = (cents(delivered * 14_999), cents(delivered * cost));
        rows.push(taken.upsert());
    }
    world.write(rows).await;
}

#[tokio::test]
async fn the_margin_is_exact_and_its_total_the_same_in_every_grouping() {
    let world = World::new().await;
    with_sums(&world).await;
    let report = |group: &'static str| {
        let path = format!("/api/billing/margin?from=2024-01-15&to=2024-01-15{group}");
        async { world.get(Box::leak(path.into_boxed_str())).await.expect(200).json() }
    };
    // 18 × 149.99 − (20 × 75.01 + 10 × 50.10)
    let total = json!({"revenue": 2_699.82, "provider_cost": 2_001.20, "margin": 698.62});
    let by_provider = report("&group_by=provider").await;
    let expected = json!([
        {"provider_id": "a", "revenue": 1_799.88, "provider_cost": 1_500.20, "margin": 299.68},
        {"provider_id": "b", "revenue": 899.94, "provider_cost": 501, "margin": 398.94},
    ]);
    assert_eq!(by_provider["rows"], expected);
    let by_workspace = report("&group_by=workspace").await;
    // Delivered: 12 × 75.01 + 6 × 50.10 = 1200.72; the other leads cost 800.48.
    let expected = json!([
        {"workspace_id": "", "revenue": 0, "provider_cost": 800.48, "margin": -800.48},
        {"workspace_id": "solar_west_coast", "revenue": 2_699.82, "provider_cost": 1_200.72, "margin": 1_499.10},
    ]);
    assert_eq!(by_workspace["rows"], expected);
    for group in ["", "&group_by=provider", "&group_by=workspace", "&group_by=product", "&group_by=workspace,provider"]
    {
        assert_eq!(report(group).await["total"], total, "{group}");
    }
}

#[tokio::test]
async fn money_and_figures_are_those_of_the_days_of_the_callers_zone() {
    let world = World::new().await;
    // One lead and one delivery at each of these moments, of 1, 10, 100 and 1,000 dollars.
    let moments = ["2024-01-15T07:59:59Z", "2024-01-15T08:00:00Z", "2024-01-16T07:59:59Z", "2024-01-16T08:00:00Z"];
    for (n, moment) in moments.into_iter().enumerate() {
        let amount = Some(Money::from_cents(100 * 10_i64.pow(n as u32)));
        let moment = at(moment);
        let provider = ProviderId::new("a").unwrap();
        let row = |topic: Topic, workspace: &str| {
            let (provider, topic) = (provider.clone(), topic.name().into());
            DailyRow::new(day(moment), quarter(moment), provider, workspace.into(), "Solar".into(), topic, Partition(0))
        };
        let arrived = DailyRow { leads: Some(1), lead_cost: amount, ..row(Topic::Leads, "") };
        let taken = DailyRow { delivered: Some(1), revenue: amount, ..row(Topic::Deliveries, "w") };
        world.write(vec![arrived.upsert(), taken.upsert()]).await;
    }
    for (query, from, to, revenue, leads) in [
        (
            "from=2024-01-15&to=2024-01-15&time_zone=America/Los_Angeles",
            "2024-01-15T08:00:00Z",
            "2024-01-16T08:00:00Z",
            110,
            2,
        ),
        ("from=2024-01-15&to=2024-01-15", "2024-01-15T00:00:00Z", "2024-01-16T00:00:00Z", 11, 2),
        ("from=2024-01-15T08:07:00Z&to=2024-01-16T07:51:00Z", "2024-01-15T08:00:00Z", "2024-01-16T08:00:00Z", 110, 2),
        ("from=2024-01-15T07:50:00Z&to=2024-01-15T08:00:00Z", "2024-01-15T07:45:00Z", "2024-01-15T08:00:00Z", 1, 1),
        ("from=2024-01-15&to=2024-01-15&time_zone=Asia/Kolkata", "2024-01-14T18:30:00Z", "2024-01-15T18:30:00Z", 11, 2),
    ] {
        let margin = world.get(&format!("/api/billing/margin?{query}")).await.expect(200).json();
        assert_eq!((&margin["from"], &margin["to"]), (&json!(from), &json!(to)), "{query}");
        assert_eq!(margin["total"]["revenue"], json!(revenue), "{query}");
        let figures = world.get(&format!("/api/analytics/performance?{query}")).await.expect(200).json();
        assert_eq!((&figures["from"], &figures["to"]), (&json!(from), &json!(to)), "{query}");
        assert_eq!(
            (&figures["rows"][0]["leads"], &figures["rows"][0]["revenue"]),
            (&json!(leads), &json!(revenue)),
            "{query}"
        );
    }
    let path = "/api/billing/margin?from=2024-01-14&to=2024-01-16&group_by=day&time_zone=America/Los_Angeles";
    let report = world.get(path).await.expect(200).json();
    let days: Vec<_> = report["rows"].as_array().unwrap().iter().map(|row| (&row["day"], &row["revenue"])).collect();
    let expected =
        [("2024-01-14", 1), ("2024-01-15", 110), ("2024-01-16", 1_000)].map(|(day, sum)| (json!(day), json!(sum)));
    assert_eq!(days, expected.iter().map(|(day, sum)| (day, sum)).collect::<Vec<_>>());
    let wrong = world.get("/api/billing/margin?time_zone=Pacific").await.expect(422).json();
    assert_eq!(wrong["errors"].as_array().unwrap().len(), 1, "{wrong}");
    assert_eq!(wrong["errors"][0]["field"], "time_zone");
}

#[tokio::test]
async fn performance_is_what_its_definitions_say() {
    let world = World::new().await;
    with_sums(&world).await;
    let report = world.get("/api/analytics/performance?group_by=provider&group_by=day").await.expect(200).json();
    let row = &report["rows"][0];
    assert_eq!((&row["provider_id"], &row["day"]), (&json!("a"), &json!("2024-01-15")));
    assert_eq!((&row["leads"], &row["appointments"], &row["delivered"]), (&json!(20), &json!(15), &json!(12)));
    assert_eq!(row["lead_to_appointment_rate"], json!(0.75));
    assert_eq!(row["delivery_rate"], json!(0.8));
    assert_eq!(row["acceptance_rate"], json!(0.5));
    assert_eq!(row["revenue"], json!(1_799.88));
    let p95 = row["routing_latency"]["p95_ms"].as_f64().unwrap();
    assert!((4.0..=5.0).contains(&p95), "{p95}");
    assert_eq!(row["delivery_latency"]["p95_ms"], Value::Null);
    let whole = world.get("/api/analytics/performance").await.expect(200).json();
    assert_eq!((whole["rows"].as_array().unwrap().len(), &whole["rows"][0]["leads"]), (1, &json!(30)));
    let by_workspace = world.get("/api/analytics/performance?group_by=workspace").await.json();
    assert_eq!(by_workspace["rows"][1]["lead_to_appointment_rate"], Value::Null);
    world.get("/api/analytics/performance?group_by=colour").await.expect(422);
    world.get("/api/analytics/performance?from=2022-01-01").await.expect(422);
}
