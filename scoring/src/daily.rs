//! Sums of a quarter of an hour: rows of table `daily`, one writer each.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use leadway_domain::histogram::LatencyHistogram;
use leadway_domain::{Money, ProviderId, WorkspaceId};
use leadway_eventlog::Address;
use leadway_tables::Json;
use leadway_tables::schema::{day, quarter};

use crate::rows::DailyId;

/// Which sums a record counts in.
pub(crate) struct Sums<'r> {
    /// Its quarter of an hour is the row's.
    pub(crate) at: Timestamp,
    pub(crate) provider: &'r ProviderId,
    /// `None` for what concerns no workspace (yet).
    pub(crate) workspace: Option<&'r WorkspaceId>,
    pub(crate) product: &'r Arc<str>,
    /// The record: its topic and partition are the row's one writer.
    pub(crate) by: Address,
}

impl Sums<'_> {
    /// The row.
    pub(crate) fn id(&self) -> DailyId {
        DailyId {
            day: day(self.at),
            quarter: quarter(self.at),
            provider: self.provider.clone(),
            workspace: self.workspace.cloned(),
            product: self.product.clone(),
            topic: self.by.topic,
            partition: self.by.partition,
        }
    }
}

// Sums stop at the ends of their range: no record, however absurd its amounts, may stop scoring.

pub(crate) fn count(cell: &mut Option<i64>, n: i64) {
    *cell = Some(cell.unwrap_or(0).saturating_add(n));
}

pub(crate) fn pay(cell: &mut Option<Money>, amount: Money) {
    let sum = cell.map_or(0, Money::cents).saturating_add(amount.cents());
    *cell = Some(Money::from_cents(sum));
}

/// Counts the time from `from` to `to`; none when clocks of two nodes make it negative.
pub(crate) fn time(cell: &mut Option<Json<LatencyHistogram>>, from: Timestamp, to: Timestamp) {
    let took = Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO);
    cell.get_or_insert_default().0.record(took);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_time_counts_as_none() {
        let (early, late) = (Timestamp::from_second(10).unwrap(), Timestamp::from_second(20).unwrap());
        let (mut backwards, mut none, mut long) = (None, None, None);
        time(&mut backwards, late, early);
        time(&mut none, early, early);
        time(&mut long, early, late);
        assert_eq!(backwards, none);
        assert_ne!(backwards, long);
    }
}
