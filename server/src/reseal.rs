//! `leadway reseal`: the secrets of the settings, sealed anew.

use std::sync::Arc;

use anyhow::{Context, ensure};
use leadway_config::{Config, LogKind};
use leadway_domain::Clock;
use leadway_eventlog::{EventLog, SettingsHandle};

use crate::seal_key::SealKeys;
use crate::{output, storage};

/// Seals every secret with the first seal key of these settings; with `new_key` makes one first. With an embedded log the
/// node must not run; on Kafka the nodes go on, and need the key before. `is_lost` gives up what no key here opens.
pub async fn run(config: &Config, new_key: bool, is_lost: bool) -> anyhow::Result<()> {
    ensure!(
        !new_key || config.log == LogKind::Embedded,
        "--new makes a key for one node, and all nodes of a log on Kafka need the same: put a new key before the old one on \
         each of them, restart them, and run this without --new"
    );
    let opened = Box::pin(storage::open(config)).await.context("a node on this data folder must be stopped first")?;
    let log = opened.log.clone();
    let mut keys = SealKeys::load(config)?;
    let settings = SettingsHandle::follow_with(log.clone(), keys.ring.clone()).await?;
    if is_lost {
        return replace_lost(log, settings, &keys).await;
    }
    keys.settle(&settings.load())?;
    if new_key {
        keys = keys.add()?;
    }
    let settings = SettingsHandle::follow_with(log.clone(), keys.ring.clone()).await?;
    let random = leadway_portal::Random::system();
    let anew = leadway_portal::reseal(log, settings, Clock::system(), &random).await?;
    if new_key {
        keys.drop_others()?;
    }
    let first = keys.ring.first().map(ToString::to_string).unwrap_or_default();
    output::print(&format!("{anew} settings were sealed anew; all secrets are sealed with key {first} now\n"))
}

async fn replace_lost(log: Arc<dyn EventLog>, settings: SettingsHandle, keys: &SealKeys) -> anyhow::Result<()> {
    let lost = settings.load().seals().lacks().map(ToString::to_string);
    let lost = lost.context("the key of this log's secrets is not lost: it is among the keys of these settings")?;
    keys.keep()?;
    let random = leadway_portal::Random::system();
    leadway_portal::replace_lost_key(log, settings.clone(), Clock::system(), &random).await?;
    let settings = settings.load();
    let names = |ids: Vec<String>| if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
    output::print(&format!(
        "What only key {lost} opened is given up. Start the node with LEADWAY_ADMIN_KEY, then make anew:\n  \
         keys of providers, by rotate-key:      {}\n  secrets of workspaces, by rotate-secret: {}\n  \
         and names and passwords in webhook URLs, and API keys of other accounts.\n",
        names(settings.providers.keys().map(ToString::to_string).collect()),
        names(settings.workspaces.keys().map(ToString::to_string).collect()),
    ))
}
