//! Servers that stay when the command that started them ends: `up`, `down` and `status`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::cassandra::{Cassandra, CassandraOptions};
use crate::error::{Error, Result, io};
use crate::folder::Folder;
use crate::kafka::{KafkaCluster, KafkaOptions};
use crate::node::pid_file;
use crate::process::{Lifetime, Signal, send};

/// Tells a folder made by [`up`]; holds the settings for leadway.
const MARK: &str = "leadway.toml";
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// What to start and where.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// Where the servers keep everything; must not hold servers yet.
    pub folder: PathBuf,
    /// Number of Kafka brokers.
    pub brokers: usize,
    /// Port of the first broker; the others have the following ones.
    pub kafka_port: u16,
    /// Port of Cassandra.
    pub cassandra_port: u16,
}

/// A server that [`up`] started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `kafka-0` or `cassandra`: its folder.
    pub name: String,
    /// Its process id while it runs.
    pub process: Option<u32>,
}

/// Starts brokers and a Cassandra that stay, and returns the settings with which leadway uses them when all answer.
///
/// # Errors
/// [`Error::FolderInUse`], [`Error::PortInUse`], and as [`KafkaCluster::start`]; what was started until then is stopped again.
pub fn up(options: &UpOptions) -> Result<String> {
    let mark = options.folder.join(MARK);
    if mark.exists() {
        return Err(Error::FolderInUse { folder: options.folder.clone() });
    }
    fs::create_dir_all(&options.folder).map_err(io("creating", &options.folder))?;
    // Servers are recognised by the full path in their command line.
    let folder = options.folder.canonicalize().map_err(io("finding", &options.folder))?;
    fs::write(&mark, "").map_err(io("writing", &mark))?;
    start(options, &folder)
        .and_then(|settings| {
            fs::write(&mark, &settings).map_err(io("writing", &mark))?;
            Ok(settings)
        })
        .inspect_err(|_| {
            // The folder stays for whoever wants to read the logs; the first error is the one to tell.
            let _ = kill_all(&folder);
            let _ = fs::remove_file(&mark);
        })
}

fn start(options: &UpOptions, folder: &Path) -> Result<String> {
    for server in servers(folder)? {
        let stale = folder.join(server);
        fs::remove_dir_all(&stale).map_err(io("removing", &stale))?;
    }
    let kafka =
        KafkaOptions { brokers: options.brokers, first_port: Some(options.kafka_port), ..KafkaOptions::default() };
    let kafka = KafkaCluster::start_in(Folder::kept(folder.to_owned())?, &kafka, Lifetime::Detached)?;
    let cassandra = CassandraOptions { port: Some(options.cassandra_port), ..CassandraOptions::default() };
    let cassandra = Cassandra::start_in(Folder::kept(folder.to_owned())?, &cassandra, Lifetime::Detached)?;
    Ok(settings(&kafka.bootstrap(), options.brokers, &cassandra.contact_point()))
}

/// Kills what [`up`] started in this folder and removes the folder; returns what ran.
///
/// # Errors
/// [`Error::NotOurs`] when the folder was not made by [`up`].
pub fn down(folder: &Path) -> Result<Vec<String>> {
    let folder = ours(folder)?;
    let killed = kill_all(&folder)?;
    fs::remove_dir_all(&folder).map_err(io("removing", &folder))?;
    Ok(killed)
}

/// What [`up`] started in this folder, and whether it runs.
///
/// # Errors
/// [`Error::NotOurs`] when the folder was not made by [`up`].
pub fn status(folder: &Path) -> Result<Vec<Status>> {
    let folder = ours(folder)?;
    let names = servers(&folder)?;
    Ok(names.into_iter().map(|name| Status { process: running(&folder.join(&name)), name }).collect())
}

/// The settings that [`up`] returned for this folder.
///
/// # Errors
/// [`Error::NotOurs`] when the folder was not made by [`up`].
pub fn settings_of(folder: &Path) -> Result<String> {
    let mark = ours(folder)?.join(MARK);
    fs::read_to_string(&mark).map_err(io("reading", &mark))
}

fn settings(bootstrap: &str, brokers: usize, contact_point: &str) -> String {
    let (replication, min_insync) = (brokers.min(3), brokers.min(2));
    format!(
        "log = \"kafka\"
tables = \"scylla\"

[kafka]
brokers = \"{bootstrap}\"
replication = {replication}
min_insync = {min_insync}

[scylla]
nodes = \"{contact_point}\"
replication = 1
"
    )
}

fn ours(folder: &Path) -> Result<PathBuf> {
    match folder.canonicalize() {
        Ok(path) if path.join(MARK).exists() => Ok(path),
        _ => Err(Error::NotOurs { folder: folder.to_owned() }),
    }
}

/// Names of the folders of servers, sorted.
fn servers(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(io("reading", folder))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name == "cassandra" || name.starts_with("kafka-"))
        .collect();
    names.sort();
    Ok(names)
}

/// Kills every server in the folder and waits until they are gone; returns the names of those that ran.
fn kill_all(folder: &Path) -> Result<Vec<String>> {
    let mut killed = servers(folder)?;
    killed.retain(|name| running(&folder.join(name)).is_some_and(|process| send(process, Signal::Kill).is_ok()));
    let deadline = Instant::now() + END_TIMEOUT;
    while killed.iter().any(|name| running(&folder.join(name)).is_some()) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    Ok(killed)
}

/// The process of the server in this folder. Its id may have been given to another since: the command line decides.
fn running(home: &Path) -> Option<u32> {
    let process: u32 = fs::read_to_string(pid_file(home)).ok()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{process}/cmdline")).ok()?;
    let home = home.as_os_str().as_encoded_bytes();
    command.windows(home.len().max(1)).any(|part| part == home).then_some(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_up_did_not_make_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(down(folder.path()), Err(Error::NotOurs { .. })));
        assert!(folder.path().exists());
        assert!(matches!(down(&folder.path().join("absent")), Err(Error::NotOurs { .. })));
    }

    #[test]
    fn a_process_that_took_over_the_id_is_not_taken_for_the_server() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("kafka-0");
        fs::create_dir(&home).unwrap();
        fs::write(pid_file(&home), std::process::id().to_string()).unwrap();
        assert_eq!(running(&home), None);
        fs::write(folder.path().join(MARK), "").unwrap();
        assert_eq!(status(folder.path()).unwrap(), [Status { name: "kafka-0".into(), process: None }]);
    }

    #[test]
    fn a_folder_in_use_is_refused_before_anything_starts() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MARK), "").unwrap();
        let options = UpOptions { folder: folder.path().into(), brokers: 1, kafka_port: 1, cassandra_port: 2 };
        assert!(matches!(up(&options), Err(Error::FolderInUse { .. })));
    }
}
