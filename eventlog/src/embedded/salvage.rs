//! Makes a log of what can be read of a damaged one. Blocking.
//!
//! Every record keeps its topic, partition and offset, and so every id its meaning. Where records are lost, others take their
//! places that say so: of a kind that nobody reads, so that each reader counts them and passes on, and no offset is ever
//! given a second time.

use std::io;
use std::path::Path;
use std::sync::Arc;

use leadway_domain::{Offset, Timestamp};
use uuid::Uuid;

use super::disk::OsDisk;
use super::entry::{put_progress, put_record, read_record};
use super::inspect::{Follow, Held, Met, inspect, partitions, walk};
use super::lanes::Lanes;
use super::segment::{Appender, NotWritten};
use super::state::State;
use super::{Options, folder, frame};
use crate::{Address, Hole, Inspection, LogError, NewRecord};

/// What stands where a record was lost.
const LOST: &str = "record.lost";
/// Bytes that go into one frame of the copy.
const FRAME: usize = 1 << 20;

/// Copies what can be read of the log in `from` to the folder `to`, which must not hold a log. Returns what was found.
pub(crate) fn salvage(from: &Path, to: &Path) -> Result<Inspection, LogError> {
    // Nobody writes it meanwhile.
    let _lock = folder::lock(from)?;
    let found = inspect(from)?;
    let lanes = Lanes::new(partitions(from)?);
    let _target = folder::lock(to)?;
    if !super::segment::list(to).map_err(|e| failed(to, &e))?.is_empty() {
        return Err(LogError::Unusable(format!("{} holds a log already; name another folder", to.display())));
    }
    folder::copy_about(from, to, lanes)?;
    let mut copy = Copy::begin(to, lanes)?;
    let mut follow = Follow::new(lanes);
    walk(from, |met| {
        let Met::Frame { body, .. } = met else { return Ok(()) };
        let entries = std::cell::RefCell::new(&mut copy);
        // What does not fit in its place was named by the inspection; what stands before it in the frame is kept.
        let _named = follow.take(
            &body,
            |hole| entries.borrow_mut().lose(hole),
            |entry| match entry {
                Held::Record(address, raw) => {
                    let record = read_record(&body.slice(raw));
                    let mut copy = entries.borrow_mut();
                    match record {
                        Ok(record) => copy.put(NewRecord::copy_of(record), address),
                        Err(_) => copy.lose(Hole::of(address)),
                    }
                }
                Held::Progress(stage, position) => entries.borrow_mut().progress(stage, position),
            },
        )?;
        copy.flush_if_full()
    })?;
    copy.flush()?;
    check(to, &found)?;
    Ok(found)
}

/// The copy must be a whole log that ends where the other ended.
fn check(to: &Path, found: &Inspection) -> Result<(), LogError> {
    let made = inspect(to)?;
    if made.damage.is_empty() && made.holes.is_empty() && made.tail.is_none() && made.ends == found.ends {
        return Ok(());
    }
    Err(LogError::Unusable(format!("the copy in {} is not whole: do not use it", to.display())))
}

/// The log being written.
struct Copy {
    state: State,
    appender: Appender,
    frame: Vec<u8>,
    folder: std::path::PathBuf,
    /// Of the last record: the time of those that are lost.
    time: Timestamp,
}

impl Copy {
    fn begin(to: &Path, lanes: Lanes) -> Result<Self, LogError> {
        let mut state = State::new(lanes);
        let segment_bytes = Options::default().segment_bytes;
        let appender = Appender::start(Arc::new(OsDisk), to.to_owned(), segment_bytes, &state.snapshot(0))
            .map_err(|e| failed(to, &e))?;
        state.sequence += 1;
        let (frame, folder) = (frame::begin(FRAME), to.to_owned());
        Ok(Self { state, appender, frame, folder, time: Timestamp::UNIX_EPOCH })
    }

    fn put(&mut self, record: NewRecord, address: Address) -> Result<(), LogError> {
        self.time = record.time;
        put_record(&mut self.frame, &record, address);
        self.flush_if_full()
    }

    fn progress(&mut self, stage: &str, position: crate::Position) -> Result<(), LogError> {
        put_progress(&mut self.frame, stage, position);
        Ok(())
    }

    /// Fills the places of records that are lost.
    fn lose(&mut self, hole: Hole) -> Result<(), LogError> {
        for offset in (hole.from.0..hole.to.0).map(Offset) {
            let address = Address { topic: hole.topic, partition: hole.partition, offset };
            let number = u128::from(hole.topic as u8) << 96 | u128::from(hole.partition.0) << 64 | u128::from(offset.0);
            let lost = NewRecord {
                topic: hole.topic,
                partition: Some(hole.partition),
                key: "".into(),
                kind: LOST.into(),
                id: Uuid::from_u128(number),
                time: self.time,
                data: "{\"v\":1}".into(),
                decoded: Default::default(),
            };
            self.put(lost, address)?;
        }
        Ok(())
    }

    fn flush_if_full(&mut self) -> Result<(), LogError> {
        if self.frame.len() >= FRAME { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), LogError> {
        if self.frame.len() <= frame::HEADER {
            return Ok(());
        }
        self.write().map_err(|e| failed(&self.folder, &e))
    }

    fn write(&mut self) -> io::Result<()> {
        let not_written = |e: NotWritten| e.error;
        if self.appender.is_full(self.frame.len() as u64) {
            let snapshot = self.state.snapshot(self.appender.next_number());
            self.appender.roll(&snapshot).map_err(not_written)?;
            self.state.sequence += 1;
        }
        let mut frame = std::mem::replace(&mut self.frame, frame::begin(FRAME));
        frame::finish(&mut frame, self.state.sequence);
        self.appender.append(&frame).map_err(not_written)?;
        let body = frame.get(frame::HEADER..).unwrap_or_default();
        self.state.apply_commit(body, |_, _| {}).map_err(|e| io::Error::other(e.0))?;
        self.state.sequence += 1;
        Ok(())
    }
}

fn failed(folder: &Path, error: &io::Error) -> LogError {
    LogError::Unusable(format!("{}: the copy cannot be written: {error}", folder.display()))
}
