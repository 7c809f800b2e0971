//! The servers' jars: fetched once with Maven into a cache folder that all work trees share.
//!
//! They are copied into a `.partial` folder that is renamed when it is complete, under a lock file, so that two test
//! binaries do not race and an interrupted fetch leaves nothing that looks whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result, io, tail};

/// Maven's registry answers 503 now and then: so many tries, with pauses of 1, 2, 4 … at most 30 seconds between them.
const TRIES: usize = 8;
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Retries inside one Maven run, for the transports of Maven 3.8 (wagon) and of 3.9 and later (resolver). `-U`: Maven would
/// remember a failed transfer and not ask again.
const MAVEN: &[&str] = &[
    "-q",
    "-B",
    "-U",
    "-Dmaven.wagon.http.retryHandler.count=5",
    "-Dmaven.wagon.http.serviceUnavailableRetryStrategy.class=standard",
    "-Daether.connector.http.retryHandler.count=5",
    "-Daether.connector.http.retryHandler.serviceUnavailable=429,500,502,503",
];

/// A server whose jars can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jars {
    /// Apache Kafka 4.1.0, with its tools.
    Kafka,
    /// Apache Cassandra 5.0.5.
    Cassandra,
}

impl Jars {
    fn folder_name(self) -> &'static str {
        match self {
            Jars::Kafka => "kafka-4.1.0",
            Jars::Cassandra => "cassandra-5.0.5",
        }
    }

    fn pom(self) -> &'static str {
        match self {
            Jars::Kafka => include_str!("../kafka/pom.xml"),
            Jars::Cassandra => include_str!("../cassandra/pom.xml"),
        }
    }
}

/// The folder with the server's jars, fetched first if they are not there yet.
///
/// # Errors
/// [`Error::Missing`] without Maven, [`Error::Fetch`] when the registry gives no answer in several tries.
pub fn fetch(jars: Jars) -> Result<PathBuf> {
    let cache = cache_folder()?;
    let folder = cache.join(jars.folder_name());
    if is_complete(&folder, jars) {
        return Ok(folder.join("lib"));
    }
    let lock_path = cache.join(format!("{}.lock", jars.folder_name()));
    let lock = File::create(&lock_path).map_err(io("creating", &lock_path))?;
    lock.lock().map_err(io("locking", &lock_path))?;
    if !is_complete(&folder, jars) {
        fetch_into(&folder, jars)?;
    }
    Ok(folder.join("lib"))
}

/// `$XDG_CACHE_HOME/leadway/servers`, else `~/.cache/leadway/servers`; created.
pub(crate) fn cache_folder() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    let folder = base.join("leadway").join("servers");
    fs::create_dir_all(&folder).map_err(io("creating", &folder))?;
    Ok(folder)
}

/// The pom lies beside its jars: jars of another pom are not complete.
fn is_complete(folder: &Path, jars: Jars) -> bool {
    fs::read_to_string(folder.join("pom.xml")).is_ok_and(|pom| pom == jars.pom())
}

fn fetch_into(folder: &Path, jars: Jars) -> Result<()> {
    require_maven()?;
    let partial = folder.with_file_name(format!("{}.partial", jars.folder_name()));
    for stale in [partial.as_path(), folder] {
        if stale.exists() {
            fs::remove_dir_all(stale).map_err(io("removing", stale))?;
        }
    }
    fs::create_dir_all(&partial).map_err(io("creating", &partial))?;
    let pom = partial.join("pom.xml");
    fs::write(&pom, jars.pom()).map_err(io("writing", &pom))?;

    let mut pause = Duration::from_secs(1);
    let mut output = String::new();
    for attempt in 1..=TRIES {
        match run_maven(&pom, &partial.join("lib"))? {
            Ok(()) => return fs::rename(&partial, folder).map_err(io("renaming", &partial)),
            Err(printed) => output = printed,
        }
        if attempt < TRIES {
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    Err(Error::Fetch { server: jars.folder_name().into(), tries: TRIES, output })
}

/// One run of Maven; the inner error is the end of what it printed.
fn run_maven(pom: &Path, lib: &Path) -> Result<std::result::Result<(), String>> {
    let output = Command::new("mvn")
        .args(MAVEN)
        .arg("-f")
        .arg(pom)
        .arg("dependency:copy-dependencies")
        .arg(format!("-DoutputDirectory={}", lib.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(io("running", "mvn"))?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok(Err(tail(&text, 12)))
}

fn require_maven() -> Result<()> {
    let found = Command::new("mvn").arg("-version").stdin(Stdio::null()).output();
    match found {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(missing_maven(&tail(&String::from_utf8_lossy(&output.stderr), 3))),
        Err(error) => Err(missing_maven(&error.to_string())),
    }
}

fn missing_maven(found: &str) -> Error {
    let why = format!("it fetches the jars of Kafka and Cassandra, once ({found})");
    Error::Missing { program: "mvn", why, debian: "maven" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_names_the_version_that_the_pom_fixes() {
        for jars in [Jars::Kafka, Jars::Cassandra] {
            let version = jars.folder_name().split('-').nth(1).unwrap();
            assert!(jars.pom().contains(&format!("<version>{version}</version>")), "{jars:?}");
        }
    }

    #[test]
    fn jars_of_another_pom_are_not_complete() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_complete(folder.path(), Jars::Kafka));
        fs::write(folder.path().join("pom.xml"), Jars::Cassandra.pom()).unwrap();
        assert!(!is_complete(folder.path(), Jars::Kafka));
        fs::write(folder.path().join("pom.xml"), Jars::Kafka.pom()).unwrap();
        assert!(is_complete(folder.path(), Jars::Kafka));
    }
}
