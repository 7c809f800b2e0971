//! Looks, while a node runs, whether its log and its tables still belong together: a topic that is deleted and made anew, a
//! file that is removed, tables that are given to another log do not make a stage fail by themselves.

use std::sync::Arc;
use std::time::Duration;

use leadway_domain::telemetry::LOG_IDENTITY;
use leadway_eventlog::EventLog;
use leadway_ingest::Ingest;
use leadway_portal::Writes;
use leadway_tables::Tables;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::identity::{Accepted, Found, Unknown};
use crate::ops::Readiness;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(5);
/// How many looks in a row must find it so: a broker that was just started may know less than it will.
const LOOKS: u32 = 2;
/// How often it is said again.
const AGAIN: Duration = Duration::from_secs(60);

/// What is looked at, and what stops when it does not fit.
pub(crate) struct Watch {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) tables: Arc<dyn Tables>,
    /// The identity that both had at the start.
    pub(crate) id: Uuid,
    pub(crate) is_shared: bool,
    /// Log and tables as people know them.
    pub(crate) names: String,
    pub(crate) readiness: Readiness,
    pub(crate) ingest: Option<Ingest>,
    /// What people ask for.
    pub(crate) writes: Writes,
    /// Stops the stages.
    pub(crate) stages: CancellationToken,
}

impl Watch {
    /// Looks again and again until `stop`. Once the node has stopped working it stays so until it is started again.
    pub(crate) async fn run(self, stop: CancellationToken) {
        self.tell(true);
        let mut found_so = 0;
        while stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
            match self.look().await {
                None => found_so = 0,
                Some(_) if found_so + 1 < LOOKS => found_so += 1,
                Some(reason) => return self.end(reason, &stop).await,
            }
        }
    }

    /// What does not fit. What cannot be found out now says nothing.
    async fn look(&self) -> Option<String> {
        match Found::again(self.id, &*self.log, &*self.tables, self.is_shared).await {
            Ok(found) => found.check(Accepted::default()).err().map(|mismatch| mismatch.to_string()),
            Err(Unknown::Log(error)) if !error.is_transient() && !error.may_have_landed() => Some(error.to_string()),
            Err(error) => {
                tracing::debug!(%error, "whether log and tables belong together is not known now");
                None
            }
        }
    }

    async fn end(self, reason: String, stop: &CancellationToken) {
        self.tell(false);
        self.stages.cancel();
        self.writes.stop();
        if let Some(ingest) = &self.ingest {
            ingest.stop_accepting();
        }
        loop {
            let names = &self.names;
            tracing::error!(
                reason,
                "{names} do not belong together any more: this node has stopped taking, routing, delivering and scoring, \
                 and changes nothing, so that nothing is given to the wrong people"
            );
            if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                return;
            }
        }
    }

    fn tell(&self, fits: bool) {
        self.readiness.set("log", fits);
        metrics::gauge!(LOG_IDENTITY).set(f64::from(u8::from(fits)));
    }
}
