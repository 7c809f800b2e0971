//! The folder in which servers keep their data, settings and logs.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::error::{Result, io};

const GUARD: &str = include_str!("guard.sh");

/// A folder and who removes it.
#[derive(Debug)]
pub(crate) enum Folder {
    /// Removed when dropped, and by a guard process when we end without dropping it.
    Temporary {
        /// Where it is.
        path: PathBuf,
        /// Waits for our end.
        guard: Child,
    },
    /// Stays.
    Kept(PathBuf),
}

impl Folder {
    /// A new folder under the machine's folder for temporary files.
    pub(crate) fn temporary(prefix: &str) -> Result<Folder> {
        let path = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir()
            .map_err(io("creating a folder in", std::env::temp_dir()))?
            .keep();
        let guard = Command::new("sh")
            .args(["-c", GUARD, "leadway-servers"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(io("running", "sh"))?;
        Ok(Folder::Temporary { path, guard })
    }

    /// A folder that stays.
    pub(crate) fn kept(path: PathBuf) -> Result<Folder> {
        fs::create_dir_all(&path).map_err(io("creating", &path))?;
        Ok(Folder::Kept(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Folder::Temporary { path, .. } | Folder::Kept(path) => path,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Folder::Temporary { path, guard } = self {
            // Only when it is removed here is the guard not needed any more; its own end cannot fail in a way that matters.
            if fs::remove_dir_all(&*path).is_ok() {
                let _ = guard.kill();
                let _ = guard.wait();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_with_its_value_and_a_kept_one_stays() {
        let temporary = Folder::temporary("leadway-test-").unwrap();
        let path = temporary.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(temporary);
        assert!(!path.exists());

        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("kept");
        drop(Folder::kept(path.clone()).unwrap());
        assert!(path.exists());
    }
}
