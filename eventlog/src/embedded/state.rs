//! What all frames so far amount to: how far each partition reaches and where each stage stands.

use std::collections::BTreeMap;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};

use super::entry::{self, Entries, Entry, Malformed};
use super::frame;
use super::lanes::{Lanes, code};
use crate::Position;

/// The sum of a log's frames up to a point.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) lanes: Lanes,
    /// The next frame's sequence.
    pub(crate) sequence: u64,
    ends: Vec<u64>,
    progress: BTreeMap<String, BTreeMap<(u8, u32), Position>>,
}

impl State {
    pub(crate) fn new(lanes: Lanes) -> Self {
        Self { lanes, sequence: 0, ends: vec![0; lanes.count()], progress: BTreeMap::new() }
    }

    pub(crate) fn end(&self, lane: usize) -> u64 {
        self.ends.get(lane).copied().unwrap_or_default()
    }

    pub(crate) fn set_end(&mut self, lane: usize, end: u64) {
        if let Some(stored) = self.ends.get_mut(lane) {
            *stored = end;
        }
    }

    /// Where the stage stands in a partition: the next offset it has to process.
    pub(crate) fn progress(&self, stage: &str, topic: Topic, partition: Partition) -> Offset {
        let of_stage = self.progress.get(stage);
        of_stage.and_then(|p| p.get(&(code(topic), partition.0))).map_or(Offset(0), |p| p.next)
    }

    /// Moves a stage's progress forwards; what lies behind it changes nothing.
    pub(crate) fn advance(&mut self, stage: &str, position: Position) {
        let key = (code(position.topic), position.partition.0);
        match self.progress.get_mut(stage) {
            Some(of_stage) => {
                let stored = of_stage.entry(key).or_insert(position);
                stored.next = stored.next.max(position.next);
            }
            None => {
                self.progress.insert(stage.to_owned(), BTreeMap::from([(key, position)]));
            }
        }
    }

    /// The frame that segment `number` begins with: everything recovery must know of the segments before it.
    pub(crate) fn snapshot(&self, number: u64) -> Vec<u8> {
        let mut frame = frame::begin(0);
        entry::put_segment(&mut frame, number, self.lanes.partitions(Topic::Leads));
        for (lane, (topic, partition)) in self.lanes.all().enumerate() {
            entry::put_end(&mut frame, topic, partition, Offset(self.end(lane)));
        }
        for (stage, positions) in &self.progress {
            for position in positions.values() {
                entry::put_progress(&mut frame, stage, *position);
            }
        }
        frame::finish(&mut frame, self.sequence);
        frame
    }

    /// Takes in the frame that segment `number` begins with.
    pub(crate) fn apply_snapshot(&mut self, number: u64, body: &[u8]) -> Result<(), Malformed> {
        let mut entries = Entries::of(body);
        let expected = Entry::Segment { number, partitions: self.lanes.partitions(Topic::Leads) };
        if entries.next() != Some(Ok(expected)) {
            return Err(Malformed("it is not the beginning of this segment of this log"));
        }
        for entry in entries {
            match entry? {
                Entry::End(p) => {
                    let lane = self.lane(p.topic, p.partition)?;
                    self.set_end(lane, p.next.0);
                }
                Entry::Progress { stage, position } => self.advance(stage, position),
                Entry::Segment { .. } | Entry::Record { .. } => return Err(Malformed("it holds what it must not")),
            }
        }
        Ok(())
    }

    /// Takes in a commit's frame, telling `on_record` the lane and offset of every record.
    pub(crate) fn apply_commit(&mut self, body: &[u8], mut on_record: impl FnMut(usize, u64)) -> Result<(), Malformed> {
        for entry in Entries::of(body) {
            match entry? {
                Entry::Record { address, .. } => {
                    let lane = self.lane(address.topic, address.partition)?;
                    if address.offset.0 != self.end(lane) {
                        return Err(Malformed("offsets before it are missing"));
                    }
                    on_record(lane, address.offset.0);
                    self.set_end(lane, address.offset.0 + 1);
                }
                Entry::Progress { stage, position } => self.advance(stage, position),
                Entry::Segment { .. } | Entry::End(_) => return Err(Malformed("it holds what it must not")),
            }
        }
        Ok(())
    }

    fn lane(&self, topic: Topic, partition: Partition) -> Result<usize, Malformed> {
        self.lanes.of(topic, partition).ok_or(Malformed("it names a partition that the log does not have"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(next: u64) -> Position {
        Position { topic: Topic::Leads, partition: Partition(1), next: Offset(next) }
    }

    #[test]
    fn a_snapshot_carries_everything() {
        let lanes = Lanes::new(2);
        let mut state = State::new(lanes);
        state.set_end(2, 77);
        state.advance("router", leads(70));
        let frame = state.snapshot(4);
        let mut read = State::new(lanes);
        read.apply_snapshot(4, &frame[frame::HEADER..]).unwrap();
        assert_eq!(read.ends, state.ends);
        assert_eq!(read.progress, state.progress);
    }

    #[test]
    fn a_snapshot_of_another_segment_or_log_is_refused() {
        let frame = State::new(Lanes::new(2)).snapshot(4);
        let body = &frame[frame::HEADER..];
        assert!(State::new(Lanes::new(2)).apply_snapshot(5, body).is_err());
        assert!(State::new(Lanes::new(3)).apply_snapshot(4, body).is_err());
    }

    #[test]
    fn progress_never_moves_back() {
        let mut state = State::new(Lanes::new(2));
        state.advance("router", leads(70));
        state.advance("router", leads(60));
        assert_eq!(state.progress("router", Topic::Leads, Partition(1)), Offset(70));
    }
}
