//! `leadway rebuild`: the tables made anew of the log.
//!
//! They are made aside first, in a folder of this machine. The old ones stay in force until the new ones are complete, so that
//! a log that cannot be read to its end takes nothing away.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use leadway_config::{Config, TablesKind};
use leadway_domain::{Addressing, Clock};
use leadway_eventlog::EventLog;
use leadway_scoring::Summary;
use leadway_tables::EmbeddedOptions;
use uuid::Uuid;

use crate::identity::{self, Accepted};
use crate::totals::Totals;
use crate::{output, storage};

/// Makes the tables anew. What the log has lost against the old tables must be accepted.
pub async fn run(config: &Config, accepted: Accepted) -> anyhow::Result<()> {
    let opened = storage::open_any(config).await;
    let (log, tables) = opened.context("nodes that keep these tables (stage scoring) must be stopped first")?;
    storage::check(config, &*log, &*tables, Accepted { other_tables: true, ..accepted }).await?;
    let before = Totals::of(&*tables).await?;
    let aside = Aside::new(config)?;
    let made = aside.make(config, &log).await.context("the tables are as they were: the new ones are not complete")?;
    match config.tables {
        TablesKind::Embedded => {
            drop(tables);
            let folder = storage::embedded_tables(config, &config.data).folder;
            leadway_tables::replace(&folder, &aside.folder).await?;
            let tables = leadway_tables::open(storage::embedded_tables(config, &config.data)).await?;
            identity::settle_anew(&*log, &*tables, Uuid::new_v4(), Clock::system().now()).await?;
            tables.sync().await?;
        }
        TablesKind::Scylla => {
            // Cut off from here on, it is completed by scoring, or by another rebuild: the log was read to its end just now.
            leadway_scoring::rebuild(log.clone(), tables.clone(), Addressing::default(), config.scoring.clone())
                .await?;
            identity::settle_anew(&*log, &*tables, Uuid::new_v4(), Clock::system().now()).await?;
        }
    }
    output::print(&report(made.summary, &before, &made.totals))
}

/// The folder in which the new tables are made.
struct Aside {
    folder: PathBuf,
}

struct Made {
    summary: Summary,
    totals: Totals,
}

impl Aside {
    fn new(config: &Config) -> anyhow::Result<Self> {
        storage::make_folder(&config.data)?;
        let aside = Self { folder: config.data.join("tables.rebuild") };
        // What an earlier one left that was cut off.
        remove(&aside.folder)?;
        Ok(aside)
    }

    /// Makes the tables in the folder, and closes them.
    async fn make(&self, config: &Config, log: &Arc<dyn EventLog>) -> anyhow::Result<Made> {
        let options = EmbeddedOptions { folder: self.folder.clone(), ..config.embedded.tables.clone() };
        let tables = leadway_tables::open(options).await?;
        let (log, scoring) = (log.clone(), config.scoring.clone());
        let summary = leadway_scoring::rebuild(log, tables.clone(), Addressing::default(), scoring).await?;
        Ok(Made { summary, totals: Totals::of(&*tables).await? })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.folder) {
            tracing::warn!(%error, "what was made for the rebuild is left");
        }
    }
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", folder.display()))
        }
        _ => Ok(()),
    }
}

fn report(summary: Summary, before: &Totals, after: &Totals) -> String {
    let Summary { records, unreadable } = summary;
    let row = |name: &str, before: String, after: String| format!("{name:<14}{before:>16}{after:>16}\n");
    let mut text = format!("rebuilt the tables from {records} records of the log\n");
    if unreadable > 0 {
        text += &format!("{unreadable} of them could not be read, and are in no table\n");
    }
    text += &row("", "before".into(), "after".into());
    text += &row("leads", before.leads.to_string(), after.leads.to_string());
    text += &row("appointments", before.appointments.to_string(), after.appointments.to_string());
    text + &row("revenue", before.revenue.to_string(), after.revenue.to_string())
}
