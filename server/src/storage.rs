//! Where a node's log and tables are, as its settings say.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use leadway_config::{Config, LogKind, TablesKind};
use leadway_domain::Clock;
use leadway_eventlog::{EmbeddedOptions as LogOptions, EventLog};
use leadway_tables::{EmbeddedOptions as TablesOptions, Tables};

/// A log and the tables that are made of it.
pub type Storage = (Arc<dyn EventLog>, Arc<dyn Tables>);

/// Opens both for a node. An embedded one is this process's alone until it is closed.
pub async fn open(config: &Config) -> anyhow::Result<Storage> {
    let log = match config.log {
        LogKind::Embedded => {
            make_folder(&config.data)?;
            refuse_moved(&config.data)?;
            leadway_eventlog::open(embedded_log(config, &config.data)).await?
        }
        LogKind::Kafka => kafka(config).await?,
    };
    let tables = match config.tables {
        TablesKind::Embedded => {
            make_folder(&config.data)?;
            leadway_tables::open(embedded_tables(config, &config.data)).await?
        }
        TablesKind::Scylla => scylla(config).await?,
    };
    Ok((log, tables))
}

/// Opens the log to be looked at, beside the nodes that use it.
pub async fn log_to_read(config: &Config) -> anyhow::Result<Arc<dyn EventLog>> {
    Ok(match config.log {
        LogKind::Embedded => leadway_eventlog::open_read_only(&config.data.join("log")).await?,
        LogKind::Kafka => kafka(config).await?,
    })
}

/// Opens the tables to be looked at, beside the nodes that use them.
pub async fn tables_to_read(config: &Config) -> anyhow::Result<Arc<dyn Tables>> {
    Ok(match config.tables {
        TablesKind::Embedded => leadway_tables::open_read_only(&config.data.join("tables")).await?,
        TablesKind::Scylla => scylla(config).await?,
    })
}

async fn kafka(config: &Config) -> anyhow::Result<Arc<dyn EventLog>> {
    leadway_eventlog::open_kafka(config.kafka.clone()).await.context("the log, Kafka")
}

async fn scylla(config: &Config) -> anyhow::Result<Arc<dyn Tables>> {
    let opened = leadway_tables::open_scylla(config.scylla.clone(), Clock::system(), fastrand::u64(..)).await;
    opened.context("the tables, ScyllaDB")
}

/// The embedded log of a data folder.
pub(crate) fn embedded_log(config: &Config, data: &Path) -> LogOptions {
    LogOptions { folder: data.join("log"), ..config.embedded.log.clone() }
}

fn embedded_tables(config: &Config, data: &Path) -> TablesOptions {
    TablesOptions { folder: data.join("tables"), ..config.embedded.tables.clone() }
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
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
