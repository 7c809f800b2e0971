//! What the process writes: JSON and nothing else where that is asked for, and the events that people look for first.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Reply, eventually, http_client, sample_lead};

/// Sends one request, with a key of the API or of a provider.
async fn call(method: &str, url: &str, header: (&str, &str), body: &Value) -> Value {
    let request = http_client(Duration::from_secs(10)).request(method.parse().unwrap(), url).header(header.0, header.1);
    request.json(body).send().await.unwrap().json().await.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_json_and_tells_the_start_changes_and_a_client_that_fails_and_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_leadway"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path().join("data"))
        .env("LEADWAY_LOGGING__FORMAT", "json")
        .env("LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS", "true")
        .env("LEADWAY_DISPATCHER__FIRST_RETRY_MS", "20")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).unwrap();
        text
    });
    let mut first = Vec::new();
    while !first.ends_with(b"\n") {
        let mut byte = [0];
        assert_eq!(out.read(&mut byte).unwrap(), 1, "the process says that it is ready");
        first.extend(byte);
    }
    let ready: Value = serde_json::from_slice(&first).unwrap();
    let fields = &ready["fields"];
    assert!(fields["message"].as_str().unwrap().ends_with("is ready"), "{ready}");
    let base = fields["everything"].as_str().unwrap().to_owned();
    let key = format!("Bearer {}", fields["admin_key"].as_str().unwrap());
    let admin = ("authorization", key.as_str());

    let mut answers = vec![Reply::status(503), Reply::ok()].into_iter();
    let client = Client::start(move |_| answers.next().unwrap_or_else(Reply::ok)).await;
    let provider = json!({"id": "a", "name": "a", "cost_per_lead": 10});
    let made = call("POST", &format!("{base}/api/providers"), admin, &provider).await;
    let workspace = json!({"id": "w", "name": "w", "payment_rate": 100, "webhook_active": true, "outbound_webhook_url": client.url()});
    let secret = call("POST", &format!("{base}/api/workspaces"), admin, &workspace).await;
    let rule =
        json!({"workspace_id": "w", "product_types": ["Solar"], "zip_codes": ["CA"], "priority": 1, "is_active": true});
    call("POST", &format!("{base}/api/routing-rules"), admin, &rule).await;
    client.trust(secret["signing_secret"].as_str().unwrap_or_default());
    let lead = sample_lead(1);
    let provider_key = made["key"].as_str().unwrap();
    call("POST", &format!("{base}/webhook/provider-a"), ("x-api-key", provider_key), &lead).await;
    eventually("the second attempt", async || match client.received().len() {
        2.. => Ok(()),
        n => Err(format!("{n} attempts")),
    })
    .await;

    // SIGTERM, so that it writes its last words too.
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    child.wait().unwrap();
    let mut more = String::new();
    out.read_to_string(&mut more).unwrap();
    let errors = errors.join().unwrap();
    let events: Vec<Value> = more
        .lines()
        .chain(errors.lines())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect();
    let told = |message: &str| {
        let event = events.iter().find(|event| event["fields"]["message"] == message);
        event.unwrap_or_else(|| panic!("not told: {message}\n{errors}"))["fields"].clone()
    };
    assert_eq!(told("leadway starts")["stages"], "ingest,router,dispatcher,scoring,portal");
    let changes: Vec<&Value> =
        events.iter().map(|e| &e["fields"]).filter(|f| f["message"] == "settings changed").collect();
    for (kind, id) in [("provider", "a"), ("workspace", "w")] {
        let change = changes.iter().find(|f| f["kind"] == kind).unwrap_or_else(|| panic!("{kind}: {changes:?}"));
        assert_eq!((&change["id"], &change["what"]), (&json!(id), &json!("made")));
    }
    let fails = told("the client fails");
    assert_eq!((&fails["workspace"], &fails["error"]), (&json!("w"), &json!("the client answered 503")));
    assert_eq!(told("the client is back")["workspace"], "w");
    for hidden in [provider_key, secret["signing_secret"].as_str().unwrap_or("whsec_"), &key["Bearer ".len()..]] {
        assert!(!errors.contains(hidden) && !more.contains(hidden), "no secret is logged");
    }
}
