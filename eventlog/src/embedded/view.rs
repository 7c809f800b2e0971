//! What readers see: each partition's end, its newest records in memory, and where in the files the others stand.
//! Only what is durable is here, and, for members that read ahead, the one frame that is just being made.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use leadway_domain::Offset;

use super::cold::{ColdRead, Span};
use super::lanes::Lanes;
use crate::{Position, ReadLimit, Record};

/// A partition's sparse index has an entry at its first record in a segment, then one in every so many bytes.
pub(crate) const INDEX_INTERVAL: u64 = 256 << 10;

/// A record at `offset` stands in the frame at `position` of `segment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) offset: u64,
    pub(crate) segment: u64,
    pub(crate) position: u64,
}

/// A file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentInfo {
    pub(crate) number: u64,
    /// Bytes of whole, durable frames.
    pub(crate) length: u64,
}

/// Which records a reader is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Those on disk after fsync.
    Durable,
    /// Also those of the frame that is just being made.
    Ahead,
}

/// How a read is to be served.
pub(crate) enum Plan {
    Nothing,
    Tail(Vec<Record>),
    Files(ColdRead),
}

/// The readable log.
pub(crate) struct View {
    folder: Arc<PathBuf>,
    lanes: Lanes,
    states: Vec<Lane>,
    segments: Vec<SegmentInfo>,
    /// Frames whose records are in memory, oldest first: their bytes and the lanes of their records.
    tail: VecDeque<(u64, Vec<usize>)>,
    tail_size: u64,
    tail_limit: u64,
    /// The lanes of the records that were shown and are not durable yet, in order.
    draft: Vec<usize>,
}

#[derive(Default)]
struct Lane {
    /// Behind the last durable record.
    end: u64,
    /// Records behind `end` that are not durable yet.
    drafted: u64,
    index: Vec<IndexEntry>,
    /// The records right before `end`, and those behind it.
    tail: VecDeque<Record>,
}

impl Lane {
    fn end(&self, reading: Reading) -> u64 {
        match reading {
            Reading::Durable => self.end,
            Reading::Ahead => self.end + self.drafted,
        }
    }
}

impl View {
    pub(crate) fn new(folder: PathBuf, lanes: Lanes, tail_limit: u64) -> Self {
        let states = (0..lanes.count()).map(|_| Lane::default()).collect();
        let tail = VecDeque::new();
        let (folder, segments) = (Arc::new(folder), Vec::new());
        Self { folder, lanes, states, segments, tail, tail_size: 0, tail_limit, draft: Vec::new() }
    }

    pub(crate) fn end(&self, lane: usize, reading: Reading) -> Offset {
        Offset(self.states.get(lane).map_or(0, |l| l.end(reading)))
    }

    /// The log's files, oldest first.
    pub(crate) fn segments(&self) -> &[SegmentInfo] {
        &self.segments
    }

    /// Whether the position has a record to read.
    pub(crate) fn has(&self, position: &Position, reading: Reading) -> bool {
        let lane = self.lanes.of(position.topic, position.partition);
        lane.is_some_and(|lane| self.end(lane, reading) > position.next)
    }

    /// A further segment, or how long the newest one is now.
    pub(crate) fn set_segment(&mut self, segment: SegmentInfo) {
        match self.segments.last_mut() {
            Some(last) if last.number == segment.number => *last = segment,
            _ => self.segments.push(segment),
        }
    }

    pub(crate) fn set_end(&mut self, lane: usize, end: u64) {
        if let Some(lane) = self.states.get_mut(lane) {
            lane.end = end;
        }
    }

    /// Notes where a record stands, if the index needs it.
    pub(crate) fn note(&mut self, lane: usize, entry: IndexEntry) {
        let Some(lane) = self.states.get_mut(lane) else { return };
        let near = |last: &IndexEntry| {
            last.segment == entry.segment && entry.position.saturating_sub(last.position) < INDEX_INTERVAL
        };
        if !lane.index.last().is_some_and(near) {
            lane.index.push(entry);
        }
    }

    /// The index entries of one segment, the newest or one before it.
    pub(crate) fn index_of(&self, segment: u64) -> Vec<(usize, IndexEntry)> {
        let of_lane = |(number, lane): (usize, &Lane)| {
            let from = lane.index.partition_point(|e| e.segment < segment);
            let entries = lane.index.iter().skip(from).take_while(|e| e.segment == segment).copied();
            entries.map(|e| (number, e)).collect::<Vec<_>>()
        };
        self.states.iter().enumerate().flat_map(of_lane).collect()
    }

    /// Lets those who read ahead see records of the frame in the making, given with their lanes and in order.
    pub(crate) fn show(&mut self, records: impl IntoIterator<Item = (usize, Record)>) {
        for (number, record) in records {
            let Some(lane) = self.states.get_mut(number) else { continue };
            lane.drafted += 1;
            lane.tail.push_back(record);
            self.draft.push(number);
        }
    }

    /// Takes back what was shown of a frame that could not be made durable.
    pub(crate) fn withdraw(&mut self) {
        for number in std::mem::take(&mut self.draft) {
            let Some(lane) = self.states.get_mut(number) else { continue };
            lane.drafted -= 1;
            lane.tail.pop_back();
        }
    }

    /// The frame of what was shown is durable, at this place of the newest segment: every reader sees it.
    pub(crate) fn commit(&mut self, position: u64, length: u64) {
        let lanes = std::mem::take(&mut self.draft);
        let Some(segment) = self.segments.last_mut() else { return };
        segment.length = position + length;
        let segment = segment.number;
        for number in &lanes {
            let Some(offset) = self.states.get(*number).map(|l| l.end) else { continue };
            self.note(*number, IndexEntry { offset, segment, position });
            if let Some(lane) = self.states.get_mut(*number) {
                lane.end += 1;
                lane.drafted -= 1;
            }
        }
        self.tail_size += length;
        self.tail.push_back((length, lanes));
        while self.tail_size > self.tail_limit {
            let Some((bytes, lanes)) = self.tail.pop_front() else { break };
            self.tail_size -= bytes;
            for number in lanes {
                self.states.get_mut(number).and_then(|lane| lane.tail.pop_front());
            }
        }
    }

    /// Says how to read a partition from a position on.
    pub(crate) fn plan(&self, from: Position, limit: ReadLimit, reading: Reading) -> Plan {
        let Position { topic, partition, next: from } = from;
        let lane = self.lanes.of(topic, partition).and_then(|lane| self.states.get(lane));
        let Some(lane) = lane.filter(|lane| from.0 < lane.end(reading)) else { return Plan::Nothing };
        let tail_start = lane.end(Reading::Ahead) - lane.tail.len() as u64;
        if let Some(skip) = from.0.checked_sub(tail_start) {
            let mut left = limit.bytes;
            let mut fits = |(at, record): &(usize, &Record)| {
                let fits = *at == 0 || record.data.len() <= left;
                left = left.saturating_sub(record.data.len());
                fits
            };
            let count = limit.records.max(1).min((lane.end(reading) - from.0) as usize);
            let records = lane.tail.iter().skip(skip as usize).take(count).enumerate();
            return Plan::Tail(records.take_while(|r| fits(r)).map(|(_, record)| record.clone()).collect());
        }
        let spans = self.spans(&lane.index, from.0, limit);
        let end = Offset(lane.end);
        Plan::Files(ColdRead { folder: self.folder.clone(), topic, partition, from, end, limit, spans })
    }

    /// The parts of files in which the lane's records from `from` on stand: the first one holds `from` itself, and
    /// together they hold about as much as the limit asks for.
    fn spans(&self, index: &[IndexEntry], from: u64, limit: ReadLimit) -> Vec<Span> {
        let count = (limit.bytes as u64 / INDEX_INTERVAL + 2) as usize;
        let first = index.partition_point(|e| e.offset <= from).saturating_sub(1);
        let following = index.iter().skip(first + 1).map(Some).chain([None]);
        let span = |(entry, next): (&IndexEntry, Option<&IndexEntry>)| {
            let at = self.segments.binary_search_by_key(&entry.segment, |s| s.number).ok()?;
            let end = self.segments.get(at)?.length;
            let next = next.filter(|n| n.segment == entry.segment).map_or(end, |n| n.position);
            let until = next.min(entry.position + INDEX_INTERVAL);
            Some(Span { segment: entry.segment, position: entry.position, until, end })
        };
        index.iter().skip(first).zip(following).take(count).filter_map(span).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;
    use leadway_domain::Partition;
    use leadway_domain::record::Topic;

    fn view(tail_limit: u64) -> View {
        let mut view = View::new("folder".into(), Lanes::new(1), tail_limit);
        view.set_segment(SegmentInfo { number: 0, length: 0 });
        view
    }

    fn commit(view: &mut View, position: u64, lanes: &[usize]) {
        let address = Address { topic: Topic::Leads, partition: Partition(0), offset: Offset(0) };
        let (id, time, data) = (uuid::Uuid::nil(), leadway_domain::Timestamp::UNIX_EPOCH, "0123456789".into());
        let record = Record { address, key: "".into(), kind: "k".into(), id, time, data, decoded: Default::default() };
        let records = lanes.iter().map(|&l| (l, record.clone()));
        view.show(records);
        view.commit(position, 100);
    }

    fn tail_len(view: &View, lane: usize, from: u64, limit: ReadLimit) -> Option<usize> {
        let (topic, partition) = view.lanes.all().nth(lane).unwrap();
        match view.plan(Position { topic, partition, next: Offset(from) }, limit, Reading::Durable) {
            Plan::Tail(records) => Some(records.len()),
            Plan::Nothing => Some(0),
            Plan::Files(_) => None,
        }
    }

    #[test]
    fn the_oldest_frames_leave_memory_and_are_read_from_files() {
        let mut view = view(250);
        commit(&mut view, 0, &[1, 1]);
        commit(&mut view, 100, &[2]);
        commit(&mut view, 200, &[1]);
        let limit = ReadLimit::default();
        assert_eq!(tail_len(&view, 1, 0, limit), None);
        assert_eq!(tail_len(&view, 1, 2, limit), Some(1));
        assert_eq!(tail_len(&view, 2, 0, limit), Some(1));
        assert_eq!(tail_len(&view, 1, 3, limit), Some(0));
    }

    #[test]
    fn limits_hold_but_one_record_always_comes() {
        let mut view = view(10_000);
        commit(&mut view, 0, &[1, 1, 1, 1]);
        assert_eq!(tail_len(&view, 1, 0, ReadLimit { records: 3, bytes: 1_000 }), Some(3));
        assert_eq!(tail_len(&view, 1, 0, ReadLimit { records: 9, bytes: 25 }), Some(2));
        assert_eq!(tail_len(&view, 1, 0, ReadLimit { records: 0, bytes: 0 }), Some(1));
    }

    #[test]
    fn the_index_is_sparse_and_starts_anew_in_each_segment() {
        let mut view = view(0);
        commit(&mut view, 0, &[1, 1]);
        commit(&mut view, INDEX_INTERVAL - 1, &[1]);
        commit(&mut view, INDEX_INTERVAL, &[1]);
        view.set_segment(SegmentInfo { number: 1, length: 0 });
        commit(&mut view, 10, &[1]);
        let entry = |offset, segment, position| IndexEntry { offset, segment, position };
        assert_eq!(view.index_of(0), vec![(1, entry(0, 0, 0)), (1, entry(3, 0, INDEX_INTERVAL))]);
        assert_eq!(view.index_of(1), vec![(1, entry(4, 1, 10))]);
    }

    #[test]
    fn a_position_has_a_record_when_its_partition_reaches_beyond_it() {
        let mut view = view(100);
        commit(&mut view, 0, &[1]);
        let at =
            |next, partition| Position { topic: Topic::Leads, partition: Partition(partition), next: Offset(next) };
        assert!(view.has(&at(0, 0), Reading::Durable));
        assert!(!view.has(&at(1, 0), Reading::Durable));
        assert!(!view.has(&at(0, 1), Reading::Durable));
    }
}
