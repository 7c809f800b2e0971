//! Providers, workspaces, rules, products: create, read, change, delete.

use std::sync::Arc;

use leadway_domain::Money;
use leadway_domain::record::Topic;
use leadway_domain::settings::SettingsChange;
use leadway_domain::{Offset, Partition, ProviderId, Timestamp, WorkspaceId};
use leadway_eventlog::{EventLog, Fault, MemoryLog, NewRecord, ReadLimit};
use leadway_portal::Options;
use leadway_tables::schema::{AppointmentByWorkspaceRow, DailyRow, OpenDeliveryRow, day};
use leadway_tables::{Applied, Day, TableRow, Tables, Write, key};
use serde_json::{Value, json};

use crate::credentials::signing_secrets;
use crate::world::{SlowLog, World, at, provider, rule, workspace};

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(f, c)| ((*f).to_owned(), (*c).to_owned())).collect()
}

fn now() -> Timestamp {
    at("2024-01-15T10:30:00Z")
}

#[tokio::test]
async fn the_bodies_of_the_issue_work_to_the_letter() {
    let world = World::new().await;
    let made = world.post("/api/providers", provider()).await.expect(201).json();
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("lwp_"), "{key}");
    assert!(made.get("hmac_secret").is_none(), "only a provider that signs has one");
    assert_eq!(made["cost_per_lead"], json!(75));
    let settings = world.present();
    assert_eq!(settings.provider_by_key(key, now()).unwrap().cost_per_lead, Money::from_cents(7_500));

    let made = world.post("/api/workspaces", workspace()).await.expect(201).json();
    let secret = made["signing_secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == "whsec_".len() + 44, "{secret}");
    assert_eq!(signing_secrets(&world), [(secret.to_owned(), None)]);

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
        ("mapping.fields.tel", "unknown"),
        ("name", "required"),
        ("rate_limit", "invalid"),
    ];
    assert_eq!(reply.errors(), pairs(&expected));
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert!(reply.text.contains("cost_per_lead, is_active"), "the allowed fields are named: {}", reply.text);

    let wrong = json!({"id": "w", "name": "W", "payment_rate": -1, "outbound_webhook_url": "https://u%3Ax:p@x.example/",
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
async fn a_body_of_many_unknown_fields_has_a_short_answer() {
    let world = World::new().await;
    let many: serde_json::Map<String, Value> = (0..5_000).map(|n| (format!("field_{n}"), json!(n))).collect();
    let reply = world.post("/api/providers", Value::Object(many)).await.expect(422);
    assert!(reply.text.len() < 10_000, "{} bytes", reply.text.len());
}

#[tokio::test]
async fn names_hold_nothing_unseen() {
    let world = World::new().await;
    let mut hidden = provider();
    hidden["name"] = json!("Provider\u{0}A");
    let reply = world.post("/api/providers", hidden).await.expect(422);
    assert_eq!(reply.errors(), pairs(&[("name", "invalid")]));
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

/// An appointment that was routed to the workspace at this time, as the tables show it.
fn routed_at(world: &World, offset: u64, matched_at: &str, forward: Option<&str>) -> Vec<Write> {
    let id = world.lead_id(0, offset);
    let mut row = world.appointment(id, "solar_west_coast", at(matched_at));
    row.forward_status = forward.map(str::to_owned);
    let index = AppointmentByWorkspaceRow::new(row.workspace_id.clone().unwrap(), day(at(matched_at)), id);
    vec![row.upsert(), index.upsert()]
}

#[tokio::test(start_paused = true)]
async fn a_workspace_with_an_undelivered_appointment_cannot_be_deleted() {
    let world = World::new().await;
    world.post("/api/workspaces", workspace()).await.expect(201);
    let path = "/api/workspaces/solar_west_coast";
    for (offset, forward) in [(0, Some("success")), (1, Some("failed"))] {
        world.write(routed_at(&world, offset, "2024-01-15T10:00:00Z", forward)).await;
    }
    // Neither has a row in open_deliveries: the dispatcher holds them in memory.
    for (offset, matched_at, forward) in
        [(2, "2024-01-15T10:29:59Z", None), (3, "2024-01-06T10:00:00Z", Some("pending"))]
    {
        world.write(routed_at(&world, offset, matched_at, forward)).await;
        let refused = world.call("DELETE", path, None).await.expect(409);
        let id = world.lead_id(0, offset).to_string();
        assert!(refused.text.contains(&id), "names {id}: {}", refused.text);
        world.write(routed_at(&world, offset, matched_at, Some("success"))).await;
    }
    // What waits on disk counts however old it is.
    let workspace_id = WorkspaceId::new("solar_west_coast").unwrap();
    let waiting = OpenDeliveryRow::new(workspace_id.clone(), at("2023-01-01T00:00:00Z"), world.lead_id(0, 4));
    world.write(vec![waiting.upsert()]).await;
    world.call("DELETE", path, None).await.expect(409);
    let gone = key![workspace_id, at("2023-01-01T00:00:00Z"), world.lead_id(0, 4)];
    world.write(vec![OpenDeliveryRow::delete(gone)]).await;
    world.call("DELETE", path, None).await.expect(204);
}

#[tokio::test(start_paused = true)]
async fn a_workspace_is_deleted_only_when_the_tables_show_every_decision() {
    let world = World::new().await;
    world.post("/api/workspaces", workspace()).await.expect(201);
    let record = NewRecord {
        topic: Topic::Appointments,
        partition: Some(Partition(1)),
        key: "".into(),
        kind: "appointment.routed".into(),
        id: uuid::Uuid::nil(),
        time: world.clock.now(),
        data: "{}".into(),
        decoded: Default::default(),
    };
    world.log.append(vec![record]).await.unwrap();
    let path = "/api/workspaces/solar_west_coast";
    world.call("DELETE", path, None).await.expect(503);
    world.get(path).await.expect(200);
    let applied = [Applied { topic: Topic::Appointments, partition: Partition(1), from: Offset(0), next: Offset(1) }];
    world.tables.write(routed_at(&world, 0, "2024-01-15T10:30:00Z", None), &applied).await.unwrap();
    world.call("DELETE", path, None).await.expect(409);
}

#[tokio::test]
async fn the_longest_names_fit_into_the_keys_of_the_tables() {
    let world = World::new().await;
    let id = "p".repeat(64);
    world.post("/api/providers", json!({"id": id, "name": "P", "cost_per_lead": 1})).await.expect(201);
    let mut longest = workspace();
    longest["id"] = json!("w".repeat(64));
    world.post("/api/workspaces", longest).await.expect(201);
    let name = format!("{}x", "ü".repeat(49));
    assert_eq!((name.len(), name.chars().count()), (99, 50));
    for (name, status) in [(format!("{name}y"), 201), (format!("{name}z-"), 422), ("屋".repeat(34), 422)] {
        let reply = world.post("/api/products", json!({"name": name})).await.expect(status);
        if status == 422 {
            assert_eq!(reply.errors(), pairs(&[("name", "too_long")]), "{} bytes", name.len());
        }
    }
    let settings = world.present();
    let product = settings.products.values().max_by_key(|p| p.name.len()).unwrap().name.clone();
    assert_eq!(product.len(), 100);
    let (provider, workspace) = (ProviderId::new(&id).unwrap(), "w".repeat(64));
    let topics = Topic::ALL.map(|topic| topic.name());
    let topic = topics.iter().max_by_key(|name| name.len()).unwrap();
    let row = DailyRow::new(
        Day::from_number(i32::MAX),
        95,
        provider,
        workspace,
        product,
        (*topic).into(),
        Partition(u32::MAX),
    );
    world.write(vec![row.upsert()]).await;
}

#[tokio::test]
async fn what_cannot_be_read_of_a_rule_is_told_with_what_is_not_valid() {
    let world = World::new().await;
    world.furnish().await;
    let wrong = json!({"workspace_id": "nobody", "product_types": ["Spaceships"], "zip_codes": "90210",
        "priority": "first", "colour": 1});
    let expected = [
        ("colour", "unknown"),
        ("priority", "invalid"),
        ("product_types", "unknown"),
        ("workspace_id", "unknown"),
        ("zip_codes", "invalid"),
    ];
    let reply = world.post("/api/routing-rules", wrong.clone()).await.expect(422);
    assert_eq!(reply.errors(), pairs(&expected));
    let id = world.get("/api/routing-rules").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let reply = world.call("PATCH", &format!("/api/routing-rules/{id}"), Some(wrong)).await.expect(422);
    assert_eq!(reply.errors(), pairs(&expected));
    world.post("/api/routing-rules", json!({})).await.expect(422);
}

#[tokio::test]
async fn patterns_are_kept_in_their_canonical_form() {
    let world = World::new().await;
    world.furnish().await;
    let mut body = rule();
    body["zip_codes"] = json!(["10001 - 10009", "ca", "90210 + 25mi", " 902* "]);
    let canonical = json!(["10001-10009", "CA", "90210+25mi", "902*"]);
    let made = world.post("/api/routing-rules", body.clone()).await.expect(201).json();
    assert_eq!(made["zip_codes"], canonical);
    let path = format!("/api/routing-rules/{}", made["id"].as_str().unwrap());
    let changed = world.call("PATCH", &path, Some(json!({"zip_codes": ["ny"]}))).await.expect(200).json();
    assert_eq!(changed["zip_codes"], json!(["NY"]));
    world.post("/api/routing-rules/import?replace=true", json!([body])).await.expect(200);
    assert_eq!(world.get("/api/routing-rules").await.json()["items"][0]["zip_codes"], canonical);
}

#[tokio::test]
async fn a_mapping_that_makes_invalid_leads_is_refused_by_its_entry() {
    let world = World::new().await;
    let mut body = provider();
    body["mapping"] = json!({"constants": {"product_type": "Spaceships"}, "values": {"interest_level": {"a": "b"}}});
    let expected = [("mapping.constants.product_type", "unknown"), ("mapping.values.interest_level.a", "invalid")];
    assert_eq!(world.post("/api/providers", body.clone()).await.expect(422).errors(), pairs(&expected));
    body["mapping"] = json!({"constants": {"product_type": "pv"}, "values": {"interest_level": {"a": "hot"}}});
    world.post("/api/providers", body).await.expect(201);
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

#[tokio::test(start_paused = true)]
async fn of_changes_made_by_two_portals_at_once_one_counts_and_the_other_is_to_try_again() {
    let log = MemoryLog::new(1);
    let world = || async { World::over(log.clone(), Arc::new(SlowLog(log.clone())), Options::default()).await };
    let (one, other) = (world().await, world().await);
    let changed = |name: &str| json!({ "id": "a", "name": name, "cost_per_lead": 75 });
    let replies = tokio::join!(one.post("/api/providers", changed("x")), other.post("/api/providers", changed("y")));
    let (first, second) = if replies.0.status == 201 { replies } else { (replies.1, replies.0) };
    assert_eq!((first.status, second.status), (201, 503), "{} {}", first.text, second.text);
    assert_eq!(second.headers["retry-after"], "1");
    for world in [&one, &other] {
        let provider = world.get("/api/providers/a").await.expect(200);
        assert_eq!(provider.json()["name"], first.json()["name"], "both nodes pass over the second change");
    }
}

#[tokio::test]
async fn new_providers_get_the_default_rate_unless_they_are_given_another() {
    let options = leadway_portal::Options { default_rate_per_second: 5, ..Default::default() };
    let world = World::with(options).await;
    for (id, rate, expected) in [
        ("p1", None, json!({"per_second": 5})),
        ("p2", Some(json!({"per_second": 7})), json!({"per_second": 7})),
        ("p3", Some(Value::Null), Value::Null),
    ] {
        let mut body = json!({"id": id, "name": "P", "cost_per_lead": 1});
        if let Some(rate) = rate {
            body["rate_limit"] = rate;
        }
        let made = world.post("/api/providers", body).await.expect(201).json();
        assert_eq!(made["rate_limit"], expected, "{id}");
    }
}

#[tokio::test]
async fn how_a_provider_posts_is_set_shown_and_checked() {
    let world = World::new().await;
    let posting = json!({"success_status": 200, "allow_get": true, "allowed_origins": ["https://shop.example"],
        "max_concurrent": 5, "max_bytes_per_day": 1_000_000});
    let mut body = json!({"id": "p", "name": "P", "cost_per_lead": 1});
    body.as_object_mut().unwrap().extend(posting.as_object().unwrap().clone());
    let made = world.post("/api/providers", body).await.expect(201).json();
    let changed = world.call("PATCH", "/api/providers/p", Some(json!({"name": "Q"}))).await.expect(200).json();
    for shown in [made, changed] {
        for (field, value) in posting.as_object().unwrap() {
            assert_eq!(&shown[field], value, "{field}");
        }
    }
    let wrong = world.call("PATCH", "/api/providers/p", Some(json!({"success_status": 500}))).await.expect(422);
    assert_eq!(wrong.errors()[0].0, "success_status");
}
