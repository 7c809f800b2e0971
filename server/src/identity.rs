//! Whether a log and tables belong together.
//!
//! The log has a random identity, the first record of its settings; the tables keep a copy of it, and on Kafka the ids of the
//! cluster and the topics beside it. Tables of another log, or of one that has lost records since, show other people under
//! the ids that it gives, and bill nothing: a node does not start on them, and one that runs stops.
//!
//! The tables get the identity first, as not yet settled; then the log gets it; then the tables say that it is settled. So
//! whatever stops a first start, the next one can tell a log that has no identity yet from one that was put in the place of
//! another.

use std::collections::BTreeMap;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition, Timestamp};
use leadway_eventlog::{EventLog, Extent, LogError};
use leadway_tables::{LogOfTables, Tables, TablesError};
use uuid::Uuid;

/// Where it says what to do when records are lost.
const HELP: &str = "docs/operations.md, Backups";

/// What does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The tables are of another log.
    #[error(
        "the log is {}, and the tables were made of log {tables}. Is the log's folder gone, or do the settings name another \
         log or other tables? Correct them, or restore the log ({HELP}). If it is lost for good, `leadway rebuild \
         --accept-loss` makes the tables anew of the log that is there; ids that the lost one gave are then given again",
        .log.map_or_else(|| "one without identity".to_owned(), |id| format!("log {id}"))
    )]
    OtherLog {
        /// Its identity, if it has one.
        log: Option<Uuid>,
        /// That of the tables' log.
        tables: Uuid,
    },
    /// The log is in use with other tables.
    #[error(
        "log {log} is in use with other tables: these do not say which log they are made of. Do the settings name other \
         tables? Correct them. To make these tables of this log, stop all nodes with the stage scoring and run \
         `leadway rebuild`"
    )]
    OtherTables {
        /// The log's identity.
        log: Uuid,
    },
    /// The log has lost records.
    #[error(
        "{} partition {} was applied to the tables up to offset {}, and the log ends at {}: records behind it are lost. \
         Restore the log ({HELP}). If they are lost for good, `leadway rebuild --accept-loss` makes the tables anew of what \
         is there; ids that the lost records gave are then given again", .topic.name(), .partition.0, .applied.0, .end.0
    )]
    Short {
        /// Of which topic.
        topic: Topic,
        /// Which partition.
        partition: Partition,
        /// How far it was applied.
        applied: Offset,
        /// Where it ends.
        end: Offset,
    },
    /// The log's oldest records were deleted.
    #[error(
        "{} partition {} begins at offset {}: older records were deleted, and the tables cannot be made of it any more. \
         Restore the log ({HELP}). If they are lost for good, `leadway serve --accept-truncated` goes on with the tables as \
         they are, and `leadway rebuild --accept-truncated` makes them anew of what is left", .topic.name(), .partition.0, .first.0
    )]
    Truncated {
        /// Of which topic.
        topic: Topic,
        /// Which partition.
        partition: Partition,
        /// The first offset that is left.
        first: Offset,
    },
    /// The cluster or a topic is another one of the same name.
    #[error(
        "{name} is {}, and the tables were made of {was}: it was deleted and made anew, or copied, and its offsets are not \
         those of the tables. Restore the brokers' volumes ({HELP}). If that is not possible, `leadway rebuild --accept-loss` \
         makes the tables anew of what is there", .is.as_deref().unwrap_or("not there")
    )]
    OtherHolder {
        /// `cluster`, or the topic's name.
        name: String,
        /// Its id when the tables were made.
        was: String,
        /// Its id now.
        is: Option<String>,
    },
}

/// What the operator takes for lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The tables' log, or its newest records.
    pub loss: bool,
    /// The oldest records.
    pub truncated: bool,
    /// That the tables do not say which log they are of: they are made anew.
    pub other_tables: bool,
}

impl Accepted {
    fn covers(self, mismatch: &Mismatch) -> bool {
        match mismatch {
            Mismatch::OtherLog { .. } | Mismatch::Short { .. } | Mismatch::OtherHolder { .. } => self.loss,
            Mismatch::Truncated { .. } => self.truncated,
            Mismatch::OtherTables { .. } => self.other_tables,
        }
    }
}

/// Why it could not be found out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unknown {
    /// The log does not tell.
    #[error("the log: {0}")]
    Log(#[from] LogError),
    /// The tables do not tell.
    #[error("the tables: {0}")]
    Tables(#[from] TablesError),
}

/// What log and tables say about themselves.
#[derive(Clone, Debug, Default)]
pub struct Found {
    log: Option<Uuid>,
    holders: BTreeMap<String, String>,
    extents: Vec<Extent>,
    tables: Option<LogOfTables>,
    positions: Vec<(Topic, Partition, Offset)>,
    /// Whether other nodes may use them too.
    is_shared: bool,
}

impl Found {
    /// Asks both. The tables come first: what they say of a log that grows was true of it before.
    pub async fn of(log: &dyn EventLog, tables: &dyn Tables, is_shared: bool) -> Result<Self, Unknown> {
        let said = tables.log().await?;
        let id = leadway_eventlog::identity(log).await?;
        // The log got it after the tables did: they may have had none just before.
        let said = if said.is_none() && id.is_some() { tables.log().await? } else { said };
        Self::beside(id, said, log, tables, is_shared).await
    }

    /// Asks everything anew but the log's identity, which is known.
    pub async fn again(id: Uuid, log: &dyn EventLog, tables: &dyn Tables, is_shared: bool) -> Result<Self, Unknown> {
        Self::beside(Some(id), tables.log().await?, log, tables, is_shared).await
    }

    async fn beside(
        id: Option<Uuid>,
        said: Option<LogOfTables>,
        log: &dyn EventLog,
        tables: &dyn Tables,
        is_shared: bool,
    ) -> Result<Self, Unknown> {
        let positions = tables.positions().await?;
        // First: where a topic is gone, where it begins and ends is not told.
        let holders = log.holders().await?;
        let extents = log.extents().await?;
        Ok(Self { log: id, holders, extents, tables: said, positions, is_shared })
    }

    /// The first thing that does not fit and is not accepted.
    pub fn check(&self, accepted: Accepted) -> Result<(), Mismatch> {
        let found = [self.other_log(), self.other_holder(), self.short(), self.truncated()];
        found.into_iter().flatten().find(|mismatch| !accepted.covers(mismatch)).map_or(Ok(()), Err)
    }

    /// What the tables say, if it counts: what was never settled counts for the log that has it, or has none.
    fn said(&self) -> Option<&LogOfTables> {
        self.tables.as_ref().filter(|said| said.settled || self.log.is_none_or(|id| id == said.id))
    }

    fn other_log(&self) -> Option<Mismatch> {
        match (self.log, self.said()) {
            (Some(log), Some(said)) if log != said.id => Some(Mismatch::OtherLog { log: Some(log), tables: said.id }),
            (None, Some(said)) if said.settled => Some(Mismatch::OtherLog { log: None, tables: said.id }),
            // One node's tables that hold nothing are made of its log: so a copy of the log alone can be restored.
            (Some(log), None) if self.is_shared || !self.positions.is_empty() => Some(Mismatch::OtherTables { log }),
            _ => None,
        }
    }

    fn other_holder(&self) -> Option<Mismatch> {
        let said = self.said()?;
        let (name, was) = said.holders.iter().find(|(name, was)| self.holders.get(*name) != Some(*was))?;
        Some(Mismatch::OtherHolder { name: name.clone(), was: was.clone(), is: self.holders.get(name).cloned() })
    }

    fn short(&self) -> Option<Mismatch> {
        self.positions.iter().find_map(|&(topic, partition, applied)| {
            let end = self.extent(topic, partition).map_or(Offset(0), |extent| extent.end);
            (applied > end).then_some(Mismatch::Short { topic, partition, applied, end })
        })
    }

    fn truncated(&self) -> Option<Mismatch> {
        let accepted = |topic, partition| self.said().map_or(Offset(0), |said| said.begin(topic, partition));
        self.extents.iter().find_map(|&Extent { topic, partition, first, .. }| {
            (first > accepted(topic, partition)).then_some(Mismatch::Truncated { topic, partition, first })
        })
    }

    fn extent(&self, topic: Topic, partition: Partition) -> Option<&Extent> {
        self.extents.iter().find(|extent| extent.topic == topic && extent.partition == partition)
    }

    /// What the tables are to say of this log.
    fn settled(&self, id: Uuid) -> LogOfTables {
        let begins = self.said().map(|said| said.begins.clone()).unwrap_or_default();
        let mut log = LogOfTables { id, settled: true, holders: self.holders.clone(), begins };
        for extent in self.extents.iter().filter(|extent| extent.first > Offset(0)) {
            log.accept_begin(extent.topic, extent.partition, extent.first);
        }
        log
    }
}

/// Gives log and tables that [fit](Found::check) one identity, where they do not have it yet; returns it. Nodes that do it
/// at the same moment agree, whichever `fresh` one each brings along.
pub async fn settle(
    found: &Found,
    log: &dyn EventLog,
    tables: &dyn Tables,
    fresh: Uuid,
    now: Timestamp,
) -> Result<Uuid, Unknown> {
    let id = match found.log {
        Some(id) => id,
        None => {
            let claimed = tables.claim(&LogOfTables::unsettled(fresh)).await?;
            leadway_eventlog::identify(log, claimed.id, now).await?
        }
    };
    let settled = found.settled(id);
    if found.tables.as_ref() != Some(&settled) {
        tables.set_log(&settled).await?;
    }
    Ok(id)
}

/// Gives tables that were just made anew the identity of the log that they were made of, and the log one if it has none.
pub async fn settle_anew(log: &dyn EventLog, tables: &dyn Tables, fresh: Uuid, now: Timestamp) -> Result<(), Unknown> {
    let id = leadway_eventlog::identify(log, fresh, now).await?;
    let found = Found { holders: log.holders().await?, extents: log.extents().await?, ..Found::default() };
    Ok(tables.set_log(&found.settled(id)).await?)
}

#[cfg(test)]
mod tests {
    use leadway_eventlog::MemoryLog;
    use leadway_tables::MemoryTables;

    use super::*;

    const ONE: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);
    const LEADS: (Topic, Partition) = (Topic::Leads, Partition(0));

    fn tables(id: Uuid, settled: bool) -> Option<LogOfTables> {
        Some(LogOfTables { id, settled, ..LogOfTables::default() })
    }

    /// A log that holds leads from `first` to `end`, and tables that have applied so many.
    fn found(log: Option<Uuid>, tables: Option<LogOfTables>, first: u64, end: u64, applied: u64) -> Found {
        let (topic, partition) = LEADS;
        let extents = vec![Extent { topic, partition, first: Offset(first), end: Offset(end) }];
        let positions = (applied > 0).then_some((topic, partition, Offset(applied))).into_iter().collect();
        Found { log, tables, extents, positions, ..Found::default() }
    }

    fn shared(found: Found) -> Found {
        Found { is_shared: true, ..found }
    }

    #[test]
    fn what_belongs_together_fits() {
        let fitting = [
            ("a first start", found(None, None, 0, 0, 0)),
            ("a first start, cut off before the log had its identity", found(None, tables(ONE, false), 0, 0, 0)),
            (
                "a first start, cut off before the tables said that it has",
                found(Some(ONE), tables(ONE, false), 0, 0, 0),
            ),
            ("as it runs", found(Some(ONE), tables(ONE, true), 0, 9, 7)),
            ("made by an older version", found(None, None, 0, 9, 7)),
            ("a copy of the log in an empty folder", found(Some(ONE), None, 0, 9, 0)),
            ("an old copy of the log in an empty folder", found(None, None, 0, 9, 0)),
            ("tables that were never used, and a copy of a log", found(Some(ONE), tables(OTHER, false), 0, 9, 0)),
        ];
        for (case, found) in fitting {
            assert_eq!(found.check(Accepted::default()), Ok(()), "{case}");
        }
        for (case, found) in [
            ("a first start of many", shared(found(None, None, 0, 0, 0))),
            ("a second node of a first start", shared(found(Some(ONE), tables(ONE, false), 0, 1, 0))),
            ("many nodes", shared(found(Some(ONE), tables(ONE, true), 0, 9, 9))),
        ] {
            assert_eq!(found.check(Accepted::default()), Ok(()), "{case}");
        }
    }

    #[test]
    fn what_does_not_belong_together_is_refused_until_the_operator_accepts_it() {
        let (loss, truncated) =
            (Accepted { loss: true, ..Accepted::default() }, Accepted { truncated: true, ..Accepted::default() });
        let anew = Accepted { other_tables: true, ..Accepted::default() };
        let unknown = tables(OTHER, false);
        let refused = [
            ("the log is gone", found(None, tables(ONE, true), 0, 0, 7), loss),
            ("the log is gone, and the tables were thrown away", found(None, tables(ONE, true), 0, 0, 0), loss),
            ("another log", found(Some(OTHER), tables(ONE, true), 0, 90, 7), loss),
            ("an older copy of the log", found(Some(ONE), tables(ONE, true), 0, 6, 7), loss),
            ("a log of an older version is gone", found(None, None, 0, 0, 7), loss),
            ("tables of nobody", found(Some(ONE), None, 0, 9, 7), anew),
            ("tables of nobody, never settled", found(Some(ONE), unknown, 0, 9, 7), anew),
            ("another keyspace", shared(found(Some(ONE), None, 0, 9, 0)), anew),
            ("another keyspace, never settled", shared(found(Some(ONE), tables(OTHER, false), 0, 9, 0)), anew),
            ("the oldest records are gone", found(Some(ONE), tables(ONE, true), 3, 9, 7), truncated),
            ("all records are gone", found(Some(ONE), tables(ONE, true), 9, 9, 7), truncated),
        ];
        for (case, found, way_out) in refused {
            let mismatch = found.check(Accepted::default()).expect_err(case);
            let said = mismatch.to_string();
            assert!(said.contains("estore") || said.contains("orrect"), "{case} says what to do: {said}");
            assert!(said.contains("`leadway rebuild"), "{case} says how to go on: {said}");
            assert_eq!(found.check(way_out), Ok(()), "{case}");
        }
    }

    #[test]
    fn a_topic_that_was_made_anew_is_refused_though_it_holds_enough() {
        let holders =
            |leads: &str| BTreeMap::from([("cluster".into(), "c".into()), ("leadway.leads".into(), leads.into())]);
        let said = LogOfTables { id: ONE, settled: true, holders: holders("a"), begins: BTreeMap::new() };
        let of = |holders| Found { holders, ..found(Some(ONE), Some(said.clone()), 0, 900, 7) };
        assert_eq!(of(holders("a")).check(Accepted::default()), Ok(()));
        let mismatch = of(holders("b")).check(Accepted::default()).unwrap_err();
        assert!(mismatch.to_string().starts_with("leadway.leads is b, and the tables were made of a"), "{mismatch}");
        assert!(matches!(of(BTreeMap::new()).check(Accepted::default()), Err(Mismatch::OtherHolder { .. })));
        let more = BTreeMap::from_iter(holders("a").into_iter().chain([("leadway.events".into(), "e".into())]));
        assert_eq!(of(more).check(Accepted::default()), Ok(()), "a later version may have more topics");
    }

    #[tokio::test]
    async fn a_first_start_that_was_cut_off_anywhere_is_completed_by_the_next() {
        for cut in 0..3 {
            let (log, made) = (MemoryLog::new(1), MemoryTables::default());
            let now = Timestamp::UNIX_EPOCH;
            if cut >= 1 {
                made.claim(&LogOfTables::unsettled(ONE)).await.unwrap();
            }
            if cut >= 2 {
                leadway_eventlog::identify(&log, ONE, now).await.unwrap();
            }
            let found = Found::of(&log, &made, true).await.unwrap();
            found.check(Accepted::default()).unwrap_or_else(|e| panic!("cut {cut}: {e}"));
            let id = settle(&found, &log, &made, OTHER, now).await.unwrap();
            assert_eq!(leadway_eventlog::identity(&log).await.unwrap(), Some(id));
            let said = made.log().await.unwrap().unwrap();
            assert_eq!((said.id, said.settled), (id, true), "cut {cut}");
            // The next start finds it so, and has nothing to do.
            let found = Found::of(&log, &made, true).await.unwrap();
            found.check(Accepted::default()).unwrap();
            assert_eq!(settle(&found, &log, &made, OTHER, now).await.unwrap(), id);
        }
    }

    #[tokio::test]
    async fn an_accepted_beginning_is_kept_and_a_later_one_is_not() {
        let (log, made, now) = (MemoryLog::new(1), MemoryTables::default(), Timestamp::UNIX_EPOCH);
        let begins = |first, said| found(Some(ONE), said, first, 9, 7);
        let accepted = begins(3, tables(ONE, true));
        settle(&accepted, &log, &made, OTHER, now).await.unwrap();
        let said = made.log().await.unwrap();
        assert_eq!(begins(3, said.clone()).check(Accepted::default()), Ok(()));
        assert!(matches!(begins(4, said).check(Accepted::default()), Err(Mismatch::Truncated { .. })));
    }
}
