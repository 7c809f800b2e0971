use std::sync::Arc;
use std::time::Duration;

use leadway_domain::problem::{FieldError, Problem};
use leadway_domain::settings::Settings;
use leadway_domain::{Addressing, Clock, ZipDirectory};
use leadway_eventlog::{Address, EventLog, SettingsHandle};
use leadway_tables::{Tables, TablesError};
use tokio::sync::Mutex;

use crate::change::SettingsWriter;
use crate::{Options, Random};

/// What the portal stands on.
#[derive(Clone)]
pub struct Deps {
    /// Where settings and commands go.
    pub log: Arc<dyn EventLog>,
    /// Where results are read.
    pub tables: Arc<dyn Tables>,
    /// The present settings.
    pub settings: SettingsHandle,
    /// The list of ZIPs.
    pub zips: Arc<ZipDirectory>,
    /// The time.
    pub clock: Clock,
    /// Turns log addresses into lead ids and back.
    pub addressing: Addressing,
    /// For keys and secrets.
    pub random: Random,
}

/// What every handler shares.
pub(crate) struct Portal {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) tables: Arc<dyn Tables>,
    pub(crate) settings: SettingsHandle,
    pub(crate) zips: Arc<ZipDirectory>,
    pub(crate) clock: Clock,
    pub(crate) addressing: Addressing,
    pub(crate) random: Random,
    pub(crate) options: Options,
    pub(crate) writer: SettingsWriter,
    /// Held while a lead leaves the quarantine, so that two callers cannot release it twice.
    pub(crate) releasing: Mutex<()>,
}

pub(crate) type Shared = Arc<Portal>;

impl Portal {
    pub(crate) fn new(deps: Deps, options: Options) -> Self {
        let Deps { log, tables, settings, zips, clock, addressing, random } = deps;
        let writer = SettingsWriter::new(log.clone(), settings.clone(), clock.clone());
        Self { log, tables, settings, zips, clock, addressing, random, options, writer, releasing: Mutex::default() }
    }

    /// Waits, for a bounded time, until the tables show these records: what was written is durable in any case.
    pub(crate) async fn wait_applied(&self, addresses: &[Address]) -> Result<(), TablesError> {
        let wait = async {
            for address in addresses {
                self.tables.wait_applied(address.topic, address.partition, address.offset.next()).await?;
            }
            Ok(())
        };
        tokio::time::timeout(self.catch_up_timeout(), wait).await.unwrap_or(Ok(()))
    }

    pub(crate) fn catch_up_timeout(&self) -> Duration {
        Duration::from_millis(self.options.catch_up_timeout_ms)
    }
}

/// The canonical name of a product in a filter, or what the names are.
pub(crate) fn known_product(settings: &Settings, field: &str, name: &str) -> Result<String, FieldError> {
    settings.product_name(name).map(|n| n.to_string()).ok_or_else(|| {
        let known: Vec<&str> = settings.products.values().map(|p| p.name.as_str()).collect();
        FieldError::new(
            field,
            "unknown",
            format!("{name:?} is no known product; the products are {}", known.join(", ")),
        )
    })
}

/// The filter's product as it stands in the tables; `None` where none was asked for.
pub(crate) fn product_filter(settings: &Settings, field: &str, asked: Option<&str>) -> Result<Option<String>, Problem> {
    asked.map(|name| known_product(settings, field, name)).transpose().map_err(|e| Problem::validation(vec![e]))
}
