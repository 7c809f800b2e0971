//! Reading records that are no longer in memory, from the files. Blocking: runs on a thread for such work.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};

use super::entry::{Entries, Entry, Malformed, read_record};
use super::scan::{Frame, Scanner, Step};
use super::segment;
use crate::{LogError, ReadLimit, Record};

/// Read at once: half of what one index interval spans, since what is looked for stands behind that much on average.
const CHUNK: usize = 128 << 10;

/// A part of a segment: the frames that begin in `position..until` of its `end` durable bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) segment: u64,
    pub(crate) position: u64,
    pub(crate) until: u64,
    pub(crate) end: u64,
}

/// Everything that a read from files needs to know.
pub(crate) struct ColdRead {
    pub(crate) folder: Arc<PathBuf>,
    pub(crate) topic: Topic,
    pub(crate) partition: Partition,
    pub(crate) from: Offset,
    pub(crate) end: Offset,
    pub(crate) limit: ReadLimit,
    pub(crate) spans: Vec<Span>,
}

/// Whether a read goes on.
#[derive(PartialEq, Eq)]
enum Room {
    Left,
    None,
}

impl ColdRead {
    /// Reads until the limit or the end is reached; `from` itself is always among what it returns.
    pub(crate) fn run(self) -> Result<Vec<Record>, LogError> {
        let mut found = Found { next: self.from, bytes: 0, records: Vec::new() };
        let mut open: Option<(u64, File)> = None;
        for span in &self.spans {
            let file = match &mut open {
                Some((number, file)) if *number == span.segment => file,
                _ => &mut open.insert((span.segment, segment::open(&self.folder, span.segment)?)).1,
            };
            if self.read_span(file, *span, &mut found)? == Room::None {
                break;
            }
        }
        if found.records.is_empty() {
            let at = self.spans.first().map_or((0, 0), |s| (s.segment, s.position));
            return Err(self.damaged(at.0, at.1, "a record that the index promises is missing"));
        }
        Ok(found.records)
    }

    fn read_span(&self, file: &File, span: Span, found: &mut Found) -> Result<Room, LogError> {
        let mut scanner = Scanner::new(file, span.position, span.end, CHUNK);
        while scanner.position() < span.until {
            let position = scanner.position();
            let frame = match scanner.step() {
                Ok(Step::Frame(frame)) => frame,
                Ok(Step::Bad(reason)) => return Err(self.damaged(span.segment, position, reason)),
                Ok(Step::End) => return Err(self.damaged(span.segment, position, "a frame is missing")),
                Err(e) => return Err(LogError::Unavailable(format!("{}: {e}", self.name(span.segment)))),
            };
            match self.take(&frame, found) {
                Ok(Room::Left) => {}
                Ok(Room::None) => return Ok(Room::None),
                Err(Malformed(reason)) => return Err(self.damaged(span.segment, position, reason)),
            }
        }
        Ok(Room::Left)
    }

    /// Takes the wanted records of one frame.
    fn take(&self, frame: &Frame, found: &mut Found) -> Result<Room, Malformed> {
        for entry in Entries::of(&frame.body) {
            let Entry::Record { address, raw } = entry? else { continue };
            let wanted = address.topic == self.topic && address.partition == self.partition;
            if !wanted || address.offset < found.next {
                continue;
            }
            if address.offset > found.next {
                return Err(Malformed("offsets before it are missing"));
            }
            let fits = found.records.len() < self.limit.records && found.bytes + raw.len() <= self.limit.bytes;
            if found.next >= self.end || !(fits || found.records.is_empty()) {
                return Ok(Room::None);
            }
            found.bytes += raw.len();
            // A copy, so that a record that is kept does not keep the whole piece that was read.
            let raw = bytes::Bytes::copy_from_slice(frame.body.get(raw).unwrap_or_default());
            found.records.push(read_record(&raw)?);
            found.next = found.next.next();
        }
        Ok(if found.next < self.end { Room::Left } else { Room::None })
    }

    fn name(&self, number: u64) -> String {
        segment::path(&self.folder, number).display().to_string()
    }

    fn damaged(&self, number: u64, position: u64, reason: &str) -> LogError {
        LogError::Corrupt {
            file: self.name(number),
            position,
            reason: format!("{reason}; restore this file from a backup"),
        }
    }
}

struct Found {
    next: Offset,
    bytes: usize,
    records: Vec<Record>,
}
