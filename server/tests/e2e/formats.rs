//! What providers may post, and what they are answered.

use std::io::Write;

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{TestNode, answer, sample_lead};

async fn post(
    node: &TestNode,
    path: &str,
    key: &str,
    content_type: &str,
    body: impl Into<reqwest::Body>,
) -> (StatusCode, Value) {
    let request =
        node.http.post(format!("{}{path}", node.base)).header("x-api-key", key).header("content-type", content_type);
    answer(request.body(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lists_lines_and_forms_are_understood() {
    let node = TestNode::start().await;
    let key = node.provider("a").await;
    let list = json!([sample_lead(1), {"phone": "1"}, sample_lead(1)]).to_string();
    let (status, body) = post(&node, "/leads/receive", &key, "application/json", list).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    let results: Vec<&str> =
        body["results"].as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap()).collect();
    assert_eq!(results, ["accepted", "invalid", "duplicate"], "{body}");

    let lines = format!("{}\n\n{}\n", sample_lead(2), sample_lead(3));
    let (status, body) = post(&node, "/webhook/provider-a", &key, "application/x-ndjson", lines).await;
    assert_eq!((status, body["results"].as_array().unwrap().len()), (StatusCode::ACCEPTED, 2), "{body}");

    let form = "fname=Ana&lname=Cruz&phone1=%28213%29+555-0199&zip=90210-1234&service=solar+panels&lead_source=fb";
    let (status, body) = post(&node, "/leads/receive", &key, "application/x-www-form-urlencoded", form).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    let lead = node.get(&format!("/api/leads/{}", body["lead_id"])).await;
    assert_eq!((&lead["zip_code"], &lead["product_type"]), (&json!("90210"), &json!("Solar")), "{lead}");
    assert_eq!(lead["extra"]["lead_source"], "fb", "what nobody mapped is kept: {lead}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_bodies_and_http2_are_understood() {
    let node = TestNode::start().await;
    let key = node.provider("a").await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(sample_lead(1).to_string().as_bytes()).unwrap();
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let request = http2
        .post(format!("{}/webhook/provider-a", node.base))
        .header("x-api-key", &key)
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body(gzip.finish().unwrap());
    let response = request.send().await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::ACCEPTED, http::Version::HTTP_2));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appointment_can_be_posted_directly() {
    let node = TestNode::start().await;
    let key = node.provider("a").await;
    let appointment = json!({
        "customer_name": "John Solar Customer", "customer_phone": "213-555-0123", "customer_zip": "90210",
        "service_type": "Solar", "appointment_date": "2030-12-01T14:00:00Z",
    });
    let (status, body) = post(&node, "/appointments/receive", &key, "application/json", appointment.to_string()).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{body}");
    let (status, body) =
        post(&node, "/appointments/receive", &key, "application/json", r#"{"customer_phone": "213-555-0123"}"#).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let fields: Vec<&str> = body["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["product_type", "zip_code", "appointment_date"], "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_says_what_is_wrong() {
    let node = TestNode::start_with(|c| c.ingest.max_body_bytes = 20_000).await;
    let key = node.provider("a").await;
    let lead = sample_lead(1).to_string();
    let (json, big) = ("application/json", format!("{{\"notes\": \"{}\"}}", "x".repeat(30_000)));
    for (path, key, content_type, body, status) in [
        ("/webhook/provider-a", "wrong", json, lead.as_str(), 401),
        ("/webhook/provider-nobody", &key, json, lead.as_str(), 401),
        ("/leads/elsewhere", &key, json, lead.as_str(), 404),
        ("/webhook/provider-a", &key, json, big.as_str(), 413),
        ("/webhook/provider-a", &key, "image/png", "a picture, and no lead", 415),
        ("/webhook/provider-a", &key, json, "{\"phone\": }", 400),
        ("/webhook/provider-a", &key, json, "{}", 422),
    ] {
        let (got, problem) = post(&node, path, key, content_type, body.to_owned()).await;
        assert_eq!(got.as_u16(), status, "{path} {content_type}: {problem}");
        assert_eq!(problem["status"], status, "an RFC 9457 document: {problem}");
        assert!(problem["type"].is_string() && problem["detail"].is_string(), "{problem}");
    }
    let (_, problem) = post(&node, "/webhook/provider-a", &key, json, "{\n \"phone\": }").await;
    assert!(problem["detail"].as_str().unwrap().contains("line 2"), "the place of the JSON error: {problem}");
    let (status, _) = answer(node.http.get(format!("{}/webhook/provider-a", node.base))).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_lead_is_kept_and_can_be_corrected_and_released() {
    let node = TestNode::start().await;
    let key = node.provider("a").await;
    let mut wrong = sample_lead(1);
    wrong["phone"] = json!("213-555-01");
    let (status, problem) = node.lead("a", &key, &wrong).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let id = problem["quarantine_id"].as_str().unwrap();
    let path = format!("/api/quarantine/a/{id}");
    let kept = crate::support::eventually("the quarantined lead", async || {
        let (status, body) = node.call("GET", &path, None).await;
        if status.is_success() { Ok(body) } else { Err(body.to_string()) }
    })
    .await;
    assert_eq!(kept["errors"][0]["field"], "phone", "{kept}");
    assert_eq!(kept["body"]["first_name"], "John");
    let (status, _) = node.call("POST", &format!("{path}/release"), Some(json!({}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "it is still wrong");
    let released = node.post(&format!("{path}/release"), json!({"lead": sample_lead(1)})).await;
    let lead = node.get(&format!("/api/leads/{}", released["lead_id"])).await;
    assert_eq!(lead["phone"], "+12132200001", "{lead}");
    let listed = node.get("/api/quarantine?provider_id=a").await;
    assert_eq!(listed["items"], json!([]), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_over_its_rate_is_told_when_to_come_back() {
    let node = TestNode::start().await;
    let key = node.provider("a").await;
    node.patch("/api/providers/a", json!({"rate_limit": {"per_second": 1, "burst": 2}})).await;
    let mut statuses = Vec::new();
    for n in 0..4 {
        let request = node.http.post(format!("{}/webhook/provider-a", node.base)).header("x-api-key", &key);
        let response = request.json(&sample_lead(n)).send().await.unwrap();
        statuses.push((response.status().as_u16(), response.headers().contains_key("retry-after")));
    }
    assert!(statuses.contains(&(202, false)) && statuses.contains(&(429, true)), "{statuses:?}");
}
