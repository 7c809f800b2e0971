//! A node in a temporary folder, a scripted client system, and the words to talk to both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use leadway_config::{Config, LogKind, TablesKind};
use leadway_server::flow::Node;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// How long anything may take before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the log and the tables of the nodes under test are. Each test binary says it of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pairing {
    Embedded,
    /// Real servers, which the tests of the binary share.
    KafkaAndCassandra,
}

impl Pairing {
    /// Gives a node topics, groups and a keyspace of its own.
    async fn settle(self, folder: &std::path::Path, config: &mut Config) {
        static TESTS: AtomicU32 = AtomicU32::new(0);
        if self == Self::Embedded {
            return;
        }
        let start = || {
            let cassandra = std::thread::spawn(leadway_servers::shared_cassandra);
            let kafka = leadway_servers::shared_kafka().unwrap_or_else(|e| panic!("{e}"));
            (kafka.bootstrap(), cassandra.join().unwrap().unwrap_or_else(|e| panic!("{e}")).contact_point())
        };
        let (brokers, nodes) = tokio::task::spawn_blocking(start).await.unwrap();
        let name = format!("t{}", TESTS.fetch_add(1, Ordering::Relaxed));
        (config.log, config.tables) = (LogKind::Kafka, TablesKind::Scylla);
        let kafka = &mut config.kafka;
        (kafka.brokers, kafka.topic_prefix, kafka.group_prefix) = (brokers, format!("{name}."), format!("{name}-"));
        (kafka.partitions, kafka.replication, kafka.min_insync) = (4, 1, 1);
        (config.scylla.nodes, config.scylla.keyspace, config.scylla.replication) = (nodes, name, 1);
        let seal_key = folder.join("seal.key");
        std::fs::write(&seal_key, "5e".repeat(32)).unwrap();
        config.seal_key_file = Some(seal_key);
        // The first of many tests at once make their tables on a busy machine.
        (config.kafka.start_timeout_ms, config.scylla.start_timeout_ms) = (180_000, 180_000);
    }
}

/// A running node and the operator's view of it.
pub(crate) struct TestNode {
    pub(crate) node: Option<Node>,
    /// Removed with the node.
    _folder: TempDir,
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
    pub(crate) config: Config,
}

pub(crate) const ADMIN_KEY: &str = "lwk_key_of_the_end_to_end_tests";

async fn start(config: &Config) -> Node {
    Node::start(config.clone(), Some(ADMIN_KEY.into())).await.unwrap_or_else(|error| panic!("the node: {error:#}"))
}

impl TestNode {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config =
            Config { data: folder.path().join("data"), listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
        config.dispatcher.allow_private_targets = true;
        config.dispatcher.first_retry_ms = 20;
        config.drain_seconds = 5;
        crate::PAIRING.settle(folder.path(), &mut config).await;
        change(&mut config);
        let node = start(&config).await;
        let base = format!("http://{}", node.addresses.api);
        let http = http_client(PATIENCE);
        Self { node: Some(node), _folder: folder, base, http, config }
    }

    /// Stops the node and starts it again on the same folder.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        let node = start(&self.config).await;
        self.base = format!("http://{}", node.addresses.api);
        self.node = Some(node);
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(node) = self.node.take() {
            node.stop().await.unwrap();
        }
    }

    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.config.data.clone()
    }

    /// A settings file that leads a command to where this node has its log and tables.
    pub(crate) fn settings_file(&self) -> String {
        let file = self._folder.path().join("leadway.toml");
        std::fs::write(&file, toml::to_string(&self.config).unwrap()).unwrap();
        file.to_str().unwrap().to_owned()
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut request =
            self.http.request(method.parse().unwrap(), format!("{}{path}", self.base)).bearer_auth(ADMIN_KEY);
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, None).await;
        assert!(status.is_success(), "GET {path}: {status} {body}");
        body
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call("POST", path, Some(body)).await;
        assert!(status.is_success(), "POST {path}: {status} {answer}");
        answer
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call("PATCH", path, Some(body)).await;
        assert!(status.is_success(), "PATCH {path}: {status} {answer}");
        answer
    }

    /// Makes provider `a` as the documentation does; returns its key.
    pub(crate) async fn provider(&self, id: &str) -> String {
        let made = self.post("/api/providers", json!({"id": id, "name": "Provider A", "cost_per_lead": 75})).await;
        made["key"].as_str().unwrap().to_owned()
    }

    /// Makes a workspace whose appointments go to `client`, and gives the client its secret.
    pub(crate) async fn workspace(&self, id: &str, client: &Client) -> Value {
        let made = self
            .post(
                "/api/workspaces",
                json!({
                    "id": id, "name": format!("{id} team"), "outbound_webhook_url": client.url(), "webhook_active": true,
                    "business_type": "Solar Installation", "payment_rate": 150,
                }),
            )
            .await;
        client.trust(made["signing_secret"].as_str().unwrap());
        made
    }

    pub(crate) async fn rule(&self, workspace: &str, products: &[&str], zips: &[&str], priority: u32) -> Value {
        let body = json!({
            "workspace_id": workspace, "product_types": products, "zip_codes": zips, "priority": priority, "is_active": true,
        });
        self.post("/api/routing-rules", body).await
    }

    /// Posts a lead as provider `id`; returns status and body.
    pub(crate) async fn lead(&self, id: &str, key: &str, lead: &Value) -> (StatusCode, Value) {
        let url = format!("{}/webhook/provider-{id}", self.base);
        answer(self.http.post(url).header("x-api-key", key).json(lead)).await
    }

    /// Posts a lead that must be accepted; returns its id.
    pub(crate) async fn accepted(&self, id: &str, key: &str, lead: &Value) -> u64 {
        let (status, body) = self.lead(id, key, lead).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        assert_eq!(body["status"], "accepted", "{body}");
        body["lead_id"].as_u64().unwrap()
    }

    /// Waits until the appointment fits.
    pub(crate) async fn appointment(&self, id: u64, fits: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/appointments/{id}");
        eventually(&format!("appointment {id}"), async || {
            let (status, body) = self.call("GET", &path, None).await;
            if status.is_success() && fits(&body) { Ok(body) } else { Err(body.to_string()) }
        })
        .await
    }

    pub(crate) async fn delivered(&self, id: u64) -> Value {
        self.appointment(id, |a| a["forward_status"] == "success").await
    }

    /// The differences that reconciliation finds over today and its neighbours.
    pub(crate) async fn reconciliation(&self) -> Value {
        self.get(&format!("/api/billing/reconciliation?{}", around_today())).await
    }
}

/// `from=…&to=…` from yesterday to the day after tomorrow.
pub(crate) fn around_today() -> String {
    let today = leadway_domain::Clock::system().now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let (from, to) = (today.yesterday().unwrap(), today.tomorrow().unwrap().tomorrow().unwrap());
    format!("from={from}&to={to}")
}

/// A client of our own, which needs no node in this process to have chosen the provider of cryptography.
pub(crate) fn http_client(timeout: Duration) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(timeout).build().unwrap()
}

/// Sends a request; an empty or non-JSON body reads as text.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Asks again and again until the answer is `Ok`; panics with the last `Err`.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    ask_again(what, PATIENCE, Duration::from_millis(10), ask).await
}

/// The same with a patience of its own, and a pause between two questions.
pub(crate) async fn ask_again<T>(
    what: &str,
    patience: Duration,
    pause: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(last) if tokio::time::Instant::now() > deadline => panic!("{what}: still {last}"),
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
}

/// A full lead; `n` makes it one of its own.
pub(crate) fn sample_lead(n: u32) -> Value {
    json!({
        "first_name": "John", "last_name": "Solar Customer", "phone": format!("213-{:03}-{:04}", 220 + n / 10_000, n % 10_000),
        "email": "john@example.com", "product_type": "Solar", "zip_code": "90210", "estimated_value": 25000,
        "interest_level": "hot", "notes": "Interested in 10kW solar system", "appointment_date": "2030-12-01T14:00:00Z",
        "external_id": format!("x-{n}"),
    })
}

/// One webhook as the client received it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) verified: bool,
}

/// What the client answers to a request, in order of arrival.
pub(crate) type Script = Box<dyn FnMut(&Value) -> Reply + Send>;

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    pub(crate) delay: Duration,
}

impl Reply {
    pub(crate) fn ok() -> Self {
        Self { status: 200, headers: vec![], body: r#"{"status": "received"}"#.into(), delay: Duration::ZERO }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::ok() }
    }

    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// A scripted client system.
#[derive(Clone)]
pub(crate) struct Client {
    address: std::net::SocketAddr,
    state: Arc<ClientState>,
}

struct ClientState {
    script: Mutex<Script>,
    received: Mutex<Vec<Received>>,
    verifiers: Mutex<Vec<standardwebhooks::Webhook>>,
}

impl Client {
    pub(crate) async fn start(script: impl FnMut(&Value) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let state = Arc::new(ClientState {
            script: Mutex::new(Box::new(script)),
            received: Mutex::default(),
            verifiers: Mutex::default(),
        });
        let address = listener.local_addr().unwrap();
        let routes = axum::Router::new().fallback(receive).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, state }
    }

    /// Answers 200 to everything.
    pub(crate) async fn willing() -> Self {
        Self::start(|_| Reply::ok()).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Verifies signatures with this secret from now on, besides those it has.
    pub(crate) fn trust(&self, secret: &str) {
        self.state.verifiers.lock().push(standardwebhooks::Webhook::new(secret).unwrap());
    }

    /// Verifies with this secret alone.
    pub(crate) fn trust_only(&self, secret: &str) {
        self.state.verifiers.lock().clear();
        self.trust(secret);
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.state.received.lock().clone()
    }

    /// Waits until so many webhooks have come.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually("webhooks", async || {
            let received = self.received();
            if received.len() >= count { Ok(received) } else { Err(format!("{} of {count}", received.len())) }
        })
        .await
    }
}

async fn receive(State(state): State<Arc<ClientState>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let verified = state.verifiers.lock().iter().any(|v| v.verify(&bytes, &head.headers).is_ok());
    state.received.lock().push(Received { headers: head.headers, body: body.clone(), verified });
    let reply = (state.script.lock())(&body);
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).unwrap()
}
