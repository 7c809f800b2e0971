//! The settings of a node: what it needs to start, and nothing that the operator changes while it runs (providers,
//! rules, prices: those are records that the API edits).
//!
//! A setting comes from, in rising precedence: its default, the file, the environment (`LEADWAY_`, the path in
//! capitals, `__` between levels), the command line.

mod load;
mod network;
mod reference;

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use load::{ConfigError, load};
pub use network::Network;
pub use reference::reference;

/// All settings of a node.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the log is.
    pub log: LogKind,
    /// Where the tables are: `embedded` with an embedded log, `scylla` with Kafka.
    pub tables: TablesKind,
    /// The folder that holds the embedded log and tables.
    pub data: PathBuf,
    /// Whether a log whose oldest records were deleted is taken as it is. No setting: an argument of one start.
    #[serde(skip)]
    pub accept_truncated: bool,
    /// The address that serves providers, the API and `/metrics`, unless `http` gives one of them its own.
    /// Port 0 takes a free port.
    pub listen: SocketAddr,
    /// The stages that this node runs.
    pub stages: Vec<StageName>,
    /// Whether appointments are delivered. `false` (or `serve --no-deliver`) is for a drill on a copy of a data folder: all
    /// other stages run, and no client is sent anything.
    pub deliver: bool,
    /// How long a stop may take, in seconds: requests and deliveries under way finish, what remains waits on disk.
    pub drain_seconds: u64,
    /// What the settings' secrets are sealed with: 64 hexadecimal digits (`openssl rand -hex 32`), the same on every node.
    /// Several are separated by spaces: the first seals, the others only open. Better in the environment than in a file of
    /// settings.
    pub seal_key: leadway_domain::secret::Secret,
    /// A file that holds it instead, a key a line. With an embedded log, `log/seal.key` in the data folder by default, made
    /// at the first start.
    pub seal_key_file: Option<PathBuf>,
    /// A CSV file (`zip,state,latitude,longitude,time_zone`) to be used instead of the list of US ZIPs that comes along.
    pub zip_list: Option<PathBuf>,
    /// Listeners and limits of the HTTP server.
    pub http: HttpOptions,
    /// What is written to the log of the process.
    pub logging: LoggingOptions,
    /// The embedded log and tables.
    pub embedded: EmbeddedOptions,
    /// The log on Kafka.
    pub kafka: leadway_eventlog::KafkaOptions,
    /// The tables on ScyllaDB (or Cassandra).
    pub scylla: leadway_tables::ScyllaOptions,
    /// Taking leads from providers.
    pub ingest: leadway_ingest::Options,
    /// Deciding where appointments go.
    pub router: leadway_router::Options,
    /// Delivering appointments to clients.
    pub dispatcher: leadway_dispatcher::Options,
    /// Keeping the tables.
    pub scoring: leadway_scoring::Options,
    /// The management API.
    pub portal: leadway_portal::Options,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log: LogKind::Embedded,
            tables: TablesKind::Embedded,
            data: "leadway-data".into(),
            accept_truncated: false,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            stages: StageName::ALL.to_vec(),
            deliver: true,
            drain_seconds: 20,
            seal_key: Default::default(),
            seal_key_file: None,
            zip_list: None,
            http: HttpOptions::default(),
            logging: LoggingOptions::default(),
            embedded: EmbeddedOptions::default(),
            kafka: Default::default(),
            scylla: Default::default(),
            ingest: Default::default(),
            router: Default::default(),
            dispatcher: Default::default(),
            scoring: Default::default(),
            portal: Default::default(),
        }
    }
}

/// Where the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    /// In the data folder of the one node.
    Embedded,
    /// On Kafka, for many nodes.
    Kafka,
}

/// Where the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TablesKind {
    /// In the data folder of the one node.
    Embedded,
    /// On ScyllaDB or Cassandra, for many nodes.
    Scylla,
}

/// A stage that a node can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageName {
    /// Takes leads from providers.
    Ingest,
    /// Decides where appointments go.
    Router,
    /// Delivers appointments.
    Dispatcher,
    /// Keeps the tables.
    Scoring,
    /// Serves the management API.
    Portal,
}

impl StageName {
    /// Every stage.
    pub const ALL: [Self; 5] = [Self::Ingest, Self::Router, Self::Dispatcher, Self::Scoring, Self::Portal];

    /// The name as written in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Router => "router",
            Self::Dispatcher => "dispatcher",
            Self::Scoring => "scoring",
            Self::Portal => "portal",
        }
    }
}

impl std::str::FromStr for StageName {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Self::as_str).join(", ");
        Self::ALL.into_iter().find(|n| n.as_str() == s).ok_or_else(|| format!("{s:?} is no stage; allowed: {known}"))
    }
}

/// Listeners and limits of the HTTP server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpOptions {
    /// An address of its own for providers.
    pub providers_listen: Option<SocketAddr>,
    /// An address of its own for the API and its documentation.
    pub api_listen: Option<SocketAddr>,
    /// An address of its own for `/metrics`, `/healthz` and `/readyz`. There `/metrics` needs no key; elsewhere it needs a
    /// reader's.
    pub ops_listen: Option<SocketAddr>,
    /// Most connections open at once at each address that the node listens on. For a further one, the one that was idle longest
    /// is closed; while none is idle, it waits.
    pub max_connections: usize,
    /// Most connections open at once from one client address (an IPv6 network of 64 bits counts as one); a further one is
    /// closed at once. A quarter of `max_connections` by default. Loopback and `trusted_proxies` are exempt.
    pub max_connections_per_address: Option<usize>,
    /// Addresses and networks (`10.0.0.0/8`) of the proxies and load balancers in front. They may open as many connections
    /// as they like, and their `X-Forwarded-For` tells whose a wrong key is
    /// and who holds answers unread.
    pub trusted_proxies: Vec<Network>,
    /// Says that TLS ends in front of this node, at a proxy or load balancer: it is then not warned of addresses beyond
    /// loopback, and answers tell browsers to come back by HTTPS only.
    pub tls_in_front: bool,
    /// How long a request's head may take to arrive, in milliseconds; a new connection's first one too.
    pub header_timeout_ms: u64,
    /// How long a connection may stay open without a request, in milliseconds.
    pub idle_timeout_ms: u64,
    /// How long a client may take to read the next 16 KiB of an answer, in milliseconds; then its connection is closed.
    pub write_timeout_ms: u64,
    /// Most memory that requests under way and answers not yet read may take on this node, in bytes: each counts as 8 KiB, and
    /// an answer that is larger with its size. An eighth of it is for those who have shown no valid key, of which one client
    /// address has an eighth. Beyond it, requests are answered 503. `ops_listen` has as much for itself.
    pub max_held_bytes: usize,
    /// Whether HTTP/2 (with prior knowledge) is served beside HTTP/1.1.
    pub http2: bool,
    /// Most requests under way at once on one HTTP/2 connection. Before its first valid key, 4 of them are worked on and the
    /// others wait.
    pub http2_max_streams: u32,
}

impl HttpOptions {
    /// How many connections one client address may have open.
    pub fn connections_per_address(&self) -> usize {
        self.max_connections_per_address.unwrap_or((self.max_connections / 4).max(1))
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            providers_listen: None,
            api_listen: None,
            ops_listen: None,
            max_connections: 10_000,
            max_connections_per_address: None,
            trusted_proxies: Vec::new(),
            tls_in_front: false,
            header_timeout_ms: 10_000,
            idle_timeout_ms: 75_000,
            write_timeout_ms: 30_000,
            max_held_bytes: 128 << 20,
            http2: true,
            http2_max_streams: 32,
        }
    }
}

/// What is written to the log of the process.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoggingOptions {
    /// Which events: a level (`info`) or directives such as `info,leadway_dispatcher=debug`.
    pub filter: String,
    /// How they are written.
    pub format: LogFormat,
}

impl Default for LoggingOptions {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text }
    }
}

/// How log events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The embedded log and tables.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedOptions {
    /// The log: an append-only journal.
    pub log: leadway_eventlog::EmbeddedOptions,
    /// The tables: LMDB.
    pub tables: leadway_tables::EmbeddedOptions,
}
