//! Nodes as processes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// The operator's key of every node.
pub(crate) const KEY: &str = "lwk_key_of_the_cluster_tests";

/// A running `leadway serve`.
pub(crate) struct Process {
    child: Child,
    /// Where it listens: `http://127.0.0.1:…`
    pub(crate) base: String,
    stages: &'static str,
    /// Its notes; removed with it.
    _folder: tempfile::TempDir,
}

impl Process {
    /// Starts a node that runs `stages`; returns when it says that it is ready.
    pub(crate) async fn start(stages: &'static str, environment: &[(String, String)]) -> Self {
        let mut command = leadway(environment);
        let folder = tempfile::tempdir().unwrap();
        command.args(["serve", "--listen", "127.0.0.1:0", "--stages", stages, "--data"]).arg(folder.path());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let listening = move || {
            let mut lines = BufReader::new(stdout).lines();
            lines.find_map(|l| l.ok()?.split_once("http://").map(|(_, a)| format!("http://{}", a.trim())))
        };
        let base = tokio::task::spawn_blocking(listening).await.unwrap();
        Self {
            child,
            base: base.unwrap_or_else(|| panic!("a node of {stages} did not become ready")),
            stages,
            _folder: folder,
        }
    }

    /// Starts another one that runs the same stages.
    pub(crate) async fn another(&self, environment: &[(String, String)]) -> Self {
        Self::start(self.stages, environment).await
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; returns when it has drained and ended, which it must do well.
    pub(crate) async fn stop(mut self) {
        self.signal("TERM");
        let status = tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap();
        assert!(status.success(), "a node that is told to stop ends well: {status}");
    }

    /// SIGSTOP: it stands still and does not know it.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary with the settings of a test.
pub(crate) fn leadway(environment: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leadway"));
    command
        .envs(environment.iter().cloned())
        .env("LEADWAY_ADMIN_KEY", KEY)
        .env("LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS", "true")
        .env("LEADWAY_DISPATCHER__FIRST_RETRY_MS", "20")
        .env("LEADWAY_LOGGING__FILTER", std::env::var("CLUSTER_LOG").unwrap_or_else(|_| "error".into()));
    command
}
