//! How far the tables have come against how far the log goes.

use leadway_domain::record::Topic;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::Answer;
use crate::state::Portal;

/// A partition of the log of which the tables hold more than there is: the log has lost records, or is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PositionAhead {
    /// The topic.
    #[schema(value_type = String, example = "leads")]
    topic: Topic,
    partition: u32,
    /// Up to which offset the tables hold it.
    applied: u64,
    /// Where it ends in the log.
    log_end: u64,
}

/// Every such partition. There is none where log and tables belong together.
pub(crate) async fn positions_ahead(portal: &Portal) -> Answer<Vec<PositionAhead>> {
    // First: what is applied later is behind the ends that are asked for now.
    let positions = portal.tables.positions().await?;
    let extents = portal.log.extents().await?;
    let ahead = positions.into_iter().filter_map(|(topic, partition, applied)| {
        let extent = extents.iter().find(|extent| extent.topic == topic && extent.partition == partition);
        let end = extent.map_or(0, |extent| extent.end.0);
        (applied.0 > end).then_some(PositionAhead { topic, partition: partition.0, applied: applied.0, log_end: end })
    });
    let mut ahead: Vec<PositionAhead> = ahead.collect();
    ahead.sort_by_key(|position| (position.topic, position.partition));
    Ok(ahead)
}
