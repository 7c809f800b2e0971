//! Content types, gzip, broken bodies, wrong addresses.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Request;
use http_body_util::Full;
use leadway_ingest::{Ingest, Options};

use crate::node::{KEY, LEAD, Node};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_form_is_a_lead() {
    let node = Node::start().await;
    let headers = [("x-api-key", KEY), ("content-type", "application/x-www-form-urlencoded; charset=UTF-8")];
    let form = "first_name=Ana+Mar%C3%ADa&phone=%28213%29+555-0123&zip_code=90210&service=solar&roof=flat";
    assert_eq!(node.post("/leads/receive", &headers, form).await.status, 202);
    let (_, lead) = node.leads().await.remove(0);
    assert_eq!(lead.first_name, "Ana María");
    assert_eq!(lead.extra["roof"], "flat");
}

#[tokio::test]
async fn json_is_known_without_a_content_type_and_by_its_suffix() {
    let node = Node::start().await;
    let marked = format!("\u{feff}{}", LEAD.replace("Ana", "Eva"));
    assert_eq!(node.post("/leads/receive", &[("x-api-key", KEY)], LEAD).await.status, 202);
    assert_eq!(node.post("/leads/receive", &[("x-api-key", KEY)], marked).await.status, 202);
    let suffixed = [("x-api-key", KEY), ("content-type", "application/vnd.crm+json")];
    assert_eq!(node.post("/leads/receive", &suffixed, LEAD).await.status, 200);
}

#[tokio::test]
async fn other_content_types_and_encodings_are_refused_with_what_is_allowed() {
    let node = Node::start().await;
    for (header, body) in [(("content-type", "image/png"), "\u{1}PNG"), (("content-encoding", "br"), LEAD)] {
        let answer = node.post("/leads/receive", &[("x-api-key", KEY), header], body).await;
        assert_eq!(answer.status, 415);
        assert!(answer.body["detail"].as_str().unwrap().contains("Send"));
    }
    node.post("/leads/receive", &[("x-api-key", KEY)], "hello").await.assert_problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn several_lines_of_json_are_no_ndjson() {
    let node = Node::start().await;
    let answer = node.webhook(format!("{LEAD}\n{LEAD}")).await;
    answer.assert_problem(400, "invalid-json");
    assert_eq!((&answer.body["line"], &answer.body["column"]), (&2.into(), &1.into()));
    assert_eq!(answer.body["position"], LEAD.len() + 1);
}

#[tokio::test]
async fn broken_json_is_told_by_its_place_without_repeating_it() {
    let node = Node::start().await;
    let answer = node.webhook("{\n \"phone\": \"2135550123\",\n \"zip\": secret\n}").await;
    answer.assert_problem(400, "invalid-json");
    assert_eq!((&answer.body["line"], &answer.body["column"]), (&3.into(), &9.into()));
    assert!(!answer.body.to_string().contains("secret"));
    for body in ["", " ", "[]", "7", "\"x\"", "null"] {
        node.webhook(body).await.assert_problem(400, "bad-request");
    }
}

#[tokio::test]
async fn gzip_is_unpacked_within_bounds() {
    let node = Node::with(Options { max_unpacked_bytes: 100_000, ..Options::default() }).await;
    let headers = [("x-api-key", KEY), ("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_eq!(node.post("/leads/receive", &headers, gzip(LEAD.as_bytes())).await.status, 202);
    let bomb = gzip(&vec![b' '; 10 << 20]);
    node.post("/leads/receive", &headers, bomb).await.assert_problem(413, "too-large");
    let packed = gzip(LEAD.as_bytes());
    let cut = packed[..packed.len() - 9].to_vec();
    node.post("/leads/receive", &headers, cut).await.assert_problem(400, "bad-request");
    node.post("/leads/receive", &headers, "no gzip").await.assert_problem(400, "bad-request");
}

#[tokio::test]
async fn only_post_and_only_known_addresses_are_served() {
    let node = Node::start().await;
    for method in ["GET", "HEAD", "OPTIONS", "PUT"] {
        let request = Request::builder().method(method).uri("/leads/receive").body(Full::new(Bytes::new())).unwrap();
        let answer = node.send(request).await;
        answer.assert_problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    node.post("/webhook/other", &[("x-api-key", KEY)], LEAD).await.assert_problem(404, "not-found");
    assert!(Ingest::serves("/webhook/provider-a") && !Ingest::serves("/api/leads"));
}
