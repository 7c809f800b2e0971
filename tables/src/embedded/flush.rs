//! Sends what was written to the disk bit by bit.
//!
//! Nothing here is about durability. Left to the system, pages gather for half a minute and go to the disk at once: after a
//! flood that is a gigabyte, behind which every commit of the log on the same disk waits.

use std::fs::File;
use std::io;
use std::path::Path;

/// So many written rows make the next bit, some dozens of megabytes. More often costs more: pages that are written again
/// and again go to the disk each time.
const ROWS: u64 = 256 << 10;

/// Counts what was written.
#[derive(Debug)]
pub(super) struct Flush {
    file: File,
    rows: u64,
}

impl Flush {
    /// Of the file that is written to.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, rows: 0 })
    }

    /// So many rows were written. Now and then this begins to bring them to the disk, and does not wait for it.
    pub(super) fn wrote(&mut self, rows: u64) {
        self.rows += rows;
        if self.rows >= ROWS {
            self.rows = 0;
            if let Err(error) = begin(&self.file) {
                tracing::debug!(%error, "the system was not asked to write the tables to the disk; it does so by itself");
            }
        }
    }
}

/// Asks the system to write every changed page of the file.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn begin(file: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // The descriptor is open as long as the file is borrowed, and the call touches no memory of ours.
    let answer = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Other systems do it by themselves.
#[cfg(not(target_os = "linux"))]
fn begin(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_takes_the_wish() {
        let file = tempfile::NamedTempFile::new().unwrap();
        begin(&File::open(file.path()).unwrap()).unwrap();
    }

    #[test]
    fn rows_are_counted_up_to_the_next_bit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut flush = Flush::of(file.path()).unwrap();
        flush.wrote(ROWS - 1);
        assert_eq!(flush.rows, ROWS - 1);
        flush.wrote(1);
        assert_eq!(flush.rows, 0);
    }
}
