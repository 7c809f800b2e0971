//! `leadway demo`: a whole node with sample providers, workspaces and rules, a small client system that receives the
//! webhooks, and a stream of realistic leads. Everything goes over HTTP, as in real life.

mod client;
mod sample;
mod traffic;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use leadway_config::Config;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::flow::Node;

/// What the demo is asked for.
#[derive(Clone, Copy, Debug)]
pub struct DemoOptions {
    /// Leads a second.
    pub rate: f64,
    /// Ends by itself after so many leads; `None` goes on until Ctrl-C.
    pub leads: Option<u64>,
}

/// Runs the demo until `stop`, or until it has sent all the leads it was asked for.
#[allow(clippy::print_stdout)] // the terminal is its output
pub async fn run(mut config: Config, options: DemoOptions, stop: CancellationToken) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("leadway-demo-").tempdir()?;
    config.data = folder.path().to_owned();
    config.dispatcher.allow_private_targets = true;
    config.dispatcher.first_retry_ms = 2_000; // nobody watches a demo for long
    config.listen = free_address(config.listen).await?;
    // With an address of its own, the metrics can be looked at without a key.
    config.http.ops_listen = Some(free_address(SocketAddr::new(config.listen.ip(), 0)).await?);
    config.logging.filter = "warn".into();

    let receiver = client::Receiver::start().await?;
    let node = Node::start(config, None).await?;
    let key = node.admin_key.clone().context("a new node makes an admin key")?;
    let api = Api::new(node.addresses.api, key)?;
    let providers = sample::set_up(&api, &receiver).await.context("setting up the sample business")?;

    let base = &api.base;
    println!("leadway demo: 3 providers, 4 clients, real webhooks over HTTP on this machine\n");
    println!("  API, browsable   {base}/docs");
    println!("  metrics          http://{}/metrics", node.addresses.ops);
    println!("  admin key        {}", api.key);
    println!("  look at it       curl -H 'Authorization: Bearer {}' '{base}/api/appointments?limit=3'\n", api.key);
    println!("Ctrl-C ends it; its data is then removed.\n");

    tokio::select! {
        sent = traffic::send(&api, &providers, &receiver, options) => sent?,
        () = stop.cancelled() => {}
    }
    traffic::summary(&api, &receiver).await?;
    println!("\nStopping: requests and deliveries under way finish.");
    node.stop().await?;
    Ok(())
}

/// The address asked for, or a free port beside it when it is taken.
async fn free_address(asked: SocketAddr) -> anyhow::Result<SocketAddr> {
    if TcpListener::bind(asked).await.is_ok() {
        return Ok(asked);
    }
    let free = TcpListener::bind(SocketAddr::new(asked.ip(), 0)).await?.local_addr()?;
    Ok(free)
}

/// The management API, as an operator's program uses it.
#[derive(Clone)]
pub struct Api {
    base: String,
    key: String,
    http: reqwest::Client,
}

impl Api {
    fn new(address: SocketAddr, key: String) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { base: format!("http://{address}"), key, http })
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}{path}", self.base)).bearer_auth(&self.key).json(body);
        Self::answer(path, request).await
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        Self::answer(path, self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.key)).await
    }

    async fn answer(path: &str, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.send().await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        anyhow::ensure!(status.is_success(), "{path} answered {status}: {body}");
        Ok(body)
    }
}
