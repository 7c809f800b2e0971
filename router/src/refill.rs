//! Fills the memory of submissions out of the log, when a partition is taken over.

use leadway_domain::lead::SubmissionKey;
use leadway_domain::record::{LeadRecord, Topic};
use leadway_domain::{Addressing, LeadId, Offset, Partition, Timestamp};
use leadway_eventlog::{EventLog, ReadLimit};

use crate::error::Error;
use crate::submissions::{Submissions, keys};

/// Records that a step backwards takes. Of leads nothing but [`Told`] is kept: the memory may span very many of them.
const BLOCK: u64 = 1_000;

/// Where the leads stand.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) log: &'a dyn EventLog,
    pub(crate) addressing: Addressing,
    pub(crate) partition: Partition,
}

/// What the memory is told of a lead.
struct Told {
    keys: [Option<SubmissionKey>; 2],
    id: LeadId,
    received_at: Timestamp,
}

/// Some records in a row.
#[derive(Default)]
struct Block {
    leads: Vec<Told>,
    /// Times of the first and the last record.
    times: Option<(Timestamp, Timestamp)>,
}

impl Source<'_> {
    /// The submissions within the window before `position`, but no more than about `entries`.
    pub(crate) async fn refill(self, position: Offset, window: u64, entries: usize) -> Result<Submissions, Error> {
        let mut blocks = Vec::new();
        let (mut start, mut read) = (position, 0);
        let mut newest = None;
        while start > Offset(0) && read < entries && window > 0 {
            let end = start;
            start = Offset(end.0.saturating_sub(BLOCK));
            let block = self.block(start, end).await?;
            read += BLOCK as usize;
            let times = block.times;
            blocks.push(block);
            if let Some((oldest, last)) = times
                && newest.get_or_insert(last).duration_since(oldest).unsigned_abs().as_secs() > window
            {
                break;
            }
        }
        let mut submissions = Submissions::new(window, entries);
        for lead in blocks.iter().rev().flat_map(|block| &block.leads) {
            for key in lead.keys.into_iter().flatten() {
                submissions.first_of(key, lead.id, lead.received_at);
            }
        }
        Ok(submissions)
    }

    async fn block(self, from: Offset, end: Offset) -> Result<Block, Error> {
        let mut block = Block::default();
        let mut next = from;
        while next < end {
            let limit = ReadLimit { records: (end.0 - next.0) as usize, ..ReadLimit::default() };
            let page = self.log.read(Topic::Leads, self.partition, next, limit).await?;
            let Some(last) = page.last() else { break };
            next = last.next();
            for record in page.iter().filter(|r| r.address.offset < end) {
                let (first, _) = block.times.unwrap_or((record.time, record.time));
                block.times = Some((first, record.time));
                if let Ok(LeadRecord::Received(lead)) = record.decode() {
                    let id = self.addressing.id(self.partition, record.address.offset);
                    block.leads.push(Told { keys: keys(&lead), id, received_at: lead.received_at });
                }
            }
        }
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use bytes::Bytes;
    use leadway_domain::lead::Lead;
    use leadway_eventlog::{Address, LogError, MemoryLog, NewRecord, Position, Record, Stage};

    use super::*;
    use crate::decide::tests::{NOW, at, lead};

    /// A log that knows how many of the records that it gave out are still held, and the most that ever were.
    struct Lending {
        log: MemoryLog,
        held: Arc<AtomicUsize>,
        most: AtomicUsize,
    }

    struct Lent(Bytes, Arc<AtomicUsize>);

    impl AsRef<[u8]> for Lent {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Lent {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[async_trait]
    impl EventLog for Lending {
        fn partitions(&self, topic: Topic) -> u32 {
            self.log.partitions(topic)
        }

        async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Address>, LogError> {
            self.log.append(records).await
        }

        async fn read(
            &self,
            topic: Topic,
            partition: Partition,
            from: Offset,
            limit: ReadLimit,
        ) -> Result<Vec<Record>, LogError> {
            let mut records = self.log.read(topic, partition, from, limit).await?;
            for record in &mut records {
                let held = self.held.fetch_add(1, Ordering::Relaxed) + 1;
                self.most.fetch_max(held, Ordering::Relaxed);
                record.data = Bytes::from_owner(Lent(record.data.clone(), self.held.clone()));
            }
            Ok(records)
        }

        async fn end(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
            self.log.end(topic, partition).await
        }

        fn seen(&self, topic: Topic, partition: Partition) -> Offset {
            self.log.seen(topic, partition)
        }

        async fn wait(&self, positions: &[Position]) -> Result<(), LogError> {
            self.log.wait(positions).await
        }

        async fn stage(&self, name: &'static str, input: Topic, tracked: &[Topic]) -> Result<Box<dyn Stage>, LogError> {
            self.log.stage(name, input, tracked).await
        }
    }

    fn nth(n: u64) -> NewRecord {
        let lead = Lead { submission: SubmissionKey(n.into()), received_at: at(NOW), ..lead() };
        NewRecord::of(&LeadRecord::Received(Arc::new(lead)), at(NOW))
    }

    #[tokio::test]
    async fn many_leads_are_remembered_without_holding_more_than_a_block_of_records() {
        let (count, addressing) = (3 * BLOCK + 500, Addressing::default());
        let log = Lending { log: MemoryLog::new(1), held: Arc::default(), most: AtomicUsize::new(0) };
        log.append((0..count).map(nth).collect()).await.unwrap();
        let source = Source { log: &log, addressing, partition: Partition(0) };
        let mut submissions = source.refill(Offset(count), 60, 200_000).await.unwrap();
        let most = log.most.load(Ordering::Relaxed);
        assert!((1..=BLOCK as usize).contains(&most), "{most} records were held at once");
        let (next, id) = (LeadId(1 << 40), |n| addressing.id(Partition(0), Offset(n)));
        for n in [0, 1, BLOCK, count - 1] {
            assert_eq!(
                submissions.first_of(SubmissionKey(n.into()).by(lead().contact_id), next, at(NOW)),
                Some(id(n)),
                "lead {n}"
            );
        }
    }
}
