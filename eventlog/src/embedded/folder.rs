//! The log's folder: who may open it, what it was made with, and what a crash left in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use leadway_domain::record::Topic;
use serde::{Deserialize, Serialize};

use super::lanes::Lanes;
use super::recover::Recovered;
use super::segment;
use super::sidecar::Sidecar;
use crate::LogError;

const FORMAT: u32 = 1;
const ABOUT: &str = "about.json";

/// What is fixed when a log is made.
#[derive(Serialize, Deserialize)]
struct About {
    format: u32,
    partitions: u32,
}

/// Makes the folder if it is not there, and locks it for this process until the file is dropped.
pub(crate) fn lock(folder: &Path) -> Result<File, LogError> {
    std::fs::create_dir_all(folder).map_err(|e| unusable(folder, "cannot be made", &e))?;
    let path = folder.join("lock");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(|e| unusable(&path, "cannot be opened", &e))?;
    // Whoever is just ending writes what waits, and frees the folder within moments.
    let mut locked = file.try_lock();
    for _ in 0..20 {
        if !matches!(locked, Err(TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Unusable(format!(
            "{} is in use by another process; stop that one, or set another folder for this one",
            folder.display()
        ))),
        Err(TryLockError::Error(e)) => Err(unusable(&path, "cannot be locked", &e)),
    }
}

/// Stores the number of partitions in a new log; refuses another number in one that is there.
pub(crate) fn fix_partitions(folder: &Path, partitions: u32) -> Result<(), LogError> {
    let Some(about) = read(folder)? else {
        let segments = segment::list(folder).map_err(|e| unusable(folder, "cannot be read", &e))?;
        if !segments.is_empty() {
            return Err(LogError::Corrupt {
                file: folder.join(ABOUT).display().to_string(),
                position: 0,
                reason: "the file is missing though the log has records; restore it from a backup".into(),
            });
        }
        return write(folder, &About { format: FORMAT, partitions })
            .map_err(|e| unusable(folder, "cannot be written", &e));
    };
    if about.partitions == partitions {
        return Ok(());
    }
    Err(LogError::Unusable(format!(
        "the log in {} was made with partitions = {made}, and the settings say {partitions}: the number is fixed when a \
         log is made; set partitions = {made}, or another folder to start a new log",
        folder.display(),
        made = about.partitions,
    )))
}

/// The number of partitions of a log that is there.
pub(crate) fn partitions(folder: &Path) -> Result<u32, LogError> {
    match read(folder)? {
        Some(about) => Ok(about.partitions),
        None => Err(LogError::Unusable(format!("{} holds no log", folder.display()))),
    }
}

/// Gives a copy of a log what is fixed in the log; where that cannot be read, the number of partitions.
pub(crate) fn copy_about(from: &Path, to: &Path, lanes: Lanes) -> Result<(), LogError> {
    let about = match read(from) {
        Ok(Some(about)) => about,
        _ => About { format: FORMAT, partitions: lanes.partitions(Topic::Leads) },
    };
    write(to, &about).map_err(|e| unusable(to, "cannot be written", &e))
}

fn read(folder: &Path) -> Result<Option<About>, LogError> {
    let path = folder.join(ABOUT);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unusable(&path, "cannot be read", &e)),
    };
    let about: About = serde_json::from_slice(&bytes).map_err(|e| LogError::Corrupt {
        file: path.display().to_string(),
        position: 0,
        reason: format!("{e}; restore the file from a backup"),
    })?;
    if about.format != FORMAT {
        let reason = format!("the log has format {}, and this version reads {FORMAT}", about.format);
        return Err(LogError::Unusable(format!("{}: {reason}", path.display())));
    }
    Ok(Some(about))
}

fn write(folder: &Path, about: &About) -> io::Result<()> {
    let partial = folder.join("about.partial");
    let mut file = File::create(&partial)?;
    file.write_all(&serde_json::to_vec(about)?)?;
    file.sync_all()?;
    std::fs::rename(&partial, folder.join(ABOUT))?;
    File::open(folder)?.sync_all()?;
    // The folder itself may be new as well.
    match folder.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes what does not count and stores the sidecars that were missing.
pub(crate) fn tidy(folder: &Path, lanes: Lanes, recovered: &Recovered) -> Result<(), LogError> {
    for number in &recovered.void {
        set_aside(&segment::path(folder, *number))?;
    }
    if let Some(newest) = recovered.newest {
        // Should the newest segment have been a full one before, what stands beside it will not fit any more.
        remove_if_there(&Sidecar::path(folder, newest.segment.number))?;
    }
    for sidecar in &recovered.rebuilt {
        if let Err(error) = sidecar.store(folder, lanes) {
            tracing::warn!(%error, segment = sidecar.segment.number, "the index of a full segment is not stored");
        }
    }
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| unusable(folder, "cannot be synced", &e))
}

/// Gives a segment of which nothing can be read another name: most likely its making was not completed, but what it holds
/// is not ours to judge.
fn set_aside(path: &Path) -> Result<(), LogError> {
    let aside = (1..).map(|n| path.with_extension(format!("unreadable-{n}"))).find(|aside| !aside.exists());
    let Some(aside) = aside else { return Ok(()) };
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    tracing::warn!(
        file = %path.display(),
        renamed = %aside.display(),
        bytes,
        "nothing of this segment can be read, and it was renamed: a crash while it was made leaves it so. \
         If it had records, stop, restore the file from a backup, and start again"
    );
    std::fs::rename(path, &aside).map_err(|e| unusable(path, "cannot be renamed", &e))
}

fn remove_if_there(path: &Path) -> Result<(), LogError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(unusable(path, "cannot be removed", &e)),
        _ => Ok(()),
    }
}

fn unusable(path: &Path, what: &str, error: &io::Error) -> LogError {
    LogError::Unusable(format!("{} {what}: {error}", path.display()))
}
