//! What is secret stays so: on disk, in answers, in logs and metrics.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use leadway_domain::Clock;
use leadway_domain::secret::KeyHash;
use serde_json::{Value, json};

use crate::support::{Client, answer, eventually, http_client, sample_lead};

const ADMIN_KEY: &str = "lwk_key_of_the_test_of_secrets";

/// A node as a process: started with an umask that hides nothing, telling everything that it can tell.
struct Node {
    child: Child,
    base: String,
    said: [PathBuf; 2],
    http: reqwest::Client,
}

impl Node {
    async fn start(folder: &Path) -> Self {
        let said = ["stdout", "stderr"].map(|name| folder.join(name));
        let [stdout, stderr] = said.each_ref().map(|path| std::fs::File::create(path).unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", "umask 000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_leadway")]);
        let command = command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.join("data"));
        let child = command
            .env("LEADWAY_ADMIN_KEY", ADMIN_KEY)
            .env("LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS", "true")
            .env("LEADWAY_LOGGING__FILTER", "trace")
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut node = Self { child, base: String::new(), said, http: http_client(std::time::Duration::from_secs(60)) };
        node.base = eventually("the node's address", async || {
            let text = std::fs::read_to_string(&node.said[0]).unwrap();
            let ready = text.split_once(" is ready").and_then(|(_, rest)| rest.split_once("http://"));
            let address = ready.and_then(|(_, rest)| rest.split_once('\n')).map(|(address, _)| address.trim());
            address.map(|address| format!("http://{address}")).ok_or(text)
        })
        .await;
        node
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", self.base);
        let request = self.http.request(method.parse().unwrap(), url).bearer_auth(ADMIN_KEY);
        let (status, body) = answer(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await;
        assert!(status.is_success(), "{method} {path}: {status} {body}");
        body
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every file and folder below, with its mode.
fn files(folder: &Path, found: &mut Vec<(PathBuf, u32)>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let about = entry.metadata().unwrap();
        found.push((entry.path(), about.permissions().mode() & 0o777));
        if about.is_dir() {
            files(&entry.path(), found);
        }
    }
}

fn signed(secret: &str, body: &str) -> [(&'static str, String); 3] {
    let webhook = standardwebhooks::Webhook::new(secret).unwrap();
    let now = Clock::system().now().as_second();
    let signature = webhook.sign("msg_1", now, body.as_bytes()).unwrap();
    [("webhook-id", "msg_1".to_owned()), ("webhook-timestamp", now.to_string()), ("webhook-signature", signature)]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_stands_on_disk_in_answers_in_logs_or_in_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path()).await;
    let client = Client::willing().await;
    let mut secrets = vec![ADMIN_KEY.to_owned(), "wordOfTheClient".to_owned(), "nameAtTheClient".to_owned()];
    let mut keep = |made: &Value| {
        let shown = ["key", "hmac_secret", "signing_secret"].into_iter().filter_map(|field| made[field].as_str());
        secrets.extend(shown.map(str::to_owned));
        made.clone()
    };

    let provider = json!({"id": "a", "name": "A", "cost_per_lead": 75, "signing": "standard_webhooks"});
    let provider = keep(&node.call("POST", "/api/providers", Some(provider)).await);
    let legacy = json!({"id": "b", "name": "B", "cost_per_lead": 75, "signing": "legacy_body"});
    keep(&node.call("POST", "/api/providers", Some(legacy)).await);
    let url = client.url().replace("http://", "http://nameAtTheClient:wordOfTheClient@");
    let workspace = json!({"id": "w", "name": "W", "outbound_webhook_url": url, "test_webhook_url": url, "webhook_active": true,
        "payment_rate": 150});
    let workspace = keep(&node.call("POST", "/api/workspaces", Some(workspace)).await);
    client.trust(workspace["signing_secret"].as_str().unwrap());
    let rule =
        json!({"workspace_id": "w", "product_types": ["Solar"], "zip_codes": ["CA"], "priority": 1, "is_active": true});
    node.call("POST", "/api/routing-rules", Some(rule)).await;
    keep(&node.call("POST", "/api/keys", Some(json!({"name": "dashboard", "role": "reader"}))).await);

    // Leads by key, in the query too, and by signature; a key that was meant for another address.
    let key = provider["key"].as_str().unwrap();
    let lead = sample_lead(1);
    let (status, body) =
        answer(node.http.post(format!("{}/webhook/provider-a?key={key}", node.base)).json(&lead)).await;
    assert_eq!(status, 202, "{body}");
    let body = sample_lead(2).to_string();
    let mut request = node.http.post(format!("{}/webhook/provider-a", node.base)).body(body.clone());
    for (name, value) in signed(provider["hmac_secret"].as_str().unwrap(), &body) {
        request = request.header(name, value);
    }
    let (status, body) = answer(request.header("content-type", "application/json")).await;
    assert_eq!(status, 202, "{body}");
    let (status, _) = answer(node.http.post(format!("{}/webhook/provider-b?key={key}", node.base)).json(&lead)).await;
    assert_eq!(status, 401);

    for received in client.wait_for(2).await {
        assert!(received.verified);
        // base64 of `nameAtTheClient:wordOfTheClient`
        assert_eq!(received.headers["authorization"], "Basic bmFtZUF0VGhlQ2xpZW50OndvcmRPZlRoZUNsaWVudA==");
    }
    keep(&node.call("POST", "/api/providers/a/rotate-key", None).await);
    keep(&node.call("POST", "/api/workspaces/w/rotate-secret", None).await);
    secrets.push("bmFtZUF0VGhlQ2xpZW50OndvcmRPZlRoZUNsaWVudA".to_owned());
    assert_eq!(secrets.len(), 13);

    let mut said = String::new();
    for path in ["providers", "workspaces", "keys", "appointments", "leads", "routing-rules"] {
        said += &node.call("GET", &format!("/api/{path}"), None).await.to_string();
    }
    said += &eventually("who rotated what", async || {
        let changes = node.call("GET", "/api/settings/changes", None).await.to_string();
        let told = changes.contains("key_rotated") && changes.contains("secret_rotated");
        if told { Ok(changes) } else { Err(changes) }
    })
    .await;
    said += &answer(node.http.get(format!("{}/metrics", node.base)).bearer_auth(ADMIN_KEY)).await.1.to_string();
    let said_paths = node.said.clone();
    drop(node);
    for path in said_paths {
        said += &String::from_utf8_lossy(&std::fs::read(path).unwrap());
    }
    let mut found = Vec::new();
    files(&folder.path().join("data"), &mut found);
    assert!(found.iter().any(|(path, _)| path.ends_with("log/seal.key")), "{found:?}");
    for (path, mode) in found {
        assert_eq!(mode & 0o077, 0, "{} may be read by others: {mode:o}", path.display());
        if path.is_dir() {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let held = String::from_utf8_lossy(&bytes);
        for secret in &secrets {
            let hash = KeyHash::of(secret).plain_hex().unwrap();
            for text in [secret, &hash] {
                assert!(!held.contains(text.as_str()), "{} holds {text}", path.display());
            }
        }
    }
    for secret in &secrets {
        let place = said.find(secret.as_str());
        let around = place.map(|at| said.get(at.saturating_sub(200)..at));
        assert_eq!(around, None, "{secret} was told");
    }
}
