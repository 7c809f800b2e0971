//! Whether the log has forgotten how far the router had come.
//!
//! Kafka drops a group's offsets when nobody of it runs for `offsets.retention.minutes`. A router that began anew would then
//! decide every lead again, and send every client every appointment a second time. The tables still know better.

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use leadway_eventlog::ReadLimit;

use crate::decide::Standing;
use crate::error::Error;
use crate::standing::Sources;

/// Leads looked at: a lead without a date may wait for ever, but not all of them do.
const LEADS: usize = 100;

/// Fails when the first leads of a partition are decided, of which the log says that the router has decided none.
pub(crate) async fn check_progress(sources: Sources<'_>, partition: Partition) -> Result<(), Error> {
    let first = ReadLimit { records: LEADS, ..ReadLimit::default() };
    for record in sources.log.read(Topic::Leads, partition, Offset(0), first).await? {
        let id = sources.addressing.id(partition, record.address.offset);
        if !matches!(sources.standing(id).await?, Standing::Waiting) {
            return Err(Error::Forgotten { partition });
        }
    }
    Ok(())
}
