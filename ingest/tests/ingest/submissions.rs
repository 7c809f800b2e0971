//! What makes two posts one: the key, the provider's own id, the content; and whose lead it is.

use leadway_domain::lead::{Lead, SubmissionKey};
use leadway_domain::record::{LeadRecord, QuarantineEnd, QuarantineRecord};
use leadway_domain::submission::legacy;
use leadway_eventlog::{EventLog as _, NewRecord};
use leadway_ingest::Options;
use serde_json::{Value, json};

use crate::node::{Answer, KEY, Node};

fn lead(phone: &str, id: Option<&str>) -> Value {
    let mut lead = json!({"first_name": "Ana", "phone": phone, "zip": "90210", "product": "Solar"});
    if let Some(id) = id {
        lead["external_id"] = id.into();
    }
    lead
}

const ANA: &str = "2135550123";
const KIM: &str = "3105550101";
const LEE: &str = "4155550102";

async fn post(node: &Node, key: &str, body: &Value) -> Answer {
    let headers = [("x-api-key", KEY), ("content-type", "application/json"), ("idempotency-key", key)];
    node.post("/webhook/provider-a", &headers, body.to_string()).await
}

#[tokio::test]
async fn another_customers_lead_under_the_same_key_is_told_and_kept() {
    for (key, id, field) in
        [("k", None, "Idempotency-Key"), ("", Some("s-1"), "external_id"), ("k", Some("s-1"), "Idempotency-Key")]
    {
        let node = Node::start().await;
        let first = post(&node, key, &lead(ANA, id)).await;
        assert_eq!(first.status, 202);
        let other = lead(KIM, id);
        let answer = post(&node, key, &other).await;
        answer.assert_problem(409, "submission-conflict");
        assert_eq!(answer.lead_id(), first.lead_id());
        assert_eq!(answer.body["contact_id"], first.body["contact_id"]);
        assert_eq!(answer.body["errors"][0]["field"], field);
        let kept = node.quarantine().await;
        assert_eq!((kept.len(), &kept[0].body), (1, &other), "as it was sent");
        assert_eq!(answer.body["quarantine_id"], json!(kept[0].id));
        assert_eq!(node.leads().await.len(), 1);
        let again = post(&node, key, &other).await;
        assert_eq!(again.body["quarantine_id"], json!(kept[0].id), "kept once");
        assert_eq!(node.quarantine().await.len(), 1);
        assert_eq!(post(&node, key, &lead(ANA, id)).await.status, 200, "the first one is still known");
        let mut changed = lead(ANA, id);
        changed["notes"] = "called twice".into();
        assert_eq!(post(&node, key, &changed).await.lead_id(), first.lead_id(), "the same customer's is the same lead");
    }
}

#[tokio::test]
async fn the_providers_own_id_is_unique_whatever_the_key() {
    let node = Node::start().await;
    let first = post(&node, "k1", &lead(ANA, Some("x"))).await;
    for key in ["k2", "", "k1"] {
        let again = post(&node, key, &lead(ANA, Some("x"))).await;
        assert_eq!((again.status.as_u16(), again.lead_id()), (200, first.lead_id()), "{key}");
    }
    post(&node, "k3", &lead(KIM, Some("x"))).await.assert_problem(409, "submission-conflict");
    assert_eq!(post(&node, "k3", &lead(KIM, Some("y"))).await.status, 202, "a key whose lead was refused is free");
    let headers = [("x-api-key", "lwp_b")];
    let other = node.post("/leads/receive", &headers, lead(KIM, Some("x")).to_string()).await;
    assert_eq!(other.status, 202, "another provider's ids are its own");
}

#[tokio::test]
async fn a_request_of_several_may_hold_conflicts_of_its_own() {
    let node = Node::start().await;
    let answer = post(&node, "", &json!([lead(ANA, Some("x")), lead(KIM, Some("x")), lead(LEE, Some("y"))])).await;
    assert_eq!(answer.status, 202);
    let statuses: Vec<_> = answer.body["results"].as_array().unwrap().iter().map(|r| r["status"].clone()).collect();
    assert_eq!(statuses, ["accepted", "conflict", "accepted"]);
    let kept = node.quarantine().await.remove(0);
    assert_eq!(answer.body["results"][1]["quarantine_id"], json!(kept.id));
    assert_eq!(kept.body["phone"], "+13105550101", "what it was read as");
    let none = post(&node, "", &json!([lead(KIM, Some("x")), lead(KIM, Some("y"))])).await;
    none.assert_problem(409, "submission-conflict");
    let mixed = post(&node, "", &json!([lead(KIM, Some("x")), {}])).await;
    mixed.assert_problem(422, "validation");
}

#[tokio::test]
async fn what_failed_of_a_request_is_sent_again_under_the_same_key() {
    let bad = json!({"first_name": "Kim", "phone": "911", "zip": "90210", "product": "Solar"});
    for (n, again) in [
        json!([lead(KIM, None)]),
        lead(KIM, None),
        json!([lead(ANA, None), lead(KIM, None)]),
        json!([lead(KIM, None), lead(ANA, None)]),
    ]
    .iter()
    .enumerate()
    {
        let node = Node::start().await;
        let first = post(&node, "batch", &json!([lead(ANA, None), bad, lead(LEE, None)])).await;
        assert_eq!(first.status, 202);
        assert_eq!(post(&node, "batch", again).await.status, 202, "{n}");
        let phones: Vec<_> = node.leads().await.iter().map(|(_, lead)| lead.phone.e164()).collect();
        assert_eq!(phones.len(), 3, "{n}: {phones:?}");
        assert_eq!(post(&node, "batch", again).await.status, 200, "{n}: and once only");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lead_refused_again_is_one_entry_until_somebody_deals_with_it() {
    let node = Node::start().await;
    let peer = Node::join(node.log.clone(), node.clock.clone(), Options::default()).await;
    let bad = lead("213-555", Some("r-1"));
    let first = post(&node, "", &bad).await;
    first.assert_problem(422, "validation");
    node.settle().await;
    let later = Node::join(node.log.clone(), node.clock.clone(), Options::default()).await;
    for node in [&node, &peer, &later] {
        assert_eq!(post(node, "", &bad).await.body["quarantine_id"], first.body["quarantine_id"]);
    }
    let kept = node.quarantine().await;
    assert_eq!(kept.len(), 1);
    let other = post(&node, "", &lead("213-556", Some("r-1"))).await;
    assert_ne!(other.body["quarantine_id"], first.body["quarantine_id"], "another content is another entry");
    let (id, provider_id, at) = (kept[0].id, kept[0].provider_id.clone(), node.clock.now());
    let end = QuarantineEnd { v: 1, id, provider_id, actor: "test".into(), at, lead_id: None };
    node.log.memory.append(vec![NewRecord::of(&QuarantineRecord::Ended(end), at)]).await.unwrap();
    node.settle().await;
    let anew = post(&node, "", &bad).await;
    assert_ne!(anew.body["quarantine_id"], first.body["quarantine_id"], "what was discarded is seen again");
}

/// A record as it was written before submissions had a stronger hash.
async fn append_old(node: &Node, body: &Value, key: Option<(&str, usize)>) {
    let scratch = Node::start().await;
    post(&scratch, "", body).await;
    let (_, new) = scratch.leads().await.remove(0);
    let old = Lead { v: 1, submission: legacy::submission(&new, key), also: None, ..new };
    let record = NewRecord::of(&LeadRecord::Received(old.into()), node.clock.now());
    node.log.memory.append(vec![record]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn leads_of_older_records_and_notes_are_known_for_a_window() {
    let folder = tempfile::tempdir().unwrap();
    let noting = || Options { notes: Some(folder.path().join("window")), ..Options::default() };
    let node = Node::with(noting()).await;
    append_old(&node, &lead(ANA, None), None).await;
    append_old(&node, &lead(KIM, Some("x")), None).await;
    append_old(&node, &lead(LEE, None), Some(("k", 0))).await;
    node.settle().await;
    let check = |node: Node| async move {
        assert_eq!(post(&node, "", &lead(ANA, None)).await.status, 200, "by content");
        assert_eq!(post(&node, "", &lead(KIM, Some("x"))).await.status, 200, "by its id");
        assert_eq!(post(&node, "k", &lead(LEE, None)).await.status, 200, "by its key");
        post(&node, "", &lead(ANA, Some("x"))).await.assert_problem(409, "submission-conflict");
        node
    };
    let node = check(node).await;
    node.settle().await;
    node.settle().await;
    node.stop();
    let node = check(Node::join(node.log.clone(), node.clock.clone(), noting()).await).await;
    node.advance(86_400);
    assert_eq!(post(&node, "", &lead(ANA, None)).await.status, 202, "the window has passed");
}

#[test]
fn no_submission_is_the_weaker_hash_of_older_records() {
    let provider = leadway_domain::ProviderId::new("a").unwrap();
    assert_ne!(SubmissionKey::of_external_id(&provider, "x"), legacy::of_external_id(&provider, "x"));
}
