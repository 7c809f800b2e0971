use std::sync::Arc;
use std::time::Duration;

use leadway_domain::problem::{FieldError, Problem};
use leadway_domain::record::Topic;
use leadway_domain::settings::Settings;
use leadway_domain::{Addressing, Clock, Partition, ZipDirectory};
use leadway_eventlog::{Address, EventLog, LogError, NewRecord, SettingsHandle};
use leadway_tables::{Tables, TablesError};
use tokio::sync::Mutex;

use crate::answers::Answers;
use crate::change::SettingsWriter;
use crate::problem::Answer;
use crate::reads::Reads;
use crate::retry_rules::RuleRetries;
use crate::{Options, Random, Writes};

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
    /// Whether anything may still be recorded.
    pub writes: Writes,
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
    pub(crate) writes: Writes,
    pub(crate) writer: SettingsWriter,
    /// Hears what was decided about commands.
    pub(crate) answers: Answers,
    /// The reads under way.
    pub(crate) reads: Reads,
    /// Held while a lead leaves the quarantine, so that two callers cannot release it twice.
    pub(crate) releasing: Mutex<()>,
    /// Changed rules whose unrouted leads are still to be routed again.
    pub(crate) rule_retries: RuleRetries,
}

pub(crate) type Shared = Arc<Portal>;

impl Portal {
    pub(crate) fn new(deps: Deps, options: Options) -> Self {
        let Deps { log, tables, settings, zips, clock, addressing, random, writes } = deps;
        let writer = SettingsWriter::new(log.clone(), settings.clone(), clock.clone(), writes.clone());
        let answers = Answers::new(log.clone());
        Self {
            answers,
            log,
            tables,
            settings,
            zips,
            clock,
            addressing,
            random,
            options,
            writes,
            writer,
            reads: Reads::default(),
            releasing: Mutex::default(),
            rule_retries: RuleRetries::default(),
        }
    }

    /// Records something in the log, if it is still ours.
    pub(crate) async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Address>, LogError> {
        self.writes.check()?;
        self.log.append(records).await
    }

    /// Waits, for a bounded time, until the tables show these records. They are durable in any case, so that tables which
    /// cannot be read are no reason to tell a caller that it failed.
    pub(crate) async fn wait_applied(&self, addresses: &[Address]) {
        let wait = async {
            for address in addresses {
                self.tables.wait_applied(address.topic, address.partition, address.offset.next()).await?;
            }
            Ok::<_, TablesError>(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(self.catch_up_timeout(), wait).await {
            tracing::warn!(%error, "what was recorded cannot be seen in the tables yet");
        }
    }

    /// What a caller is told who waited in vain for the tables to show what the log has.
    pub(crate) fn late(&self, otherwise: &str, seconds: u64) -> Problem {
        if !self.tables.are_full() {
            return Problem::unavailable(otherwise, seconds);
        }
        let detail = "The tables are full and show nothing that came since. Nothing is lost: the log has it. Give them more \
                      room (embedded.tables.map_bytes) and start the node again.";
        Problem::unavailable(detail, 60)
    }

    /// Waits until the tables show everything that the log holds now of these topics; refuses when that takes too long.
    pub(crate) async fn catch_up(&self, topics: &[Topic]) -> Answer<()> {
        let wait = async {
            for topic in topics {
                for partition in (0..self.log.partitions(*topic)).map(Partition) {
                    let end = self.log.end(*topic, partition).await?;
                    if end.0 > 0 {
                        self.tables.wait_applied(*topic, partition, end).await?;
                    }
                }
            }
            Ok(())
        };
        let late =
            "The tables are behind the log, and what they show now would mislead. Nothing was changed; try again.";
        tokio::time::timeout(self.catch_up_timeout() * 10, wait)
            .await
            .unwrap_or_else(|_| Err(self.late(late, 10).into()))
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
