//! Programs that the checks run, and that end with them.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::time::Instant;

/// A shell that runs its arguments and ends them when its own standard input ends, which it does at the latest when the
/// process of the test is no more, however it died. When the program ends by itself, so does the shell.
const WATCH: &str = r#"exec 3<&0
"$@" 3<&- & program=$!
{ read -r _ <&3; kill -9 "$program"; } 2> /dev/null & guard=$!
wait "$program"; code=$?
kill -9 "$guard" 2> /dev/null
exit "$code""#;

/// How long to sleep before looking again.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// A program that the checks use.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// The server.
    Prometheus,
    /// Its checker of configurations and rules.
    Promtool,
    /// The renderer of the chart.
    Helm,
    /// What runs compose.yaml.
    Docker,
    /// The exporter of what the machine measures.
    NodeExporter,
}

impl Program {
    /// Where it is installed. The error says what is missing and how to install it.
    pub fn find(self) -> anyhow::Result<PathBuf> {
        self.installed().with_context(|| {
            format!(
                "the checks of deploy/ need `{}`, which is not installed. Debian: apt-get install prometheus \
                 prometheus-node-exporter (the services need not run); elsewhere: https://prometheus.io/download",
                self.names().join("` or `")
            )
        })
    }

    /// Where it is installed, if it is.
    pub fn installed(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let files = std::env::split_paths(&path).flat_map(|dir| self.names().iter().map(move |name| dir.join(name)));
        files.into_iter().find(|file| file.is_file())
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Prometheus => &["prometheus"],
            Self::Promtool => &["promtool"],
            Self::Helm => &["helm"],
            Self::Docker => &["docker"],
            Self::NodeExporter => &["prometheus-node-exporter", "node_exporter"],
        }
    }
}

/// The binary of leadway that was built beside this test.
pub fn leadway() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let binary = test.ancestors().nth(2).context("a test stands in target/…/deps")?.join("leadway");
    ensure!(
        binary.is_file(),
        "{} is missing: build it with `cargo build -p leadway-server`, or test the whole workspace",
        binary.display()
    );
    Ok(binary)
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
}

/// A running program. It ends when this is dropped, and when the process of the test ends.
pub(crate) struct Running {
    watcher: Child,
    output: PathBuf,
}

impl Running {
    /// Starts it; what it says goes to `output`.
    pub(crate) fn start(program: &Path, arguments: &[String], output: PathBuf) -> anyhow::Result<Self> {
        let said = File::create(&output)?;
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "watch"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        Ok(Self { watcher, output })
    }

    /// Waits until it has said where it listens: the address that follows `mark`. Each program binds port 0 and so has a port
    /// of its own, which nobody can take in between. Fails when it ends, or says nothing until `deadline`.
    pub(crate) async fn address(&mut self, mark: &str, deadline: Instant) -> anyhow::Result<SocketAddr> {
        loop {
            if let Some(address) = address_after(&self.said(), mark) {
                return Ok(address);
            }
            self.still_runs()?;
            ensure!(Instant::now() < deadline, "it did not say where it listens:\n{}", self.last_words());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Fails when it has ended, with what it said last.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.watcher.try_wait()? {
            bail!("it ended with {status}:\n{}", self.last_words());
        }
        Ok(())
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// The last lines that it said.
    pub(crate) fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(15)).copied().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        // The watcher ends by itself as soon as it has ended the program.
        let _ = self.watcher.wait();
    }
}

/// The address behind `mark`, on a line that was written to its end. Port 0 was asked for and is none.
fn address_after(said: &str, mark: &str) -> Option<SocketAddr> {
    let mut whole = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let address = |line: &str| {
        let (_, rest) = line.split_once(mark)?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && !".:".contains(c)).unwrap_or(rest.len());
        rest.get(..end)?.parse().ok().filter(|address: &SocketAddr| address.port() != 0)
    };
    whole.find_map(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_program_listens_is_read_from_what_it_says() {
        let said = "start\n  API, browsable   http://127.0.0.1:36255/docs\n";
        assert_eq!(address_after(said, "browsable   http://"), Some(([127, 0, 0, 1], 36255).into()));
        assert_eq!(address_after("msg=\"Listening on\" address=127.0.0.1:4", "address="), None, "the line goes on");
        let asked = "msg=\"Start listening\" address=127.0.0.1:0\nmsg=\"Listening on\" address=127.0.0.1:42\n";
        assert_eq!(address_after(asked, " address="), Some(([127, 0, 0, 1], 42).into()));
    }

    #[tokio::test]
    async fn a_program_that_ends_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["-c", "echo no port; exit 3"].map(str::to_owned);
        let mut ended = Running::start(Path::new("sh"), &arguments, folder.path().join("out")).unwrap();
        // Longer than any test may take: only the end of the program ends the wait.
        let error = ended.address("address=", Instant::now() + Duration::from_secs(3600)).await.unwrap_err();
        assert!(error.to_string().contains("exit status: 3") && error.to_string().contains("no port"), "{error}");
    }

    #[test]
    fn a_program_ends_with_its_handle() {
        let folder = tempfile::tempdir().unwrap();
        let (output, arguments) = (folder.path().join("out"), ["600".to_owned()]);
        let mut running = Running::start(Path::new("sleep"), &arguments, output).unwrap();
        running.still_runs().unwrap();
        // Waits for the watcher, which waits for the program.
        drop(running);
    }
}
