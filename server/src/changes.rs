//! Tells the process's log of changes of settings: who, what, which. Not from what to what: that may hold secrets, and
//! `/api/settings/changes` has it for those who may see it.

use std::sync::Arc;
use std::time::Duration;

use leadway_domain::record::Topic;
use leadway_domain::settings::{Change, SettingsChange};
use leadway_domain::{Offset, Partition};
use leadway_eventlog::{EventLog, LogError, ReadLimit, SettingsHandle};
use tokio_util::sync::CancellationToken;

/// Changes of one record that are told one by one: an import changes thousands.
const TOLD: usize = 20;
const PAUSE: Duration = Duration::from_secs(1);

/// Tells what changes from now on, until `stop`.
pub(crate) async fn run(log: Arc<dyn EventLog>, settings: SettingsHandle, stop: CancellationToken) {
    let mut changes = settings.changes();
    let mut from = *changes.borrow_and_update();
    while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
        let upto = *changes.borrow_and_update();
        while from < upto {
            match tell(&*log, from).await {
                Ok(next) => from = next,
                Err(LogError::Closed) => return,
                Err(error) => {
                    tracing::debug!(%error, "changes of settings cannot be read");
                    if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                        return;
                    }
                }
            }
        }
    }
}

async fn tell(log: &dyn EventLog, from: Offset) -> Result<Offset, LogError> {
    let records = log.read(Topic::Settings, Partition(0), from, ReadLimit::default()).await?;
    for record in &records {
        // The follower of the settings reports the records that cannot be read.
        let Ok(change) = record.decode::<SettingsChange>() else { continue };
        if !change.counts_at(record.address.offset) {
            continue;
        }
        let (actor, offset) = (&change.actor, record.address.offset.0);
        let singles = change.change.singles();
        for (single, before) in singles.iter().zip(&change.before).take(TOLD) {
            let Some((kind, id)) = single.concerns() else { continue };
            let what = match single {
                Change::Delete { .. } => "deleted",
                _ if before.is_none() => "made",
                _ => "changed",
            };
            tracing::info!(actor, kind = kind.as_str(), id, what, offset, "settings changed");
        }
        if let Some(more) = singles.len().checked_sub(TOLD).filter(|more| *more > 0) {
            tracing::info!(actor, more, offset, "settings changed");
        }
    }
    // Passed over, should what was announced not be there to be read.
    Ok(records.last().map_or(Offset(from.0 + 1), leadway_eventlog::Record::next))
}
