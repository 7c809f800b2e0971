//! `leadway demo`, the exporter of the machine's metrics, and a Prometheus that scrapes both with the rules of `deploy/`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::process::{PAUSE, Program, Running, leadway, repository};
use crate::prometheus::Prometheus;

/// How long each program may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);
/// Each program gets a port from the system, and says which.
const ANY_PORT: &str = "127.0.0.1:0";
/// What stands before an address in the logs of Prometheus and its exporters.
const LISTENING: &str = " address=";

/// All three, running; they end when this is dropped.
pub struct Stack {
    /// The Prometheus.
    pub prometheus: Prometheus,
    node: String,
    http: reqwest::Client,
    _running: Vec<Running>,
    _folder: TempDir,
}

impl Stack {
    /// Starts them and waits until each is ready.
    pub async fn start() -> anyhow::Result<Self> {
        // An error only says that another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let folder = tempfile::Builder::new().prefix("leadway-deploy-check-").tempdir()?;
        let output = |name: &str| folder.path().join(name);

        let demo = ["demo", "--rate", "20", "--listen", ANY_PORT].map(str::to_owned);
        let mut demo = Running::start(&leadway()?, &demo, output("demo.out"))?;
        let exporter = [format!("--web.listen-address={ANY_PORT}")];
        let mut exporter = Running::start(&Program::NodeExporter.find()?, &exporter, output("exporter.out"))?;
        let node = demo.address("API, browsable   http://", deadline()).await.context("leadway demo")?;
        let ops = demo.address("metrics          http://", deadline()).await.context("leadway demo")?;
        let machine = exporter.address(LISTENING, deadline()).await.context("node_exporter")?;

        let configuration = folder.path().join("prometheus.yml");
        std::fs::write(&configuration, configured(ops, machine))?;
        let arguments = [
            format!("--config.file={}", configuration.display()),
            format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            format!("--web.listen-address={ANY_PORT}"),
        ];
        let mut scraper = Running::start(&Program::Prometheus.find()?, &arguments, output("prometheus.out"))?;
        let server = scraper.address(LISTENING, deadline()).await.context("Prometheus")?;

        until_answered(&http, &format!("http://{ops}/readyz"), &mut demo).await?;
        until_answered(&http, &format!("http://{machine}/metrics"), &mut exporter).await?;
        until_answered(&http, &format!("http://{server}/-/ready"), &mut scraper).await?;
        let prometheus = Prometheus::new(format!("http://{server}"), http.clone());
        let node = format!("http://{node}");
        Ok(Self { prometheus, node, http, _running: vec![demo, exporter, scraper], _folder: folder })
    }

    /// The paths of the node's management API, as its own description names them.
    pub async fn api_paths(&self) -> anyhow::Result<Vec<String>> {
        let answer = self.http.get(format!("{}/openapi.json", self.node)).send().await?;
        let described: serde_json::Value = answer.json().await?;
        let paths = described.get("paths").and_then(|paths| paths.as_object()).context("no paths are described")?;
        Ok(paths.keys().cloned().collect())
    }
}

/// The jobs that rules and dashboards select, at a pace for tests.
fn configured(ops: SocketAddr, machine: SocketAddr) -> String {
    let rules = repository().join("deploy/prometheus/alerts.yml");
    format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s, external_labels: {{ runbooks: docs/runbooks }} }}\n\
         rule_files: ['{}']\n\
         scrape_configs:\n\
         - {{ job_name: leadway, static_configs: [{{ targets: ['{ops}'] }}] }}\n\
         - {{ job_name: stores, static_configs: [{{ targets: ['{machine}'] }}] }}\n",
        rules.display()
    )
}

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

async fn until_answered(http: &reqwest::Client, url: &str, program: &mut Running) -> anyhow::Result<()> {
    let deadline = deadline();
    while Instant::now() < deadline {
        if http.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        program.still_runs()?;
        tokio::time::sleep(PAUSE).await;
    }
    bail!("{url} does not answer; its program said:\n{}", program.last_words())
}
