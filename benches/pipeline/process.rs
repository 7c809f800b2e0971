//! Processes under test: what they take of the machine.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// Ticks of CPU time in a second, as Linux reports them.
const TICKS: f64 = 100.0;

/// A server that is killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    /// `host:port`.
    pub(crate) address: String,
    /// From its start until it said where it listens.
    pub(crate) ready_after: Duration,
}

impl Server {
    /// Starts it; returns when it has told where it listens.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let started = Instant::now();
        let mut child =
            command.stdout(Stdio::piped()).spawn().with_context(|| format!("{command:?} cannot be started"))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.split_once("http://").map(|(_, address)| address.trim().to_owned()));
        let ready_after = started.elapsed();
        let address = address.with_context(|| format!("{command:?} ended before it was ready"))?;
        Ok(Self { child, address, ready_after })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to stop and waits until it has.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let told = Command::new("kill").arg(self.child.id().to_string()).status()?;
        ensure!(told.success(), "the process cannot be told to stop");
        let ended = self.child.wait()?;
        ensure!(ended.success(), "the process did not stop well: {ended}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU seconds that these processes have taken since their start, in user and kernel mode.
pub(crate) fn cpu_seconds(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| cpu_ticks(*pid).unwrap_or(0)).sum::<u64>() as f64 / TICKS
}

fn cpu_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the fields behind it are counted from the state, the third.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// Memory at its highest, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident, mapped files included.
    pub(crate) resident: u64,
    /// Resident and not backed by a file.
    pub(crate) anonymous: u64,
}

/// Looks at processes' memory ten times a second until it is dropped.
pub(crate) struct MemoryWatch {
    seen: Arc<[AtomicU64; 2]>,
    ended: Arc<AtomicBool>,
}

impl MemoryWatch {
    pub(crate) fn start(pids: Vec<u32>) -> Self {
        let watch = Self { seen: Arc::default(), ended: Arc::default() };
        let (seen, ended) = (watch.seen.clone(), watch.ended.clone());
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                for (seen, field) in seen.iter().zip(["VmRSS:", "RssAnon:"]) {
                    seen.fetch_max(pids.iter().map(|pid| bytes(*pid, field).unwrap_or(0)).sum(), Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        watch
    }

    pub(crate) fn peak(&self) -> Memory {
        let [resident, anonymous] = &*self.seen;
        Memory { resident: resident.load(Ordering::Relaxed), anonymous: anonymous.load(Ordering::Relaxed) }
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn bytes(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// The processes whose command line names one of these folders.
pub(crate) fn that_name(folders: &[&std::path::Path]) -> Vec<u32> {
    let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        names.iter().any(|name| line.contains(name.as_str()))
    })
    .collect()
}
