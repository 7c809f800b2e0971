//! Reads a whole journal, whatever is wrong with it, and says what that is. Blocking; nothing is written.
//!
//! A start reads the newest segment only, and stops at the first damage. This reads every frame of every segment and goes on
//! behind what cannot be read, so that one look names all of it.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;
use leadway_domain::Offset;
use leadway_domain::record::{
    AppointmentRecord, DeliveryRecord, LeadRecord, Payload, QuarantineRecord, Topic, UnreadableRecord,
};
use leadway_domain::settings::SettingsChange;

use super::entry::{Entries, Entry, read_record};
use super::lanes::Lanes;
use super::scan::{Scanner, Step, find_frame_above, read_at};
use super::segment;
use super::state::State;
use super::{folder, frame};
use crate::{Address, Damage, Hole, Inspection, LogError, Position, Record};

const CHUNK: usize = 1 << 20;
/// Bytes that are passed over at a time where the disk itself cannot read.
const BLOCK: u64 = 4 << 10;
/// Unreadable records that are named; all of them are counted.
const NAMED: usize = 100;

/// What a walk over the files comes to.
pub(crate) enum Met {
    /// A whole frame.
    Frame { body: Bytes, file: String, position: u64 },
    /// Bytes that are no frame, with whole frames behind them.
    Damage(Damage),
    /// Bytes behind the last frame of the log: a write that was not completed, or damage of what was written last.
    Tail(Damage),
}

/// Walks over all segments of a folder in order.
pub(crate) fn walk(folder: &Path, mut on: impl FnMut(Met) -> Result<(), LogError>) -> Result<(), LogError> {
    let unreadable = |e| LogError::Unusable(format!("{} cannot be read: {e}", folder.display()));
    let numbers = segment::list(folder).map_err(unreadable)?;
    let (mut expected, mut sequence) = (0, None);
    for &number in &numbers {
        for missing in expected..number {
            let file = segment::path(folder, missing).display().to_string();
            on(Met::Damage(Damage { file, position: 0, bytes: 0, reason: "the file is missing".into() }))?;
        }
        expected = number + 1;
        let is_last = numbers.last() == Some(&number);
        walk_segment(folder, number, is_last, &mut sequence, &mut on)?;
    }
    Ok(())
}

fn walk_segment(
    folder: &Path,
    number: u64,
    is_last: bool,
    sequence: &mut Option<u64>,
    on: &mut impl FnMut(Met) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let name = segment::path(folder, number).display().to_string();
    let file = segment::open(folder, number)?;
    let length = file.metadata().map_err(|e| LogError::Unusable(format!("{name}: {e}")))?.len();
    let mut position = 0;
    loop {
        let mut scanner = Scanner::new(&file, position, length, CHUNK);
        let reason = loop {
            position = scanner.position();
            match scanner.step() {
                Ok(Step::Frame(frame)) if sequence.is_none_or(|last| frame.sequence > last) => {
                    *sequence = Some(frame.sequence);
                    on(Met::Frame { body: frame.body, file: name.clone(), position })?;
                }
                Ok(Step::Frame(frame)) => break format!("frame {} stands here a second time", frame.sequence),
                Ok(Step::End) => break "it is zeros".to_owned(),
                Ok(Step::Bad(reason)) => break reason.to_owned(),
                Err(error) => break format!("the disk cannot read it: {error}"),
            }
        };
        let next = next_frame(&file, position + 1, length, sequence.unwrap_or(0));
        let end = next.unwrap_or_else(|| written_until(&file, position, length));
        let damage = Damage { file: name.clone(), position, bytes: end - position, reason };
        match next {
            Some(_) => on(Met::Damage(damage))?,
            None if end == position => return Ok(()),
            None if is_last => return on(Met::Tail(damage)),
            None => return on(Met::Damage(damage)),
        }
        position = end;
    }
}

/// The next whole frame; places that the disk cannot read are passed over.
fn next_frame(file: &File, mut from: u64, end: u64, sequence: u64) -> Option<u64> {
    while from < end {
        match find_frame_above(file, from, end, sequence) {
            Ok(found) => return found,
            // The search reads far ahead: before what cannot be read there may be frames, so it goes on block by block.
            Err(_) => {
                let block = (from / BLOCK + 1) * BLOCK;
                if let Ok(Some(found)) = find_frame_above(file, from, block.min(end), sequence) {
                    return Some(found);
                }
                from = block;
            }
        }
    }
    None
}

/// Behind the last byte that is not zero.
fn written_until(file: &File, from: u64, end: u64) -> u64 {
    let (mut position, mut written) = (from, from);
    while position < end {
        let wanted = (end - position).min(CHUNK as u64) as usize;
        match read_at(file, position, wanted) {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => {
                if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                    written = position + last as u64 + 1;
                }
                position += bytes.len() as u64;
            }
            Err(_) => {
                position = (position / BLOCK + 1) * BLOCK;
                written = position.min(end);
            }
        }
    }
    written
}

/// How many partitions the log was made with: as it says of itself, or else as the beginning of a segment says.
pub(crate) fn partitions(folder: &Path) -> Result<u32, LogError> {
    let said = folder::partitions(folder);
    let Err(error) = &said else { return said };
    let numbers = segment::list(folder).unwrap_or_default();
    let of_segment = |number: u64| {
        let file = segment::open(folder, number).ok()?;
        let Ok(Step::Frame(frame)) = Scanner::new(&file, 0, file.metadata().ok()?.len(), frame::HEADER).step() else {
            return None;
        };
        match Entries::of(&frame.body).next() {
            Some(Ok(Entry::Segment { partitions, .. })) => Some(partitions),
            _ => None,
        }
    };
    numbers.into_iter().find_map(of_segment).ok_or_else(|| error.clone())
}

/// Follows the frames of a damaged log: where each partition ends, and which offsets are missing.
pub(crate) struct Follow {
    pub(crate) state: State,
}

/// What a frame holds, as its entries say.
pub(crate) enum Held<'a> {
    Record(Address, std::ops::Range<usize>),
    Progress(&'a str, Position),
}

impl Follow {
    pub(crate) fn new(lanes: Lanes) -> Self {
        Self { state: State::new(lanes) }
    }

    /// Takes in a frame in order. `on_hole` is told of offsets that are missing before what stands here, `on_entry` of all
    /// that counts. What the log cannot hold at this place is an error that says why.
    pub(crate) fn take(
        &mut self,
        body: &[u8],
        mut on_hole: impl FnMut(Hole) -> Result<(), LogError>,
        mut on_entry: impl FnMut(Held<'_>) -> Result<(), LogError>,
    ) -> Result<Result<(), &'static str>, LogError> {
        for entry in Entries::of(body) {
            let Ok(entry) = entry else { return Ok(Err("it holds an entry of unknown form")) };
            let (topic, partition, offset) = match &entry {
                Entry::Segment { .. } => continue,
                Entry::Progress { stage, position } => {
                    self.state.advance(stage, *position);
                    on_entry(Held::Progress(stage, *position))?;
                    continue;
                }
                Entry::End(end) => (end.topic, end.partition, end.next),
                Entry::Record { address, .. } => (address.topic, address.partition, address.offset),
            };
            let Some(lane) = self.state.lanes.of(topic, partition) else {
                return Ok(Err("it names a partition that the log does not have"));
            };
            let end = Offset(self.state.end(lane));
            if offset < end {
                return Ok(Err("it holds offsets that stand before it already"));
            }
            if offset > end {
                on_hole(Hole { topic, partition, from: end, to: offset })?;
                self.state.set_end(lane, offset.0);
            }
            if let Entry::Record { address, raw } = entry {
                on_entry(Held::Record(address, raw))?;
                self.state.set_end(lane, offset.0 + 1);
            }
        }
        Ok(Ok(()))
    }
}

/// Reads the whole log in `folder`.
pub(crate) fn inspect(folder: &Path) -> Result<Inspection, LogError> {
    let lanes = Lanes::new(partitions(folder)?);
    let mut found = Inspection::default();
    if let Err(error) = folder::partitions(folder) {
        found.damage.push(Damage {
            file: folder.join("about.json").display().to_string(),
            position: 0,
            bytes: 0,
            reason: error.to_string(),
        });
    }
    let mut follow = Follow::new(lanes);
    let mut files = std::collections::BTreeSet::new();
    walk(folder, |met| {
        match met {
            Met::Damage(damage) => found.damage.push(damage),
            Met::Tail(tail) => found.tail = Some(tail),
            Met::Frame { body, file, position } => {
                found.frames += 1;
                found.bytes += (body.len() + frame::HEADER) as u64;
                files.insert(file.clone());
                let (holes, records) = (&mut found.holes, &mut found.records);
                let (unreadable, named) = (&mut found.unreadable, &mut found.unreadable_at);
                let taken = follow.take(
                    &body,
                    |hole| {
                        holes.push(hole);
                        Ok(())
                    },
                    |entry| {
                        if let Held::Record(address, raw) = entry {
                            *records += 1;
                            if !is_readable(&body.slice(raw)) {
                                *unreadable += 1;
                                if named.len() < NAMED {
                                    named.push(address);
                                }
                            }
                        }
                        Ok(())
                    },
                )?;
                if let Err(reason) = taken {
                    let bytes = (body.len() + frame::HEADER) as u64;
                    found.damage.push(Damage { file, position, bytes, reason: reason.into() });
                }
            }
        }
        Ok(())
    })?;
    found.files = files.len() as u64;
    found.ends = ends(&follow.state);
    Ok(found)
}

/// Where each partition ends.
pub(crate) fn ends(state: &State) -> Vec<Position> {
    let place = |(lane, (topic, partition))| Position { topic, partition, next: Offset(state.end(lane)) };
    state.lanes.all().enumerate().map(place).collect()
}

fn is_readable(raw: &Bytes) -> bool {
    read_record(raw).is_ok_and(|record| check_record(&record).is_ok())
}

/// Whether this version knows what the record says.
pub fn check_record(record: &Record) -> Result<(), UnreadableRecord> {
    fn read<P: Payload>(record: &Record) -> Result<(), UnreadableRecord> {
        record.decode::<P>().map(drop)
    }
    match record.address.topic {
        Topic::Settings => read::<SettingsChange>(record),
        Topic::Leads => read::<LeadRecord>(record),
        Topic::Appointments => read::<AppointmentRecord>(record),
        Topic::Deliveries => read::<DeliveryRecord>(record),
        Topic::Quarantine => read::<QuarantineRecord>(record),
    }
}
