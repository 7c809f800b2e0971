//! Lists of results: pages, filters, statuses.

use std::collections::{BTreeSet, HashMap};

use jiff::SignedDuration;
use leadway_domain::{ContactId, LeadId, Offset, Partition, Phone, ProviderId, Timestamp};
use leadway_tables::schema::{
    AppointmentByWorkspaceRow, AppointmentEventRow, ContactByDayRow, ContactRow, LeadDayRow, QuarantineRow,
    SettingsChangeRow, UNROUTED_SHARDS, UnroutedRow, day, event_bucket,
};
use leadway_tables::{Applied, Json, TableRow, Tables};
use serde_json::{Value, json};

use crate::world::{PARTITIONS, ParseZip, World, at};

fn ids(items: &[Value], field: &str) -> Vec<u64> {
    items.iter().map(|item| item[field].as_u64().unwrap()).collect()
}

/// Leads over three buckets of all partitions, a day for every 300 offsets; every third one routed.
async fn with_leads(world: &World) -> Vec<LeadId> {
    world.furnish().await;
    world.grow_log(2_500).await;
    let start = at("2024-01-10T12:00:00Z");
    let mut leads = Vec::new();
    let mut rows = Vec::new();
    for offset in (0..2_500u64).step_by(7) {
        let id = world.lead_id(offset as u32 % PARTITIONS, offset);
        let received_at = start + SignedDuration::from_hours(24 * (offset as i64 / 300));
        rows.extend(world.lead(id, received_at).1);
        if leads.len() % 3 == 0 {
            let workspace = if leads.len() % 2 == 0 { "solar_west_coast" } else { "other" };
            rows.extend(routed(world, id, workspace, received_at));
        }
        leads.push(id);
    }
    // The day's first and last ids as scoring keeps them: in order of arrival, the first stays and the last moves.
    for id in &leads {
        let (partition, offset) = world.addressing.address(*id).unwrap();
        let received = day(start + SignedDuration::from_hours(24 * (offset.0 as i64 / 300)));
        let same_day = leads.iter().filter(|l| {
            let (p, o) = world.addressing.address(**l).unwrap();
            p == partition && day(start + SignedDuration::from_hours(24 * (o.0 as i64 / 300))) == received
        });
        let mut row = leadway_tables::schema::LeadDayRow::new(received, partition);
        row.first_lead_id = same_day.clone().min().copied();
        row.last_lead_id = same_day.max().copied();
        rows.push(row.upsert());
    }
    world.write(rows).await;
    world.clock.advance_to(at("2024-01-20T00:00:00Z"));
    leads
}

fn routed(world: &World, id: LeadId, workspace: &str, at: Timestamp) -> [leadway_tables::Write; 2] {
    let row = world.appointment(id, workspace, at);
    let mut index = AppointmentByWorkspaceRow::new(row.workspace_id.clone().unwrap(), day(at), id);
    index.matched_at = Some(at);
    [row.upsert(), index.upsert()]
}

#[tokio::test]
async fn pages_of_leads_hold_each_one_once_newest_first() {
    let world = World::new().await;
    let leads = with_leads(&world).await;
    for limit in [13, 50, 500] {
        let found = ids(&world.all_pages("/api/leads", limit).await, "lead_id");
        let expected: Vec<u64> = leads.iter().rev().map(|id| id.0).collect();
        assert_eq!(found, expected, "limit {limit}");
    }
}

#[tokio::test]
async fn a_page_of_leads_looks_at_a_bounded_number_of_rows() {
    let options = leadway_portal::Options { page_scan_rows: 100, ..Default::default() };
    let world = World::with(options).await;
    let leads = with_leads(&world).await;
    let page = world.get("/api/leads?provider_id=nobody&limit=10").await.expect(200).json();
    assert_eq!(page["items"], json!([]));
    assert!(page["next_cursor"].is_string(), "it goes on: {page}");
    assert!(world.all_pages("/api/leads?provider_id=nobody", 10).await.is_empty());
    assert_eq!(world.all_pages("/api/leads", 30).await.len(), leads.len());
}

#[tokio::test]
async fn dates_choose_exactly_the_leads_that_arrived_then() {
    let world = World::new().await;
    let leads = with_leads(&world).await;
    let expected: BTreeSet<u64> = leads
        .iter()
        .filter(|id| (300..900).contains(&world.addressing.address(**id).unwrap().1.0))
        .map(|id| id.0)
        .collect();
    let found = world.all_pages("/api/leads?from=2024-01-11&to=2024-01-12", 33).await;
    assert_eq!(ids(&found, "lead_id").into_iter().collect::<BTreeSet<_>>(), expected);
    let morning = world.all_pages("/api/leads?from=2024-01-11&to=2024-01-11T11:00:00Z", 33).await;
    assert_eq!(morning.len(), 0);
    assert_eq!(world.all_pages("/api/leads?from=2023-01-01&to=2023-12-01", 33).await.len(), 0);
}

#[tokio::test]
async fn appointments_are_found_by_id_and_by_workspace() {
    let world = World::new().await;
    let leads = with_leads(&world).await;
    let all = ids(&world.all_pages("/api/appointments", 40).await, "appointment_id");
    let expected: Vec<u64> = leads.iter().step_by(3).rev().map(|id| id.0).collect();
    assert_eq!(all, expected);
    let mut found = Vec::new();
    for workspace in ["solar_west_coast", "other", "nobody"] {
        let path = format!("/api/appointments?workspace_id={workspace}");
        let items = world.all_pages(&path, 7).await;
        assert!(items.iter().all(|a| a["workspace_id"] == workspace));
        found.extend(ids(&items, "appointment_id"));
    }
    found.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
    assert_eq!(found, expected, "each one once");
    let day = world.all_pages("/api/appointments?workspace_id=other&from=2024-01-11&to=2024-01-11", 7).await;
    let same = world.all_pages("/api/appointments?from=2024-01-11&to=2024-01-11", 7).await;
    let same: Vec<&Value> = same.iter().filter(|a| a["workspace_id"] == "other").collect();
    assert!(!day.is_empty());
    assert_eq!(day.iter().collect::<Vec<_>>(), same);
}

#[tokio::test]
async fn a_lead_tells_how_far_it_has_come() {
    let world = World::new().await;
    world.furnish().await;
    world.grow_log(10).await;
    let now = at("2024-01-15T10:00:00Z");
    let id = |offset| world.lead_id(0, offset);
    let mut rows = Vec::new();
    for offset in 0..7 {
        let (mut lead, day) = world.lead(id(offset), now);
        lead.appointment_date = (offset != 1).then_some(now);
        lead.duplicate_of = (offset == 6).then_some(id(0));
        rows.extend(day);
        rows.push(lead.upsert());
    }
    // 0 received, 1 waiting, 2 unrouted, 3 routed and nothing more known, 4 taken, 5 given up, 6 duplicate.
    for (offset, forward) in [(2, None), (3, None), (4, Some("success")), (5, Some("failed"))] {
        let mut row = world.appointment(id(offset), "solar_west_coast", now);
        if offset == 2 {
            row.routing_status = Some("unrouted".into());
            row.unrouted_code = Some("no_rule".into());
            row.workspace_id = None;
        }
        row.forward_status = forward.map(str::to_owned);
        rows.push(row.upsert());
    }
    world.write(rows).await;
    let statuses = ["received", "waiting", "unrouted", "pending", "success", "failed", "duplicate"];
    for (offset, status) in statuses.into_iter().enumerate() {
        let lead = world.get(&format!("/api/leads/{}", id(offset as u64))).await.expect(200).json();
        assert_eq!(lead["status"], status);
        let found = ids(&world.all_pages(&format!("/api/leads?status={status}"), 3).await, "lead_id");
        assert_eq!(found, [id(offset as u64).0], "{status}");
    }
    for (status, offset) in [("unrouted", 2), ("pending", 3), ("success", 4), ("failed", 5)] {
        let found = world.all_pages(&format!("/api/appointments?status={status}"), 3).await;
        assert_eq!(ids(&found, "appointment_id"), [id(offset).0], "{status}");
    }
    world.get(&format!("/api/appointments/{}", id(1))).await.expect(404);

    // A date that was over when the lead came is none.
    for (date, status) in [("2024-01-15T09:00:00Z", "received"), ("2024-01-15T08:59:59Z", "waiting")] {
        let (mut lead, _) = world.lead(id(0), now);
        lead.appointment_date = Some(at(date));
        world.write(vec![lead.upsert()]).await;
        assert_eq!(world.get(&format!("/api/leads/{}", id(0))).await.expect(200).json()["status"], status);
    }
    let unrouted = world.get(&format!("/api/appointments/{}", id(2))).await.expect(200).json();
    assert_eq!((&unrouted["unrouted_code"], &unrouted["forward_status"]), (&json!("no_rule"), &Value::Null));
}

#[tokio::test]
async fn an_unrouted_appointment_shows_the_customer_of_its_lead() {
    let world = World::new().await;
    world.furnish().await;
    world.grow_log(2).await;
    let (id, now) = (world.lead_id(0, 0), at("2024-01-15T10:00:00Z"));
    let (mut lead, rows) = world.lead(id, now);
    (lead.first_name, lead.last_name) = (Some("Jane".into()), Some("Smith".into()));
    (lead.email, lead.notes) = (Some("jane@example.com".into()), Some(String::new()));
    lead.estimated_value = Some(leadway_domain::Money::from_cents(2_500_000));
    let mut row = world.appointment(id, "nobody", now);
    (row.routing_status, row.workspace_id) = (Some("unrouted".into()), None);
    world.write(rows.into_iter().chain([lead.upsert(), row.upsert()]).collect()).await;
    let one = world.get(&format!("/api/appointments/{id}")).await.expect(200).json();
    let list = world.all_pages("/api/appointments?status=unrouted", 3).await;
    for shown in [&one, &list[0]] {
        assert_eq!((&shown["customer_name"], &shown["customer_phone"]), (&json!("Jane Smith"), &json!("+12135550123")));
        assert_eq!((&shown["customer_email"], &shown["notes"]), (&json!("jane@example.com"), &Value::Null));
        assert_eq!(shown["estimated_value"], json!(25_000));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lead_accepted_a_moment_ago_is_waited_for() {
    let world = World::new().await;
    world.grow_log(1).await;
    let id = world.lead_id(1, 0);
    let (_, rows) = world.lead(id, at("2024-01-15T10:30:00Z"));
    let tables = world.tables.clone();
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let topic = leadway_domain::record::Topic::Leads;
        let applied = [Applied { topic, partition: Partition(1), from: Offset(0), next: Offset(1) }];
        tables.write(rows, &applied).await.unwrap();
    });
    world.get(&format!("/api/leads/{id}")).await.expect(200);
    world.get(&format!("/api/leads/{}", world.lead_id(1, 1))).await.expect(404);
    // In the log and not in the tables: whether it is a lead is not known yet.
    let late = world.get(&format!("/api/leads/{}", world.lead_id(2, 0))).await.expect(503);
    assert!(late.headers.contains_key("retry-after"));
    for never in ["0", "x", "18446744073709551615", "4097"] {
        assert_ne!(world.get(&format!("/api/leads/{never}")).await.status, 500, "{never}");
    }
}

#[tokio::test]
async fn contacts_are_found_by_phone_by_day_and_with_their_leads() {
    let world = World::new().await;
    world.furnish().await;
    world.grow_log(2).await;
    let first = at("2024-01-01T00:00:00Z");
    let (lead, rows) = world.lead(world.lead_id(0, 0), first);
    world.write(rows).await;
    let mut expected = Vec::new();
    for n in 0..40u64 {
        let (phone, provider) = (Phone::from_digits(2_135_550_100 + n).unwrap(), ProviderId::new("a").unwrap());
        let contact = ContactId::derive(phone, &provider);
        let seen = first + SignedDuration::from_hours(5 * n as i64);
        let mut row = ContactRow::new(contact);
        (row.phone, row.provider_id, row.created_at) = (Some(phone), Some(provider), Some(seen));
        let index = ContactByDayRow::new(day(seen), seen, contact);
        world.write(vec![row.upsert(), index.upsert()]).await;
        expected.push(contact.to_string());
    }
    expected.reverse();
    let contact_ids =
        |items: Vec<Value>| items.iter().map(|c| c["contact_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(contact_ids(world.all_pages("/api/contacts", 7).await), expected);
    assert_eq!(contact_ids(world.all_pages("/api/contacts?day=2024-01-02", 3).await).len(), 5);
    let one = world.get("/api/contacts?phone=(213)+555-0107&provider_id=a").await.expect(200).json();
    assert_eq!(one["items"][0]["phone"], "+12135550107");
    let elsewhen = world.get("/api/contacts?phone=2135550107&provider_id=a&day=2024-01-03").await.expect(200).json();
    assert_eq!(elsewhen["items"], serde_json::json!([]), "the day counts with a phone, too");
    world.get("/api/contacts?phone=2135550107").await.expect(422);

    let contact = lead.contact_id.unwrap();
    let leads = [world.lead_id(0, 0), world.lead_id(0, 1)];
    let (mut second, mut rows) = world.lead(leads[1], first);
    second.previous_lead_id = Some(leads[0]);
    let mut row = ContactRow::new(contact);
    row.last_lead_id = Some(leads[1]);
    rows.extend([second.upsert(), row.upsert()]);
    world.write(rows).await;
    let path = format!("/api/contacts/{contact}/leads");
    assert_eq!(ids(&world.all_pages(&path, 1).await, "lead_id"), [leads[1].0, leads[0].0]);
    assert_eq!(ids(&world.all_pages(&path, 2).await, "lead_id"), [leads[1].0, leads[0].0]);

    // Of a batch that the tables show in part, the contact may be seen before its lead: the list is not cut off.
    world.grow_log(3).await;
    let mut row = ContactRow::new(contact);
    row.last_lead_id = Some(world.lead_id(0, 2));
    world.write(vec![row.upsert()]).await;
    world.get(&path).await.expect(503);
}

#[tokio::test]
async fn pages_of_unrouted_leads_hold_each_one_once() {
    let world = World::new().await;
    world.furnish().await;
    let mut expected = Vec::new();
    let mut rows = Vec::new();
    for offset in 0..200 {
        // Uneven: a page sees further down where there are fewer.
        let id = world.lead_id(u32::from(offset % 10 == 0), offset);
        let mut row = UnroutedRow::new((id.0 % UNROUTED_SHARDS) as i64, id);
        row.decision = Some(1);
        row.service_type = Some(if offset % 4 == 0 { "HVAC" } else { "Solar" }.into());
        row.customer_zip = Some("90210".parse_zip());
        rows.push(row.upsert());
        expected.push(id.0);
    }
    world.write(rows).await;
    expected.reverse();
    for limit in [3, 64, 500] {
        assert_eq!(ids(&world.all_pages("/api/unrouted", limit).await, "lead_id"), expected, "limit {limit}");
    }
    assert_eq!(world.all_pages("/api/unrouted?product_type=air+conditioning", 3).await.len(), 50);
    assert_eq!(world.all_pages("/api/unrouted?zip_code=90211", 3).await.len(), 0);
}

#[tokio::test]
async fn events_come_in_order_and_page_by_page() {
    let world = World::new().await;
    world.grow_log(1).await;
    let id = world.lead_id(1, 0);
    let now = at("2024-01-15T10:30:00Z");
    let (mut lead, of_day) = world.lead(id, now);
    lead.recorded_us = Some(now.as_microsecond() - 1);
    let mut appointment = world.appointment(id, "west", now);
    appointment.routed_us = Some(now.as_microsecond());
    (appointment.routed_partition, appointment.routed_offset) = (Some(Partition(1)), Some(Offset(7)));
    appointment.taken_us = Some(now.as_microsecond() + 2_001);
    (appointment.taken_partition, appointment.taken_offset) = (Some(Partition(0)), Some(Offset(9)));
    world.write(of_day).await;
    world.write(vec![lead.upsert(), appointment.upsert()]).await;
    let bucket = event_bucket(world.addressing, id).unwrap();
    let event = |of: LeadId, topic: &str, n: u64| {
        let mut row = AppointmentEventRow::new(bucket, of, now, 0, topic.into(), Partition(0), Offset(n));
        row.event_type = Some(format!("{topic}.{n}"));
        row.event_data = Some(Json(json!({"n": n})));
        row.upsert()
    };
    for (n, topic) in (0..).zip(["leads", "appointments", "deliveries", "deliveries"]) {
        // Its neighbours in the bucket have events, too.
        let of = [LeadId(id.0 - 1), id, LeadId(id.0 + 1)];
        world.write(of.map(|of| event(of, topic, n)).into()).await;
    }
    let found = world.all_pages(&format!("/api/appointments/{id}/events"), 1).await;
    let kinds: Vec<&str> = found.iter().map(|e| e["event_type"].as_str().unwrap()).collect();
    let expected = [
        "lead.received",
        "appointments.1",
        "appointment.routed",
        "deliveries.2",
        "deliveries.3",
        "leads.0",
        "delivery.delivered",
    ];
    assert_eq!(kinds, expected, "same moment: by topic");
    let times: Vec<&str> = found.iter().map(|e| e["at"].as_str().unwrap()).collect();
    assert_eq!((times[0], times[6]), ("2024-01-15T10:29:59.999999Z", "2024-01-15T10:30:00.002001Z"));
    assert_eq!(
        (&found[2]["topic"], &found[2]["partition"], &found[2]["offset"]),
        (&json!("appointments"), &json!(1), &json!(7))
    );
    assert_eq!(found[0]["event_data"]["zip_code"], "90210");
    world.get(&format!("/api/appointments/{}/events", world.lead_id(0, 9))).await.expect(404);
}

#[tokio::test]
async fn the_audit_shows_before_and_after_without_secrets() {
    let world = World::new().await;
    for offset in 0..9u64 {
        for part in 0..2 {
            let mut row = SettingsChangeRow::new(0, Offset(offset), part);
            row.actor = Some("admin".into());
            row.at = Some(at("2024-01-15T10:30:00Z"));
            row.entity = Some(if part == 0 { "provider" } else { "workspace" }.into());
            row.entity_id = Some(format!("e{offset}"));
            row.before = Some(Json(Value::Null));
            row.after = Some(Json(json!({
                "name": "N", "key_hash": "abc", "signing_secrets": [{"secret": "whsec_x"}], "not_yet_known": "x",
            })));
            world.write(vec![row.upsert()]).await;
        }
    }
    let found = world.all_pages("/api/settings/changes", 5).await;
    assert_eq!(found.len(), 18);
    let order: Vec<(u64, i64)> =
        found.iter().map(|c| (c["offset"].as_u64().unwrap(), c["part"].as_i64().unwrap())).collect();
    assert!(order.is_sorted_by(|a, b| a > b), "newest first: {order:?}");
    assert_eq!((&found[0]["before"], &found[0]["after"]), (&Value::Null, &json!({"name": "N"})));
    assert_eq!(world.all_pages("/api/settings/changes?entity=workspace", 4).await.len(), 9);
    assert_eq!(world.all_pages("/api/settings/changes?entity_id=e3&actor=admin", 4).await.len(), 2);
}

/// The pages of a list of large rows, and how many bytes the largest of them has.
async fn largest_page(world: &World, path: &str) -> (usize, usize) {
    let (mut rows, mut largest, mut cursor) = (0, 0, String::new());
    let sign = if path.contains('?') { '&' } else { '?' };
    loop {
        let reply = world.get(&format!("{path}{sign}limit=500{cursor}")).await.expect(200);
        let page = reply.json();
        rows += page["items"].as_array().unwrap().len();
        largest = largest.max(page.to_string().len());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (rows, largest),
        }
    }
}

#[tokio::test]
async fn pages_are_bounded_in_bytes_and_extra_is_shown_on_request() {
    let world = World::new().await;
    world.furnish().await;
    world.grow_log(100).await;
    let received_at = at("2024-01-10T12:00:00Z");
    let mut rows = Vec::new();
    let mut last = None;
    for offset in 0..90u64 {
        let id = world.lead_id(offset as u32 % PARTITIONS, offset);
        let (mut lead, _) = world.lead(id, received_at);
        let extra = json!({"blob": "x".repeat(60_000)});
        lead.extra = Some(Json(extra.as_object().unwrap().clone()));
        rows.push(lead.upsert());
        let mut refused = QuarantineRow::new(ProviderId::new("a").unwrap(), uuid::Uuid::from_u128(offset.into()));
        refused.body = Some(Json(extra));
        rows.push(refused.upsert());
        last = Some(id);
    }
    world.write(rows).await;
    let plain = world.get("/api/leads?limit=500").await.expect(200).json();
    assert_eq!(plain["items"].as_array().unwrap().len(), 90);
    assert!(plain["items"].as_array().unwrap().iter().all(|lead| lead.get("extra").is_none()));
    let one = world.get(&format!("/api/leads/{}", last.unwrap())).await.expect(200).json();
    assert_eq!(one["extra"]["blob"].as_str().unwrap().len(), 60_000);
    for path in ["/api/leads?extra=true", "/api/quarantine", "/api/quarantine?provider_id=a"] {
        let (rows, largest) = largest_page(&world, path).await;
        assert_eq!(rows, 90, "{path}");
        assert!((1 << 20..2_300_000).contains(&largest), "{path}: {largest} bytes");
    }
    world.get("/api/leads?extra=perhaps").await.expect(422);
}

#[tokio::test]
async fn lists_are_newest_first_though_partitions_do_not_keep_step() {
    let world = World::new().await;
    world.furnish().await;
    world.grow_log(3_000).await;
    // One partition had 2,000 leads long ago, another has a few, of the same hours, and the third began today.
    let (start, mut rows, mut expected) = (at("2024-01-10T12:00:00Z"), Vec::new(), Vec::new());
    let mut days = HashMap::<_, (LeadId, LeadId)>::new();
    for (partition, count, first, minutes_between) in [(0, 2_000, 0, 1), (1, 40, 30, 60), (2, 5, 3_000, 7)] {
        for n in 0..count {
            let id = world.lead_id(partition, n as u64);
            let received_at = start + SignedDuration::from_mins(first + n * minutes_between);
            rows.extend(world.lead(id, received_at).1);
            let mut decided = world.appointment(id, "solar_west_coast", received_at);
            decided.received_at = Some(received_at);
            rows.push(decided.upsert());
            expected.push((received_at, id.0));
            let stretch = days.entry((day(received_at), Partition(partition))).or_insert((id, id));
            *stretch = (stretch.0.min(id), stretch.1.max(id));
        }
    }
    for ((day, partition), (first, last)) in days {
        let stretch =
            LeadDayRow { first_lead_id: Some(first), last_lead_id: Some(last), ..LeadDayRow::new(day, partition) };
        rows.push(stretch.upsert());
    }
    world.write(rows).await;
    expected.sort_unstable();
    let expected: Vec<u64> = expected.into_iter().rev().map(|(_, id)| id).collect();
    for (path, field) in [("/api/leads", "lead_id"), ("/api/appointments", "appointment_id")] {
        for limit in [3, 97, 500] {
            let found = ids(&world.all_pages(path, limit).await, field);
            assert!(found == expected, "{path} limit {limit}: {} of {}", found.len(), expected.len());
        }
        let day = format!("{path}?from=2024-01-11&to=2024-01-11");
        let found = world.all_pages(&day, 100).await;
        let within = |lead: &Value| lead["received_at"].as_str().unwrap().starts_with("2024-01-11");
        assert!(found.iter().all(within) && found.len() == 1_280 + 24, "{path}: {}", found.len());
    }
}

#[tokio::test]
async fn lists_go_back_to_the_first_day_of_every_partition() {
    let world = World::new().await;
    world.furnish().await;
    world.grow_log(20).await;
    // The first leads of partition 0 are younger than those of the others, of which one has nothing at first.
    let (mut appointments, mut contacts) = (Vec::new(), Vec::new());
    for (partition, offset, received_at) in
        [(2, 11, "2024-01-03T12:00:00Z"), (1, 0, "2024-01-08T12:00:00Z"), (0, 0, "2024-01-12T12:00:00Z")]
    {
        let (id, received_at) = (world.lead_id(partition, offset), at(received_at));
        world.write(world.lead(id, received_at).1).await;
        world.write(routed(&world, id, "solar_west_coast", received_at).into()).await;
        let phone = Phone::from_digits(2_135_550_100 + u64::from(partition)).unwrap();
        let contact = ContactId::derive(phone, &ProviderId::new("a").unwrap());
        let row = ContactRow { created_at: Some(received_at), ..ContactRow::new(contact) };
        world.write(vec![row.upsert(), ContactByDayRow::new(day(received_at), received_at, contact).upsert()]).await;
        appointments.insert(0, id.0);
        contacts.insert(0, contact.to_string());
    }
    let found = world.all_pages("/api/appointments?workspace_id=solar_west_coast", 1).await;
    assert_eq!(ids(&found, "appointment_id"), appointments);
    let found = world.all_pages("/api/contacts", 1).await;
    assert_eq!(found.iter().map(|c| c["contact_id"].as_str().unwrap()).collect::<Vec<_>>(), contacts);
}
