//! The settings as they were.

use leadway_domain::record::Topic;
use leadway_domain::settings::{Settings, SettingsChange};
use leadway_domain::{Offset, Partition, Timestamp};
use leadway_eventlog::{EventLog, LogError, ReadLimit};

/// The settings in force at a moment: every change recorded until then, folded anew out of the log.
pub async fn settings_at(log: &dyn EventLog, at: Timestamp) -> Result<Settings, LogError> {
    let mut settings = Settings::default();
    let mut next = Offset(0);
    loop {
        let records = log.read(Topic::Settings, Partition(0), next, ReadLimit::default()).await?;
        let Some(last) = records.last() else { return Ok(settings) };
        next = last.next();
        // A change that cannot be read was reported by the follower of the settings, which passes over it too.
        for record in &records {
            let Ok(change) = record.decode::<SettingsChange>() else { continue };
            if change.at > at {
                return Ok(settings);
            }
            if change.counts_at(record.address.offset) {
                settings.apply(&change.change);
            }
        }
    }
}
