//! Recovery: from the files to the log as it was when they were last written. Blocking.
//!
//! Only the newest segment is read whole; it begins with a snapshot of everything before. A frame that the machine did
//! not complete can only be the newest one, as each is durable before the next is begun: it is cut off. Anything else
//! that cannot be read is damage and refuses the log.

use std::fs::File;
use std::io;
use std::path::Path;

use super::entry::Malformed;
use super::lanes::Lanes;
use super::scan::{Scanner, Step, find_frame_above, read_at};
use super::segment;
use super::sidecar::Sidecar;
use super::state::State;
use super::view::{IndexEntry, SegmentInfo, View};
use crate::LogError;

const CHUNK: usize = 1 << 20;

/// A log read from its folder.
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) view: View,
    /// `None` when there is not a single whole segment.
    pub(crate) newest: Option<Newest>,
    /// Segments whose making was never completed: nothing of them counts.
    pub(crate) void: Vec<u64>,
    /// Sidecars that had to be made anew.
    pub(crate) rebuilt: Vec<Sidecar>,
}

/// The segment to go on in.
#[derive(Clone, Copy)]
pub(crate) struct Newest {
    pub(crate) segment: SegmentInfo,
    /// Where its snapshot ends.
    pub(crate) base: u64,
    /// Sequence of its first frame.
    pub(crate) first: u64,
}

/// A segment read from beginning to end.
struct Scan {
    state: State,
    newest: Newest,
    index: Vec<(usize, IndexEntry)>,
    /// Where and why it stops before the end of the file, if it does.
    bad: Option<&'static str>,
}

/// Reads the log in `folder`.
pub(crate) fn recover(folder: &Path, lanes: Lanes, tail_limit: u64) -> Result<Recovered, LogError> {
    let mut numbers = segment::list(folder).map_err(|e| unreadable(folder, &e))?;
    check_complete(folder, &numbers)?;
    let view = View::new(folder.to_owned(), lanes, tail_limit);
    let mut recovered =
        Recovered { state: State::new(lanes), view, newest: None, void: Vec::new(), rebuilt: Vec::new() };
    let newest = loop {
        let Some(number) = numbers.pop() else { return Ok(recovered) };
        match scan_newest(folder, number, lanes)? {
            Some(scan) => break scan,
            // The machine stopped while this segment was made, before anything was written behind its snapshot.
            // Its predecessor is the newest then; two such in a row cannot be.
            None if recovered.void.is_empty() => recovered.void.push(number),
            None => return Err(corrupt(folder, number, 0, "the file is empty; restore it from a backup")),
        }
    };
    let mut expected = None;
    for number in numbers {
        let sidecar = full_segment(folder, number, lanes, &mut recovered)?;
        check_chain(folder, number, expected, sidecar.first)?;
        expected = Some(sidecar.next);
        adopt(&mut recovered.view, sidecar.segment, &sidecar.index);
    }
    check_chain(folder, newest.newest.segment.number, expected, newest.newest.first)?;
    adopt(&mut recovered.view, newest.newest.segment, &newest.index);
    for lane in 0..lanes.count() {
        recovered.view.set_end(lane, newest.state.end(lane));
    }
    recovered.state = newest.state;
    recovered.newest = Some(newest.newest);
    Ok(recovered)
}

fn adopt(view: &mut View, segment: SegmentInfo, index: &[(usize, IndexEntry)]) {
    view.set_segment(segment);
    for (lane, entry) in index {
        view.note(*lane, *entry);
    }
}

/// Segments count up from 0 without a gap.
fn check_complete(folder: &Path, numbers: &[u64]) -> Result<(), LogError> {
    match (0..).zip(numbers).find(|(expected, number)| expected != *number) {
        Some((missing, _)) => Err(corrupt(folder, missing, 0, "the file is missing; restore it from a backup")),
        None => Ok(()),
    }
}

/// A segment begins where the one before it ended.
fn check_chain(folder: &Path, number: u64, expected: Option<u64>, first: u64) -> Result<(), LogError> {
    match expected {
        Some(expected) if expected != first => {
            let reason = format!(
                "it begins with frame {first}, and the segment before it ends before frame {expected}; \
                 restore both from a backup"
            );
            Err(corrupt(folder, number, 0, reason))
        }
        _ => Ok(()),
    }
}

/// The newest segment; `None` when making it was not completed.
fn scan_newest(folder: &Path, number: u64, lanes: Lanes) -> Result<Option<Scan>, LogError> {
    let file = segment::open(folder, number)?;
    let length = length(&file, folder, number)?;
    let Some(scan) = scan(&file, folder, number, lanes)? else {
        return match find_frame_above(&file, 0, length, 0).map_err(|e| unreadable(folder, &e))? {
            Some(next) => Err(damage(folder, number, 0, "its first frame cannot be read", next)),
            None => Ok(None),
        };
    };
    let position = scan.newest.segment.length;
    let found = find_frame_above(&file, position, length, scan.state.sequence);
    if let Some(next) = found.map_err(|e| unreadable(folder, &e))? {
        return Err(damage(folder, number, position, scan.bad.unwrap_or("it is zeros"), next));
    }
    if let Some(reason) = scan.bad {
        let bytes = written(&file, position, length).map_err(|e| unreadable(folder, &e))?;
        tracing::warn!(
            segment = number,
            position,
            bytes,
            reason,
            "the last write was not completed: its bytes are left out and overwritten"
        );
    }
    Ok(Some(scan))
}

/// How many bytes from `from` on hold something: up to the last that is not zero.
fn written(file: &File, from: u64, end: u64) -> io::Result<u64> {
    let (mut position, mut last) = (from, from);
    while position < end {
        let bytes = read_at(file, position, CHUNK.min((end - position) as usize))?;
        if bytes.is_empty() {
            break;
        }
        if let Some(at) = bytes.iter().rposition(|byte| *byte != 0) {
            last = position + at as u64 + 1;
        }
        position += bytes.len() as u64;
    }
    Ok(last - from)
}

fn damage(folder: &Path, number: u64, position: u64, reason: &str, next: u64) -> LogError {
    let reason = format!(
        "the frame here is damaged ({reason}), but a whole one follows at byte {next}: this is no interrupted write; \
         restore the file from a backup, or give up this frame and all behind it by cutting the file at this byte"
    );
    corrupt(folder, number, position, reason)
}

/// What the index needs of a full segment, from its sidecar or else from itself.
fn full_segment(folder: &Path, number: u64, lanes: Lanes, recovered: &mut Recovered) -> Result<Sidecar, LogError> {
    let file = segment::open(folder, number)?;
    let length = length(&file, folder, number)?;
    if let Some(sidecar) = Sidecar::load(folder, number, lanes) {
        if sidecar.segment.length > length {
            let reason =
                format!("the file ends here, but had {} bytes; restore it from a backup", sidecar.segment.length);
            return Err(corrupt(folder, number, length, reason));
        }
        return Ok(sidecar);
    }
    let Some(scan) = scan(&file, folder, number, lanes)? else {
        return Err(corrupt(folder, number, 0, "its first frame cannot be read; restore it from a backup"));
    };
    if let Some(reason) = scan.bad {
        let reason = format!("a frame cannot be read: {reason}; restore this file from a backup");
        return Err(corrupt(folder, number, scan.newest.segment.length, reason));
    }
    let Newest { segment, first, .. } = scan.newest;
    let sidecar = Sidecar { segment, first, next: scan.state.sequence, index: scan.index };
    recovered.rebuilt.push(sidecar.clone());
    Ok(sidecar)
}

/// Reads a segment up to its end or to the first frame that cannot be read. `None` when that is the snapshot.
fn scan(file: &File, folder: &Path, number: u64, lanes: Lanes) -> Result<Option<Scan>, LogError> {
    let mut scanner = Scanner::new(file, 0, length(file, folder, number)?, CHUNK);
    let Step::Frame(snapshot) = scanner.step().map_err(|e| unreadable(folder, &e))? else { return Ok(None) };
    let malformed = |position: u64| {
        move |Malformed(reason): Malformed| corrupt(folder, number, position, format!("{reason}; restore a backup"))
    };
    let mut state = State::new(lanes);
    state.apply_snapshot(number, &snapshot.body).map_err(malformed(0))?;
    state.sequence = snapshot.sequence + 1;
    let base = scanner.position();
    // A view of this segment alone decides which records the index notes.
    let mut view = View::new(folder.to_owned(), lanes, 0);
    let bad = loop {
        let position = scanner.position();
        match scanner.step().map_err(|e| unreadable(folder, &e))? {
            Step::Frame(frame) if frame.sequence == state.sequence => {
                let note = |lane, offset| view.note(lane, IndexEntry { offset, segment: number, position });
                state.apply_commit(&frame.body, note).map_err(malformed(position))?;
                state.sequence += 1;
            }
            Step::Frame(frame) => {
                let reason =
                    format!("frame {} stands where {} belongs; restore a backup", frame.sequence, state.sequence);
                return Err(corrupt(folder, number, position, reason));
            }
            Step::End => break None,
            Step::Bad(reason) => break Some(reason),
        }
    };
    let segment = SegmentInfo { number, length: scanner.position() };
    let newest = Newest { segment, base, first: snapshot.sequence };
    Ok(Some(Scan { state, newest, index: view.index_of(number), bad }))
}

fn length(file: &File, folder: &Path, number: u64) -> Result<u64, LogError> {
    let metadata = file.metadata().map_err(|e| unreadable(&segment::path(folder, number), &e))?;
    Ok(metadata.len())
}

fn corrupt(folder: &Path, number: u64, position: u64, reason: impl Into<String>) -> LogError {
    LogError::Corrupt { file: segment::path(folder, number).display().to_string(), position, reason: reason.into() }
}

fn unreadable(path: &Path, error: &io::Error) -> LogError {
    LogError::Unusable(format!("{} cannot be read: {error}", path.display()))
}
