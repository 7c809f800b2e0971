//! Where a node's log and tables are, as its settings say.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use leadway_config::{Config, LogKind, TablesKind};
use leadway_domain::Clock;
use leadway_domain::record::Topic;
use leadway_eventlog::{EmbeddedOptions as LogOptions, EventLog};
use leadway_tables::{EmbeddedOptions as TablesOptions, LogOfTables, Tables};
use uuid::Uuid;

use crate::identity::{self, Accepted, Found};

/// A log and the tables that are made of it.
pub type Storage = (Arc<dyn EventLog>, Arc<dyn Tables>);

/// A log and tables that belong together.
pub struct Opened {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// The tables.
    pub tables: Arc<dyn Tables>,
    /// The identity that both have.
    pub id: Uuid,
}

/// Opens both for a node; refuses a log and tables that do not belong together. An embedded one is this process's alone until
/// it is closed.
pub async fn open(config: &Config) -> anyhow::Result<Opened> {
    let (log, tables) = open_any(config).await?;
    let accepted = Accepted { truncated: config.accept_truncated, ..Accepted::default() };
    let found = check(config, &*log, &*tables, accepted).await?;
    let id = identity::settle(&found, &*log, &*tables, Uuid::new_v4(), Clock::system().now()).await?;
    Ok(Opened { log, tables, id })
}

/// Opens both whether or not they belong together.
pub(crate) async fn open_any(config: &Config) -> anyhow::Result<Storage> {
    match config.log {
        LogKind::Embedded => {
            make_folder(&config.data)?;
            crate::seal_key::warn_of_readers(&config.data);
            refuse_moved(&config.data)?;
            // First: it waits for a process that is just ending.
            let log = leadway_eventlog::open(embedded_log(config, &config.data)).await?;
            Ok((log, tables(config).await?))
        }
        LogKind::Kafka => {
            let tables = tables(config).await?;
            let may_make = may_make(config, &*tables).await?;
            Ok((kafka(config, &may_make).await?, tables))
        }
    }
}

/// Refuses a log and tables that do not belong together, but for what is accepted.
pub(crate) async fn check(
    config: &Config,
    log: &dyn EventLog,
    tables: &dyn Tables,
    accepted: Accepted,
) -> anyhow::Result<Found> {
    let found = Found::of(log, tables, is_shared(config)).await?;
    found
        .check(accepted)
        .with_context(|| format!("{} do not belong together, and nothing was changed", names(config)))?;
    Ok(found)
}

/// Refuses to look at a log beside the tables of another one. Both may be in use, and are taken as they are otherwise.
pub(crate) async fn expect_same(config: &Config, log: &dyn EventLog, tables: &dyn Tables) -> anyhow::Result<()> {
    let (said, id) = (tables.log().await?.filter(|said| said.settled), leadway_eventlog::identity(log).await?);
    let other = said.zip(id).filter(|(said, id)| said.id != *id);
    anyhow::ensure!(other.is_none(), "{} do not belong together: see `leadway serve`", names(config));
    Ok(())
}

/// Whether other nodes may use log and tables, too.
pub(crate) fn is_shared(config: &Config) -> bool {
    config.tables == TablesKind::Scylla
}

/// Log and tables as the settings name them.
pub(crate) fn names(config: &Config) -> String {
    let log = match config.log {
        LogKind::Embedded => format!("the log in {}", config.data.join("log").display()),
        LogKind::Kafka => {
            format!("the log on Kafka at {}, topics {}*,", config.kafka.brokers, config.kafka.topic_prefix)
        }
    };
    let tables = match config.tables {
        TablesKind::Embedded => format!("the tables in {}", config.data.join("tables").display()),
        TablesKind::Scylla => format!("the tables in keyspace {} at {}", config.scylla.keyspace, config.scylla.nodes),
    };
    format!("{log} and {tables}")
}

/// The topics that may be made where they do not exist. As long as the tables hold nothing, all of them; later, those that a
/// new version has besides.
async fn may_make(config: &Config, tables: &dyn Tables) -> anyhow::Result<Vec<Topic>> {
    let is_new = tables.positions().await?.is_empty();
    let said = tables.log().await?.filter(|said| said.settled);
    let known = |said: &LogOfTables, topic: Topic| {
        said.holders.contains_key(&format!("{}{}", config.kafka.topic_prefix, topic.name()))
    };
    Ok(match said {
        None if is_new => Topic::ALL.to_vec(),
        // Where its settings were among the topics, these are its names.
        Some(said) if known(&said, Topic::Settings) => {
            Topic::ALL.into_iter().filter(|topic| !known(&said, *topic)).collect()
        }
        _ => Vec::new(),
    })
}

async fn tables(config: &Config) -> anyhow::Result<Arc<dyn Tables>> {
    match config.tables {
        TablesKind::Embedded => {
            make_folder(&config.data)?;
            Ok(leadway_tables::open(embedded_tables(config, &config.data)).await?)
        }
        TablesKind::Scylla => scylla(config).await,
    }
}

/// Opens the log to be looked at, beside the nodes that use it.
pub async fn log_to_read(config: &Config) -> anyhow::Result<Arc<dyn EventLog>> {
    Ok(match config.log {
        LogKind::Embedded => leadway_eventlog::open_read_only(&config.data.join("log")).await?,
        LogKind::Kafka => kafka(config, &[]).await?,
    })
}

/// Opens the tables to be looked at, beside the nodes that use them.
pub async fn tables_to_read(config: &Config) -> anyhow::Result<Arc<dyn Tables>> {
    Ok(match config.tables {
        TablesKind::Embedded => leadway_tables::open_read_only(&config.data.join("tables")).await?,
        TablesKind::Scylla => scylla(config).await?,
    })
}

async fn kafka(config: &Config, may_make: &[Topic]) -> anyhow::Result<Arc<dyn EventLog>> {
    leadway_eventlog::open_kafka(config.kafka.clone(), may_make).await.context("the log, Kafka")
}

async fn scylla(config: &Config) -> anyhow::Result<Arc<dyn Tables>> {
    let opened = leadway_tables::open_scylla(config.scylla.clone(), Clock::system(), fastrand::u64(..)).await;
    opened.context("the tables, ScyllaDB")
}

/// The embedded log of a data folder.
pub(crate) fn embedded_log(config: &Config, data: &Path) -> LogOptions {
    LogOptions { folder: data.join("log"), ..config.embedded.log.clone() }
}

pub(crate) fn embedded_tables(config: &Config, data: &Path) -> TablesOptions {
    TablesOptions { folder: data.join("tables"), ..config.embedded.tables.clone() }
}

pub(crate) fn make_folder(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("the data folder {} cannot be made", folder.display()))
}

/// Stands in a data folder whose records were moved elsewhere.
const MOVED: &str = "MOVED";

/// Marks a data folder as moved to `place`, so that no node goes on with it.
pub(crate) fn mark_moved(data: &Path, place: &str) -> anyhow::Result<()> {
    let file = data.join(MOVED);
    std::fs::write(&file, format!("{place}\n")).with_context(|| format!("{} cannot be written", file.display()))
}

fn refuse_moved(data: &Path) -> anyhow::Result<()> {
    let file = data.join(MOVED);
    let Ok(place) = std::fs::read_to_string(&file) else { return Ok(()) };
    anyhow::bail!(
        "{} was moved to {}: two nodes that go on from the same records would give the same ids to different leads. \
         If the move is to be undone, and nothing has run there yet, remove {}",
        data.display(),
        place.trim(),
        file.display()
    )
}
