//! Sends what was written to the disk bit by bit.
//!
//! Nothing here is about durability. Left to the system, pages gather for half a minute and go to the disk at once: after a
//! flood that is a gigabyte, behind which every commit of the log on the same disk waits. So a thread walks through the
//! file again and again, has no more than a small piece of it under way at a time, and rests in between, so that a walk
//! takes about as long whatever has changed. Where little has changed a piece is larger: of a file of many gigabytes each
//! thousandth page or so has, and a call for each of them would cost as much as the rows.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of the file that are under way at a time where all of it may have changed: what is written at once, the log's commits
/// wait for.
const SMALLEST_PIECE: u64 = 64 << 10;
/// The same where little has. Behind pages that have not changed, one piece may meet as many that all have.
const LARGEST_PIECE: u64 = 4 << 20;
/// How long a piece is to take at most: larger ones become smaller behind one that took longer.
const PIECE_TIME: Duration = Duration::from_micros(250);
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
    let old = file.metadata().map_or(0, |found| found.len());
    let mut walk = Walk { old, rest: LONGEST_REST };
    let mut pause = LOOK;
    while goes_on(ended, pause) {
        pause = LOOK;
        if !written.swap(false, Ordering::Relaxed) {
            continue;
        }
        let begun = Instant::now();
        let walked = file.metadata().and_then(|found| {
            let length = found.len();
            let writing = walk.through(length, ended, |from, count| write(file, from, count))?;
            Ok(Walk { old: length, rest: rest_after(writing) })
        });
        match walked {
            Ok(next) => walk = next,
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

/// One walk through the file.
struct Walk {
    /// How long the file was before: what is behind that is new, all of it.
    old: u64,
    /// How many times as long as it writes it rests.
    rest: u32,
}

impl Walk {
    /// Writes the changed pages of a file of so many bytes, piece by piece, unless it is to end: it looks whenever it rests, which
    /// is after each millisecond of writing at the latest. Tells how long it wrote. A walk that is late rests no longer than it writes.
    fn through(
        &self,
        length: u64,
        ended: &Receiver<()>,
        mut write: impl FnMut(u64, u64) -> io::Result<()>,
    ) -> io::Result<Duration> {
        let begun = Instant::now();
        let (mut writing, mut due, mut since) = (Duration::ZERO, Duration::ZERO, begun);
        let (mut from, mut piece) = (0, SMALLEST_PIECE);
        while from < length {
            let count = if from < self.old { piece.min(self.old - from) } else { SMALLEST_PIECE };
            write(from, count)?;
            from += count;
            let now = Instant::now();
            let took = now - since;
            piece = piece_after(piece, took);
            writing += took;
            due += took * if now - begun < WALK { self.rest } else { 1 };
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
}

/// How large a piece is behind one that took so long.
fn piece_after(piece: u64, took: Duration) -> u64 {
    if took * 2 <= PIECE_TIME {
        (piece * 2).min(LARGEST_PIECE)
    } else if took > PIECE_TIME {
        (piece / 2).max(SMALLEST_PIECE)
    } else {
        piece
    }
}

/// Writes the changed pages of a piece, and waits until the disk has taken them.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn write(file: &File, from: u64, count: u64) -> io::Result<()> {
    use libc::{SYNC_FILE_RANGE_WAIT_AFTER, SYNC_FILE_RANGE_WAIT_BEFORE, SYNC_FILE_RANGE_WRITE};
    use std::os::fd::AsRawFd;
    let offset = |bytes: u64| libc::off64_t::try_from(bytes).map_err(io::Error::other);
    let (from, count) = (offset(from)?, offset(count)?);
    let how = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    // The descriptor is open as long as the file is borrowed, and the call touches no memory of ours.
    let answer = unsafe { libc::sync_file_range(file.as_raw_fd(), from, count, how) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Other systems do it by themselves.
#[cfg(not(target_os = "linux"))]
fn write(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_takes_every_piece_and_the_thread_ends() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let length = 3 * SMALLEST_PIECE + 1;
        file.as_file().set_len(length).unwrap();
        let (_living, ended) = channel();
        let opened = File::open(file.path()).unwrap();
        let mut pieces = Vec::new();
        let written = Walk { old: 0, rest: 1 }.through(length, &ended, |from, count| {
            pieces.push((from / SMALLEST_PIECE, count));
            write(&opened, from, count)
        });
        written.unwrap();
        assert_eq!(pieces, [0, 1, 2, 3].map(|n| (n, SMALLEST_PIECE)), "all of it is new");
        let flush = Flush::of(file.path()).unwrap();
        flush.wrote();
        drop(flush);
    }

    #[test]
    fn pieces_are_larger_where_little_has_changed_and_never_reach_into_what_is_new() {
        assert_eq!(piece_after(SMALLEST_PIECE, PIECE_TIME / 2), 2 * SMALLEST_PIECE);
        assert_eq!(piece_after(LARGEST_PIECE, Duration::ZERO), LARGEST_PIECE);
        assert_eq!(piece_after(LARGEST_PIECE, PIECE_TIME), LARGEST_PIECE);
        assert_eq!(piece_after(LARGEST_PIECE, PIECE_TIME * 2), LARGEST_PIECE / 2);
        assert_eq!(piece_after(SMALLEST_PIECE, PIECE_TIME * 2), SMALLEST_PIECE);
        let (_living, ended) = channel();
        let old = 40 * SMALLEST_PIECE;
        let mut pieces = Vec::new();
        let written = Walk { old, rest: 1 }.through(old + 2 * SMALLEST_PIECE, &ended, |from, count| {
            pieces.push((from, count));
            Ok(())
        });
        written.unwrap();
        let ends = pieces.iter().map(|(from, count)| from + count);
        assert!(ends.clone().any(|end| end == old), "{pieces:?}");
        assert!(pieces.iter().any(|(_, count)| *count > SMALLEST_PIECE), "{pieces:?}");
        assert!(pieces.iter().skip(1).map(|(from, _)| *from).eq(ends.take(pieces.len() - 1)), "{pieces:?}");
        assert_eq!(pieces.last(), Some(&(old + SMALLEST_PIECE, SMALLEST_PIECE)));
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
        let written = Walk { old: 0, rest: 1 }.through(100 * SMALLEST_PIECE, &ended, |_, _| {
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
