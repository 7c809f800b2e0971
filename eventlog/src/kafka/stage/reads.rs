//! What a stage reads of its partitions: what the node has in memory at once, and older records from the brokers beside that, so
//! that no partition waits for another one, and nothing is read again when the stage stops waiting.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, MaybeDone, maybe_done};
use leadway_domain::{Offset, Partition};
use tokio::time::sleep;

use crate::kafka::view::within;
use crate::member::Source;
use crate::record::Record;
use crate::{LogError, Position, ReadLimit};

/// Pause before a read that failed is made again.
const PAUSE: Duration = Duration::from_millis(200);

/// What a node can read.
pub(crate) trait Node: Send + Sync + 'static {
    /// What it has in memory from there on; `None` when older records are asked for.
    fn at_hand(&self, from: &Position, limit: ReadLimit) -> Option<Vec<Record>>;

    /// Asks the brokers for older records; none are there when it comes back without.
    fn fetch(self: Arc<Self>, from: Position, limit: ReadLimit) -> BoxFuture<'static, Result<Vec<Record>, LogError>>;

    /// Waits until there is a record at or behind at least one of the positions.
    fn wait(&self, positions: &[Position]) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// The reads of one stage.
pub(crate) struct Reads<N> {
    node: Arc<N>,
    older: BTreeMap<Partition, Older>,
}

/// Older records of a partition, which are asked for or have come.
struct Older {
    from: Offset,
    records: MaybeDone<BoxFuture<'static, Result<Vec<Record>, LogError>>>,
}

impl Older {
    fn take(&mut self) -> Option<Result<Vec<Record>, LogError>> {
        (&mut self.records).now_or_never()?;
        std::pin::Pin::new(&mut self.records).take_output()
    }
}

impl<N: Node> Reads<N> {
    pub(crate) fn new(node: Arc<N>) -> Self {
        Self { node, older: BTreeMap::new() }
    }

    fn fetch(&self, from: Position, limit: ReadLimit, pause: Duration) -> Older {
        let node = self.node.clone();
        let read = async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            node.fetch(from, limit).await
        };
        Older { from: from.next, records: maybe_done(read.boxed()) }
    }

    /// Whether older records have come, or the reason why not.
    fn come(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let come = self.older.values_mut().any(|older| older.records.poll_unpin(context).is_ready());
        if come { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<N: Node> Source for Reads<N> {
    /// Reads that may succeed later are made again: only the group tells whose partitions these are.
    async fn ready(&mut self, from: &Position, limit: ReadLimit) -> Result<Vec<Record>, LogError> {
        let older = self.older.remove(&from.partition).filter(|older| older.from == from.next);
        if let Some(records) = self.node.at_hand(from, limit) {
            return Ok(records);
        }
        let mut older = older.unwrap_or_else(|| self.fetch(*from, limit, Duration::ZERO));
        let (records, left) = match older.take() {
            None => (Vec::new(), Some(older)),
            Some(Ok(mut records)) => {
                let given = within(records.iter(), limit);
                let rest = records.split_off(given.len());
                let next = given.last().filter(|_| !rest.is_empty()).map(Record::next);
                (given, next.map(|from| Older { from, records: MaybeDone::Done(Ok(rest)) }))
            }
            Some(Err(error)) if error.is_transient() => {
                tracing::debug!(%error, partition = from.partition.0, "reading older records for a stage");
                (Vec::new(), Some(self.fetch(*from, limit, PAUSE)))
            }
            Some(Err(error)) => return Err(error),
        };
        self.older.extend(left.map(|older| (from.partition, older)));
        Ok(records)
    }

    async fn wait(&mut self, positions: &[Position]) -> Result<(), LogError> {
        self.older.retain(|partition, _| positions.iter().any(|p| p.partition == *partition));
        let at_hand = |p: &&Position| !self.older.contains_key(&p.partition);
        let others: Vec<Position> = positions.iter().filter(at_hand).copied().collect();
        let node = self.node.clone();
        tokio::select! {
            biased;
            () = poll_fn(|context| self.come(context)) => Ok(()),
            waited = node.wait(&others) => waited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Rounds;
    use crate::{Address, Assignment};
    use leadway_domain::Timestamp;
    use leadway_domain::record::Topic;
    use parking_lot::Mutex;
    use tokio::sync::oneshot;

    type Answer = oneshot::Sender<Result<Vec<Record>, LogError>>;

    /// Has partition 0 on the brokers only, and one record of partition 1 in memory at a time.
    #[derive(Default)]
    struct Fake {
        /// Each fetch, with where it begins.
        fetches: Mutex<Vec<(u64, Answer)>>,
    }

    impl Node for Fake {
        fn at_hand(&self, from: &Position, _: ReadLimit) -> Option<Vec<Record>> {
            (from.partition == Partition(1)).then(|| vec![record(1, from.next.0)])
        }

        fn fetch(self: Arc<Self>, from: Position, _: ReadLimit) -> BoxFuture<'static, Result<Vec<Record>, LogError>> {
            let (answer, answered) = oneshot::channel();
            self.fetches.lock().push((from.next.0, answer));
            async move { answered.await.unwrap() }.boxed()
        }

        async fn wait(&self, _: &[Position]) -> Result<(), LogError> {
            std::future::pending().await
        }
    }

    fn record(partition: u32, offset: u64) -> Record {
        let address = Address { topic: Topic::Leads, partition: Partition(partition), offset: Offset(offset) };
        let (key, kind, data, decoded) = ("".into(), "test".into(), vec![b'x'; 10].into(), Default::default());
        Record { address, key, kind, id: Default::default(), time: Timestamp::UNIX_EPOCH, data, decoded }
    }

    struct Subject {
        rounds: Rounds,
        reads: Reads<Fake>,
    }

    impl Subject {
        fn new(partitions: &[u32]) -> Self {
            let mut rounds = Rounds::default();
            let position = |p: &u32| Position { topic: Topic::Leads, partition: Partition(*p), next: Offset(0) };
            let own = |p: &u32| Assignment { partition: Partition(*p), progress: vec![position(p)] };
            rounds.take_up(&partitions.iter().map(own).collect::<Vec<_>>());
            Self { rounds, reads: Reads::new(Arc::default()) }
        }

        /// The next records, at most two of them, if they are there without waiting.
        fn next(&mut self) -> Option<Result<Vec<(u32, u64)>, LogError>> {
            let read = self.rounds.records(&mut self.reads, ReadLimit { records: 2, bytes: 1_000 }).now_or_never()?;
            Some(read.map(|records| records.iter().map(|r| (r.address.partition.0, r.address.offset.0)).collect()))
        }

        fn given(&mut self) -> Vec<(u32, u64)> {
            self.next().unwrap().unwrap()
        }

        /// The next fetch begins there, and is answered so.
        fn answer(&mut self, from: u64, answer: Result<Vec<Record>, LogError>) {
            let (begin, to) = self.reads.node.fetches.lock().remove(0);
            assert_eq!(begin, from);
            to.send(answer).unwrap();
        }
    }

    #[test]
    fn older_records_hold_up_no_other_partition_and_are_asked_for_once() {
        let mut stage = Subject::new(&[0, 1]);
        assert_eq!(stage.given(), [(1, 0)]);
        assert_eq!(stage.given(), [(1, 1)]);
        stage.answer(0, Ok([0, 1, 3, 4, 6].map(|offset| record(0, offset)).to_vec()));
        assert_eq!(stage.given(), [(0, 0), (0, 1)]);
        assert_eq!(stage.given(), [(1, 2), (0, 3)]);
        assert_eq!(stage.given(), [(0, 4), (0, 6)]);
        assert_eq!(stage.given(), [(1, 3)]);
        stage.answer(7, Ok(vec![record(0, 8)]));
        assert_eq!(stage.reads.node.fetches.lock().len(), 0);
    }

    #[test]
    fn a_read_goes_on_when_the_stage_stops_waiting() {
        let mut stage = Subject::new(&[0]);
        assert!(stage.next().is_none() && stage.next().is_none());
        stage.answer(0, Ok(vec![record(0, 0)]));
        assert_eq!(stage.reads.node.fetches.lock().len(), 0);
        assert_eq!(stage.given(), [(0, 0)]);
    }

    #[test]
    fn what_was_asked_for_from_elsewhere_is_not_given() {
        let mut stage = Subject::new(&[0]);
        assert!(stage.next().is_none());
        stage.answer(0, Ok(vec![record(0, 0)]));
        let position = Position { topic: Topic::Leads, partition: Partition(0), next: Offset(9) };
        stage.rounds.leave(&[Partition(0)]);
        stage.rounds.take_up(&[Assignment { partition: Partition(0), progress: vec![position] }]);
        assert!(stage.next().is_none());
        stage.answer(9, Ok(vec![record(0, 9)]));
        assert_eq!(stage.given(), [(0, 9)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_read_is_made_again_beside_the_others_unless_only_people_can_help() {
        let mut stage = Subject::new(&[0, 1]);
        assert_eq!(stage.given(), [(1, 0)]);
        stage.answer(0, Err(LogError::Unavailable("no leader".into())));
        assert_eq!(stage.given(), [(1, 1)]);
        assert_eq!(stage.given(), [(1, 2)]);
        assert_eq!(stage.reads.node.fetches.lock().len(), 0, "not at once");
        sleep(PAUSE * 2).await;
        assert_eq!(stage.given(), [(1, 3)]);
        stage.answer(0, Err(LogError::Unusable("no rights".into())));
        assert!(matches!(stage.next(), Some(Err(LogError::Unusable(_)))));
    }
}
