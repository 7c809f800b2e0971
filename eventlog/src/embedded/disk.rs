//! What the writer asks of the disk. A seam, so that tests can make writes and fsyncs fail.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A folder's file system, as far as the writer needs it.
pub(crate) trait Disk: Send + Sync {
    /// Makes an empty file, in the place of one that may be there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file for writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Makes the folder's list of files durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// A file being written.
pub(crate) trait DiskFile: Send {
    /// Writes all of `bytes`; on an error any part of them may have been written.
    fn write_at(&mut self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Writes zeros; on an error any part of them may have been written.
    fn write_zeros(&mut self, range: Range<u64>) -> io::Result<()>;
    /// Cuts the file, or lengthens it with zeros.
    fn set_len(&mut self, bytes: u64) -> io::Result<()>;
    /// Makes everything written durable. After an error nothing is known of what was written since the last success.
    fn sync(&mut self) -> io::Result<()>;
}

/// The machine's own file system.
pub(crate) struct OsDisk;

impl Disk for OsDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).open(path)?))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

impl DiskFile for File {
    fn write_at(&mut self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write_all_at(bytes, position)
    }

    fn write_zeros(&mut self, range: Range<u64>) -> io::Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let mut position = range.start;
        while position < range.end {
            let count = (range.end - position).min(ZEROS.len() as u64);
            self.write_all_at(ZEROS.get(..count as usize).unwrap_or(&ZEROS), position)?;
            position += count;
        }
        Ok(())
    }

    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
