//! Segments: the log's files. The newest one is written to, each commit's frame behind the one before; a full one is
//! left and the next begins with a snapshot of everything before it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::view::SegmentInfo;
use crate::LogError;

const SUFFIX: &str = ".log";

/// How many zeros are written ahead of the frames at a time, see [`Appender::append`]: so many that of small commits one in
/// a hundred writes them, and so few that it takes a fraction of a millisecond longer.
const ZEROS: u64 = 256 << 10;

/// The file of segment `number`.
pub(crate) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}{SUFFIX}"))
}

/// The numbers of all segments in the folder, ascending.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|n| n.strip_suffix(SUFFIX)).and_then(|n| n.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Fails when the segment's file has been removed or moved away, which a process that has it open does not notice.
pub(crate) fn expect(folder: &Path, number: u64) -> Result<(), LogError> {
    match path(folder, number).try_exists() {
        Ok(false) => Err(LogError::Unusable(format!(
            "{} is gone while the log is in use: what is written now is lost when the process ends",
            path(folder, number).display()
        ))),
        _ => Ok(()),
    }
}

/// Opens a segment for reading.
pub(crate) fn open(folder: &Path, number: u64) -> Result<File, LogError> {
    let path = path(folder, number);
    File::open(&path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => LogError::Corrupt {
            file: path.display().to_string(),
            position: 0,
            reason: "the file is missing; restore it from a backup".into(),
        },
        _ => LogError::Unavailable(format!("{}: {e}", path.display())),
    })
}

/// Why a frame was not written.
#[derive(Debug)]
pub(crate) struct NotWritten {
    pub(crate) error: io::Error,
    /// Whether it is certain that a restart does not find the frame either.
    pub(crate) taken_back: bool,
}

impl NotWritten {
    fn nothing(error: io::Error) -> Self {
        Self { error, taken_back: true }
    }
}

/// Writes to the newest segment.
pub(crate) struct Appender {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    segment_bytes: u64,
    number: u64,
    /// Bytes of durable frames.
    length: u64,
    /// Bytes of the snapshot that the segment begins with.
    base: u64,
    /// Up to here the disk has blocks for the file.
    allocated: u64,
    target: Target,
}

/// What the next write meets.
enum Target {
    /// Zeros behind `length`.
    Ready(Box<dyn DiskFile>),
    /// Leftovers of a failed write behind `length`, which must go first.
    Dirty(Box<dyn DiskFile>),
    /// Making the next segment has failed and is tried again. Its file may exist by now, so that going on in the
    /// segment before it is over: after a crash, frames there and its snapshot would contradict each other.
    Rolling,
}

impl Appender {
    /// Goes on in the newest segment, whose durable frames end at `newest.length` and whose snapshot ends at `base`.
    /// What stands behind is cut off.
    pub(crate) fn resume(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        segment_bytes: u64,
        newest: SegmentInfo,
        base: u64,
    ) -> io::Result<Self> {
        let file = disk.open(&path(&folder, newest.number))?;
        let SegmentInfo { number, length } = newest;
        let mut appender =
            Self { disk, folder, segment_bytes, number, length, base, allocated: 0, target: Target::Dirty(file) };
        appender.clean()?;
        Ok(appender)
    }

    /// Starts an empty log with the segment 0.
    pub(crate) fn start(disk: Arc<dyn Disk>, folder: PathBuf, segment_bytes: u64, snapshot: &[u8]) -> io::Result<Self> {
        let mut appender =
            Self { disk, folder, segment_bytes, number: 0, length: 0, base: 0, allocated: 0, target: Target::Rolling };
        appender.make(0, snapshot)?;
        Ok(appender)
    }

    /// The newest segment.
    pub(crate) fn segment(&self) -> SegmentInfo {
        SegmentInfo { number: self.number, length: self.length }
    }

    /// Whether a frame of so many bytes belongs into a new segment: call [`Self::roll`] first.
    pub(crate) fn is_full(&self, bytes: u64) -> bool {
        let holds_commits = self.length > self.base;
        matches!(self.target, Target::Rolling) || holds_commits && self.length + bytes > self.segment_bytes
    }

    /// The number of the segment that [`Self::roll`] makes.
    pub(crate) fn next_number(&self) -> u64 {
        self.number + 1
    }

    /// Makes the next segment, beginning with `snapshot`, durable before anything is written behind it.
    pub(crate) fn roll(&mut self, snapshot: &[u8]) -> Result<(), NotWritten> {
        self.clean().map_err(NotWritten::nothing)?;
        if let Target::Ready(mut full) = std::mem::replace(&mut self.target, Target::Rolling) {
            // Cuts the zeros off behind the last frame. Should it fail or be lost in a crash: zeros at the end do no harm.
            if let Err(error) = full.set_len(self.length) {
                tracing::warn!(%error, segment = self.number, "the unused end of a full segment stays");
            }
        }
        self.make(self.next_number(), snapshot).map_err(NotWritten::nothing)
    }

    /// Makes the segment `number` and goes on in it.
    fn make(&mut self, number: u64, snapshot: &[u8]) -> io::Result<()> {
        let mut file = self.disk.create(&path(&self.folder, number))?;
        file.set_len(self.segment_bytes)?;
        file.write_at(snapshot, 0)?;
        file.sync()?;
        self.disk.sync_folder(&self.folder)?;
        self.number = number;
        self.length = snapshot.len() as u64;
        self.base = self.length;
        self.allocated = 0;
        self.target = Target::Ready(file);
        Ok(())
    }

    /// Writes a frame and makes it durable; returns its position. Where the disk has no blocks for the file yet, zeros are
    /// written behind the frame: the next frames only replace them, and their fsync need not write the file's inode too. So
    /// nearly all of the log is written twice, once in large pieces.
    pub(crate) fn append(&mut self, frame: &[u8]) -> Result<u64, NotWritten> {
        self.clean().map_err(NotWritten::nothing)?;
        let Target::Ready(file) = &mut self.target else {
            return Err(NotWritten::nothing(io::Error::other("the next segment has not been made")));
        };
        let end = self.length + frame.len() as u64;
        let written = file.write_at(frame, self.length);
        let landed = written.is_ok();
        // Zeros that do not fit on the disk are no reason to refuse a frame that does.
        let zeroed = self.segment_bytes.min(end + ZEROS);
        let is_zeroed = end > self.allocated && end < zeroed && landed && file.write_zeros(end..zeroed).is_ok();
        match written.and_then(|()| file.sync()) {
            Ok(()) => {
                let position = self.length;
                self.length = end;
                if is_zeroed {
                    self.allocated = zeroed;
                }
                Ok(position)
            }
            Err(error) => {
                self.soil();
                // A frame written in part is none. A whole one that may or may not be on disk must be cut off durably.
                let taken_back = self.clean().is_ok() || !landed;
                Err(NotWritten { error, taken_back })
            }
        }
    }

    fn soil(&mut self) {
        if let Target::Ready(file) = std::mem::replace(&mut self.target, Target::Rolling) {
            self.target = Target::Dirty(file);
        }
    }

    /// Cuts off what stands behind the durable frames and lengthens the file with zeros anew: a hole, which takes no
    /// space and reserves none, but spares most writes a change of the file's length. After a failed fsync the system
    /// takes lost pages for written, so nothing of the failed write may be kept: what comes next is written afresh.
    fn clean(&mut self) -> io::Result<()> {
        let Target::Dirty(file) = &mut self.target else { return Ok(()) };
        file.set_len(self.length)?;
        file.set_len(self.segment_bytes.max(self.length))?;
        file.sync()?;
        self.allocated = 0;
        if let Target::Dirty(file) = std::mem::replace(&mut self.target, Target::Rolling) {
            self.target = Target::Ready(file);
        }
        Ok(())
    }
}
