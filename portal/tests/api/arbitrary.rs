//! Whatever is sent: an answer of the API's own, and an import that is accepted comes back out as it went in.

use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use leadway_domain::problem::PROBLEM_JSON;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::world::{ADMIN_KEY, Reply, World};

const IMPORT: &str = "/api/routing-rules/import?replace=true";
const EXPORT: &str = "/api/routing-rules/export";

/// A world for many cases, with the runtime that it lives in.
fn furnished() -> (Runtime, World) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(async {
        let world = World::new().await;
        world.furnish().await;
        world.grow_log(3).await;
        world
    });
    (runtime, world)
}

/// A success, or a problem document of a request that was wrong.
fn is_answered(reply: &Reply) -> bool {
    let content_type = reply.headers["content-type"].to_str().unwrap();
    match reply.status {
        200..=299 => true,
        400..=499 => content_type == PROBLEM_JSON && reply.json()["status"] == json!(reply.status),
        _ => false,
    }
}

async fn import(world: &World, content_type: &str, body: &[u8]) -> Reply {
    let request = Request::post(IMPORT).header("authorization", format!("Bearer {ADMIN_KEY}"));
    world.send(request.header("content-type", content_type).body(Body::from(body.to_vec())).unwrap()).await
}

async fn exported(world: &World) -> Value {
    let mut rules = world.get(EXPORT).await.expect(200).json();
    for rule in rules.as_array_mut().unwrap() {
        rule.as_object_mut().unwrap().remove("updated_at");
    }
    rules
}

/// Imports; what is accepted must go round by either format.
async fn check_import(world: &World, content_type: &str, body: &[u8]) -> Result<bool, TestCaseError> {
    let reply = import(world, content_type, body).await;
    prop_assert!(is_answered(&reply), "{} {}", reply.status, reply.text);
    if reply.status != 200 {
        return Ok(false);
    }
    let rules = exported(world).await;
    for (format, content_type) in [("csv", "text/csv"), ("json", "application/json")] {
        let text = world.get(&format!("{EXPORT}?format={format}")).await.expect(200).text;
        let again = import(world, content_type, text.as_bytes()).await;
        prop_assert_eq!(again.status, 200, "{}: {}", again.text, text);
        prop_assert_eq!(exported(world).await, rules.clone(), "{}", format);
    }
    Ok(true)
}

/// Texts that a cell may hold, most of them such as it should.
fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "", "solar_west_coast", "Solar", "solar panels|HVAC", "90210", "902*|ca", "10001 - 10009", "90210 + 25mi",
            "02134+2.50mi", "0", "7", "true", "no", "a note", "  spaced  ", "a, \"quoted\" \n note", "=1+1", "x\ry", "|",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

/// Patterns, spaced and cased in many ways.
fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        "902[0-9*]{1,2}",
        " ?[cCnN][aAyY] ?",
        "100[0-9]{2} ?- ?10[1-9][0-9]{2}",
        "90210 ?\\+ ?[0-9]{1,3}(\\.[0-9]{0,3})? ?mi",
    ]
}

fn rule() -> impl Strategy<Value = Value> {
    let products = prop::collection::vec(prop::sample::select(vec!["Solar", "heat-pumps", "AC", "Solar panels"]), 1..3);
    let notes = prop_oneof![any::<String>(), "[ -~\t\n\r]{0,20}"];
    (products, prop::collection::vec(pattern(), 1..4), 0..1_000_000, any::<bool>(), notes).prop_map(
        |(products, zips, priority, is_active, notes)| {
            json!({"workspace_id": "solar_west_coast", "product_types": products, "zip_codes": zips,
                "priority": priority, "is_active": is_active, "notes": notes})
        },
    )
}

fn csv_of(rows: &[Vec<String>]) -> Vec<u8> {
    let head = ["workspace_id", "product_types", "zip_codes", "priority", "is_active", "notes"];
    let quoted = |cells: Vec<&str>| {
        let cells = cells.into_iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
        cells.collect::<Vec<_>>().join(",") + "\n"
    };
    let rows = rows.iter().map(|row| quoted(row.iter().map(String::as_str).collect()));
    (quoted(head.to_vec()) + &rows.collect::<String>()).into_bytes()
}

/// Runs the cases over one world; tells how many of them were accepted.
fn run<S: Strategy>(
    cases: u32,
    strategy: S,
    check: impl AsyncFn(&World, S::Value) -> Result<bool, TestCaseError>,
) -> usize {
    let (runtime, world) = furnished();
    let accepted = std::cell::Cell::new(0);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = prop::test_runner::TestRunner::new(config);
    let result = runner.run(&strategy, |value| {
        accepted.set(accepted.get() + usize::from(runtime.block_on(check(&world, value))?));
        Ok(())
    });
    result.unwrap_or_else(|e| panic!("{e}"));
    accepted.get()
}

#[test]
fn an_import_of_any_bytes_is_answered() {
    for content_type in ["text/csv", "application/json"] {
        run(200, prop::collection::vec(any::<u8>(), 0..200), async |world: &World, body: Vec<u8>| {
            check_import(world, content_type, &body).await
        });
    }
}

#[test]
fn an_import_of_any_cells_is_answered_and_goes_round_when_it_is_accepted() {
    let rows = prop::collection::vec(prop::collection::vec(cell(), 6), 0..3);
    run(300, rows, async |world: &World, rows: Vec<Vec<String>>| check_import(world, "text/csv", &csv_of(&rows)).await);
}

#[test]
fn any_rules_that_are_accepted_go_round() {
    let accepted = run(200, prop::collection::vec(rule(), 1..4), async |world: &World, rules: Vec<Value>| {
        check_import(world, "application/json", json!(rules).to_string().as_bytes()).await
    });
    assert!(accepted > 20, "only {accepted} were accepted: the test says little");
}

#[test]
fn any_json_as_a_rule_is_answered() {
    let value = prop_oneof![
        any::<String>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        Just(json!([1, null])),
    ];
    let name = prop::sample::select(vec!["id", "workspace_id", "product_types", "zip_codes", "priority", "notes", "x"]);
    let rule = prop::collection::btree_map(name, value, 0..6);
    run(300, rule, async |world: &World, rule| {
        let rule = json!(rule);
        let reply = world.post("/api/routing-rules", rule.clone()).await;
        prop_assert!(is_answered(&reply), "{}", reply.text);
        check_import(world, "application/json", json!([rule]).to_string().as_bytes()).await
    });
}

#[test]
fn any_cursor_is_answered() {
    const LISTS: [&str; 14] = [
        "/api/leads?",
        "/api/appointments?",
        "/api/appointments?workspace_id=solar_west_coast&",
        "/api/unrouted?",
        "/api/contacts?",
        "/api/quarantine?",
        "/api/billing/events?",
        "/api/providers?",
        "/api/workspaces?",
        "/api/routing-rules?",
        "/api/products?",
        "/api/keys?",
        "/api/settings/changes?",
        "/api/leads?from=2024-01-15&",
    ];
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::sample::select(vec![json!(0), json!(i64::MIN), json!(i64::MAX), json!(u64::MAX), Value::Null]),
    ];
    let text = prop_oneof![Just("2024-01-15T10:30:00Z"), Just("-009999-01-02T01:59:59Z"), Just("a"), Just("00")];
    let leaf = prop_oneof![3 => number, 1 => text.prop_map(Value::from)];
    let names = vec!["before", "day", "from", "end", "workspace", "provider", "offset", "part", "at", "contact"];
    let object = prop::collection::btree_map(prop::sample::select(names), leaf.clone(), 0..6);
    let cursor = prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => leaf.prop_map(|value| value.to_string().into_bytes()),
        4 => object.prop_map(|object| json!(object).to_string().into_bytes()),
    ];
    run(500, (prop::sample::select(LISTS.to_vec()), cursor), async |world: &World, (list, cursor): (&str, Vec<u8>)| {
        let reply = world.get(&format!("{list}cursor={}", URL_SAFE_NO_PAD.encode(cursor))).await;
        prop_assert!(is_answered(&reply), "{list} {} {}", reply.status, reply.text);
        Ok(reply.status == 200)
    });
}
