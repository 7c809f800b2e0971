//! What is measured: the null pipeline, the bare server, or leadway on either pairing, with a provider, clients and rules.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use leadway_servers::{Cassandra, CassandraOptions, KafkaCluster, KafkaOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lead::ZIP_PATTERNS;
use crate::load::Door;
use crate::measure::PATIENCE;
use crate::process::{self, Server};
use crate::{Log, Plan, Tables};

const ADMIN_KEY: &str = "lwk_key_of_the_benchmark";
/// What every delivered appointment pays, in dollars.
const PAYMENT: u64 = 150;
/// What a lead costs, in dollars.
const COST: u64 = 75;

/// Builds the binary that is measured; says where it is.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        Command::new(cargo).args(["build", "--release", "--locked", "--quiet", "-p", "leadway-server"]).status()?;
    ensure!(built.success(), "leadway cannot be built");
    Ok(std::env::current_exe()?.with_file_name("leadway"))
}

/// A server without anything around it.
pub(crate) struct Minimal {
    server: Server,
}

impl Minimal {
    /// The null pipeline, posting to `target`.
    pub(crate) fn pipeline(target: &str) -> anyhow::Result<Self> {
        Self::start(&["null", target])
    }

    /// The least that keeps leads, posting to `target` or only keeping them.
    pub(crate) fn durable(folder: &str, target: Option<&str>) -> anyhow::Result<Self> {
        Self::start(&[["least", folder].as_slice(), target.as_slice()].concat())
    }

    /// The server that only answers.
    pub(crate) fn bare() -> anyhow::Result<Self> {
        Self::start(&["bare"])
    }

    fn start(role: &[&str]) -> anyhow::Result<Self> {
        Ok(Self { server: Server::start(Command::new(std::env::current_exe()?).args(role))? })
    }

    pub(crate) fn doors(&self) -> Vec<Door> {
        vec![Door { address: self.server.address.clone(), path: "/".into(), key: "none".into() }]
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        vec![self.server.pid()]
    }
}

/// A client business and the product that is its alone.
pub(crate) struct Client<'a> {
    pub(crate) id: &'a str,
    pub(crate) product: &'a str,
    pub(crate) url: String,
    pub(crate) active: bool,
    /// Deliveries a second.
    pub(crate) rate_limit: Option<u32>,
}

/// leadway's nodes.
pub(crate) struct Leadway {
    nodes: Vec<Server>,
    doors: Vec<Door>,
    http: reqwest::Client,
    storage: Storage,
}

/// Where log and tables are.
pub(crate) enum Storage {
    Folder { path: PathBuf, _temporary: Option<TempDir> },
    Servers { kafka: Box<KafkaCluster>, cassandra: Box<Cassandra> },
}

impl Storage {
    pub(crate) async fn start(plan: &Plan) -> anyhow::Result<Self> {
        match (plan.log, plan.tables) {
            (Log::Embedded, Tables::Embedded) => {
                let temporary = if plan.data.is_none() { Some(tempfile::tempdir()?) } else { None };
                let given = plan.data.clone().or_else(|| temporary.as_ref().map(|t| t.path().join("data")));
                Ok(Self::Folder { path: given.context("no data folder")?, _temporary: temporary })
            }
            (Log::Kafka, Tables::Scylla) => {
                let brokers = plan.brokers;
                let start = move || {
                    let cassandra = std::thread::spawn(|| {
                        Cassandra::start_with(&CassandraOptions { full_compiler: true, ..CassandraOptions::default() })
                    });
                    let kafka = KafkaCluster::start_with(&KafkaOptions {
                        brokers,
                        full_compiler: true,
                        ..KafkaOptions::default()
                    })?;
                    let cassandra =
                        cassandra.join().map_err(|_| anyhow::anyhow!("the database's start broke off"))??;
                    Ok::<_, anyhow::Error>((kafka, cassandra))
                };
                let (kafka, cassandra) = tokio::task::spawn_blocking(start).await??;
                Ok(Self::Servers { kafka: kafka.into(), cassandra: cassandra.into() })
            }
            _ => bail!("--log kafka goes with --tables scylla, the embedded log with the embedded tables"),
        }
    }

    /// Another place, with nothing stored: other servers, or a folder within this one, which must stay as long.
    pub(crate) async fn another(&self, plan: &Plan) -> anyhow::Result<Self> {
        match self {
            Self::Servers { .. } => Self::start(plan).await,
            Self::Folder { path, .. } => {
                let temporary = tempfile::tempdir_in(path)?;
                Ok(Self::Folder { path: temporary.path().join("data"), _temporary: Some(temporary) })
            }
        }
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Folder { path, .. } => vec![("LEADWAY_DATA", path.display().to_string())],
            Self::Servers { kafka, cassandra } => vec![
                ("LEADWAY_LOG", "kafka".into()),
                ("LEADWAY_SEAL_KEY", "5e".repeat(32)),
                ("LEADWAY_TABLES", "scylla".into()),
                ("LEADWAY_KAFKA__BROKERS", kafka.bootstrap()),
                ("LEADWAY_KAFKA__REPLICATION", kafka.brokers().to_string()),
                ("LEADWAY_KAFKA__MIN_INSYNC", kafka.brokers().div_ceil(2).to_string()),
                ("LEADWAY_SCYLLA__NODES", cassandra.contact_point()),
                ("LEADWAY_SCYLLA__REPLICATION", "1".into()),
                ("LEADWAY_SCYLLA__START_TIMEOUT_MS", "180000".into()),
            ],
        }
    }

    /// The data folder, if there is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder { path, .. } => Some(path),
            Self::Servers { .. } => None,
        }
    }

    /// Brokers and database.
    pub(crate) fn pids(&self) -> Vec<u32> {
        match self {
            Self::Folder { .. } => Vec::new(),
            Self::Servers { kafka, cassandra } => process::that_name(&[kafka.folder(), cassandra.folder()]),
        }
    }
}

impl Leadway {
    /// Starts the nodes and lets the clients' rules be in force at each.
    pub(crate) async fn start(
        binary: &Path,
        nodes: usize,
        storage: Storage,
        clients: &[Client<'_>],
    ) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build()?;
        let nodes = (0..nodes).map(|_| start_node(binary, &storage)).collect::<anyhow::Result<_>>()?;
        let mut leadway = Self { nodes, doors: Vec::new(), http, storage };
        // Each run is another provider's: nothing that it posts was posted before.
        let provider = format!("load-{:016x}", fastrand::u64(..));
        let made = json!({"id": provider, "name": "Load generator", "cost_per_lead": COST});
        let made = leadway.call("POST", "/api/providers", Some(made)).await?;
        let key = made.get("key").and_then(Value::as_str).context("the provider has no key")?.to_owned();
        let path = format!("/webhook/provider-{provider}");
        for client in clients {
            leadway.client(client).await?;
        }
        leadway.doors = leadway
            .nodes
            .iter()
            .map(|node| node.address.clone())
            .map(|address| Door { address, path: path.clone(), key: key.clone() })
            .collect();
        leadway.until_settings_are_everywhere(clients).await?;
        Ok(leadway)
    }

    async fn client(&self, client: &Client<'_>) -> anyhow::Result<()> {
        let limit = client.rate_limit.map(|rate| json!({"per_second": rate, "burst": rate.div_ceil(10)}));
        let mut workspace = json!({
            "name": client.id, "outbound_webhook_url": client.url, "webhook_active": client.active,
            "payment_rate": PAYMENT, "rate_limit": limit,
        });
        if self.call("GET", &format!("/api/workspaces/{}", client.id), None).await.is_ok() {
            return self.call("PATCH", &format!("/api/workspaces/{}", client.id), Some(workspace)).await.map(drop);
        }
        workspace.as_object_mut().context("a workspace is an object")?.insert("id".into(), client.id.into());
        self.call("POST", "/api/workspaces", Some(workspace)).await?;
        // A product that is there by default is refused here, and that is well.
        let _ = self.call("POST", "/api/products", Some(json!({"name": client.product}))).await;
        let rule = json!({
            "workspace_id": client.id, "product_types": [client.product], "zip_codes": ZIP_PATTERNS,
            "priority": 1, "is_active": true,
        });
        self.call("POST", "/api/routing-rules", Some(rule)).await.map(drop)
    }

    async fn until_settings_are_everywhere(&self, clients: &[Client<'_>]) -> anyhow::Result<()> {
        let Some(last) = clients.last() else { return Ok(()) };
        for node in &self.nodes {
            let started = Instant::now();
            while self.ask(node, "GET", &format!("/api/workspaces/{}", last.id), None).await.is_err() {
                ensure!(started.elapsed() < Duration::from_secs(30), "the settings do not reach every node");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    }

    /// Calls the API of the first node.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let node = self.nodes.first().context("no node")?;
        self.ask(node, method, path, body).await
    }

    async fn ask(&self, node: &Server, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let mut request =
            self.http.request(method.parse()?, format!("http://{}{path}", node.address)).bearer_auth(ADMIN_KEY);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{method} {path}: {status} {text}");
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(crate) fn doors(&self) -> &[Door] {
        &self.doors
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(Server::pid).collect()
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// How long the slowest node took to be ready.
    pub(crate) fn ready_after(&self) -> Duration {
        self.nodes.iter().map(|node| node.ready_after).max().unwrap_or_default()
    }

    /// Leads that the tables have, and appointments that were billed.
    pub(crate) async fn recorded(&self) -> anyhow::Result<Recorded> {
        let (mut cost, mut billed) = (0, 0);
        for node in &self.nodes {
            let metrics = self.ask(node, "GET", "/metrics", None).await?;
            let metrics = metrics.as_str().context("metrics are text")?;
            cost += sum(metrics, "leadway_lead_cost_cents_total{");
            billed += sum(metrics, "leadway_billed_cents_total{");
        }
        Ok(Recorded { leads: cost / (COST * 100), billed: billed / (PAYMENT * 100) })
    }

    /// Waits until every stage has done what the log has for it.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        let (mut quiet, started) = (0, Instant::now());
        while quiet < 2 {
            ensure!(started.elapsed() < PATIENCE * 10, "the stages do not catch up");
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut lag = 0;
            for node in &self.nodes {
                let metrics = self.ask(node, "GET", "/metrics", None).await?;
                lag += sum(metrics.as_str().context("metrics are text")?, "leadway_stage_lag_records{");
            }
            quiet = if lag == 0 { quiet + 1 } else { 0 };
        }
        Ok(())
    }

    /// Stops the nodes; log and tables stay.
    pub(crate) fn stop(self) -> anyhow::Result<Storage> {
        for node in self.nodes {
            node.stop()?;
        }
        Ok(self.storage)
    }
}

/// What the tables have taken in since the nodes' start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) leads: u64,
    pub(crate) billed: u64,
}

fn start_node(binary: &Path, storage: &Storage) -> anyhow::Result<Server> {
    let mut command = Command::new(binary);
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .envs(storage.environment())
        .env("LEADWAY_ADMIN_KEY", ADMIN_KEY)
        .env("LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS", "true")
        .env("LEADWAY_LOGGING__FILTER", "warn");
    Server::start(&mut command)
}

fn sum(metrics: &str, name: &str) -> u64 {
    let values = metrics.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    values.filter_map(|value| value.parse::<f64>().ok()).sum::<f64>() as u64
}
