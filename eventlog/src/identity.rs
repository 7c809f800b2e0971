//! Which log this is: a random id, the first record of the topic `settings`. A log that an older version made gets its id
//! behind the settings that it has.

use leadway_domain::record::Topic;
use leadway_domain::settings::SettingsChange;
use leadway_domain::{Offset, Partition, Timestamp};
use uuid::Uuid;

use crate::{EventLog, LogError, NewRecord, ReadLimit};

/// The settings have one partition.
const PARTITION: Partition = Partition(0);

/// The log's identity; `None` as long as it has none.
pub async fn identity(log: &dyn EventLog) -> Result<Option<Uuid>, LogError> {
    let end = log.end(Topic::Settings, PARTITION).await?;
    let mut next = Offset(0);
    let mut limit = ReadLimit { records: 1, ..ReadLimit::default() };
    while next < end {
        let records = log.read(Topic::Settings, PARTITION, next, limit).await?;
        let Some(last) = records.last() else { break };
        next = last.next();
        // Who cannot read a record here tells of it where settings are folded.
        let change = |record: &crate::Record| Some((record.address.offset, record.decode::<SettingsChange>().ok()?));
        let mut ids = records.iter().filter_map(change);
        if let Some(id) = ids.find_map(|(at, change)| change.log_id.filter(|_| change.counts_at(at))) {
            return Ok(Some(id));
        }
        limit = ReadLimit::default();
    }
    Ok(None)
}

/// Gives the log this identity, unless it has one; returns what it has then. Nodes that do it at the same moment agree.
pub async fn identify(log: &dyn EventLog, id: Uuid, now: Timestamp) -> Result<Uuid, LogError> {
    loop {
        if let Some(id) = identity(log).await? {
            return Ok(id);
        }
        let end = log.end(Topic::Settings, PARTITION).await?;
        let record = SettingsChange::identity(id, now).only_at(end);
        // Where somebody else's record came first, this one does not count, and the next look finds what does.
        log.append(vec![NewRecord::of(&record, now)]).await?;
    }
}

#[cfg(test)]
mod tests {
    use leadway_domain::settings::{Change, Settings};

    use super::*;
    use crate::MemoryLog;

    fn change() -> NewRecord {
        let now = Timestamp::UNIX_EPOCH;
        NewRecord::of(&SettingsChange::new(&Settings::default(), "ops", now, Change::Batch(Vec::new())), now)
    }

    #[tokio::test]
    async fn a_log_keeps_the_identity_that_it_was_given_first() {
        let log = MemoryLog::new(2);
        assert_eq!(identity(&log).await.unwrap(), None);
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(identify(&log, one, Timestamp::UNIX_EPOCH).await.unwrap(), one);
        assert_eq!(identify(&log, other, Timestamp::UNIX_EPOCH).await.unwrap(), one);
        assert_eq!(log.end(Topic::Settings, PARTITION).await.unwrap(), Offset(1), "it is the first record");
    }

    #[tokio::test]
    async fn a_log_of_an_older_version_gets_one_behind_its_settings() {
        let log = MemoryLog::new(2);
        log.append((0..2_500).map(|_| change()).collect()).await.unwrap();
        assert_eq!(identity(&log).await.unwrap(), None);
        identify(&log, Uuid::from_u128(1), Timestamp::UNIX_EPOCH).await.unwrap();
        log.append(vec![change()]).await.unwrap();
        assert_eq!(identity(&log).await.unwrap(), Some(Uuid::from_u128(1)));
    }

    #[tokio::test]
    async fn of_nodes_that_start_at_once_all_find_the_same() {
        let log = MemoryLog::new(2);
        let now = Timestamp::UNIX_EPOCH;
        // Another node was faster between this one's look and its record: what came too late does not count.
        let late = SettingsChange::identity(Uuid::from_u128(9), now).only_at(Offset(0));
        log.append(vec![change(), NewRecord::of(&late, now)]).await.unwrap();
        assert_eq!(identity(&log).await.unwrap(), None);
        assert_eq!(identify(&log, Uuid::from_u128(1), now).await.unwrap(), Uuid::from_u128(1));
    }
}
