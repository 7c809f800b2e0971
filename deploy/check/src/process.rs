//! Programs that the checks run, and that end with them.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

/// A shell that runs its arguments and ends them when its own standard input ends, which it does at the latest when the
/// process of the test is no more, however it died.
const WATCH: &str = r#""$@" & program=$!; cat > /dev/null; kill -9 "$program" 2> /dev/null"#;

/// A program that must be installed.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// The server.
    Prometheus,
    /// Its checker of configurations and rules.
    Promtool,
    /// The exporter of what the machine measures.
    NodeExporter,
}

impl Program {
    /// Where it is installed. The error says what is missing and how to install it.
    pub fn find(self) -> anyhow::Result<PathBuf> {
        let names: &[&str] = match self {
            Self::Prometheus => &["prometheus"],
            Self::Promtool => &["promtool"],
            Self::NodeExporter => &["prometheus-node-exporter", "node_exporter"],
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).flat_map(|dir| names.iter().map(move |name| dir.join(name)));
        found.into_iter().find(|file| file.is_file()).with_context(|| {
            format!(
                "the checks of deploy/ need `{}`, which is not installed. Debian: apt-get install prometheus \
                 prometheus-node-exporter (the services need not run); elsewhere: https://prometheus.io/download",
                names.join("` or `")
            )
        })
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

/// A port of the loopback interface that nobody listens on.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
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

    /// The last lines that it said.
    pub(crate) fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.output).unwrap_or_default();
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
