//! The loop that keeps the tables.

use std::sync::Arc;
use std::time::Duration;

use leadway_domain::Addressing;
use leadway_domain::record::Topic;
use leadway_domain::telemetry::TABLES_FAILURES;
use leadway_eventlog::{EventLog, LogError, Membership};
use leadway_tables::{Tables, TablesError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::ScoringError;
use crate::follower::{Follower, Step};
use crate::options::Options;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Keeps every table of results in step with the log.
pub struct Scoring {
    log: Arc<dyn EventLog>,
    tables: Arc<dyn Tables>,
    addressing: Addressing,
    options: Options,
}

impl Scoring {
    /// Scoring of `log` into `tables`. Nothing happens before [`run`](Self::run).
    pub fn new(log: Arc<dyn EventLog>, tables: Arc<dyn Tables>, addressing: Addressing, options: Options) -> Self {
        Self { log, tables, addressing, options }
    }

    /// Applies what the log has and gets, until `stop`. Several nodes share the partitions; while two of them believe that
    /// one is theirs, the tables take each record from one of them. While log or tables are unavailable it tries again and
    /// again; any other error ends it, and it can be started anew: the tables say where it stood. The future should be run
    /// to its end: it stops between two writes, never within one.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ScoringError> {
        let mut pace = Pace::new(&self.options);
        let mut share = self.log.membership("scoring", Topic::Leads).await?;
        let mut follower = Follower::new(self.log, self.tables.clone(), self.addressing, self.options);
        let mut pause = FIRST_PAUSE;
        let (mut seek, mut failing) = (false, false);
        while !stop.is_cancelled() {
            let done = next(&mut follower, &mut *share, &mut seek, &mut pace, &stop).await;
            follower.sources.report_lag();
            match done {
                Ok(()) => {
                    if failing {
                        tracing::info!("scoring goes on");
                        failing = false;
                    }
                    pause = FIRST_PAUSE;
                }
                Err(error) => {
                    // Somebody else has applied these records: go on where the tables stand now.
                    let stale = matches!(error, ScoringError::Tables(TablesError::Stale(_)));
                    if !stale && !error.is_transient() {
                        return Err(error);
                    }
                    seek |= stale;
                    if !stale {
                        metrics::counter!(TABLES_FAILURES).increment(1);
                        failing = true;
                    }
                    tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "scoring tries again");
                    stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        // Only spares the next start some work: what the tables lack, the log repeats.
        if let Err(error) = self.tables.sync().await {
            tracing::warn!(%error, "the tables were left without being made durable");
        }
        Ok(())
    }
}

/// How often batches are written: each costs something, whatever it holds.
struct Pace {
    linger: Duration,
    not_before: Instant,
}

impl Pace {
    fn new(options: &Options) -> Self {
        Self { linger: options.linger(), not_before: Instant::now() }
    }

    /// Waits for more records, unless the last batch is long ago or somebody wants to see what there is.
    async fn wait(&self, tables: &dyn Tables) {
        tokio::select! {
            () = tokio::time::sleep_until(self.not_before) => {}
            () = tables.awaited() => {}
        }
    }

    fn begun(&mut self, at: Instant, step: Step) {
        self.not_before = if step.more { at } else { at + self.linger };
    }
}

/// What comes first: the end, other partitions, or records to be applied.
async fn next(
    follower: &mut Follower,
    share: &mut dyn Membership,
    seek: &mut bool,
    pace: &mut Pace,
    stop: &CancellationToken,
) -> Result<(), ScoringError> {
    if *seek {
        follower.seek_applied().await?;
        *seek = false;
    }
    tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        changed = share.changed() => {
            follower.sources.own(&changed?);
            *seek = true;
            Ok(())
        }
        waited = async {
            follower.sources.wait().await?;
            pace.wait(&*follower.tables).await;
            Ok::<_, LogError>(())
        } => {
            waited?;
            let begun = Instant::now();
            let step = follower.step().await?;
            pace.begun(begun, step);
            Ok(())
        }
    }
}
