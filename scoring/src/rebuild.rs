use std::sync::Arc;

use leadway_domain::Addressing;
use leadway_eventlog::EventLog;
use leadway_tables::Tables;

use crate::error::ScoringError;
use crate::follower::Follower;
use crate::options::Options;

/// What a rebuild did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Records read.
    pub records: u64,
    /// How many of them could not be read and are in no table.
    pub unreadable: u64,
}

/// Empties the tables and applies the whole log to them, up to the ends it has when this begins. Nobody else may write
/// the tables meanwhile. With the same options the result is what scoring has kept. When it fails the tables are
/// incomplete but not wrong: scoring, or another rebuild, goes on.
pub async fn rebuild(
    log: Arc<dyn EventLog>,
    tables: Arc<dyn Tables>,
    addressing: Addressing,
    options: Options,
) -> Result<Summary, ScoringError> {
    tables.clear().await?;
    let mut follower = Follower::new(log, tables.clone(), addressing, options);
    follower.sources.own_all();
    let ends = follower.sources.ends().await?;
    let mut summary = Summary { records: 0, unreadable: 0 };
    while !follower.sources.reached(&ends) {
        let step = follower.step().await?;
        if step.records == 0 {
            // A log may have offsets without records at its end.
            break;
        }
        summary.records += step.records as u64;
        summary.unreadable += step.unreadable as u64;
    }
    tables.sync().await?;
    Ok(summary)
}
