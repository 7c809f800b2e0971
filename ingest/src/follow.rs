//! Following the topic `leads`, to know what peers accepted and what this node accepted before it was restarted.

use std::time::Duration;

use leadway_domain::lead::{Lead, SubmissionKey};
use leadway_domain::record::Topic;
use leadway_domain::{ContactId, LeadId, Offset, Partition, Timestamp};
use leadway_eventlog::{LogError, Position, ReadLimit, Record};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::dedupe::First;
use crate::notebook::Notebook;
use crate::own::Stretch;
use crate::service::Inner;

/// How far the clocks of two nodes may differ: so much earlier than the window the reading starts.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(300);

/// How much fuller than the average a partition may be for the window to be loaded whole.
const SKEW: u64 = 2;

/// So many of the last records of each partition of the quarantine are read at the start.
const REFUSED_AT_START: u64 = 500;

/// What the window needs of a lead's record: reading the rest would cost several times as much.
#[derive(Deserialize)]
struct Received {
    v: u32,
    submission: SubmissionKey,
    #[serde(default)]
    also: Option<SubmissionKey>,
    contact_id: ContactId,
    received_at: Timestamp,
}

impl Inner {
    /// Loads the window, then keeps it until `stop`.
    pub(crate) async fn follow(&self, stop: &CancellationToken) -> Result<(), Error> {
        let work = async {
            let (mut notebook, mut positions) = self.load_window().await?;
            let mut refused = self.load_refused().await?;
            self.set_ready();
            loop {
                self.log.wait(&[positions.as_slice(), refused.as_slice()].concat()).await?;
                for position in &mut positions {
                    while self.read_on(position).await? {}
                }
                for position in &mut refused {
                    while self.read_refused(position).await? {}
                }
                notebook.note_now_and_then(&positions).await;
                tokio::time::sleep(Duration::from_millis(self.options.follow_pause_ms)).await;
            }
        };
        // Nothing here is lost when it is dropped: the window is memory, and what is not noted is read again.
        stop.run_until_cancelled(work).await.unwrap_or(Ok(()))
    }

    /// Takes in what is noted, then every partition from where the notes end, or else from where the window begins, to its
    /// present end.
    async fn load_window(&self) -> Result<(Notebook, Vec<Position>), LogError> {
        let now = self.clock.now();
        let (mut notebook, noted) = Notebook::open(&self.window, &self.options, &*self.log, now).await?;
        let mut positions = Vec::new();
        for partition in (0..self.log.partitions(Topic::Leads)).map(Partition) {
            let end = self.log.end(Topic::Leads, partition).await?;
            let next = match noted.iter().find(|position| position.partition == partition) {
                Some(position) => position.next,
                None => self.window_start(partition, end, now).await?,
            };
            let mut position = Position { topic: Topic::Leads, partition, next };
            while position.next < end && self.read_on(&mut position).await? {
                notebook.note(&[]).await;
            }
            positions.push(position);
        }
        notebook.note(&positions).await;
        Ok((notebook, positions))
    }

    /// Takes in the last leads that were refused.
    async fn load_refused(&self) -> Result<Vec<Position>, LogError> {
        let mut positions = Vec::new();
        for partition in (0..self.log.partitions(Topic::Quarantine)).map(Partition) {
            let end = self.log.end(Topic::Quarantine, partition).await?;
            let next = Offset(end.0.saturating_sub(REFUSED_AT_START));
            let mut position = Position { topic: Topic::Quarantine, partition, next };
            while position.next < end && self.read_refused(&mut position).await? {}
            positions.push(position);
        }
        Ok(positions)
    }

    async fn read_refused(&self, position: &mut Position) -> Result<bool, LogError> {
        let records = self.log.read(position.topic, position.partition, position.next, ReadLimit::default()).await?;
        let Some(last) = records.last() else { return Ok(false) };
        position.next = last.next();
        records.iter().filter_map(|record| record.decode().ok()).for_each(|record| self.refused.learn(&record));
        tokio::task::yield_now().await;
        Ok(true)
    }

    /// Where the window begins in a partition that ends at `end`.
    async fn window_start(&self, partition: Partition, end: Offset, now: Timestamp) -> Result<Offset, LogError> {
        let window = Duration::from_secs(self.options.dedupe_window_seconds.into()) + CLOCK_DIFFERENCE;
        let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
        // No further back than the window has room for.
        let share = self.options.dedupe_max_entries as u64 / u64::from(self.log.partitions(Topic::Leads).max(1));
        let start = Offset(end.0.saturating_sub(share.saturating_add(1).saturating_mul(SKEW)));
        self.first_since(partition, start, end, since).await
    }

    /// The first record between `start` and `end` that was written at or after `since`, by bisection.
    async fn first_since(
        &self,
        partition: Partition,
        start: Offset,
        end: Offset,
        since: Timestamp,
    ) -> Result<Offset, LogError> {
        let one = ReadLimit { records: 1, bytes: 1 };
        let (mut low, mut high) = (start.0, end.0);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.log.read(Topic::Leads, partition, Offset(middle), one).await?.first() {
                Some(record) if record.time < since => low = record.next().0,
                _ => high = middle,
            }
        }
        Ok(Offset(low))
    }

    /// Takes in the next records, if there are any that this node does not know from having appended them.
    async fn read_on(&self, position: &mut Position) -> Result<bool, LogError> {
        let Stretch { next, others } = self.window.own_from(position.partition, position.next);
        position.next = next;
        let limit = ReadLimit::default();
        let records = others.map_or(limit.records, |others| limit.records.min(others as usize));
        let limit = ReadLimit { records, ..limit };
        let records = self.log.read(position.topic, position.partition, position.next, limit).await?;
        let Some(last) = records.last() else { return Ok(false) };
        position.next = last.next();
        let (now, leads) = (self.clock.now(), records.iter().filter_map(|record| self.received(record)));
        let (old, new): (Vec<_>, Vec<_>) = leads.partition(|(lead, _)| lead.v < Lead::VERSION);
        self.window.learn(new.into_iter().flat_map(Received::submissions), now);
        if !old.is_empty() {
            self.window.learn_legacy(old.into_iter().flat_map(Received::submissions), now);
        }
        // A log in memory never makes anybody wait: loading a long window must not keep others from running.
        tokio::task::yield_now().await;
        Ok(true)
    }

    fn received(&self, record: &Record) -> Option<(Received, LeadId)> {
        if record.kind != "lead.received" {
            return None;
        }
        // The router reads every record too: it counts and reports those that cannot be read.
        let lead = serde_json::from_slice(&record.data).ok()?;
        Some((lead, self.addressing.id(record.address.partition, record.address.offset)))
    }
}

impl Received {
    fn submissions((lead, lead_id): (Self, LeadId)) -> impl Iterator<Item = (SubmissionKey, First)> {
        let first = First { lead_id, contact_id: lead.contact_id, received_at: lead.received_at };
        [Some(lead.submission), lead.also].into_iter().flatten().map(move |key| (key, first))
    }
}
