//! The whole picture as code: what a node is made of, and in which order it starts and stops.
//!
//! ```text
//! provider ─POST─► ingest ──leads──► router ──appointments──► dispatcher ─POST─► client system
//! people ─HTTP─► portal ──settings, commands──► log                │
//!                  ▲                                          deliveries
//!                  └────────── tables ◄── scoring: every topic in, rows out
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::http::HeaderValue;
use leadway_config::{Config, LogKind, StageName};
use leadway_dispatcher::{Dispatcher, HttpTransport, Transport};
use leadway_domain::settings::Settings;
use leadway_domain::{
    Addressing, Clock, ZipDirectory,
    telemetry::{DELIVERIES_OFF, HTTP_HELD_BYTES, LOG_BYTES},
};
use leadway_eventlog::{EventLog, SettingsHandle};
use leadway_ingest::Ingest;
use leadway_router::Matcher;
use leadway_tables::Tables;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::http::{Bounds, Front};
use crate::ops::{self, Readiness};
use crate::seal_key::SealKeys;
use crate::storage::Opened;
use crate::supervise::{apart, keep_running};
use crate::watch::Watch;
use crate::{census, changes, clocks, storage, telemetry};

/// What every stage is made of.
#[derive(Clone)]
struct Parts {
    log: Arc<dyn EventLog>,
    tables: Arc<dyn Tables>,
    settings: SettingsHandle,
    zips: Arc<ZipDirectory>,
    clock: Clock,
    addressing: Addressing,
}

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Providers.
    pub providers: SocketAddr,
    /// The management API and its documentation.
    pub api: SocketAddr,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub ops: SocketAddr,
}

impl Addresses {
    /// Each address with what it serves.
    pub fn by_name(&self) -> Vec<(&'static str, SocketAddr)> {
        if self.providers == self.api && self.api == self.ops {
            return vec![("everything", self.api)];
        }
        vec![("providers", self.providers), ("api", self.api), ("ops", self.ops)]
    }
}

/// A running node.
pub struct Node {
    /// Where it listens.
    pub addresses: Addresses,
    /// The first admin key, when this start made it.
    pub admin_key: Option<String>,
    parts: Parts,
    ingest: Option<Ingest>,
    readiness: Readiness,
    stop_http: CancellationToken,
    stop_stages: CancellationToken,
    /// Of the listener that only operators ask, where there is one: it goes last.
    stop_ops: CancellationToken,
    http: JoinSet<()>,
    ops: JoinSet<()>,
    stages: JoinSet<()>,
    drain: Duration,
}

impl Node {
    /// Opens log and tables, starts the stages and listens. Returns when everything is ready.
    pub async fn start(config: Config, admin_key: Option<String>) -> anyhow::Result<Self> {
        // An error only says that another part of the process was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let prometheus = crate::telemetry::install()?;
        let (parts, id) = open(&config).await?;
        let random = leadway_portal::Random::system();
        let Parts { log, settings, clock, .. } = parts.clone();
        // What only people need is made where they come in.
        let first = match config.stages.contains(&StageName::Portal) {
            true => leadway_portal::first_start(log, settings, clock, &random, admin_key).await?,
            false => Default::default(),
        };
        if config.log == LogKind::Embedded && config.stages.contains(&StageName::Portal) {
            // Other nodes might not be ready for it; of an embedded log there are none.
            let Parts { log, settings, clock, .. } = parts.clone();
            let anew = leadway_portal::reseal(log, settings, clock, &random).await?;
            if anew > 0 {
                tracing::info!(settings = anew, "secrets of settings were sealed anew");
            }
        }

        let readiness = Readiness::default();
        let bounds = Arc::new(Bounds::new(&config.http));
        let [stop_http, stop_stages, stop_ops] = std::array::from_fn(|_| CancellationToken::new());
        let mut stages = JoinSet::new();
        // The stages alone stop where log and tables do not belong together any more.
        let stop_work = stop_stages.child_token();
        let matcher = Matcher::follow(parts.settings.clone(), parts.zips.clone());
        let ingest = start_stages(&config, &parts, &matcher, &readiness, &stop_work, &mut stages)?;
        let upkeep = Upkeep {
            log: parts.log.clone(),
            settings: parts.settings.clone(),
            tables: parts.tables.clone(),
            data: (config.log == LogKind::Embedded).then(|| config.data.clone()),
            births: telemetry::Births::new(config.stages.clone()),
            prometheus: prometheus.clone(),
            ingest: ingest.clone(),
            readiness: readiness.clone(),
            bounds: bounds.clone(),
        };
        stages.spawn(upkeep.run(stop_stages.clone()));
        let writes = leadway_portal::Writes::default();
        let watch = Watch {
            log: parts.log.clone(),
            tables: parts.tables.clone(),
            id,
            is_shared: storage::is_shared(&config),
            names: storage::names(&config),
            readiness: readiness.clone(),
            ingest: ingest.clone(),
            writes: writes.clone(),
            stages: stop_work,
        };
        stages.spawn(watch.run(stop_stages.clone()));
        stages.spawn(changes::run(parts.log.clone(), parts.settings.clone(), stop_stages.clone()));
        stages.spawn(clocks::watch(parts.tables.clone(), parts.clock.clone(), stop_stages.clone()));
        telemetry::tell_settings(&config)?;

        let ops = Ops {
            health: ops::health(readiness.clone()),
            metrics: ops::metrics(prometheus, parts.settings.clone()),
            settings: parts.settings.clone(),
        };
        let api = config.stages.contains(&StageName::Portal).then(|| api(&config, &parts, matcher, random, writes));
        let mut served = Served { stop: &stop_http, http: JoinSet::new(), stop_ops: &stop_ops, ops: JoinSet::new() };
        let addresses = listen(&config, ingest.clone(), api, ops, bounds, &mut served).await?;
        let (http, ops) = (served.http, served.ops);
        let drain = Duration::from_secs(config.drain_seconds);
        let node = Self {
            addresses,
            admin_key: first.new_admin_key,
            parts,
            ingest,
            readiness: readiness.clone(),
            stop_http,
            stop_stages,
            stop_ops,
            http,
            ops,
            stages,
            drain,
        };
        node.until_ready(&readiness).await?;
        Ok(node)
    }

    async fn until_ready(&self, readiness: &Readiness) -> anyhow::Result<()> {
        let ready = async {
            while !readiness.all() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(600), ready).await.context("the node did not become ready")
    }

    /// Stops: no new requests, what is under way finishes within the drain time, everything else waits on disk. Meanwhile
    /// `/readyz` answers 503 on a listener of its own, and `/metrics` what is still to be seen.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.readiness.set("node", false);
        if let Some(ingest) = &self.ingest {
            ingest.stop_accepting();
        }
        self.stop_http.cancel();
        while self.http.join_next().await.is_some() {}
        self.stop_stages.cancel();
        let stopped = async { while self.stages.join_next().await.is_some() {} };
        if tokio::time::timeout(self.drain + Duration::from_secs(5), stopped).await.is_err() {
            tracing::warn!("stages still busy at the end of the drain are cut off; the log has what they need");
            self.stages.shutdown().await;
        }
        self.parts.tables.sync().await?;
        self.stop_ops.cancel();
        while self.ops.join_next().await.is_some() {}
        // Whoever still reads lets go within moments; then the log writes what waits and frees its folder.
        let log = Arc::downgrade(&self.parts.log);
        drop((self.parts, self.ingest));
        let closed = async {
            while log.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(5), closed).await.is_err() {
            tracing::warn!("something still reads the log after the stop; what is durable is not affected");
        }
        Ok(())
    }
}

async fn open(config: &Config) -> anyhow::Result<(Parts, Uuid)> {
    let Opened { log, tables, id } = Box::pin(storage::open(config)).await?;
    let zips = crate::inspect::zips(config)?;
    let keys = SealKeys::load(config)?;
    let settings = SettingsHandle::follow_with(log.clone(), keys.ring.clone()).await?;
    keys.settle(&settings.load())?;
    let parts = Parts { log, tables, settings, zips, clock: Clock::system(), addressing: Addressing::default() };
    Ok((parts, id))
}

/// Starts the stages that this node runs, each kept running until `stop`.
fn start_stages(
    config: &Config,
    parts: &Parts,
    matcher: &Matcher,
    readiness: &Readiness,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Option<Ingest>> {
    let runs = |stage| config.stages.contains(&stage);
    let p = || parts.clone();
    if runs(StageName::Scoring) {
        let (parts, options, token) = (p(), config.scoring.clone(), stop.child_token());
        let run = {
            let token = token.clone();
            move || {
                let Parts { log, tables, addressing, .. } = parts.clone();
                leadway_scoring::Scoring::new(log, tables, addressing, options.clone()).run(token.clone())
            }
        };
        tasks.spawn(census::run(p().tables, p().settings, p().clock, stop.clone()));
        let scoring = keep_running("scoring", readiness.clone(), token.clone(), run);
        tasks.spawn(apart("scoring", token, scoring)?);
    }
    if runs(StageName::Router) {
        let (parts, matcher, options, token) = (p(), matcher.clone(), config.router.clone(), stop.clone());
        tasks.spawn(keep_running("router", readiness.clone(), stop.clone(), move || {
            let Parts { log, tables, zips, clock, addressing, .. } = parts.clone();
            let deps = leadway_router::Deps { log, tables, matcher: matcher.clone(), zips, clock, addressing };
            leadway_router::Router::new(deps, options.clone()).run(token.clone())
        }));
    }
    metrics::gauge!(DELIVERIES_OFF).set(f64::from(u8::from(!config.deliver)));
    if !config.deliver {
        tracing::warn!("deliver is off: no appointment is delivered, whatever is routed; they wait in the log");
        readiness.off("dispatcher", "off: the node was told to deliver nothing");
    }
    if runs(StageName::Dispatcher) && config.deliver {
        leadway_dispatcher::warn_of_plain_targets(&parts.settings.load(), config.dispatcher.allow_private_targets);
        let transport: Arc<dyn Transport> = Arc::new(HttpTransport::new(&config.dispatcher)?);
        let (parts, options, token) = (p(), config.dispatcher.clone(), stop.clone());
        tasks.spawn(keep_running("dispatcher", readiness.clone(), stop.clone(), move || {
            let Parts { log, tables, settings, clock, .. } = parts.clone();
            let seed = fastrand::u64(..);
            Dispatcher::new(log, tables, settings, clock, transport.clone(), seed, options.clone()).run(token.clone())
        }));
    }
    if !runs(StageName::Ingest) {
        return Ok(None);
    }
    readiness.set("ingest", false);
    let Parts { log, settings, zips, clock, addressing, .. } = p();
    // A node on a shared log may have a disk that stays, and then need not read a day of the log either.
    let notes = Some(window_folder(config));
    let options = leadway_ingest::Options { notes, ..config.ingest.clone() };
    let ingest = Ingest::new(log, settings, zips, clock, addressing, options);
    let (follower, token) = (ingest.clone(), stop.clone());
    tasks.spawn(keep_running("ingest_window", readiness.clone(), stop.clone(), move || {
        let (follower, token) = (follower.clone(), token.clone());
        async move { follower.follow(token).await }
    }));
    Ok(Some(ingest))
}

/// Where the submission window is noted. Of a shared log each has a folder of its own: notes of one say nothing of another.
fn window_folder(config: &Config) -> PathBuf {
    let window = config.data.join("window");
    match config.log {
        LogKind::Embedded => window,
        LogKind::Kafka => {
            let log = format!("{}\n{}", config.kafka.brokers, config.kafka.topic_prefix);
            window.join(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(log.as_bytes())))
        }
    }
}

fn api(
    config: &Config,
    parts: &Parts,
    matcher: Matcher,
    random: leadway_portal::Random,
    writes: leadway_portal::Writes,
) -> axum::Router {
    let Parts { log, tables, settings, zips, clock, addressing } = parts.clone();
    let routing = leadway_router::ApiDeps {
        matcher,
        zips: zips.clone(),
        log: log.clone(),
        tables: tables.clone(),
        clock: clock.clone(),
    };
    let deps = leadway_portal::Deps { log, tables, settings, zips, clock, addressing, random, writes };
    // One setting rules both what may be stored as a webhook URL and what is connected to.
    let allow_private_targets = config.dispatcher.allow_private_targets;
    let max_lead_bytes = config.ingest.max_lead_bytes;
    let options = leadway_portal::Options { allow_private_targets, max_lead_bytes, ..config.portal.clone() };
    let api = leadway_portal::api(deps, leadway_router::api(routing), options);
    match config.deliver {
        true => api,
        // Who works with a copy sees it on every answer.
        false => api.layer(axum::middleware::map_response(async |mut answer: axum::response::Response| {
            answer.headers_mut().insert("leadway-deliveries", HeaderValue::from_static("off"));
            answer
        })),
    }
}

/// What serves the addresses, and what ends it.
struct Served<'t> {
    stop: &'t CancellationToken,
    http: JoinSet<()>,
    stop_ops: &'t CancellationToken,
    ops: JoinSet<()>,
}

/// What operators' tools ask.
struct Ops {
    health: axum::Router,
    metrics: axum::Router,
    settings: SettingsHandle,
}

/// Binds the addresses and serves: one for everything, unless the settings give a part its own.
async fn listen(
    config: &Config,
    ingest: Option<Ingest>,
    api: Option<axum::Router>,
    ops: Ops,
    bounds: Arc<Bounds>,
    served: &mut Served<'_>,
) -> anyhow::Result<Addresses> {
    let drain = Duration::from_secs(config.drain_seconds);
    let own = &config.http;
    let options = Arc::new(own.clone());
    let front = |ingest, rest| Front { ingest, rest, options: options.clone() };
    let main = bind(config.listen).await?;
    let main_address = main.local_addr()?;
    let mut addresses = Addresses { providers: main_address, api: main_address, ops: main_address };
    let (mut main_ingest, mut others) = (ingest, Vec::new());
    if let Some(address) = own.providers_listen {
        let listener = bind(address).await?;
        addresses.providers = listener.local_addr()?;
        others.push((listener, front(main_ingest.take(), ops::nothing_else())));
    }
    // The API's own fallback answers what nobody serves.
    let mut rest = ops::nothing_else();
    if let Some(api) = api {
        match own.api_listen {
            Some(address) => {
                let listener = bind(address).await?;
                addresses.api = listener.local_addr()?;
                others.push((listener, front(None, api)));
            }
            None => rest = api,
        }
    }
    let rest = match own.ops_listen {
        Some(address) => {
            let listener = bind(address).await?;
            addresses.ops = listener.local_addr()?;
            let only = front(None, ops.health.merge(ops.metrics).merge(ops::nothing_else()));
            // What the clients of the other listeners hold must not make the node look dead.
            let bounds = Arc::new(Bounds::new(own));
            served.ops.spawn(crate::http::serve(listener, only, bounds, drain, served.stop_ops.clone()));
            rest
        }
        None => rest.merge(ops.health).merge(leadway_portal::behind_key(ops.metrics, ops.settings)),
    };
    others.push((main, front(main_ingest, rest)));
    for (listener, front) in others {
        warn_of_strangers(listener.local_addr()?, &addresses, own.tls_in_front);
        served.http.spawn(crate::http::serve(listener, front, bounds.clone(), drain, served.stop.clone()));
    }
    Ok(addresses)
}

/// Keys and personal data go over the network as they are where nothing in front adds TLS.
fn warn_of_strangers(address: SocketAddr, addresses: &Addresses, tls_in_front: bool) {
    let serves_them = [addresses.providers, addresses.api].contains(&address);
    if serves_them && !address.ip().is_loopback() && !tls_in_front {
        tracing::warn!(
            %address,
            "listens beyond this machine without TLS; let a proxy in front end TLS and set http.tls_in_front"
        );
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another with --listen, or port 0 for a free one"))
}

/// Keeps what is only looked at now and then: readiness, sizes, the recorder's upkeep.
struct Upkeep {
    log: Arc<dyn EventLog>,
    settings: SettingsHandle,
    tables: Arc<dyn Tables>,
    /// The data folder, where this node has one.
    data: Option<PathBuf>,
    births: telemetry::Births,
    prometheus: metrics_exporter_prometheus::PrometheusHandle,
    ingest: Option<Ingest>,
    readiness: Readiness,
    bounds: Arc<Bounds>,
}

impl Upkeep {
    async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        let mut changes = self.settings.changes();
        self.births.follow(&self.settings.load());
        let mut round: u64 = 0;
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            if let Some(ingest) = &self.ingest {
                self.readiness.set("ingest", ingest.is_ready());
            }
            self.readiness.set("tables", !self.tables.are_full());
            if changes.has_changed().unwrap_or(false) {
                changes.mark_unchanged();
                let settings = self.settings.load();
                self.births.follow(&settings);
                self.check_seal_key(&settings);
            }
            if round.is_multiple_of(100) {
                metrics::gauge!(HTTP_HELD_BYTES).set(self.bounds.held_bytes() as f64);
                if let Some(bytes) = self.log.disk_bytes() {
                    metrics::gauge!(LOG_BYTES).set(bytes as f64);
                }
                telemetry::measure(self.data.as_deref());
                self.prometheus.run_upkeep();
            }
            round += 1;
        }
        self.readiness.set("node", false);
    }

    /// Says loudly when the log's secrets were sealed with a key that this node does not have.
    fn check_seal_key(&self, settings: &Settings) {
        let lacks = settings.seals().lacks();
        if let Some(needed) = lacks {
            tracing::error!(%needed, "the log's secrets were sealed anew with a key that this node does not have: give it that key and restart it");
        }
        self.readiness.set("seal_key", lacks.is_none());
    }
}
