//! Accepted, duplicate, invalid.

use leadway_domain::record::PostedAs;
use leadway_domain::settings::{Entity, PastDates, Posting, Provider};
use leadway_ingest::Options;
use serde_json::json;

use crate::node::{KEY, LEAD, Node, provider};

const NDJSON: &[(&str, &str)] = &[("x-api-key", KEY), ("content-type", "application/x-ndjson")];

#[tokio::test]
async fn an_accepted_lead_is_in_the_log_under_the_id_answered() {
    let node = Node::start().await;
    let answer = node.webhook(LEAD).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let leads = node.leads().await;
    assert_eq!(leads.len(), 1);
    let (id, lead) = &leads[0];
    assert_eq!(
        answer.body,
        json!({"status": "accepted", "lead_id": id, "contact_id": lead.contact_id}),
        "exactly these members"
    );
    assert_eq!((lead.phone.e164().as_str(), &*lead.product_type), ("+12135550123", "Solar"));
}

#[tokio::test]
async fn a_lead_posted_again_gets_the_first_ones_ids_and_is_not_written() {
    let node = Node::start().await;
    let first = node.webhook(LEAD).await;
    let again = node.webhook(LEAD).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.body["status"], "duplicate");
    assert_eq!(
        (&again.body["lead_id"], &again.body["contact_id"]),
        (&first.body["lead_id"], &first.body["contact_id"])
    );
    assert_eq!(node.leads().await.len(), 1);
}

#[tokio::test]
async fn the_window_ends() {
    let node = Node::with(Options { dedupe_window_seconds: 60, ..Options::default() }).await;
    let first = node.webhook(LEAD).await;
    node.advance(59);
    assert_eq!(node.webhook(LEAD).await.lead_id(), first.lead_id());
    node.advance(1);
    let later = node.webhook(LEAD).await;
    assert_eq!(later.status, 202);
    assert_ne!(later.lead_id(), first.lead_id());
}

#[tokio::test]
async fn another_provider_and_another_content_are_other_leads() {
    let node = Node::start().await;
    assert_eq!(node.webhook(LEAD).await.status, 202);
    assert_eq!(node.webhook(LEAD.replace("Ana", "Eva")).await.status, 202);
    assert_eq!(node.post("/leads/receive", &[("x-api-key", "lwp_b")], LEAD).await.status, 202);
}

#[tokio::test]
async fn an_idempotency_key_makes_two_posts_one_and_an_empty_one_does_not() {
    let node = Node::start().await;
    let other = LEAD.replace("Ana", "Eva");
    let with = |key: &'static str, body: &str| {
        let body = body.to_owned();
        let node = &node;
        async move { node.post("/leads/receive", &[("x-api-key", KEY), ("idempotency-key", key)], body).await }
    };
    let first = with("order-1", LEAD).await;
    assert_eq!(first.status, 202);
    assert_eq!(with("order-1", &other).await.lead_id(), first.lead_id());
    assert_eq!(with(" ", &other).await.status, 202, "an empty key is none");
    assert_eq!(with("order-2", &other).await.status, 202);
    let long: &'static str = "k".repeat(201).leak();
    with(long, LEAD).await.assert_problem(400, "bad-request");
}

#[tokio::test]
async fn a_refused_lead_is_kept_with_every_error() {
    let node = Node::start().await;
    let answer = node.webhook(r#"{"phone":"911","zip":"00000","roof":"flat"}"#).await;
    answer.assert_problem(422, "validation");
    let fields: Vec<_> =
        answer.body["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["phone", "product_type", "zip_code"]);
    let kept = node.quarantine().await;
    assert_eq!(kept.len(), 1);
    assert_eq!(answer.body["quarantine_id"], json!(kept[0].id));
    assert_eq!(kept[0].body, json!({"phone": "911", "zip": "00000", "roof": "flat"}));
    assert_eq!((kept[0].provider_id.as_str(), kept[0].errors.len()), ("a", 3));
    assert!(node.leads().await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_of_an_accepted_lead_is_told_and_kept() {
    let node = Node::start().await;
    let odd = LEAD.replace('{', r#"{"email":"N/A","budget":"Not sure","appointment_date":"2027-12-10","#);
    for (path, status) in [("/webhook/provider-a", "accepted"), ("/leads/receive", "duplicate")] {
        let answer = node.post(path, &[("x-api-key", KEY)], odd.clone()).await;
        assert_eq!(answer.body["status"], status);
        let warned: Vec<_> =
            answer.body["warnings"].as_array().unwrap().iter().map(|w| w["field"].as_str().unwrap()).collect();
        assert_eq!(warned, ["email", "estimated_value", "appointment_date"], "{}", answer.body);
    }
    let kept = &node.leads().await[0].1.extra;
    assert_eq!(
        (&kept["email"], &kept["budget"], &kept["appointment_date"]),
        (&json!("N/A"), &json!("Not sure"), &json!("2027-12-10"))
    );
    let several = node.webhook(format!("[{},{}]", LEAD.replace("Ana", "Eva"), odd.replace("Ana", "Ida"))).await;
    assert_eq!(several.body["results"][0].get("warnings"), None);
    assert_eq!(several.body["results"][1]["warnings"].as_array().unwrap().len(), 3, "each lead has its own");
    let strict = node.post("/appointments/receive", &[("x-api-key", KEY)], odd).await;
    strict.assert_problem(422, "validation");
    assert_eq!(strict.body["errors"][0]["field"], "appointment_date");
}

#[tokio::test]
async fn of_two_members_of_one_name_the_last_counts_in_leads_of_every_size() {
    let node = Node::start().await;
    for (size, name) in [(0, "Ana"), (40, "Eva")] {
        let others: String = (0..size).map(|n| format!(r#","q{n}":"a""#)).collect();
        let twice =
            LEAD.replace("Ana", name).replace(r#""zip":"90210""#, &format!(r#""zip":"90210","zip":"10001"{others}"#));
        assert_eq!(node.webhook(twice).await.status, 202);
    }
    assert!(node.leads().await.iter().all(|(_, lead)| lead.zip_code.to_string() == "10001"));
}

#[tokio::test]
async fn half_an_emoji_costs_no_lead() {
    let node = Node::start().await;
    for (name, memo, read) in [
        ("Ana", r"hi \ud83d", "hi \u{fffd}"),
        ("Eva", r"hi \ude00", "hi \u{fffd}"),
        ("Ida", r"hi \ud83d\ude00", "hi 😀"),
    ] {
        let answer = node.webhook(LEAD.replace("Ana", name).replace('{', &format!(r#"{{"memo":"{memo}","#))).await;
        assert_eq!(answer.status, 202, "{memo}");
        let leads = node.leads().await;
        let lead = leads.iter().find(|(id, _)| answer.body["lead_id"] == json!(id)).unwrap();
        assert_eq!(lead.1.extra["memo"], read);
    }
    let broken = node.webhook("{\"phone\":\"2135550123\",\n\"memo\":\"hi \\ud83d\", \"x\":\"\\x\"}").await;
    broken.assert_problem(400, "invalid-json");
    assert_eq!(broken.body["line"], 2, "{}", broken.body);
}

#[tokio::test]
async fn a_refused_lead_that_is_too_large_or_too_deep_is_not_kept_and_that_is_told() {
    let node = Node::start().await;
    let large = json!({"phone": "911", "blob": "x".repeat(65 << 10)}).to_string();
    let deep = format!("{{\"phone\":\"2135550123\",\"zip\":\"90210\",\"product\":\"Solar\",\"x\":{}}}", nested(40));
    for (body, reason) in [(large, "larger"), (deep, "deep")] {
        let answer = node.webhook(body).await;
        answer.assert_problem(422, "validation");
        assert!(answer.body["not_kept"].as_str().unwrap().contains(reason), "{}", answer.body);
        assert_eq!(answer.body.get("quarantine_id"), None);
    }
    let many: serde_json::Map<_, _> = (0..400).map(|n| (format!("field_{n}"), json!(n))).collect();
    let answer = node.webhook(serde_json::Value::from(many).to_string()).await;
    assert!(answer.body["detail"].as_str().unwrap().starts_with("The lead must have at most"), "{}", answer.body);
    assert_eq!(node.quarantine().await.len(), 1, "only the last one");
}

#[tokio::test]
async fn what_is_nested_as_deep_as_allowed_can_be_read_back() {
    let node = Node::start().await;
    let body = format!("{{\"phone\":\"2135550123\",\"zip\":\"90210\",\"product\":\"Solar\",\"x\":{}}}", nested(31));
    assert_eq!(node.webhook(body).await.status, 202);
    assert!(node.leads().await[0].1.extra.contains_key("x"));
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[tokio::test]
async fn an_appointment_needs_a_date() {
    let node = Node::start().await;
    let answer = node.post("/appointments/receive", &[("x-api-key", KEY)], LEAD).await;
    answer.assert_problem(422, "validation");
    assert_eq!(answer.body["errors"][0]["field"], "appointment_date");
    assert_eq!(node.quarantine().await[0].posted_as, PostedAs::Appointment);
    let dated = LEAD.replace("{", r#"{"appointment_date":"2024-12-01T14:00:00Z","#);
    assert_eq!(node.post("/appointments/receive", &[("x-api-key", KEY)], dated).await.status, 202);
}

#[tokio::test]
async fn an_appointment_whose_date_is_over_is_refused_where_nobody_may_take_it() {
    let node = Node::start().await;
    // Now is 10:30.
    let dated = |date: &str| LEAD.replace("{", &format!(r#"{{"external_id":"{date}","appointment_date":"{date}","#));
    let (recent, over) = (dated("2024-01-15T09:30:00Z"), dated("2024-01-15T09:29:59Z"));
    let key = &[("x-api-key", KEY)];
    assert_eq!(node.post("/appointments/receive", key, recent).await.status, 202, "clocks differ");
    let answer = node.post("/appointments/receive", key, over.clone()).await;
    answer.assert_problem(422, "validation");
    assert_eq!(
        (&answer.body["errors"][0]["field"], &answer.body["errors"][0]["code"]),
        (&json!("appointment_date"), &json!("past"))
    );
    assert_eq!(node.quarantine().await.len(), 1, "it is kept");
    let lead = node.webhook(over.clone()).await;
    assert_eq!(lead.status, 202, "as a lead it is taken, and waits: {}", lead.body);

    let posting = Posting { past_dates: PastDates::Take, ..Posting::default() };
    node.put([Entity::Provider(Provider { posting, ..provider("a") })]).await;
    let taken = dated("2024-01-14T09:00:00Z");
    assert_eq!(node.post("/appointments/receive", key, taken).await.status, 202);
}

#[tokio::test]
async fn every_line_of_ndjson_is_answered() {
    let node = Node::start().await;
    let body = [LEAD, r#"{"phone":"1"}"#, LEAD, r#"{"phone":"#, "", &LEAD.replace("Ana", "Eva")].join("\n");
    let answer = node.post("/leads/receive", NDJSON, body).await;
    assert_eq!(answer.status, 202);
    let results = answer.body["results"].as_array().unwrap();
    let told: Vec<_> = results.iter().map(|r| (r["index"].as_u64().unwrap(), r["status"].as_str().unwrap())).collect();
    assert_eq!(told, [(0, "accepted"), (1, "invalid"), (2, "duplicate"), (3, "invalid"), (4, "accepted")]);
    assert_eq!(results[2]["lead_id"], results[0]["lead_id"], "a lead of the same request may be the first");
    assert_eq!(results[1]["quarantine_id"], json!(node.quarantine().await[0].id));
    let broken = &results[3]["errors"][0];
    assert_eq!(broken["code"], "invalid_json");
    assert!(broken["message"].as_str().unwrap().contains("line 4"), "{broken}");
    assert_eq!(node.leads().await.len(), 2);
}

#[tokio::test]
async fn a_batch_is_202_with_one_new_lead_200_with_none_and_422_when_all_are_invalid() {
    let node = Node::start().await;
    let array = |leads: &[&str]| format!("[{}]", leads.join(","));
    assert_eq!(node.webhook(array(&[LEAD])).await.body["results"][0]["status"], "accepted");
    assert_eq!(node.webhook(array(&[LEAD, LEAD])).await.status, 200);
    assert_eq!(node.webhook(array(&[LEAD, "{}"])).await.status, 200);
    let none = node.webhook(array(&["{}", "7"])).await;
    none.assert_problem(422, "validation");
    assert_eq!(none.body["results"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn leads_of_one_keyed_request_are_told_apart_by_what_they_are() {
    let node = Node::start().await;
    let body = format!("[{LEAD},{}]", LEAD.replace("Ana", "Eva"));
    let headers = [("x-api-key", KEY), ("idempotency-key", "batch-1")];
    let first = node.post("/leads/receive", &headers, body.clone()).await;
    assert_eq!((first.status.as_u16(), node.leads().await.len()), (202, 2));
    let again = node.post("/leads/receive", &headers, body).await;
    assert_eq!(again.status, 200);
    for n in 0..2 {
        assert_eq!(again.body["results"][n]["lead_id"], first.body["results"][n]["lead_id"]);
    }
}
