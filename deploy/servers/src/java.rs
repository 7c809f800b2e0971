//! The Java runtime: is it there, is it new enough, and how one of its programs is run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result, tail};
use crate::process::Lifetime;

const LEAST_MAJOR: u32 = 17;
/// Only the quick compiler: what lives for seconds gains more from a quick start than from the best code. Kafka and Cassandra
/// need about 1.5 times the CPU with it.
const QUICK: &str = "-XX:TieredStopAtLevel=1";

/// A Java runtime that is new enough.
#[derive(Clone, Debug)]
pub(crate) struct Java {
    bin: Option<PathBuf>,
}

impl Java {
    /// Looks in `JAVA_HOME`, then in `PATH`.
    pub(crate) fn find() -> Result<Java> {
        let home = std::env::var_os("JAVA_HOME").map(|home| Path::new(&home).join("bin"));
        let java = Java { bin: home.filter(|bin| bin.join("java").exists()) };
        let missing =
            |why: String| Error::Missing { program: "java (17 or newer)", why, debian: "openjdk-17-jdk-headless" };
        let output = Command::new(java.program("java"))
            .arg("-version")
            .output()
            .map_err(|error| missing(format!("Kafka and Cassandra run on it ({error})")))?;
        let banner = String::from_utf8_lossy(&output.stderr).into_owned();
        match major(&banner) {
            Some(version) if version >= LEAST_MAJOR => Ok(java),
            Some(version) => Err(missing(format!("Kafka and Cassandra run on it, and version {version} is too old"))),
            None => {
                Err(missing(format!("Kafka and Cassandra run on it, and `java -version` said: {}", tail(&banner, 3))))
            }
        }
    }

    /// Path or name of one of the runtime's programs (`java`, `keytool`).
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.as_ref().map_or_else(|| PathBuf::from(name), |bin| bin.join(name))
    }

    /// The beginning of a server's command: the program, its heap and its manner of running.
    pub(crate) fn server(&self, heap_mib: u32, lifetime: Lifetime, full_compiler: bool) -> Vec<OsString> {
        let mut command = vec![self.program("java").into(), format!("-Xmx{heap_mib}m").into()];
        command.extend(["-XX:+UseSerialGC", "-XX:-UsePerfData"].map(OsString::from));
        if lifetime == Lifetime::Watched && !full_compiler {
            command.push(QUICK.into());
        }
        command
    }

    /// Runs a short helper program of the runtime to its end and returns what it printed.
    pub(crate) fn run(&self, program: &str, name: &'static str, args: &[OsString]) -> Result<String> {
        let path = self.program(program);
        let output = Command::new(&path)
            .args(args)
            .env("JAVA_TOOL_OPTIONS", QUICK)
            .output()
            .map_err(crate::error::io("running", &path))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Err(Error::Helper { program: name, output: tail(&text, 20) })
    }
}

/// The major version in what `java -version` prints: `openjdk version "17.0.15" 2025-04-15` is 17, `"1.8.0_402"` is 8.
fn major(banner: &str) -> Option<u32> {
    let quoted = banner.split('"').nth(1)?;
    let mut numbers = quoted.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
    match numbers.next()? {
        1 => numbers.next(),
        major => Some(major),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_old_and_new_banners() {
        assert_eq!(major("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(major("openjdk version \"21-ea\" 2023-09-19"), Some(21));
        assert_eq!(major("java version \"1.8.0_402\""), Some(8));
        assert_eq!(major("command not found"), None);
    }
}
