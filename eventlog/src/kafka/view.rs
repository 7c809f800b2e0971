//! What this node knows of the log: the newest records of the partitions that it follows, and how far all of them go.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use leadway_domain::Offset;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::lanes::Lane;
use crate::record::Record;
use crate::{LogError, ReadLimit};

/// Bytes that a record takes in memory beside its key and data.
const RECORD_BYTES: usize = 192;
/// How many offsets before the end the reading of a partition starts, to find its last record among the marks that
/// transactions leave.
const FIRST_STEP: u64 = 64;
/// A partition that nobody asks about for so long is not followed any more.
const IDLE: Duration = Duration::from_secs(60);

/// Shared by those who ask and the thread that follows.
pub(crate) struct View {
    state: Mutex<State>,
    tick: watch::Sender<u64>,
}

struct State {
    lanes: Vec<Known>,
    /// The lane of every record in memory, in the order of their arrival.
    arrivals: VecDeque<Lane>,
    bytes: usize,
    most_bytes: usize,
    /// Why the brokers let nobody follow, of which only people can say when it is over, or records that come.
    refusal: Option<LogError>,
}

/// What is known of one partition.
#[derive(Default)]
struct Known {
    /// Where the partition began when this node started: 0, unless its oldest records were deleted.
    first: Offset,
    /// Behind the last record that this node has written, read or been told of.
    seen: Offset,
    /// What readers of this node must see: what it wrote, and what others wrote whose place it took.
    due: Offset,
    ring: Option<Ring>,
}

/// The newest records of a partition that is followed.
struct Ring {
    /// Whether the reading has begun where it should; before that, what comes is left over from an earlier one.
    started: bool,
    /// Every record from here up to `passed` is in `records`.
    begin: Offset,
    /// Where the partition begins: there is nothing to be read before it.
    first: Offset,
    passed: Offset,
    records: VecDeque<Record>,
    /// Behind the last record before `passed`; not known while none has been met.
    end: Option<Offset>,
    /// Where the partition ended when following began.
    target: Offset,
    step: u64,
    used: Instant,
}

/// How a read is served.
pub(crate) enum Plan {
    /// From memory.
    Records(Vec<Record>),
    /// What must be seen has not come yet: ask again at the next tick.
    Behind,
    /// From the brokers, when everything before `due` can be read there.
    Cold { due: Offset },
}

/// Where reading of a partition has to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) lane: Lane,
    pub(crate) at: Offset,
}

impl View {
    pub(crate) fn new(lanes: usize, most_bytes: usize) -> Self {
        let mut known = Vec::new();
        known.resize_with(lanes, Known::default);
        let state = State { lanes: known, arrivals: VecDeque::new(), bytes: 0, most_bytes, refusal: None };
        Self { state: Mutex::new(state), tick: watch::channel(0).0 }
    }

    /// Wakes when something has become known.
    pub(crate) fn ticks(&self) -> watch::Receiver<u64> {
        self.tick.subscribe()
    }

    /// Behind the last record known of.
    pub(crate) fn seen(&self, lane: Lane) -> Offset {
        self.state.lock().lanes.get(lane.0).map_or(Offset(0), Known::end)
    }

    /// This node has written the record before `next`.
    pub(crate) fn written(&self, lane: Lane, next: Offset) {
        if let Some(known) = self.state.lock().lanes.get_mut(lane.0) {
            known.due = known.due.max(next);
            known.seen = known.seen.max(next);
        }
    }

    /// These lanes begin there.
    pub(crate) fn begin_at(&self, firsts: &[Start]) {
        let mut state = self.state.lock();
        for first in firsts {
            if let Some(known) = state.lanes.get_mut(first.lane.0) {
                known.first = first.at;
            }
        }
    }

    /// Where the lane begins.
    pub(crate) fn first(&self, lane: Lane) -> Offset {
        self.state.lock().lanes.get(lane.0).map_or(Offset(0), |known| known.first)
    }

    /// Readers must see everything before these offsets from now on.
    pub(crate) fn due(&self, ends: &[Start]) {
        let mut state = self.state.lock();
        for end in ends {
            if let Some(known) = state.lanes.get_mut(end.lane.0) {
                known.due = known.due.max(end.at);
            }
        }
    }

    /// There is a record before `next`.
    pub(crate) fn noticed(&self, lane: Lane, next: Offset) {
        if let Some(known) = self.state.lock().lanes.get_mut(lane.0) {
            known.seen = known.seen.max(next);
        }
    }

    /// Which of the lanes are not followed. Those that are count as used.
    pub(crate) fn not_followed(&self, lanes: &[Lane]) -> Vec<Lane> {
        let (mut state, now) = (self.state.lock(), Instant::now());
        let mut missing = Vec::new();
        for lane in lanes {
            match state.lanes.get_mut(lane.0).and_then(|known| known.ring.as_mut()) {
                Some(ring) => ring.used = now,
                None => missing.push(*lane),
            }
        }
        missing
    }

    /// Follows these lanes, which end at the given offsets; tells where the reading must begin.
    pub(crate) fn follow(&self, ends: &[Start]) -> Vec<Start> {
        let (mut state, now) = (self.state.lock(), Instant::now());
        let mut starts = Vec::new();
        for end in ends {
            let Some(known) = state.lanes.get_mut(end.lane.0).filter(|known| known.ring.is_none()) else { continue };
            let first = known.first;
            let begin = Offset(end.at.0.saturating_sub(FIRST_STEP)).max(first);
            known.ring = Some(Ring {
                started: false,
                begin,
                first,
                passed: begin,
                records: VecDeque::new(),
                end: None,
                target: end.at,
                step: FIRST_STEP,
                used: now,
            });
            starts.push(Start { lane: end.lane, at: begin });
        }
        starts
    }

    /// The reading of these lanes begins where it was to begin.
    pub(crate) fn started(&self, starts: &[Start]) {
        let mut state = self.state.lock();
        for start in starts {
            let ring = state.lanes.get_mut(start.lane.0).and_then(|known| known.ring.as_mut());
            if let Some(ring) = ring.filter(|ring| ring.begin == start.at) {
                ring.started = true;
            }
        }
    }

    /// Stops following what nobody has asked about for a while; returns it.
    pub(crate) fn drop_idle(&self) -> Vec<Lane> {
        let (mut state, now) = (self.state.lock(), Instant::now());
        let idle = |known: &Known| known.ring.as_ref().is_some_and(|ring| now.duration_since(ring.used) > IDLE);
        let lanes: Vec<Lane> =
            state.lanes.iter().enumerate().filter(|(_, known)| idle(known)).map(|(n, _)| Lane(n)).collect();
        lanes.iter().for_each(|lane| state.forget(*lane));
        lanes
    }

    /// Takes in what was read, in order, and how far the lanes have been read. Returns where the reading must begin anew,
    /// further back, because no record was met.
    pub(crate) fn publish(&self, records: Vec<(Lane, Record)>, passed: &[Start]) -> Vec<Start> {
        let mut again = Vec::new();
        let mut news = !records.is_empty();
        {
            let mut state = self.state.lock();
            if news {
                state.refusal = None;
            }
            for (lane, record) in records {
                state.push(lane, record);
            }
            for to in passed {
                let ring = state.lanes.get_mut(to.lane.0).and_then(|known| known.ring.as_mut());
                let Some(ring) = ring.filter(|ring| ring.started) else { continue };
                news |= to.at > ring.passed;
                ring.passed = ring.passed.max(to.at);
                if let Some(at) = ring.further_back() {
                    again.push(Start { lane: to.lane, at });
                }
            }
            state.evict();
        }
        if news {
            self.tick.send_modify(|tick| *tick = tick.wrapping_add(1));
        }
        again
    }

    /// The brokers do not let this node follow.
    pub(crate) fn refused(&self, error: LogError) {
        self.state.lock().refusal = Some(error);
        self.tick.send_modify(|tick| *tick = tick.wrapping_add(1));
    }

    /// Why nothing comes that is waited for, if waiting does not help.
    pub(crate) fn refusal(&self) -> Result<(), LogError> {
        self.state.lock().refusal.clone().map_or(Ok(()), Err)
    }

    /// How records from `from` on can be had.
    pub(crate) fn plan(&self, lane: Lane, from: Offset, limit: ReadLimit) -> Plan {
        let mut state = self.state.lock();
        let Some(known) = state.lanes.get_mut(lane.0) else { return Plan::Records(Vec::new()) };
        let (due, from) = (known.due, from.max(known.first));
        let Some(ring) = known.ring.as_mut().filter(|ring| from >= ring.begin) else { return Plan::Cold { due } };
        ring.used = Instant::now();
        let first = ring.records.partition_point(|record| record.address.offset < from);
        let records = within(ring.records.range(first..), limit);
        if records.is_empty() && ring.passed < due { Plan::Behind } else { Plan::Records(records) }
    }

    /// The end of the lane, once everything before `until` and everything that this node wrote has been read.
    pub(crate) fn end(&self, lane: Lane, until: Offset) -> Option<Offset> {
        let mut state = self.state.lock();
        let known = state.lanes.get_mut(lane.0)?;
        let ring = known.ring.as_mut()?;
        ring.used = Instant::now();
        if ring.passed < until.max(known.due) {
            return None;
        }
        // Of a partition without records everything that it ever had was deleted.
        ring.end.or((ring.begin == ring.first).then_some(ring.first))
    }

    /// Whether one of the lanes has a record at or behind its offset.
    pub(crate) fn has_any(&self, positions: &[Start]) -> bool {
        let state = self.state.lock();
        positions.iter().any(|p| state.lanes.get(p.lane.0).is_some_and(|known| known.readable() > p.at))
    }
}

impl Known {
    fn end(&self) -> Offset {
        self.seen.max(self.readable())
    }

    /// Behind the last record that a read returns without waiting.
    fn readable(&self) -> Offset {
        self.ring.as_ref().and_then(|ring| ring.end).unwrap_or_default()
    }
}

impl Ring {
    /// Where to begin anew when everything was read and no record was met.
    fn further_back(&mut self) -> Option<Offset> {
        if self.end.is_some() || self.begin <= self.first || self.passed < self.target {
            return None;
        }
        self.step = self.step.saturating_mul(4);
        let at = Offset(self.begin.0.saturating_sub(self.step)).max(self.first);
        (self.begin, self.passed, self.started) = (at, at, false);
        Some(at)
    }
}

impl State {
    fn push(&mut self, lane: Lane, record: Record) {
        let Some(known) = self.lanes.get_mut(lane.0) else { return };
        known.seen = known.seen.max(record.next());
        // Of a partition that is read anew, records may come that were read before.
        let anew = |ring: &&mut Ring| ring.started && record.address.offset >= ring.passed;
        let Some(ring) = known.ring.as_mut().filter(anew) else { return };
        ring.passed = record.next();
        ring.end = Some(record.next());
        self.bytes += bytes(&record);
        ring.records.push_back(record);
        self.arrivals.push_back(lane);
    }

    fn evict(&mut self) {
        while self.bytes > self.most_bytes
            && let Some(lane) = self.arrivals.pop_front()
        {
            let Some(ring) = self.lanes.get_mut(lane.0).and_then(|known| known.ring.as_mut()) else { continue };
            if let Some(record) = ring.records.pop_front() {
                ring.begin = record.next();
                self.bytes -= bytes(&record);
            }
        }
    }

    fn forget(&mut self, lane: Lane) {
        let Some(known) = self.lanes.get_mut(lane.0) else { return };
        known.seen = known.end();
        if let Some(ring) = known.ring.take() {
            self.bytes -= ring.records.iter().map(bytes).sum::<usize>();
            self.arrivals.retain(|of| *of != lane);
        }
    }
}

fn bytes(record: &Record) -> usize {
    RECORD_BYTES + record.key.len() + record.data.len()
}

/// The first of the records, as many as the limit allows but at least one.
pub(crate) fn within<'r>(records: impl Iterator<Item = &'r Record>, limit: ReadLimit) -> Vec<Record> {
    let mut size = 0;
    let fits = |record: &&Record| {
        let first = size == 0;
        size += record.data.len().max(1);
        first || size <= limit.bytes
    };
    records.take(limit.records.max(1)).take_while(fits).cloned().collect()
}

/// The error of a call that waited for the brokers in vain.
pub(crate) fn too_late(doing: &str, complaint: Option<String>) -> LogError {
    let complaint = complaint.map(|c| format!(" ({c})")).unwrap_or_default();
    LogError::Unavailable(format!("Kafka did not answer in time, {doing}{complaint}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;
    use leadway_domain::record::Topic;
    use leadway_domain::{Partition, Timestamp};

    const LANE: Lane = Lane(0);

    fn record(offset: u64) -> (Lane, Record) {
        let address = Address { topic: Topic::Leads, partition: Partition(0), offset: Offset(offset) };
        let data = vec![b'x'; 100].into();
        let (id, time) = (Default::default(), Timestamp::UNIX_EPOCH);
        (LANE, Record { address, key: "".into(), kind: "test".into(), id, time, data, decoded: Default::default() })
    }

    fn at(offset: u64) -> Start {
        Start { lane: LANE, at: Offset(offset) }
    }

    fn follow(view: &View, end: u64) -> Vec<Start> {
        let starts = view.follow(&[at(end)]);
        view.started(&starts);
        starts
    }

    fn offsets(plan: Plan) -> Vec<u64> {
        match plan {
            Plan::Records(records) => records.iter().map(|r| r.address.offset.0).collect(),
            Plan::Behind => panic!("behind"),
            Plan::Cold { .. } => panic!("cold"),
        }
    }

    #[test]
    fn an_end_steps_over_the_marks_of_transactions() {
        let view = View::new(1, 1 << 20);
        assert_eq!(follow(&view, 10), [at(0)]);
        view.publish(vec![record(3), record(7)], &[at(9)]);
        assert_eq!(view.end(LANE, Offset(10)), None, "offset 9 has not been read");
        view.publish(Vec::new(), &[at(10)]);
        assert_eq!(view.end(LANE, Offset(10)), Some(Offset(8)));
    }

    #[test]
    fn a_partition_without_records_near_its_end_is_read_from_further_back() {
        let view = View::new(1, 1 << 20);
        assert_eq!(follow(&view, 1_000), [at(936)]);
        assert_eq!(view.publish(Vec::new(), &[at(999)]), []);
        assert_eq!(view.publish(Vec::new(), &[at(1_000)]), [at(680)]);
        assert_eq!(view.publish(Vec::new(), &[at(1_000)]), [], "that is where the reading before ended");
        view.started(&[at(680)]);
        assert_eq!(view.end(LANE, Offset(1_000)), None);
        assert_eq!(view.publish(Vec::new(), &[at(1_000)]), [at(0)]);
        view.started(&[at(0)]);
        assert_eq!(view.publish(Vec::new(), &[at(1_000)]), []);
        assert_eq!(view.end(LANE, Offset(1_000)), Some(Offset(0)), "there is none");
    }

    #[test]
    fn a_partition_whose_oldest_records_were_deleted_is_read_from_where_it_begins() {
        // All of them: the brokers have no position to tell.
        let view = View::new(1, 1 << 20);
        view.begin_at(&[at(30)]);
        assert_eq!(follow(&view, 30), [at(30)]);
        assert_eq!(view.end(LANE, Offset(30)), Some(Offset(30)));
        assert_eq!(offsets(view.plan(LANE, Offset(0), ReadLimit::default())), [0; 0]);
        view.publish(vec![record(30)], &[at(31)]);
        assert_eq!(offsets(view.plan(LANE, Offset(0), ReadLimit::default())), [30]);
        // Some of them, and what is left are marks.
        let view = View::new(1, 1 << 20);
        view.begin_at(&[at(900)]);
        assert_eq!(follow(&view, 1_000), [at(936)]);
        assert_eq!(view.publish(Vec::new(), &[at(1_000)]), [at(900)], "no further back than that");
        view.started(&[at(900)]);
        assert_eq!(view.publish(Vec::new(), &[at(1_000)]), []);
        assert_eq!(view.end(LANE, Offset(1_000)), Some(Offset(900)));
    }

    #[test]
    fn what_does_not_fit_in_memory_is_read_from_the_brokers() {
        let view = View::new(1, 1_000);
        follow(&view, 0);
        view.publish((0..10).map(record).collect(), &[at(10)]);
        assert!(matches!(view.plan(LANE, Offset(5), ReadLimit::default()), Plan::Cold { .. }));
        assert_eq!(offsets(view.plan(LANE, Offset(7), ReadLimit::default())), [7, 8, 9]);
    }

    #[test]
    fn a_reader_waits_for_what_its_own_node_wrote() {
        let view = View::new(1, 1 << 20);
        follow(&view, 0);
        view.written(LANE, Offset(2));
        assert!(matches!(view.plan(LANE, Offset(0), ReadLimit::default()), Plan::Behind));
        assert_eq!(view.end(LANE, Offset(0)), None);
        view.publish(vec![record(0), record(1)], &[]);
        assert_eq!(offsets(view.plan(LANE, Offset(0), ReadLimit::default())), [0, 1]);
        assert_eq!(view.end(LANE, Offset(0)), Some(Offset(2)));
    }

    #[test]
    fn a_refusal_counts_until_records_come() {
        let view = View::new(1, 1 << 20);
        follow(&view, 0);
        view.refused(LogError::Unusable("no rights".into()));
        view.publish(Vec::new(), &[at(0)]);
        assert!(view.refusal().is_err());
        view.publish(vec![record(0)], &[]);
        view.refusal().unwrap();
    }

    #[test]
    fn records_that_were_read_before_are_not_read_twice() {
        let view = View::new(1, 1 << 20);
        follow(&view, 0);
        view.publish(vec![record(0), record(1)], &[]);
        view.publish(vec![record(0), record(1), record(2)], &[]);
        assert_eq!(offsets(view.plan(LANE, Offset(0), ReadLimit::default())), [0, 1, 2]);
    }
}
