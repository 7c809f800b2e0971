//! One node: every stage, as the server runs them, until it dies or leaves.

use std::sync::Arc;
use std::time::Duration;

use leadway_dispatcher::{Dispatcher, Transport};
use leadway_domain::{Addressing, Clock, ZipDirectory};
use leadway_eventlog::{EventLog, MemoryLog, SettingsHandle};
use leadway_ingest::Ingest;
use leadway_router::Matcher;
use leadway_scoring::Scoring;
use leadway_server::supervise::keep_running;
use leadway_tables::Tables;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clients::{Clients, Line};
use crate::faulty::{FaultyLog, FaultyTables, SharedTables, Trouble};
use crate::ice::Ice;

/// After this the log gives the partitions of a node that stands still to others. Longer than the dispatcher lets a
/// node stand still before it asks.
pub(crate) const SESSION: Duration = Duration::from_secs(6);

/// What all nodes share.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) log: MemoryLog,
    pub(crate) tables: SharedTables,
    pub(crate) trouble: Trouble,
    pub(crate) clients: Arc<Clients>,
    pub(crate) addressing: Addressing,
}

/// A node as those outside see it.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) number: u32,
    pub(crate) ingest: Ingest,
    pub(crate) ice: Ice,
    /// Ends when the node does.
    pub(crate) gone: CancellationToken,
}

/// A running node.
pub(crate) struct Node {
    pub(crate) front: Front,
    log: MemoryLog,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// What its stages work with.
struct Parts {
    log: Arc<dyn EventLog>,
    tables: Arc<dyn Tables>,
    transport: Arc<dyn Transport>,
    settings: SettingsHandle,
    zips: Arc<ZipDirectory>,
    clock: Clock,
    addressing: Addressing,
    seed: u64,
}

impl Node {
    pub(crate) async fn start(site: &Site, number: u32, clock: Clock, seed: u64) -> Self {
        let (ice, trouble) = (Ice::default(), site.trouble.clone());
        let own = site.log.of_node(number);
        let log: Arc<dyn EventLog> =
            Arc::new(FaultyLog { inner: own.clone(), trouble: trouble.clone(), ice: ice.clone() });
        let tables = Arc::new(FaultyTables { shared: site.tables.clone(), trouble, ice: ice.clone() });
        let transport = Arc::new(Line { clients: site.clients.clone(), ice: ice.clone(), node: number });
        let settings = SettingsHandle::follow(log.clone()).await.unwrap();
        let (zips, addressing) = (ZipDirectory::builtin(), site.addressing);
        let ingest =
            Ingest::new(log.clone(), settings.clone(), zips.clone(), clock.clone(), addressing, Default::default());
        let front = Front { number, ingest, ice, gone: CancellationToken::new() };
        let mut node = Self { front, log: own, stop: CancellationToken::new(), tasks: JoinSet::new() };
        node.run(Parts { log, tables, transport, settings, zips, clock, addressing, seed });
        node
    }

    fn run(&mut self, parts: Parts) {
        let Parts { log, tables, transport, settings, zips, clock, addressing, seed } = parts;
        let (follower, token) = (self.front.ingest.clone(), self.stop.clone());
        self.spawn(keep_running("ingest", Default::default(), self.stop.clone(), move || {
            let (follower, token) = (follower.clone(), token.clone());
            async move { follower.follow(token).await }
        }));
        let (l, t, token) = (log.clone(), tables.clone(), self.stop.clone());
        self.spawn(keep_running("scoring", Default::default(), self.stop.clone(), move || {
            Scoring::new(l.clone(), t.clone(), addressing, Default::default()).run(token.clone())
        }));
        let matcher = Matcher::follow(settings.clone(), zips.clone());
        let deps = leadway_router::Deps {
            log: log.clone(),
            tables: tables.clone(),
            matcher,
            zips,
            clock: clock.clone(),
            addressing,
        };
        let token = self.stop.clone();
        self.spawn(keep_running("router", Default::default(), self.stop.clone(), move || {
            leadway_router::Router::new(deps.clone(), Default::default()).run(token.clone())
        }));
        let token = self.stop.clone();
        self.spawn(keep_running("dispatcher", Default::default(), self.stop.clone(), move || {
            let (log, tables, transport) = (log.clone(), tables.clone(), transport.clone());
            Dispatcher::new(log, tables, settings.clone(), clock.clone(), transport, seed, dispatching())
                .run(token.clone())
        }));
    }

    fn spawn(&mut self, stage: impl Future<Output = ()> + Send + 'static) {
        let ice = self.front.ice.clone();
        self.tasks.spawn(async move { ice.run(stage).await });
    }

    /// Stands still for so long, unless it does already; if that is too long, the log throws the node out meanwhile.
    pub(crate) fn freeze(&mut self, span: Duration) {
        let (ice, log, number) = (self.front.ice.clone(), self.log.clone(), self.front.number);
        if !ice.freeze() {
            return;
        }
        log.stand_still(number, true);
        self.tasks.spawn(async move {
            tokio::time::sleep(span.min(SESSION)).await;
            if span > SESSION {
                log.expel(number);
                tokio::time::sleep(span - SESSION).await;
            }
            log.stand_still(number, false);
            ice.thaw();
        });
    }

    /// Everything that the node was doing ends where it is; what it had not written is lost.
    pub(crate) async fn crash(mut self) {
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.front.gone.cancel();
    }

    /// Ends in good order.
    pub(crate) async fn leave(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.front.gone.cancel();
    }
}

fn dispatching() -> leadway_dispatcher::Options {
    leadway_dispatcher::Options {
        first_retry_ms: 1_000,
        retry_factor: 2.0,
        max_retry_seconds: 60,
        max_attempts: 6,
        circuit_failures: 4,
        circuit_pause_seconds: 30,
        ..Default::default()
    }
}
