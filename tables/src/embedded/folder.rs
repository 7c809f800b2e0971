//! The folder of the tables: who may write in it, and whether its files outlived a crash of the machine.
//!
//! Batches are not synced, as the log repeats what a crash cuts off. When a *process* dies, what it wrote is in the
//! system's page cache, whole. When the *machine* dies, pages may have reached the disk in any order and the file may
//! be anything. So before the first change that is not synced, a marker is put down (durably) that names this boot of
//! the machine; it is taken away after a sync. A marker of another boot means that the files cannot be trusted: they
//! are thrown away and the tables are rebuilt from the log.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::TablesError;

const LOCK: &str = "writer.lock";
const MARKER: &str = "unsynced";
const DATA: &str = "data.mdb";
const READERS: &str = "lock.mdb";

/// The id of this boot of the machine; `None` where the system tells none.
pub(super) fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

/// Whether the folder's files may be broken: not all of it was synced, and the machine was started since.
pub(super) fn is_suspect(folder: &Path, boot: Option<&str>) -> Result<bool, TablesError> {
    match fs::read_to_string(folder.join(MARKER)) {
        Ok(marked) => Ok(boot != Some(marked.as_str())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(true),
        Err(error) => Err(unusable(folder, "read", &error)),
    }
}

/// Whether there are tables in the folder.
pub(super) fn has_tables(folder: &Path) -> bool {
    folder.join(DATA).is_file()
}

/// A folder that this process alone writes in, until it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    boot: Option<String>,
    marked: bool,
    lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, and takes it; refuses when another has it.
    pub(super) fn take(path: &Path, boot: Option<String>) -> Result<Self, TablesError> {
        fs::create_dir_all(path).map_err(|e| unusable(path, "made", &e))?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.map_err(|e| unusable(path, "written", &e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), boot, marked: false, lock }),
            Err(TryLockError::WouldBlock) => Err(TablesError::Unusable(format!(
                "the tables in {} are in use by another leadway: stop it, or give this one another data folder",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(unusable(path, "locked", &error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_suspect(&self) -> Result<bool, TablesError> {
        is_suspect(&self.path, self.boot.as_deref())
    }

    /// Removes the tables' files, so that they are made anew.
    pub(super) fn discard(&self) -> Result<(), TablesError> {
        for file in [DATA, READERS] {
            match fs::remove_file(self.path.join(file)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(unusable(&self.path, "cleared", &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts the marker down, durably, if it is not there: to be called before anything is changed.
    pub(super) fn mark(&mut self) -> Result<(), TablesError> {
        if !self.marked {
            self.put_marker().map_err(|e| TablesError::Unavailable(format!("{}: {e}", self.path.display())))?;
            self.marked = true;
        }
        Ok(())
    }

    fn put_marker(&self) -> io::Result<()> {
        let mut file = File::create(self.path.join(MARKER))?;
        file.write_all(self.boot.as_deref().unwrap_or("unknown").as_bytes())?;
        file.sync_all()?;
        self.sync_entries()
    }

    /// Takes the marker away: to be called when everything is synced.
    pub(super) fn unmark(&mut self) -> Result<(), TablesError> {
        if self.marked {
            let removed = fs::remove_file(self.path.join(MARKER)).and_then(|()| self.sync_entries());
            removed.map_err(|e| TablesError::Unavailable(format!("{}: {e}", self.path.display())))?;
            self.marked = false;
        }
        Ok(())
    }

    /// Whether something may have been changed since the last sync.
    pub(super) fn is_marked(&self) -> bool {
        self.marked
    }

    /// Makes the making and removing of files in the folder durable.
    fn sync_entries(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Drop for Folder {
    /// Closing the file is not enough: the lock lasts as long as anybody has the file open, and a process that is just
    /// being started has everything open that this one had.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the tables' folder could not be unlocked");
        }
    }
}

/// Puts the tables' file of `new` in the place of that in `folder`: one renaming, which a crash leaves done or not done. What
/// the readers of the old file share goes first; whoever still has it open keeps both.
pub(super) fn replace(folder: &Path, new: &Path, boot: Option<String>) -> Result<(), TablesError> {
    let (mut target, source) = (Folder::take(folder, boot.clone())?, Folder::take(new, boot)?);
    if source.path.join(MARKER).exists() || !has_tables(new) {
        return Err(TablesError::Unusable(format!("the tables in {} were not closed whole", new.display())));
    }
    // The file that takes the place is synced: a marker of the old one would have it thrown away.
    target.marked = target.path.join(MARKER).exists();
    let replaced = (|| {
        match fs::remove_file(folder.join(READERS)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(new.join(DATA), folder.join(DATA))?;
        target.sync_entries()
    })();
    replaced.map_err(|e| unusable(folder, "replaced", &e))?;
    target.unmark()?;
    drop(source);
    fs::remove_dir_all(new).map_err(|e| unusable(new, "removed", &e))
}

fn unusable(folder: &Path, verb: &str, error: &io::Error) -> TablesError {
    TablesError::Unusable(format!("the tables' folder {} cannot be {verb}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(path: &Path, boot: Option<&str>) -> Folder {
        Folder::take(path, boot.map(str::to_owned)).unwrap()
    }

    #[test]
    fn only_a_marker_of_another_boot_is_suspect() {
        let folder = tempfile::tempdir().unwrap();
        let suspect = |boot: Option<&str>| take(folder.path(), boot).is_suspect().unwrap();
        assert!(!suspect(Some("one")), "nothing was written yet");
        take(folder.path(), Some("one")).mark().unwrap();
        assert!(!suspect(Some("one")), "the process died, the machine did not");
        assert!(suspect(Some("two")));
        assert!(suspect(None), "who cannot tell must not trust");
        fs::write(folder.path().join(MARKER), [0xFF, 0xFE]).unwrap();
        assert!(suspect(Some("one")), "a marker that was cut off");
    }

    #[test]
    fn a_synced_folder_is_trusted_by_every_boot() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = take(folder.path(), Some("one"));
        one.mark().unwrap();
        one.unmark().unwrap();
        assert!(!one.is_marked());
        drop(one);
        assert!(!take(folder.path(), Some("two")).is_suspect().unwrap());
    }

    #[test]
    fn a_folder_is_free_once_dropped_though_a_child_process_still_has_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let taken = take(folder.path(), None);
        let inherited = taken.lock.try_clone().unwrap();
        assert!(Folder::take(folder.path(), None).is_err());
        drop(taken);
        assert!(Folder::take(folder.path(), None).is_ok());
        drop(inherited);
    }

    #[test]
    fn a_marker_of_an_unknown_boot_is_never_trusted() {
        let folder = tempfile::tempdir().unwrap();
        take(folder.path(), None).mark().unwrap();
        assert!(take(folder.path(), None).is_suspect().unwrap());
    }
}
