//! What can go wrong when servers are started and steered.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a server could not be started or steered.
#[derive(thiserror::Error)]
pub enum Error {
    /// A program that the servers need is not installed.
    #[error("{program} is missing: {why}; install it (Debian: apt-get install {debian})")]
    Missing {
        /// The program, with the least version that will do.
        program: &'static str,
        /// What it is needed for, and what was found instead.
        why: String,
        /// Debian's package.
        debian: &'static str,
    },
    /// Maven could not fetch the jars, after all tries.
    #[error("the jars of {server} could not be fetched in {tries} tries: {output}")]
    Fetch {
        /// Name and version of the server.
        server: String,
        /// How often it was tried.
        tries: usize,
        /// The last lines Maven printed.
        output: String,
    },
    /// A file or a process could not be handled.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or program.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A helper program (Kafka's formatter, keytool) failed.
    #[error("{program} failed: {output}")]
    Helper {
        /// The program.
        program: &'static str,
        /// The last lines it printed.
        output: String,
    },
    /// A server ended or did not answer in time.
    #[error("{server} did not start: {why}; the end of {log}:\n{tail}")]
    Start {
        /// Which server.
        server: String,
        /// Whether it ended or ran out of time.
        why: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines of that file.
        tail: String,
    },
    /// No port is free in the range the servers use.
    #[error("no free port between {first} and {last} on 127.0.0.1: stop what uses them")]
    NoFreePort {
        /// First port tried.
        first: u16,
        /// Last port tried.
        last: u16,
    },
    /// A port that was asked for is in use.
    #[error("port {port} on 127.0.0.1 is in use: choose another, or stop what uses it")]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// The cluster has no such broker.
    #[error("broker {broker} does not exist: the cluster has brokers 0 to {last}")]
    NoSuchBroker {
        /// What was asked for.
        broker: usize,
        /// The highest broker there is.
        last: usize,
    },
    /// A server that should be signalled does not run.
    #[error("{server} does not run: restart it first")]
    NotRunning {
        /// Which server.
        server: String,
    },
    /// A server that should be started runs.
    #[error("{server} runs already: kill it first")]
    Running {
        /// Which server.
        server: String,
    },
    /// A number of brokers that makes no cluster.
    #[error("{brokers} brokers: at least 1 and at most {most}")]
    BrokerCount {
        /// What was asked for.
        brokers: usize,
        /// The most that is allowed.
        most: usize,
    },
    /// The folder for detached servers holds some already.
    #[error("{folder} holds servers already: stop them with `down` first")]
    FolderInUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder named is not one of ours: `down` removes only what `up` made.
    #[error("{folder} was not made by `up`: nothing was stopped or removed")]
    NotOurs {
        /// The folder.
        folder: PathBuf,
    },
}

/// As Display: `unwrap` in a test then says what is missing and how to install it, and shows a log line by line.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Turns an operating system's error into ours; `map_err(io(doing, path))`.
pub(crate) fn io(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
    let path = path.as_ref().to_owned();
    move |source| Error::Io { doing, path, source }
}

/// The last `lines` lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let skip = all.len().saturating_sub(lines);
    all.into_iter().skip(skip).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_keeps_the_last_lines_in_order() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
    }

    #[test]
    fn a_missing_program_is_named_with_reason_and_remedy() {
        let error = Error::Missing { program: "mvn", why: "it fetches the jars".into(), debian: "maven" };
        assert_eq!(
            error.to_string(),
            "mvn is missing: it fetches the jars; install it (Debian: apt-get install maven)"
        );
    }
}
