//! One server: its command, its log, how to see that it answers, and the process while there is one.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result, io, tail};
use crate::process::{Lifetime, Process, Signal};

/// Machines that build and test at the same time are slow: a server that needs longer than this will not come.
const START_TIMEOUT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);
const TAIL_LINES: usize = 30;

/// How it is seen that a server answers.
pub(crate) type Answers = Box<dyn Fn() -> bool + Send + Sync>;

/// A server that can be killed and started again in the same folder.
pub(crate) struct Node {
    name: String,
    folder: PathBuf,
    command: Vec<OsString>,
    lifetime: Lifetime,
    answers: Answers,
    process: Mutex<Option<Process>>,
}

impl Node {
    /// Describes a server without starting it. Its log is `server.log` in its folder.
    pub(crate) fn new(
        name: &str,
        folder: PathBuf,
        command: Vec<OsString>,
        lifetime: Lifetime,
        answers: Answers,
    ) -> Node {
        Node { name: name.to_owned(), folder, command, lifetime, answers, process: Mutex::new(None) }
    }

    /// Starts the server with an empty log, without waiting until it answers.
    pub(crate) fn spawn(&self) -> Result<()> {
        let mut process = self.lock();
        if process.as_mut().is_some_and(Process::is_running) {
            return Err(Error::Running { server: self.name.clone() });
        }
        let log = log_file(&self.folder);
        fs::write(&log, "").map_err(io("writing", &log))?;
        let started = Process::spawn(&self.command, &log, self.lifetime)?;
        if self.lifetime == Lifetime::Detached {
            let file = pid_file(&self.folder);
            fs::write(&file, started.id().to_string()).map_err(io("writing", &file))?;
        }
        *process = Some(started);
        Ok(())
    }

    /// Waits until the server answers. When it ends or takes too long, the error shows the end of its log.
    pub(crate) fn wait_ready(&self) -> Result<()> {
        self.wait_until(&*self.answers)
    }

    /// As [`Node::wait_ready`], for something else than the answer.
    pub(crate) fn wait_until(&self, reached: &dyn Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if reached() {
                return Ok(());
            }
            if !self.lock().as_mut().is_some_and(Process::is_running) {
                return Err(self.start_error("it ended".to_owned()));
            }
            if Instant::now() > deadline {
                return Err(self.start_error(format!("no answer in {} seconds", START_TIMEOUT.as_secs())));
            }
            thread::sleep(POLL);
        }
    }

    /// Kills the server as `kill -9` does, stopped or not; it is gone when this returns. Nothing happens when it is dead.
    pub(crate) fn kill(&self) -> Result<()> {
        match self.lock().take() {
            Some(mut process) => process.signal(Signal::Kill),
            None => Ok(()),
        }
    }

    /// Stops the server or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let mut process = self.lock();
        let running = process.as_mut().and_then(|process| process.is_running().then_some(process));
        running.map_or_else(|| Err(Error::NotRunning { server: self.name.clone() }), |process| process.signal(signal))
    }

    fn start_error(&self, why: String) -> Error {
        let log = log_file(&self.folder);
        let text = fs::read_to_string(&log).unwrap_or_default();
        Error::Start { server: self.name.clone(), why, log, tail: tail(&text, TAIL_LINES) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log of the server in this folder.
pub(crate) fn log_file(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// Where the process id of a detached server stands.
pub(crate) fn pid_file(folder: &Path) -> PathBuf {
    folder.join("server.pid")
}

/// Sees that a server answers by a text in its log.
pub(crate) fn logged(folder: &Path, text: &'static str) -> Answers {
    let log = log_file(folder);
    Box::new(move || fs::read_to_string(&log).is_ok_and(|content| content.contains(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(folder: &Path, script: &str) -> Node {
        let command = vec!["sh".into(), "-c".into(), script.into()];
        Node::new("the server", folder.to_owned(), command, Lifetime::Watched, logged(folder, "ready"))
    }

    #[test]
    fn a_server_that_ends_gives_an_error_with_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let node = node(folder.path(), "echo the disk is full");
        node.spawn().unwrap();
        let message = node.wait_ready().unwrap_err().to_string();
        assert!(message.starts_with("the server did not start: it ended"), "{message}");
        assert!(message.ends_with("the disk is full"), "{message}");
    }

    #[test]
    fn a_server_is_killed_and_started_again_and_never_started_twice() {
        let folder = tempfile::tempdir().unwrap();
        let node = node(folder.path(), "echo ready; sleep 600");
        node.spawn().unwrap();
        node.wait_ready().unwrap();
        assert!(matches!(node.spawn(), Err(Error::Running { .. })));
        node.kill().unwrap();
        assert!(matches!(node.signal(Signal::Stop), Err(Error::NotRunning { .. })));
        node.spawn().unwrap();
        node.wait_ready().unwrap();
    }
}
