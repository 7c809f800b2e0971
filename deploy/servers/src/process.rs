//! One server process and its tie to us.
//!
//! A watched server runs under a small shell script that holds the reading end of a pipe whose writing end only we hold. The
//! kernel closes ours however we end, and the script then kills the server: nothing stays running after a test that was killed.
//! A detached server has no such tie.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::error::{Error, Result, io};

const WATCH: &str = include_str!("watch.sh");
const DETACH: &str = include_str!("detach.sh");

/// How long a server lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// As long as the value, at most as long as this process.
    Watched,
    /// Until somebody stops it.
    Detached,
}

/// What a server can be told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// End at once, nothing flushed.
    Kill,
    /// Stand still.
    Stop,
    /// Go on.
    Continue,
}

impl Signal {
    fn flag(self) -> &'static str {
        match self {
            Signal::Kill => "-KILL",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        }
    }
}

/// A server that was started.
#[derive(Debug)]
pub(crate) struct Process {
    /// The watcher of a watched server, which ends when the server has ended; else the server itself.
    child: Child,
    server: u32,
    lifetime: Lifetime,
}

impl Process {
    /// Starts a command (program first); what it prints goes to the end of `output`.
    pub(crate) fn spawn(command: &[OsString], output: &Path, lifetime: Lifetime) -> Result<Process> {
        let (script, stdin, stdout) = match lifetime {
            Lifetime::Watched => (WATCH, Stdio::piped(), Stdio::piped()),
            Lifetime::Detached => (DETACH, Stdio::null(), Stdio::null()),
        };
        let mut child = Command::new("sh")
            .args(["-c", script, "leadway-servers"])
            .arg(output)
            .args(command)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(io("running", "sh"))?;
        let server = match lifetime {
            Lifetime::Watched => read_pid(&mut child)?,
            Lifetime::Detached => child.id(),
        };
        Ok(Process { child, server, lifetime })
    }

    /// The server's process id.
    pub(crate) fn id(&self) -> u32 {
        self.server
    }

    /// Whether the server still runs; a stopped one does.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal; after [`Signal::Kill`] the server is gone when this returns.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        // While the child runs, nobody has reaped the server and its id names nothing else.
        if self.is_running() {
            send(self.server, signal)?;
        }
        if signal == Signal::Kill {
            self.child.wait().map_err(io("waiting for", "the server"))?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Watched {
            drop(self.child.stdin.take());
            // The watcher kills the server with -9 and ends; there is nobody to tell if it was gone already.
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal to a process through the shell's own `kill`, which every machine has.
pub(crate) fn send(process: u32, signal: Signal) -> Result<()> {
    let status = Command::new("sh")
        .args(["-c", "kill \"$1\" \"$2\" 2>/dev/null", "kill", signal.flag(), &process.to_string()])
        .status()
        .map_err(io("running", "kill"))?;
    if status.success() { Ok(()) } else { Err(Error::NotRunning { server: format!("process {process}") }) }
}

fn read_pid(watcher: &mut Child) -> Result<u32> {
    let stdout = watcher.stdout.take().ok_or_else(|| Error::Helper { program: "sh", output: "no output".into() })?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).map_err(io("reading from", "the watcher"))?;
    line.trim().parse().map_err(|_| Error::Helper { program: "sh", output: line })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(folder: &Path) -> Process {
        let command = ["sleep".into(), "600".into()];
        Process::spawn(&command, &folder.join("out"), Lifetime::Watched).unwrap()
    }

    fn exists(process: u32) -> bool {
        send(process, Signal::Continue).is_ok()
    }

    #[test]
    fn a_watched_process_ends_when_dropped_even_when_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = sleeper(folder.path());
        let id = process.id();
        assert!(process.is_running());
        process.signal(Signal::Stop).unwrap();
        assert!(process.is_running());
        drop(process);
        assert!(!exists(id));
    }

    #[test]
    fn a_killed_process_is_gone_at_once_and_seen_as_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = sleeper(folder.path());
        process.signal(Signal::Kill).unwrap();
        assert!(!process.is_running());
        assert!(!exists(process.id()));
        process.signal(Signal::Kill).unwrap();
    }

    #[test]
    fn output_of_the_server_goes_to_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let command = ["sh".into(), "-c".into(), "echo it broke >&2".into()];
        let mut process = Process::spawn(&command, &out, Lifetime::Watched).unwrap();
        // Not `wait`: it closes the pipe first, and the watcher would kill the server before it could say anything.
        while process.is_running() {
            std::thread::yield_now();
        }
        assert_eq!(std::fs::read_to_string(out).unwrap(), "it broke\n");
    }
}
