//! Sends what was written to the disk bit by bit.
//!
//! Nothing here is about durability. Left to the system, pages gather for half a minute and go to the disk at once: after a
//! flood that is a gigabyte, behind which every commit of the log on the same disk waits. So a thread walks through the
//! file again and again, has no more than a small piece of it under way at a time, and rests in between, so that a walk
//! takes about as long whatever has changed.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of the file that are under way at a time: what is written at once, the log's commits wait for.
const PIECE: u64 = 64 << 10;
/// How long a walk is to take. Linux writes by itself what has been there for half a minute.
const WALK: Duration = Duration::from_secs(10);
/// How many times as long as something is being written to rest, at most.
const LONGEST_REST: u32 = 100;
/// Rests gather up to what a timer can keep.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// A piece for which the disk stood still is no reason to rest for longer.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// How often to look whether something was written, and pause before the first walk.
const LOOK: Duration = Duration::from_secs(1);

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
    let mut rest = LONGEST_REST;
    let mut pause = LOOK;
    while goes_on(ended, pause) {
        pause = LOOK;
        if !written.swap(false, Ordering::Relaxed) {
            continue;
        }
        let begun = Instant::now();
        let walked = file.metadata().and_then(|found| walk(found.len(), rest, ended, |from| write(file, from)));
        match walked {
            Ok(writing) => rest = rest_after(writing),
            Err(error) => {
                tracing::debug!(%error, "the tables cannot be written to the disk bit by bit; the system does it by itself");
                return;
            }
        }
        pause = WALK.saturating_sub(begun.elapsed());
    }
}

/// Whether the thread is still wanted after this pause.
fn goes_on(ended: &Receiver<()>, pause: Duration) -> bool {
    ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout)
}

/// How many times as long as it writes the next walk rests, if the last one wrote for so long.
fn rest_after(writing: Duration) -> u32 {
    let times = WALK.as_micros() / writing.as_micros().max(1);
    u32::try_from(times.saturating_sub(1)).map_or(LONGEST_REST, |times| times.clamp(1, LONGEST_REST))
}

/// Writes the changed pages of a file of so many bytes, piece by piece, unless it is to end: it looks whenever it rests, which
/// is after each millisecond of writing at the latest. Tells how long it wrote. A walk that is late rests no longer than it writes.
fn walk(
    length: u64,
    rest: u32,
    ended: &Receiver<()>,
    mut write: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<Duration> {
    let begun = Instant::now();
    let (mut writing, mut due, mut since) = (Duration::ZERO, Duration::ZERO, begun);
    for piece in 0..length.div_ceil(PIECE) {
        write(piece * PIECE)?;
        let now = Instant::now();
        let took = now - since;
        writing += took;
        due += took * if now - begun < WALK { rest } else { 1 };
        since = now;
        if due >= SHORTEST_PAUSE {
            if !goes_on(ended, due.min(LONGEST_PAUSE)) {
                break;
            }
            due = Duration::ZERO;
            since = Instant::now();
        }
    }
    Ok(writing)
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
        let length = 3 * PIECE + 1;
        file.as_file().set_len(length).unwrap();
        let (_living, ended) = channel();
        let opened = File::open(file.path()).unwrap();
        let mut pieces = Vec::new();
        let written = walk(length, 1, &ended, |from| {
            pieces.push(from / PIECE);
            write(&opened, from)
        });
        written.unwrap();
        assert_eq!(pieces, [0, 1, 2, 3]);
        let flush = Flush::of(file.path()).unwrap();
        flush.wrote();
        drop(flush);
    }

    #[test]
    fn a_walk_is_to_take_its_time_whatever_there_is_to_write() {
        assert_eq!(rest_after(WALK / 20), 19);
        assert_eq!(rest_after(WALK * 2), 1);
        assert_eq!(rest_after(Duration::ZERO), LONGEST_REST);
    }

    #[test]
    fn a_walk_that_is_not_wanted_any_more_ends_behind_the_piece_under_way() {
        let (living, ended) = channel();
        let mut living = Some(living);
        let mut pieces = 0;
        let written = walk(100 * PIECE, 1, &ended, |_| {
            pieces += 1;
            std::thread::sleep(SHORTEST_PAUSE);
            if pieces == 3 {
                living = None;
            }
            Ok(())
        });
        written.unwrap();
        assert_eq!(pieces, 3);
    }
}
