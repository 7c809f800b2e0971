//! Reading leads and appointments newest first: down the lead ids, bucket by bucket, from the log's end.
//!
//! A bucket holds the leads of all log partitions with offsets in one stretch, so descending buckets, and within each
//! descending ids, is descending ids as a whole. Ids grow with time within a log partition; across partitions that take
//! about the same load they nearly do, which is what "newest first" means here.

use leadway_domain::record::Topic;
use leadway_domain::{LeadId, Offset, Partition};
use leadway_tables::schema::{BUCKET_SIZE, LeadDayRow, LeadRow, bucket};
use leadway_tables::{Day, Range, TableRow, key, scan};
use serde::{Deserialize, Serialize};

use crate::page::PageRequest;
use crate::problem::{Answer, Refusal};
use crate::span::Span;
use crate::state::Portal;

/// Most empty buckets that one page passes.
const MAX_BUCKETS: usize = 256;

/// Where the next page of a descent starts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Below {
    before: LeadId,
}

/// A bounded walk down the ids. What is passed counts as read: after breaking off in the middle of a chunk, say with
/// [`stop_at`](Self::stop_at) where.
pub(crate) struct Descent {
    before: LeadId,
    lowest: LeadId,
    chunk: usize,
    rows_left: usize,
    buckets_left: usize,
}

impl Descent {
    /// The walk of one page: from the request's cursor, else from the newest lead, through the leads of `span`.
    pub(crate) async fn start(portal: &Portal, page: &PageRequest, span: Option<&Span>) -> Answer<Self> {
        let mut descent = Self {
            before: newest(portal).await?,
            lowest: portal.addressing.id(Partition(0), Offset(0)),
            // A lead may have 64 KiB.
            chunk: page.limit.clamp(100, 250),
            rows_left: portal.options.page_scan_rows,
            buckets_left: MAX_BUCKETS,
        };
        if let Some(span) = span {
            match ids_of(portal, span).await? {
                Some((first, last)) => {
                    descent.lowest = descent.lowest.max(first);
                    descent.before = descent.before.min(LeadId(last.0 + 1));
                }
                None => descent.before = descent.lowest,
            }
        }
        if let Some(Below { before }) = page.position()? {
            descent.before = descent.before.min(before);
        }
        Ok(descent)
    }

    /// The next rows, descending, none of them empty of rows; `None` when the page has looked at enough or nothing is
    /// left. `id` tells a row's lead id.
    pub(crate) async fn next<R: TableRow>(&mut self, portal: &Portal, id: impl Fn(&R) -> LeadId) -> Answer<Vec<R>> {
        while self.before > self.lowest && self.rows_left > 0 && self.buckets_left > 0 {
            let Some(last) = self.before.0.checked_sub(1) else { break };
            let Some(bucket) = bucket(portal.addressing, LeadId(last)) else { break };
            let limit = self.chunk.min(self.rows_left);
            let range = Range::last(limit).before(key![self.before]).from(key![self.lowest]);
            let rows: Vec<R> = scan(&*portal.tables, &key![bucket], range).await?;
            self.rows_left -= rows.len();
            self.before = match rows.last() {
                Some(row) if rows.len() == limit => id(row),
                _ => {
                    self.buckets_left -= 1;
                    portal.addressing.id(Partition(0), Offset(bucket as u64 * BUCKET_SIZE))
                }
            };
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
        Ok(Vec::new())
    }

    /// The page ends with this row.
    pub(crate) fn stop_at(&mut self, last: LeadId) {
        self.before = last;
    }

    /// Where the next page starts; `None` when nothing is left.
    pub(crate) fn cursor(&self) -> Option<Below> {
        (self.before > self.lowest).then_some(Below { before: self.before })
    }
}

/// An id above every lead's.
async fn newest(portal: &Portal) -> Result<LeadId, Refusal> {
    let mut end = Offset(0);
    for partition in (0..portal.log.partitions(Topic::Leads)).map(Partition) {
        end = end.max(portal.log.end(Topic::Leads, partition).await?);
    }
    Ok(portal.addressing.id(Partition(0), end))
}

/// The smallest and the largest id of the leads that arrived on the span's days; `None` when none did.
async fn ids_of(portal: &Portal, span: &Span) -> Answer<Option<(LeadId, LeadId)>> {
    let mut ids = None;
    for day in span.days() {
        let rows: Vec<LeadDayRow> = scan(&*portal.tables, &key![day], Range::first(4_096)).await?;
        for (first, last) in rows.iter().filter_map(|row| row.first_lead_id.zip(row.last_lead_id)) {
            let (lowest, highest) = ids.unwrap_or((first, last));
            ids = Some((lowest.min(first), highest.max(last)));
        }
    }
    Ok(ids)
}

/// The day of the very first lead; `None` when there is none.
pub(crate) async fn first_day(portal: &Portal) -> Answer<Option<Day>> {
    let first: Vec<LeadRow> = scan(&*portal.tables, &key![0_i64], Range::first(1)).await?;
    Ok(first.first().and_then(|lead| lead.received_at).map(leadway_tables::schema::day))
}
