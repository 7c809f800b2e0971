//! Which log the tables are made of, in a file of its own: it outlives tables that are thrown away after a crash of the
//! machine or made by another version, when nothing else would tell that the log is another one, too.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use crate::{LogOfTables, TablesError};

const FILE: &str = "log.json";

/// What the folder says; `None` when it says nothing.
pub(super) fn read(folder: &Path) -> Result<Option<LogOfTables>, TablesError> {
    let path = folder.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(TablesError::Unusable(format!("{} cannot be read: {error}", path.display()))),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        TablesError::Unusable(format!(
            "{} cannot be read: {error}. Restore it from the backup, or remove the whole folder of the tables, if the log is \
             surely theirs: they are made of it again",
            path.display()
        ))
    })
}

/// Stores it, durably, in the place of what was there.
pub(super) fn write(folder: &Path, log: &LogOfTables) -> Result<(), TablesError> {
    store(folder, log).map_err(|error| {
        TablesError::Unavailable(format!("{} cannot be written: {error}", folder.join(FILE).display()))
    })
}

fn store(folder: &Path, log: &LogOfTables) -> io::Result<()> {
    let partial = folder.join("log.partial");
    let mut file = File::create(&partial)?;
    file.write_all(&serde_json::to_vec_pretty(log)?)?;
    file.sync_all()?;
    fs::rename(&partial, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}
