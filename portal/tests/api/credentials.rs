//! Keys and secrets: made, shown once, kept sealed, rotated.

use std::sync::Arc;

use leadway_domain::record::Topic;
use leadway_domain::seal::Keyring;
use leadway_domain::secret::KeyHash;
use leadway_domain::settings::{
    Account, Change, Entity, Role, Settings, SettingsChange, Signing, SigningSecret, Verifiers, signing_place,
    webhook_place,
};
use leadway_domain::{Clock, Offset, Partition, Timestamp};
use leadway_eventlog::{EventLog, MemoryLog, NewRecord, ReadLimit, SettingsHandle};
use leadway_portal::{Random, first_start, replace_lost_key, reseal};
use leadway_tables::schema::QuarantineRow;
use serde_json::{Value, json};

use crate::world::{World, at, provider, ring, workspace};

/// A workspace's secrets, opened, with their ends.
pub(crate) fn signing_secrets(world: &World) -> Vec<(String, Option<Timestamp>)> {
    let settings = world.present();
    let workspace = &settings.workspaces["solar_west_coast"];
    let open = |secret: &SigningSecret| {
        let text = settings.seals().open(&signing_place(&workspace.id), &secret.secret).unwrap();
        (text.expose().to_owned(), secret.valid_until)
    };
    workspace.signing_secrets.iter().map(open).collect()
}

fn text<'v>(json: &'v Value, field: &str) -> &'v str {
    json[field].as_str().unwrap_or_else(|| panic!("{field} in {json}"))
}

/// Everything that the topic `settings` holds, as text.
async fn written(log: &MemoryLog) -> String {
    let limit = ReadLimit { records: 1_000, bytes: 10 << 20 };
    let records = log.read(Topic::Settings, Partition(0), Offset(0), limit).await.unwrap();
    records.iter().map(|r| String::from_utf8_lossy(&r.data).into_owned() + "\n").collect()
}

fn has_key(world: &World, key: &str, when: &str) -> bool {
    world.present().provider_by_key(key, at(when)).is_some()
}

const ROTATE_KEY: &str = "/api/providers/a/rotate-key";
const ROTATE_SECRET: &str = "/api/workspaces/solar_west_coast/rotate-secret";

#[tokio::test]
async fn rotated_keys_go_on_for_a_day_each_unless_they_leaked() {
    let world = World::new().await;
    let first = world.post("/api/providers", provider()).await.expect(201).json();
    let second = world.call("POST", ROTATE_KEY, None).await.expect(200).json();
    assert_eq!(second["previous_valid_until"], "2024-01-16T10:30:00Z");
    let third = world.post(ROTATE_KEY, json!({"overlap_hours": 48})).await.expect(200).json();
    let [first, second, third] = [&first, &second, &third].map(|made| text(made, "key").to_owned());
    for (key, when, valid) in [
        (&first, "2024-01-16T10:29:59Z", true),
        (&first, "2024-01-16T10:30:00Z", false),
        (&second, "2024-01-17T10:29:59Z", true),
        (&second, "2024-01-17T10:30:00Z", false),
        (&third, "2030-01-01T00:00:00Z", true),
    ] {
        assert_eq!(has_key(&world, key, when), valid, "{when}");
    }
    let leaked = world.post(ROTATE_KEY, json!({"revoke_now": true})).await.expect(200).json();
    assert_eq!(leaked["previous_valid_until"], Value::Null);
    let now = "2024-01-15T10:30:00Z";
    assert!([&first, &second, &third].iter().all(|key| !has_key(&world, key, now)));
    assert!(has_key(&world, text(&leaked, "key"), now));
}

#[tokio::test]
async fn rotating_a_secret_again_does_not_cut_off_the_original_before_its_day() {
    let world = World::new().await;
    let first = world.post("/api/workspaces", workspace()).await.expect(201).json();
    let second = world.call("POST", ROTATE_SECRET, None).await.expect(200).json();
    let third = world.call("POST", ROTATE_SECRET, None).await.expect(200).json();
    let day = Some(at("2024-01-16T10:30:00Z"));
    let secret = |made: &Value| text(made, "signing_secret").to_owned();
    assert_eq!(signing_secrets(&world), [(secret(&third), None), (secret(&second), day), (secret(&first), day)]);
    let leaked = world.post(ROTATE_SECRET, json!({"revoke_now": true})).await.expect(200).json();
    assert_eq!(signing_secrets(&world), [(secret(&leaked), None)]);
}

#[tokio::test]
async fn too_many_rotations_are_refused_until_an_earlier_one_ends() {
    let world = World::new().await;
    world.post("/api/providers", provider()).await.expect(201);
    world.post("/api/workspaces", workspace()).await.expect(201);
    for path in [ROTATE_KEY, ROTATE_SECRET] {
        for _ in 0..8 {
            world.call("POST", path, None).await.expect(200);
        }
        let refused = world.call("POST", path, None).await.expect(409);
        assert!(
            refused.text.contains("revoke_now") && refused.text.contains("2024-01-16T10:30:00Z"),
            "{}",
            refused.text
        );
        world.post(path, json!({"revoke_now": true})).await.expect(200);
    }
}

#[tokio::test]
async fn what_a_request_does_not_take_is_refused_by_name() {
    let world = World::new().await;
    world.furnish().await;
    let rule = world.get("/api/routing-rules").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let account = world.get("/api/keys").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    for (method, path) in [
        ("POST", ROTATE_KEY.to_owned()),
        ("POST", ROTATE_SECRET.to_owned()),
        ("POST", "/api/providers".to_owned()),
        ("PUT", "/api/providers/a".to_owned()),
        ("PATCH", "/api/providers/a".to_owned()),
        ("POST", "/api/workspaces".to_owned()),
        ("PATCH", "/api/workspaces/solar_west_coast".to_owned()),
        ("POST", "/api/routing-rules".to_owned()),
        ("PATCH", format!("/api/routing-rules/{rule}")),
        ("POST", "/api/products".to_owned()),
        ("PATCH", "/api/products/solar".to_owned()),
        ("POST", "/api/keys".to_owned()),
        ("POST", "/api/unrouted/retry".to_owned()),
        ("POST", format!("/api/quarantine/a/{account}/release")),
        ("DELETE", "/api/providers/a".to_owned()),
        ("DELETE", "/api/workspaces/solar_west_coast".to_owned()),
        ("DELETE", format!("/api/routing-rules/{rule}")),
        ("DELETE", "/api/products/solar".to_owned()),
        ("DELETE", format!("/api/keys/{account}")),
        ("DELETE", format!("/api/quarantine/a/{account}")),
    ] {
        let reply = world.call(method, &path, Some(json!({"revoke_nwo": true}))).await;
        assert_eq!(reply.status, 422, "{method} {path}: {}", reply.text);
        let unknown = ("revoke_nwo".to_owned(), "unknown".to_owned());
        assert!(reply.errors().contains(&unknown), "{method} {path}: {}", reply.text);
    }
    for wrong in
        [json!({"overlap_hours": 0}), json!({"overlap_hours": 721}), json!({"overlap_hours": 1, "revoke_now": true})]
    {
        let errors = world.post(ROTATE_KEY, wrong).await.expect(422).errors();
        assert_eq!(errors, [("overlap_hours".to_owned(), "invalid".to_owned())]);
    }
}

#[tokio::test]
async fn a_secret_to_sign_with_is_made_for_those_who_ask_and_shown_once() {
    let world = World::new().await;
    let mut body = provider();
    body["signing"] = json!("standard_webhooks");
    let made = world.post("/api/providers", body).await.expect(201).json();
    let secret = text(&made, "hmac_secret").to_owned();
    assert!(secret.starts_with("whsec_") && made["signing"] == "standard_webhooks", "{made}");
    let patch = async |change: Value| world.call("PATCH", "/api/providers/a", Some(change)).await.expect(200).json();
    assert!(patch(json!({"cost_per_lead": 80})).await.get("hmac_secret").is_none());
    let legacy = patch(json!({"signing": "legacy_body"})).await;
    assert_eq!(text(&legacy, "hmac_secret").len(), 64);
    assert!(patch(json!({"signing": "none"})).await.get("hmac_secret").is_none());
    let wrong = world.call("PATCH", "/api/providers/a", Some(json!({"signing": "yes"}))).await.expect(422);
    assert_eq!(wrong.errors(), [("signing".to_owned(), "invalid".to_owned())]);

    patch(json!({"signing": "legacy_body"})).await;
    let before = verifiers(&world);
    let rotated = world.call("POST", ROTATE_KEY, None).await.expect(200).json();
    assert_eq!(text(&rotated, "hmac_secret").len(), 64);
    assert_eq!(format!("{before:?} {:?}", verifiers(&world)), "1 secrets 2 secrets");
}

fn verifiers(world: &World) -> Arc<Verifiers> {
    world.present().verifiers(&leadway_domain::ProviderId::new("a").unwrap()).unwrap().clone()
}

#[tokio::test]
async fn name_and_password_of_a_webhook_are_kept_sealed_and_never_shown() {
    let world = World::new().await;
    let mut body = workspace();
    body["outbound_webhook_url"] = json!("https://user:open%20sesame@solar-client.com/hook");
    body["test_webhook_url"] = json!("https://tester@solar-client.com/test");
    let made = world.post("/api/workspaces", body).await.expect(201).json();
    assert_eq!(made["outbound_webhook_url"], "https://***@solar-client.com/hook");
    let kept = |world: &World| {
        let settings = world.present();
        let workspace = &settings.workspaces["solar_west_coast"];
        let credentials = &workspace.webhook_credentials;
        let open = |sealed: &Option<_>| {
            let sealed = sealed.as_ref()?;
            Some(settings.seals().open(&webhook_place(&workspace.id), sealed).unwrap().expose().to_owned())
        };
        (
            workspace.outbound_webhook_url.clone().unwrap().to_string(),
            open(&credentials.outbound),
            open(&credentials.test),
        )
    };
    let clean = "https://solar-client.com/hook".to_owned();
    assert_eq!(kept(&world), (clean.clone(), Some("user:open sesame".into()), Some("tester:".into())));

    // What is read can be sent back, and another path of the same host keeps them.
    let path = "/api/workspaces/solar_west_coast";
    let read = world.get(path).await.expect(200).json();
    world.call("PUT", path, Some(read)).await.expect(200);
    world.call("PATCH", path, Some(json!({"name": "Other"}))).await.expect(200);
    let moved = json!({"outbound_webhook_url": "https://***@solar-client.com/v2"});
    world.call("PATCH", path, Some(moved)).await.expect(200);
    assert_eq!(kept(&world).1.as_deref(), Some("user:open sesame"));
    // Another host never gets them.
    for elsewhere in
        ["https://***@other.example/hook", "http://***@solar-client.com/hook", "https://***@solar-client.com:8443/"]
    {
        let reply = world.call("PATCH", path, Some(json!({"outbound_webhook_url": elsewhere}))).await.expect(422);
        assert_eq!(reply.errors(), [("outbound_webhook_url".to_owned(), "invalid".to_owned())]);
    }
    world.call("PATCH", path, Some(json!({"outbound_webhook_url": clean.clone()}))).await.expect(200);
    assert_eq!(kept(&world), (clean, None, Some("tester:".into())));

    let log = written(&world.log).await;
    for secret in ["sesame", "user:", "tester"] {
        assert!(!log.contains(secret) && !world.get("/api/workspaces").await.text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn no_secret_that_was_shown_stands_in_the_log() {
    let world = World::new().await;
    let mut signing = provider();
    signing["signing"] = json!("legacy_body");
    let mut shown = vec![crate::world::ADMIN_KEY.to_owned()];
    for made in [
        world.post("/api/providers", signing).await.expect(201).json(),
        world.call("POST", ROTATE_KEY, None).await.expect(200).json(),
        world.post("/api/workspaces", workspace()).await.expect(201).json(),
        world.call("POST", ROTATE_SECRET, None).await.expect(200).json(),
        world.post("/api/keys", json!({"name": "dashboard", "role": "reader"})).await.expect(201).json(),
    ] {
        let secrets = ["key", "hmac_secret", "signing_secret"].into_iter().filter_map(|field| made[field].as_str());
        shown.extend(secrets.map(str::to_owned));
    }
    assert_eq!(shown.len(), 8);
    let log = written(&world.log).await;
    for secret in shown {
        let hash = KeyHash::of(&secret).plain_hex().unwrap();
        assert!(!log.contains(&secret) && !log.contains(&hash), "{secret} or its hash");
    }
}

#[tokio::test]
async fn a_discarded_lead_stands_in_the_log_of_changes_with_who_and_what() {
    let world = World::new().await;
    world.furnish().await;
    let id = uuid::Uuid::from_u128(7);
    let mut row = QuarantineRow::new(leadway_domain::ProviderId::new("a").unwrap(), id);
    row.body = Some(leadway_tables::Json(json!({"phone": "2135550123"})));
    row.received_at = Some(at("2024-01-15T10:00:00Z"));
    world.write(vec![leadway_tables::TableRow::upsert(&row)]).await;
    world.call("DELETE", &format!("/api/quarantine/a/{id}"), None).await.expect(204);
    let end = world.log.end(Topic::Settings, Partition(0)).await.unwrap();
    let last = world.log.read(Topic::Settings, Partition(0), Offset(end.0 - 1), ReadLimit::default()).await.unwrap();
    let change: SettingsChange = last[0].decode().unwrap();
    let note = change.note.unwrap();
    assert_eq!((change.actor.as_str(), note.kind.as_str(), note.id), ("admin", "quarantine", format!("a/{id}")));
    assert_eq!(note.before["received_at"], "2024-01-15T10:00:00Z");
    assert!(!note.before.to_string().contains("2135550123"));
}

/// A log as an earlier version left it: hashes that are no more than SHA-256, secrets as they are.
async fn old_log() -> MemoryLog {
    let log = MemoryLog::new(1);
    let (now, made) = (at("2024-01-15T10:30:00Z"), "2023-01-01T00:00:00Z");
    let entities = [
        json!({"provider": {"id": "a", "name": "A", "cost_per_lead": 75, "is_active": true, "created_at": made,
            "updated_at": made, "key_hash": KeyHash::of("lwp_old").plain_hex()}}),
        json!({"workspace": {"id": "solar_west_coast", "name": "W", "webhook_active": true, "payment_rate": 150,
            "signing_secrets": [{"secret": "whsec_b2xk"}], "created_at": made, "updated_at": made}}),
    ];
    let mut changes: Vec<Change> =
        entities.into_iter().map(|json| Change::Put(serde_json::from_value::<Entity>(json).unwrap())).collect();
    let account = Account {
        id: uuid::Uuid::from_u128(1),
        name: "admin".into(),
        key_hash: KeyHash::of("the-old-admin-key"),
        role: Role::Admin,
        created_at: now,
    };
    changes.push(Change::Put(Entity::Account(account)));
    let record = SettingsChange::new(&Settings::default(), "system", now, Change::Batch(changes));
    log.append(vec![NewRecord::of(&record, now)]).await.unwrap();
    log
}

async fn node(log: &MemoryLog, keys: &str) -> (Arc<dyn EventLog>, SettingsHandle, Clock) {
    let shared: Arc<dyn EventLog> = Arc::new(log.clone());
    let settings = SettingsHandle::follow_with(shared.clone(), Keyring::parse(keys).unwrap()).await.unwrap();
    (shared, settings, Clock::manual(at("2024-02-01T00:00:00Z")))
}

fn works(settings: &Settings) {
    let now = at("2024-02-01T00:00:00Z");
    let provider = settings.provider_by_key("lwp_old", now).expect("the provider's key");
    assert_eq!(provider.credentials.signing, Signing::LegacyBody);
    assert!(settings.account_by_key("the-old-admin-key").is_some());
    let mac = {
        use hmac::{Hmac, KeyInit as _, Mac as _};
        let key = KeyHash::of("lwp_old").plain_hex().unwrap();
        Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(b"{}").finalize().into_bytes()
    };
    assert!(settings.verifiers(&provider.id).unwrap().prove(&[b"{}"], &[mac.into()], now), "the body's signature");
    let workspace = &settings.workspaces["solar_west_coast"];
    let secret = settings.seals().open(&signing_place(&workspace.id), &workspace.signing_secrets[0].secret).unwrap();
    assert_eq!(secret.expose(), "whsec_b2xk");
    assert_eq!(workspace.updated_at, at("2023-01-01T00:00:00Z"), "nothing that people set has changed");
}

#[tokio::test]
async fn records_of_an_earlier_version_go_on_working_and_are_sealed_once() {
    let log = old_log().await;
    let (first, second) = ("01".repeat(32), "02".repeat(32));
    let (shared, settings, clock) = node(&log, &first).await;
    works(&settings.load());
    first_start(shared.clone(), settings.clone(), clock.clone(), &Random::seeded(1), None).await.unwrap();
    works(&settings.load());
    assert_eq!(reseal(shared.clone(), settings.clone(), clock.clone(), &Random::seeded(2)).await.unwrap(), 3);
    works(&settings.load());
    assert_eq!(reseal(shared, settings.clone(), clock, &Random::seeded(3)).await.unwrap(), 0);
    let now = settings.load();
    assert!(now.providers.values().all(|p| p.key_hash.plain_hex().is_none()));

    // Another key: vault, provider and workspace are sealed anew, and what is in force is known without the old one.
    let (shared, settings, clock) = node(&log, &format!("{second} {first}")).await;
    assert_eq!(reseal(shared, settings, clock, &Random::seeded(4)).await.unwrap(), 3);
    let (_, settings, _) = node(&log, &second).await;
    assert_eq!(settings.load().seals().lacks(), None);
    works(&settings.load());
    let (_, settings, _) = node(&log, &first).await;
    assert!(settings.load().seals().lacks().is_some(), "the old key is of no use any more");
    assert!(ring().first().is_some());
}

#[tokio::test]
async fn a_log_whose_key_is_lost_goes_on_with_another_and_new_secrets() {
    let log = old_log().await;
    let (shared, settings, clock) = node(&log, &"01".repeat(32)).await;
    first_start(shared.clone(), settings.clone(), clock.clone(), &Random::seeded(1), None).await.unwrap();
    reseal(shared, settings, clock, &Random::seeded(2)).await.unwrap();

    let (shared, settings, clock) = node(&log, &"02".repeat(32)).await;
    let refused = reseal(shared.clone(), settings.clone(), clock.clone(), &Random::seeded(3)).await;
    assert!(refused.is_err(), "nothing is given up unasked");
    replace_lost_key(shared.clone(), settings.clone(), clock.clone(), &Random::seeded(4)).await.unwrap();
    let now = settings.load();
    assert_eq!(now.seals().lacks(), None);
    assert!(now.provider_by_key("lwp_old", at("2024-02-01T00:00:00Z")).is_none() && now.providers.len() == 1);
    let workspace = &now.workspaces["solar_west_coast"];
    let secret = now.seals().open(&signing_place(&workspace.id), &workspace.signing_secrets[0].secret).unwrap();
    assert!(secret.expose().starts_with("whsec_") && secret.expose() != "whsec_b2xk");
    let given = Some("a-new-admin-key-of-the-tests".to_owned());
    first_start(shared, settings.clone(), clock, &Random::seeded(5), given).await.unwrap();
    assert!(settings.load().account_by_key("a-new-admin-key-of-the-tests").is_some());
}
