//! What a member has been given and its stage has not taken yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use leadway_domain::{Offset, Partition};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::record::Record;
use crate::{Assignment, LogError, ReadLimit, StageEvent};

/// Bytes that wait here before the member stops fetching, and where it goes on.
const HIGH: usize = 8 << 20;
const LOW: usize = 2 << 20;
/// Bytes that a record takes in memory beside its key and data.
const RECORD_BYTES: usize = 192;

/// Between the member's thread and its stage.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    filled: Notify,
    /// How long records gather after others were given.
    gather: Duration,
}

struct State {
    events: VecDeque<Event>,
    queues: BTreeMap<Partition, VecDeque<Record>>,
    bytes: usize,
    /// The partition that was served first the last time.
    turn: Partition,
    /// Until then records gather, if there is not a batch of them.
    gathering: Option<tokio::time::Instant>,
    /// The partitions that the stage knows to be its own.
    told: BTreeSet<Partition>,
    /// How far each of the member's partitions goes, and how far the stage has been given it.
    distances: BTreeMap<Partition, Distance>,
    error: Option<LogError>,
    asking: bool,
    asked: Instant,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Distance {
    /// Behind the last record that the stage was given.
    record: Offset,
    /// The same, or behind the marks of transactions that follow.
    given: Offset,
    end: Offset,
}

/// What the stage is given.
enum Taken {
    Event(Result<StageEvent, LogError>),
    /// More may have gathered by then.
    Later(tokio::time::Instant),
    Nothing,
}

enum Event {
    Assigned(Vec<Assignment>),
    Revoked(Vec<Partition>),
}

impl Default for State {
    fn default() -> Self {
        Self {
            events: VecDeque::new(),
            queues: BTreeMap::new(),
            bytes: 0,
            turn: Partition(0),
            gathering: None,
            told: BTreeSet::new(),
            distances: BTreeMap::new(),
            error: None,
            asking: false,
            asked: Instant::now(),
            closed: false,
        }
    }
}

/// The stage waits for something, as long as this lives.
struct Asking<'i>(&'i Inbox);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.asking = false;
        state.asked = Instant::now();
    }
}

impl Inbox {
    /// An inbox whose records gather for so long after others were given.
    pub(crate) fn new(gather: Duration) -> Self {
        Self { gather, ..Self::default() }
    }

    /// Waits for the next event. Nothing is lost when the future is dropped.
    pub(crate) async fn next(&self, limit: ReadLimit) -> Result<StageEvent, LogError> {
        self.state.lock().asking = true;
        let _asking = Asking(self);
        loop {
            let filled = self.filled.notified();
            let taken = self.state.lock().take(limit, self.gather);
            match taken {
                Taken::Event(event) => return event,
                Taken::Later(at) => {
                    let _filled_or_later = timeout_at(at, filled).await;
                }
                Taken::Nothing => filled.await,
            }
        }
    }

    /// The partitions are the stage's from when it is told.
    pub(crate) fn assigned(&self, assignments: Vec<Assignment>) {
        self.change(|state| {
            for assignment in &assignments {
                let given = assignment.progress.first().map_or(Offset(0), |p| p.next);
                state.distances.insert(assignment.partition, Distance { record: given, given, end: given });
            }
            state.events.push_back(Event::Assigned(assignments));
        });
    }

    /// The stage is given nothing more of these partitions.
    pub(crate) fn leaving(&self, partitions: &[Partition]) {
        let mut state = self.state.lock();
        partitions.iter().for_each(|partition| state.drop_queue(*partition));
    }

    /// How far the stage has been given a partition: behind the last record.
    pub(crate) fn given(&self, partition: Partition) -> Offset {
        self.state.lock().distances.get(&partition).map_or(Offset(0), |distance| distance.record)
    }

    /// The partitions are not the stage's any more, from now on.
    pub(crate) fn revoked(&self, partitions: &[Partition]) {
        self.change(|state| {
            for partition in partitions {
                state.told.remove(partition);
                state.distances.remove(partition);
                state.drop_queue(*partition);
            }
            state.events.push_back(Event::Revoked(partitions.to_vec()));
        });
    }

    pub(crate) fn records(&self, records: Vec<Record>) {
        self.change(|state| {
            for record in records {
                state.bytes += bytes(&record);
                state.queues.entry(record.address.partition).or_default().push_back(record);
            }
        });
    }

    /// How far a partition goes, and how far the member has read it.
    pub(crate) fn measured(&self, partition: Partition, end: Offset, read: Offset) {
        let mut state = self.state.lock();
        let all_given = !state.queues.contains_key(&partition);
        if let Some(distance) = state.distances.get_mut(&partition) {
            distance.end = end;
            // Marks of transactions stand between the last record and the end.
            if all_given {
                distance.given = distance.given.max(read);
            }
        }
    }

    /// Records that the stage has not been given.
    pub(crate) fn lag(&self) -> u64 {
        self.state.lock().distances.values().map(|d| d.end.0.saturating_sub(d.given.0)).sum()
    }

    /// The stage is told of an error that only people can mend.
    pub(crate) fn failed(&self, error: LogError) {
        self.change(|state| state.error = Some(error));
    }

    /// Whether the stage knows all of these partitions to be its own; without any, whether it has one.
    pub(crate) fn owns(&self, partitions: &BTreeSet<Partition>) -> bool {
        let state = self.state.lock();
        if partitions.is_empty() { !state.told.is_empty() } else { partitions.is_subset(&state.told) }
    }

    /// One of the stage's partitions.
    pub(crate) fn any_owned(&self) -> Option<Partition> {
        self.state.lock().told.first().copied()
    }

    /// Whether to fetch: not while much waits, and then not before most of it is taken.
    pub(crate) fn wants(&self, fetching: bool) -> bool {
        let bytes = self.state.lock().bytes;
        if fetching { bytes < HIGH } else { bytes <= LOW }
    }

    /// How long the stage has been busy without asking for more.
    pub(crate) fn busy(&self) -> Duration {
        let state = self.state.lock();
        if state.asking { Duration::ZERO } else { state.asked.elapsed() }
    }

    /// The stage has shown that it lives.
    pub(crate) fn touch(&self) {
        self.state.lock().asked = Instant::now();
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
    }

    pub(crate) fn closed(&self) -> bool {
        self.state.lock().closed
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        // Kept for the next wait if nobody waits now.
        self.filled.notify_one();
    }
}

impl State {
    fn take(&mut self, limit: ReadLimit, gather: Duration) -> Taken {
        if let Some(error) = self.error.take() {
            return Taken::Event(Err(error));
        }
        match self.events.pop_front() {
            Some(Event::Assigned(assignments)) => {
                self.told.extend(assignments.iter().map(|a| a.partition));
                return Taken::Event(Ok(StageEvent::Assigned(assignments)));
            }
            Some(Event::Revoked(partitions)) => return Taken::Event(Ok(StageEvent::Revoked(partitions))),
            None if self.queues.is_empty() => return Taken::Nothing,
            None => {}
        }
        let now = tokio::time::Instant::now();
        if let Some(at) = self.gathering.filter(|at| *at > now && !self.fills(limit)) {
            return Taken::Later(at);
        }
        self.gathering = Some(now + gather);
        Taken::Event(Ok(StageEvent::Records(self.batch(limit))))
    }

    fn drop_queue(&mut self, partition: Partition) {
        let queue = self.queues.remove(&partition).unwrap_or_default();
        self.bytes -= queue.iter().map(bytes).sum::<usize>();
    }

    /// Whether a batch's worth of records waits.
    fn fills(&self, limit: ReadLimit) -> bool {
        self.bytes >= limit.bytes || self.queues.values().map(VecDeque::len).sum::<usize>() >= limit.records
    }

    /// What waits, of one partition after the other, beginning behind the one that was served first the last time.
    fn batch(&mut self, limit: ReadLimit) -> Vec<Record> {
        let behind = Partition(self.turn.0 + 1);
        let order: Vec<Partition> =
            self.queues.range(behind..).chain(self.queues.range(..behind)).map(|(partition, _)| *partition).collect();
        self.turn = order.first().copied().unwrap_or(self.turn);
        let (mut records, mut size) = (Vec::new(), 0);
        for partition in order {
            let Some(queue) = self.queues.get_mut(&partition) else { continue };
            let mut last = None;
            while let Some(record) = queue.front() {
                size += record.data.len().max(1);
                if !records.is_empty() && (records.len() >= limit.records || size > limit.bytes) {
                    break;
                }
                last = Some(record.next());
                records.extend(queue.pop_front());
            }
            let full = !queue.is_empty();
            if !full {
                self.queues.remove(&partition);
            }
            if let (Some(distance), Some(last)) = (self.distances.get_mut(&partition), last) {
                distance.record = distance.record.max(last);
                distance.given = distance.given.max(last);
            }
            if full {
                break;
            }
        }
        self.bytes -= records.iter().map(bytes).sum::<usize>();
        records
    }
}

fn bytes(record: &Record) -> usize {
    RECORD_BYTES + record.key.len() + record.data.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;
    use futures::FutureExt;
    use leadway_domain::Timestamp;
    use leadway_domain::record::Topic;

    fn record(partition: u32, offset: u64) -> Record {
        let address = Address { topic: Topic::Leads, partition: Partition(partition), offset: Offset(offset) };
        let (id, time) = (Default::default(), Timestamp::UNIX_EPOCH);
        Record {
            address,
            key: "".into(),
            kind: "test".into(),
            id,
            time,
            data: vec![b'x'; 1_000].into(),
            decoded: Default::default(),
        }
    }

    fn assignment(partition: u32) -> Assignment {
        Assignment { partition: Partition(partition), progress: Vec::new() }
    }

    fn next(inbox: &Inbox) -> Option<String> {
        let limit = ReadLimit { records: 2, bytes: 10_000 };
        inbox.next(limit).now_or_never().map(|event| match event.unwrap() {
            StageEvent::Assigned(a) => format!("assigned {:?}", a.iter().map(|a| a.partition.0).collect::<Vec<_>>()),
            StageEvent::Revoked(p) => format!("revoked {:?}", p.iter().map(|p| p.0).collect::<Vec<_>>()),
            StageEvent::Records(r) => {
                let at: Vec<String> =
                    r.iter().map(|r| format!("{}@{}", r.address.partition.0, r.address.offset.0)).collect();
                at.join(" ")
            }
        })
    }

    #[test]
    fn events_come_before_records_and_records_fairly() {
        let inbox = Inbox::default();
        inbox.records((0..3).map(|n| record(1, n)).chain([record(0, 0)]).collect());
        inbox.assigned(vec![assignment(0), assignment(1)]);
        let told: Vec<String> = std::iter::from_fn(|| next(&inbox)).collect();
        assert_eq!(told, ["assigned [0, 1]", "1@0 1@1", "0@0 1@2"]);
        assert!(inbox.wants(true));
    }

    #[test]
    fn a_stage_owns_what_it_was_told_and_loses_it_before_it_is_told() {
        let (inbox, both) = (Inbox::default(), BTreeSet::from([Partition(0), Partition(1)]));
        inbox.assigned(vec![assignment(0), assignment(1)]);
        assert!(!inbox.owns(&both) && !inbox.owns(&BTreeSet::new()));
        next(&inbox);
        assert!(inbox.owns(&both) && inbox.owns(&BTreeSet::new()));
        inbox.records(vec![record(0, 0), record(1, 0)]);
        inbox.revoked(&[Partition(0)]);
        // It comes back at once, but what the stage did before is void.
        inbox.assigned(vec![assignment(0)]);
        assert!(!inbox.owns(&both) && inbox.owns(&BTreeSet::from([Partition(1)])));
        let told: Vec<String> = std::iter::from_fn(|| next(&inbox)).collect();
        assert_eq!(told, ["revoked [0]", "assigned [0]", "1@0"], "records of a lost partition are not delivered");
        assert!(inbox.owns(&both));
    }

    #[test]
    fn lag_is_what_was_not_given_without_the_marks_behind_the_last_record() {
        let inbox = Inbox::default();
        inbox.assigned(vec![assignment(0)]);
        inbox.records(vec![record(0, 0), record(0, 2), record(0, 4)]);
        inbox.measured(Partition(0), Offset(6), Offset(6));
        assert_eq!(inbox.lag(), 6);
        assert_eq!([next(&inbox).unwrap(), next(&inbox).unwrap()], ["assigned [0]", "0@0 0@2"]);
        assert_eq!(inbox.lag(), 3);
        next(&inbox);
        assert_eq!(inbox.lag(), 1);
        inbox.measured(Partition(0), Offset(6), Offset(6));
        assert_eq!(inbox.lag(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn records_gather_after_others_were_given_unless_they_are_a_batch() {
        let inbox = Inbox::new(Duration::from_millis(20));
        inbox.assigned(vec![assignment(0)]);
        inbox.records(vec![record(0, 0)]);
        assert_eq!([next(&inbox).unwrap(), next(&inbox).unwrap()], ["assigned [0]", "0@0"], "the first do not wait");
        inbox.records(vec![record(0, 1)]);
        assert_eq!(next(&inbox), None);
        inbox.records(vec![record(0, 2)]);
        assert_eq!(next(&inbox).unwrap(), "0@1 0@2", "as many as the stage takes at once");
        inbox.records(vec![record(0, 3)]);
        inbox.revoked(&[Partition(1)]);
        assert_eq!(next(&inbox).unwrap(), "revoked [1]", "only records gather");
        let given = inbox.next(ReadLimit { records: 2, bytes: 10_000 }).await.unwrap();
        assert!(matches!(given, StageEvent::Records(records) if records.len() == 1), "they come when the time is over");
    }

    #[test]
    fn fetching_stops_when_much_waits() {
        let inbox = Inbox::default();
        inbox.records((0..8_000).map(|n| record(0, n)).collect());
        assert!(!inbox.wants(true) && !inbox.wants(false));
        while next(&inbox).is_some() {}
        assert!(inbox.wants(false));
    }
}
