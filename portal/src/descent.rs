//! Reading leads and appointments newest first.
//!
//! Each partition of the log has its leads in the order of their arrival, but partitions do not keep step: one may be far
//! behind the others in offsets. So their rows are merged by the time of arrival, as many of each as it takes.

use std::collections::VecDeque;

use leadway_domain::record::Topic;
use leadway_domain::{Addressing, LeadId, Offset, Partition, Timestamp};
use leadway_tables::schema::{AppointmentRow, LeadDayRow, LeadRow, bucket};
use leadway_tables::{Day, Range, TableRow, get_all, key, scan};
use serde::{Deserialize, Serialize};

use crate::page::PageRequest;
use crate::problem::Answer;
use crate::span::Span;
use crate::state::Portal;

/// Most rows of one partition that are read ahead.
const MAX_AHEAD: usize = 100;
/// Fewest of them.
const MIN_AHEAD: usize = 4;

/// Records of each partition among which its first lead is looked for at once.
const FIRST_LEADS: u64 = 8;

/// A row about a lead.
pub(crate) trait OfLead: TableRow {
    /// The lead's id.
    fn lead_id(&self) -> LeadId;
    /// When the lead arrived; `None` for a row of which only a part has been applied.
    fn received_at(&self) -> Option<Timestamp>;
}

impl OfLead for LeadRow {
    fn lead_id(&self) -> LeadId {
        self.lead_id
    }
    fn received_at(&self) -> Option<Timestamp> {
        self.received_at
    }
}

impl OfLead for AppointmentRow {
    fn lead_id(&self) -> LeadId {
        self.appointment_id
    }
    fn received_at(&self) -> Option<Timestamp> {
        self.received_at
    }
}

/// Where the next page of a descent starts: above which offset nothing is left, by partition.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Below {
    before: Vec<u64>,
}

/// A bounded walk down the leads of all partitions.
pub(crate) struct Descent<R> {
    strands: Vec<Strand<R>>,
    /// Rows of one partition that are read at once.
    ahead: usize,
    /// Keys that may still be looked at.
    looks_left: usize,
}

/// The rows of one partition.
struct Strand<R> {
    partition: Partition,
    /// The lowest offset that is asked for.
    lowest: Offset,
    /// Above it everything has been read.
    before: Offset,
    /// Read and not yet taken, newest first.
    rows: VecDeque<(Timestamp, R)>,
}

impl<R: OfLead> Descent<R> {
    /// The walk of one page: from the request's cursor, else from the newest lead, through the leads of `span`.
    pub(crate) async fn start(portal: &Portal, page: &PageRequest, span: Option<&Span>) -> Answer<Self> {
        let mut strands = match span {
            Some(span) => strands_of(portal, span).await?,
            None => all_strands(portal).await?,
        };
        if let Some(Below { before }) = page.position()? {
            for (strand, before) in strands.iter_mut().zip(before) {
                strand.before = strand.before.min(Offset(before));
            }
        }
        let ahead = (2 * page.limit / strands.len().max(1)).clamp(MIN_AHEAD, MAX_AHEAD);
        // Each page must come further, however many partitions there are.
        let looks_left = portal.options.page_scan_rows.max(2 * ahead * strands.len());
        Ok(Self { strands, ahead, looks_left })
    }

    /// The next row; `None` when the page has looked at enough or nothing is left.
    pub(crate) async fn next(&mut self, portal: &Portal) -> Answer<Option<R>> {
        if !self.fill(portal).await? {
            return Ok(None);
        }
        let head = |strand: &Strand<R>| strand.rows.front().map(|(at, row)| (*at, row.lead_id()));
        let newest = self.strands.iter_mut().max_by_key(|strand| head(strand));
        Ok(newest.and_then(|strand| strand.rows.pop_front()).map(|(_, row)| row))
    }

    /// The next rows, at most `count`; none when the page has looked at enough or nothing is left.
    pub(crate) async fn next_rows(&mut self, portal: &Portal, count: usize) -> Answer<Vec<R>> {
        let mut rows = Vec::new();
        while rows.len() < count
            && let Some(row) = self.next(portal).await?
        {
            rows.push(row);
        }
        Ok(rows)
    }

    /// Leaves the last rows that were taken, given in their order, to the next page.
    pub(crate) fn put_back(&mut self, portal: &Portal, rows: impl DoubleEndedIterator<Item = R>) {
        for row in rows.rev() {
            if let Some(strand) = self.strand_of(portal.addressing, row.lead_id())
                && let Some(at) = row.received_at()
            {
                strand.rows.push_front((at, row));
            }
        }
    }

    fn strand_of(&mut self, addressing: Addressing, id: LeadId) -> Option<&mut Strand<R>> {
        let (partition, _) = addressing.address(id)?;
        self.strands.iter_mut().find(|strand| strand.partition == partition)
    }

    /// Reads on in every partition whose rows have been taken. `false` when that would be too many looks.
    async fn fill(&mut self, portal: &Portal) -> Answer<bool> {
        loop {
            let (ahead, mut looks_left) = (self.ahead, self.looks_left);
            let mut keys = Vec::new();
            for strand in self.strands.iter().filter(|strand| strand.must_read()) {
                let stretch = strand.stretch(ahead);
                looks_left = match looks_left.checked_sub((stretch.end - stretch.start) as usize) {
                    Some(left) => left,
                    None => return Ok(false),
                };
                let ids = stretch.map(|offset| portal.addressing.id(strand.partition, Offset(offset)));
                keys.extend(ids.filter_map(|id| Some(key![bucket(portal.addressing, id)?, id])));
            }
            if keys.is_empty() {
                return Ok(true);
            }
            self.looks_left = looks_left;
            let rows: Vec<Option<R>> = get_all(&*portal.tables, keys).await?;
            self.take(portal.addressing, rows.into_iter().flatten());
        }
    }

    fn take(&mut self, addressing: Addressing, rows: impl Iterator<Item = R>) {
        let ahead = self.ahead;
        for strand in self.strands.iter_mut().filter(|strand| strand.must_read()) {
            strand.before = Offset(strand.stretch(ahead).start);
        }
        for row in rows {
            if let Some(strand) = self.strand_of(addressing, row.lead_id())
                && let Some(at) = row.received_at()
            {
                strand.rows.push_front((at, row));
            }
        }
    }

    /// Where the next page starts; `None` when nothing is left.
    pub(crate) fn cursor(&self, portal: &Portal) -> Option<Below> {
        let left = |strand: &Strand<R>| {
            let newest = strand.rows.front().and_then(|(_, row)| portal.addressing.address(row.lead_id()));
            newest.map_or(strand.before, |(_, offset)| offset.next())
        };
        let is_over = self.strands.iter().all(|strand| left(strand) <= strand.lowest);
        (!is_over).then(|| Below { before: self.strands.iter().map(|strand| left(strand).0).collect() })
    }
}

impl<R> Strand<R> {
    fn new(partition: Partition, lowest: Offset, before: Offset) -> Self {
        Self { partition, lowest, before, rows: VecDeque::new() }
    }

    fn must_read(&self) -> bool {
        self.rows.is_empty() && self.before > self.lowest
    }

    /// The offsets to be read next, at most `ahead`.
    fn stretch(&self, ahead: usize) -> std::ops::Range<u64> {
        self.lowest.0.max(self.before.0.saturating_sub(ahead as u64))..self.before.0
    }
}

/// Everything in the log.
async fn all_strands<R>(portal: &Portal) -> Answer<Vec<Strand<R>>> {
    let mut strands = Vec::new();
    for partition in (0..portal.log.partitions(Topic::Leads)).map(Partition) {
        let end = portal.log.end(Topic::Leads, partition).await?;
        strands.push(Strand::new(partition, Offset(0), end));
    }
    Ok(strands)
}

/// The leads that arrived on the span's days, and what lies between them.
async fn strands_of<R>(portal: &Portal, span: &Span) -> Answer<Vec<Strand<R>>> {
    // One for each partition, so that cursors fit whatever the days are.
    let partitions = (0..portal.log.partitions(Topic::Leads)).map(Partition);
    let mut strands: Vec<Strand<R>> = partitions.map(|p| Strand::new(p, Offset(0), Offset(0))).collect();
    for day in span.days() {
        let rows: Vec<LeadDayRow> = scan(&*portal.tables, &key![day], Range::first(4_096)).await?;
        for row in rows {
            let offset = |id: Option<LeadId>| portal.addressing.address(id?).map(|(_, offset)| offset);
            let Some((first, last)) = offset(row.first_lead_id).zip(offset(row.last_lead_id)) else { continue };
            let Some(strand) = strands.get_mut(row.log_partition.0 as usize) else { continue };
            let is_empty = strand.before == strand.lowest;
            strand.lowest = if is_empty { first } else { strand.lowest.min(first) };
            strand.before = strand.before.max(last.next());
        }
    }
    Ok(strands)
}

/// The day of the very first lead of all partitions; `None` when there is none.
pub(crate) async fn first_day(portal: &Portal) -> Answer<Option<Day>> {
    let mut without = Vec::new();
    for partition in (0..portal.log.partitions(Topic::Leads)).map(Partition) {
        let end = portal.log.end(Topic::Leads, partition).await?;
        without.extend((end.0 > 0).then_some((partition, end)));
    }
    let (mut first, mut before, mut looks_left) = (None::<Timestamp>, 0, portal.options.page_scan_rows);
    // The first record of nearly every partition is a lead that the tables have: one look finds all of them.
    while !without.is_empty() && looks_left > 0 {
        looks_left = looks_left.saturating_sub(without.len() * FIRST_LEADS as usize);
        let stretch = before..before + FIRST_LEADS;
        let ids = without
            .iter()
            .flat_map(|(partition, _)| stretch.clone().map(|offset| portal.addressing.id(*partition, Offset(offset))));
        let keys = ids.filter_map(|id| Some(key![bucket(portal.addressing, id)?, id]));
        let rows: Vec<Option<LeadRow>> = get_all(&*portal.tables, keys.collect::<Vec<_>>()).await?;
        before = stretch.end;
        for row in rows.into_iter().flatten() {
            if let Some((at, (partition, _))) = row.received_at.zip(portal.addressing.address(row.lead_id)) {
                first = Some(first.map_or(at, |first| first.min(at)));
                without.retain(|(other, _)| *other != partition);
            }
        }
        without.retain(|(_, end)| end.0 > before);
    }
    Ok(first.map(leadway_tables::schema::day))
}
