//! Reading frames from a file, one after the other.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::frame::{HEADER, MAGIC, Parsed, parse};

/// A frame in a file.
pub(crate) struct Frame {
    pub(crate) sequence: u64,
    pub(crate) body: Bytes,
}

/// What stands next in the file.
pub(crate) enum Step {
    Frame(Frame),
    /// The file ends here, or only zeros follow its last frame.
    End,
    Bad(&'static str),
}

/// Reads frames from a position on, in large pieces. After [`Step::Frame`] its position is the next frame's;
/// after anything else it stays.
pub(crate) struct Scanner<'f> {
    file: &'f File,
    position: u64,
    end: u64,
    chunk: usize,
    buffer: Bytes,
}

impl<'f> Scanner<'f> {
    /// Reads from `position`, and nothing at or beyond `end`, `chunk` bytes at a time or a whole frame if it is larger.
    pub(crate) fn new(file: &'f File, position: u64, end: u64, chunk: usize) -> Self {
        Self { file, position, end, chunk, buffer: Bytes::new() }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn step(&mut self) -> io::Result<Step> {
        loop {
            match parse(&self.buffer) {
                Parsed::Frame { sequence, length } => {
                    let body = self.buffer.split_to(length).slice(HEADER..);
                    self.position += length as u64;
                    return Ok(Step::Frame(Frame { sequence, body }));
                }
                Parsed::Empty => return Ok(Step::End),
                Parsed::Bad(reason) => return Ok(Step::Bad(reason)),
                Parsed::Short { need } => {
                    if !self.fill(need)? {
                        let nothing = self.buffer.iter().all(|&b| b == 0);
                        return Ok(if nothing { Step::End } else { Step::Bad("it is cut short") });
                    }
                }
            }
        }
    }

    /// Makes `need` bytes stand in the buffer; false when there are not so many.
    fn fill(&mut self, need: usize) -> io::Result<bool> {
        let available = self.end.saturating_sub(self.position);
        if (need as u64) <= available {
            let wanted = available.min(need.max(self.chunk) as u64) as usize;
            self.buffer = read_at(self.file, self.position, wanted)?.into();
            if self.buffer.len() < wanted {
                self.end = self.position + self.buffer.len() as u64;
            }
        } else if (self.buffer.len() as u64) < available {
            self.buffer = read_at(self.file, self.position, (available as usize).min(HEADER))?.into();
        }
        Ok(self.buffer.len() >= need)
    }
}

/// Reads up to `count` bytes; fewer only at the end of the file.
pub(crate) fn read_at(file: &File, position: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The position of a whole frame with a sequence above `sequence` anywhere from `from` on: what tells damage in the
/// middle from a last write that the machine did not complete.
pub(crate) fn find_frame_above(file: &File, from: u64, end: u64, sequence: u64) -> io::Result<Option<u64>> {
    const CHUNK: usize = 1 << 18;
    let zeros = vec![0; CHUNK + MAGIC.len()];
    let mut position = from;
    while position < end {
        let wanted = (CHUNK + MAGIC.len() - 1).min((end - position) as usize);
        let bytes = read_at(file, position, wanted)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let blank = zeros.get(..bytes.len()) == Some(bytes.as_slice());
        let candidates = bytes.windows(MAGIC.len()).enumerate().filter(|(_, window)| !blank && *window == MAGIC);
        for (at, _) in candidates {
            let candidate = position + at as u64;
            if let Step::Frame(frame) = Scanner::new(file, candidate, end, HEADER).step()?
                && frame.sequence > sequence
            {
                return Ok(Some(candidate));
            }
        }
        position += CHUNK as u64;
    }
    Ok(None)
}
