//! Sends what was written to the disk bit by bit.
//!
//! Nothing here is about durability. Left to the system, pages gather for half a minute and go to the disk at once: after a
//! flood that is a gigabyte, behind which every commit of the log on the same disk waits. So a thread walks through the
//! file again and again, and has no more than a small piece of it under way at a time.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes of the file that are under way at a time: what is written at once, the log's commits wait for.
const PIECE: u64 = 512 << 10;
/// Pause between two walks. Pages that are written again and again go to the disk once for each.
const PAUSE: Duration = Duration::from_secs(10);

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Flush {
    written: Arc<AtomicBool>,
    /// `None` when this is being dropped, by which the thread knows.
    living: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Flush {
    /// Of the file that is written to.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let written = Arc::new(AtomicBool::new(false));
        let (living, ended) = channel();
        let is_written = written.clone();
        let thread = std::thread::Builder::new().name("tables-flush".into());
        let thread = thread.spawn(move || run(&file, &is_written, &ended))?;
        Ok(Self { written, living: Some(living), thread: Some(thread) })
    }

    /// There is something to be brought to the disk.
    pub(super) fn wrote(&self) {
        self.written.store(true, Ordering::Relaxed);
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.living = None;
        if let Some(thread) = self.thread.take() {
            // It returns nothing, and what it does cannot panic.
            let _ = thread.join();
        }
    }
}

fn run(file: &File, written: &AtomicBool, ended: &Receiver<()>) {
    while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        if written.swap(false, Ordering::Relaxed)
            && let Err(error) = walk(file, ended)
        {
            tracing::debug!(%error, "the tables cannot be written to the disk bit by bit; the system does it by itself");
            return;
        }
    }
}

/// Writes the changed pages of the file, piece by piece, unless it is to end.
fn walk(file: &File, ended: &Receiver<()>) -> io::Result<()> {
    let length = file.metadata()?.len();
    for piece in 0..length.div_ceil(PIECE) {
        if ended.try_recv() == Err(TryRecvError::Disconnected) {
            break;
        }
        write(file, piece * PIECE)?;
    }
    Ok(())
}

/// Writes the changed pages of a piece, and waits until the disk has taken them.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn write(file: &File, from: u64) -> io::Result<()> {
    use libc::{SYNC_FILE_RANGE_WAIT_AFTER, SYNC_FILE_RANGE_WAIT_BEFORE, SYNC_FILE_RANGE_WRITE};
    use std::os::fd::AsRawFd;
    let offset = |bytes: u64| libc::off64_t::try_from(bytes).map_err(io::Error::other);
    let (from, count) = (offset(from)?, offset(PIECE)?);
    let how = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    // The descriptor is open as long as the file is borrowed, and the call touches no memory of ours.
    let answer = unsafe { libc::sync_file_range(file.as_raw_fd(), from, count, how) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Other systems do it by themselves.
#[cfg(not(target_os = "linux"))]
fn write(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_takes_every_piece_and_the_thread_ends() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(3 * PIECE + 1).unwrap();
        let (_living, ended) = channel();
        walk(&File::open(file.path()).unwrap(), &ended).unwrap();
        let flush = Flush::of(file.path()).unwrap();
        flush.wrote();
        drop(flush);
    }
}
