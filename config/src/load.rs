//! Reading settings, and saying exactly what is wrong with them.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::{Config, LogKind, StageName, TablesKind};

const PREFIX: &str = "LEADWAY_";

/// Whether a variable is meant as a setting. The admin key is none; nor is what Kubernetes gives every container beside a
/// service named `leadway` (`LEADWAY_SERVICE_HOST`, `LEADWAY_PORT_8080_TCP`, …).
fn is_setting(variable: &str) -> bool {
    let name = variable.strip_prefix(PREFIX);
    name.is_some_and(|n| n != "ADMIN_KEY" && n != "PORT" && !n.starts_with("PORT_") && !n.starts_with("SERVICE_"))
}

/// Where a wrong setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file, with the parser's own picture of the line.
    File(PathBuf),
    /// On a line of the file.
    Line(PathBuf, usize),
    /// In the environment.
    Variable(String),
    /// A default, or the command line.
    Elsewhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}: ", path.display()),
            Self::Line(path, line) => write!(f, "{}, line {line}: ", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}: "),
            Self::Elsewhere => Ok(()),
        }
    }
}

/// What is wrong with the settings: where, what, and what is allowed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{place}{message}")]
pub struct ConfigError {
    /// Where.
    pub place: Place,
    /// What, and what is allowed.
    pub message: String,
}

impl ConfigError {
    fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into() }
    }
}

/// Reads the file, if one is named, and the variables (name and value), and checks the whole.
pub fn load(file: Option<&Path>, variables: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let mut source = Source { file: file.map(Path::to_owned), text: String::new(), from_environment: Vec::new() };
    let mut table = Table::new();
    if let Some(path) = file {
        let in_file = |message: String| ConfigError::new(Place::File(path.to_owned()), message);
        source.text = std::fs::read_to_string(path).map_err(|e| in_file(format!("cannot be read: {e}")))?;
        // The typed parse tells line, column and the names that are allowed.
        toml::from_str::<Config>(&source.text).map_err(|e| in_file(in_words(&e.to_string())))?;
        table = toml::from_str(&source.text).map_err(|e| in_file(e.to_string()))?;
    }
    let mut variables: Vec<_> = variables.into_iter().filter(|(name, _)| is_setting(name)).collect();
    variables.sort();
    for (name, text) in variables {
        table = set_variable(&table, &name, &text)?;
        source.from_environment.push((path_of(&name), name));
    }
    let config = Config::deserialize(table).map_err(|e| ConfigError::new(Place::Elsewhere, e.to_string()))?;
    check(&config, &source)?;
    Ok(config)
}

/// What the parser says, without the words of the source code.
fn in_words(error: &str) -> String {
    let mut text = error.trim().to_owned();
    for number in ["usize", "u64", "u32", "u16"] {
        text = text.replace(&format!("expected {number}"), "expected a whole number, not negative");
    }
    text.replace("invalid socket address syntax", "expected an address and a port, such as 127.0.0.1:8080")
}

fn path_of(variable: &str) -> Vec<String> {
    let rest = variable.strip_prefix(PREFIX).unwrap_or(variable);
    rest.split("__").map(str::to_lowercase).collect()
}

/// The table with the variable's value in it, as the type that the setting has.
fn set_variable(table: &Table, name: &str, text: &str) -> Result<Table, ConfigError> {
    let wrong = |message: String| ConfigError::new(Place::Variable(name.to_owned()), message);
    let path = path_of(name);
    // `8`, `true` and `["a"]` read as TOML; everything else is text. A list may also be written `a,b`.
    let as_toml = toml::from_str::<Table>(&format!("v = {text}")).ok().and_then(|mut t| t.remove("v"));
    let as_text = Value::String(text.to_owned());
    let as_list = Value::Array(text.split(',').map(|s| Value::String(s.trim().to_owned())).collect());
    let mut first_error = None;
    for value in as_toml.into_iter().chain([as_text, as_list]) {
        let mut candidate = table.clone();
        insert(&mut candidate, &path, value).map_err(wrong)?;
        match Config::deserialize(candidate.clone()) {
            Ok(_) => return Ok(candidate),
            Err(error) => first_error = first_error.or(Some(in_words(&error.to_string()).replace('\n', " "))),
        }
    }
    Err(wrong(format!("{text:?} is not allowed: {}", first_error.unwrap_or_default())))
}

fn insert(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    match path {
        [] => Err("names no setting".into()),
        [last] => {
            table.insert(last.clone(), value);
            Ok(())
        }
        [first, rest @ ..] => match table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => insert(inner, rest, value),
            _ => Err(format!("{first:?} has no settings below it")),
        },
    }
}

struct Source {
    file: Option<PathBuf>,
    text: String,
    /// Path of the setting and name of the variable that gave it.
    from_environment: Vec<(Vec<String>, String)>,
}

impl Source {
    /// Where the setting of this path was given its value.
    fn place(&self, path: &str) -> Place {
        let path: Vec<&str> = path.split('.').collect();
        if let Some((_, name)) = self.from_environment.iter().find(|(p, _)| *p == path) {
            return Place::Variable(name.clone());
        }
        match (&self.file, self.line(&path)) {
            (Some(file), Some(line)) => Place::Line(file.clone(), line),
            _ => Place::Elsewhere,
        }
    }

    /// The line of the file on which the setting stands.
    fn line(&self, path: &[&str]) -> Option<usize> {
        let parsed = toml::de::DeTable::parse(&self.text).ok()?;
        let mut table = parsed.get_ref();
        let (last, parents) = path.split_last()?;
        for parent in parents {
            table = table.get(*parent)?.get_ref().as_table()?;
        }
        let start = table.get(*last)?.span().start;
        Some(self.text.get(..start)?.matches('\n').count() + 1)
    }
}

/// Shortest submission window, in seconds: a signed message is taken for five minutes before and after its time, and must
/// be known for as long.
const SHORTEST_WINDOW: u32 = 600;

/// Numbers for which 0 has a meaning; every other number is at least 1.
const MAY_BE_ZERO: [&str; 13] = [
    "drain_seconds",
    "dispatcher.circuit_failures",
    "dispatcher.drain_seconds",
    "dispatcher.first_retry_ms",
    "dispatcher.idle_connection_seconds",
    "dispatcher.max_retry_after_seconds",
    "ingest.follow_pause_ms",
    "ingest.large_bodies",
    "kafka.fetch_wait_ms",
    "kafka.gather_ms",
    "kafka.linger_ms",
    "portal.default_rate_per_second",
    "scoring.linger_ms",
];

/// The first number of `value`, at `path`, that is 0 and must not be.
fn zero(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Integer(0) if !MAY_BE_ZERO.contains(&path) => Some(path.to_owned()),
        Value::Table(table) => table.iter().find_map(|(name, inner)| {
            zero(inner, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") })
        }),
        _ => None,
    }
}

/// What types cannot say.
fn check(config: &Config, source: &Source) -> Result<(), ConfigError> {
    let rule = |ok: bool, path: &str, message: &str| match ok {
        true => Ok(()),
        false => Err(ConfigError::new(source.place(path), format!("{path} {message}"))),
    };
    let pair = match config.log {
        LogKind::Embedded => (TablesKind::Embedded, "must be \"embedded\" when log is: they share the data folder"),
        LogKind::Kafka => {
            (TablesKind::Scylla, "must be \"scylla\" when log is \"kafka\": every node has to reach them")
        }
    };
    rule(config.tables == pair.0, "tables", pair.1)?;
    rule(!config.stages.is_empty(), "stages", "must name at least one stage")?;
    let twice = |s: &StageName| config.stages.iter().filter(|o| *o == s).count() > 1;
    rule(!config.stages.iter().any(twice), "stages", "must name each stage once")?;
    rule(config.drain_seconds <= 600, "drain_seconds", "must be at most 600")?;
    let keys = leadway_domain::seal::Keyring::parse(config.seal_key.expose());
    let wrong = keys.as_ref().err().map(ToString::to_string).unwrap_or_default();
    rule(keys.is_ok(), "seal_key", &format!("is of another form: {wrong}"))?;
    let both = !config.seal_key.is_empty() && config.seal_key_file.is_some();
    rule(!both, "seal_key_file", "must not be set beside seal_key: the key comes from one of them")?;
    rule((1..=1_000_000).contains(&config.http.max_connections), "http.max_connections", "must be 1 to 1000000")?;
    rule((100..=600_000).contains(&config.http.header_timeout_ms), "http.header_timeout_ms", "must be 100 to 600000")?;
    rule((1..=10_000).contains(&config.http.http2_max_streams), "http.http2_max_streams", "must be 1 to 10000")?;
    rule((1..=4_096).contains(&config.embedded.log.partitions), "embedded.log.partitions", "must be 1 to 4096")?;
    rule((100..=3_600_000).contains(&config.http.idle_timeout_ms), "http.idle_timeout_ms", "must be 100 to 3600000")?;
    rule((1_000..=600_000).contains(&config.http.write_timeout_ms), "http.write_timeout_ms", "must be 1000 to 600000")?;
    rule(config.http.max_held_bytes >= 1 << 20, "http.max_held_bytes", "must be at least 1048576")?;
    let window = config.ingest.dedupe_window_seconds;
    rule(
        window >= SHORTEST_WINDOW,
        "ingest.dedupe_window_seconds",
        "must be at least 600: signed messages may be sent again for so long",
    )?;
    let within = config.router.dedupe_window_seconds <= u64::from(config.ingest.dedupe_window_seconds);
    rule(within, "router.dedupe_window_seconds", "must be at most ingest.dedupe_window_seconds")?;
    let written = Value::try_from(config).map_err(|e| ConfigError::new(Place::Elsewhere, e.to_string()))?;
    if let Some(path) = zero(&written, "") {
        return rule(false, &path, "must be at least 1");
    }
    if let Err(error) = config.dispatcher.check() {
        return Err(ConfigError::new(Place::Elsewhere, error.to_string()));
    }
    if let Some(path) = &config.zip_list {
        rule(path.is_file(), "zip_list", &format!("must name a file that is there; {} is not", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leadway.toml");
        std::fs::write(&path, text).unwrap();
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        load(Some(&path), variables).map_err(|e| e.to_string())
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
        let config = with_file(
            "drain_seconds = 5\n[http]\nmax_connections = 7\n",
            &[("LEADWAY_DRAIN_SECONDS", "6"), ("LEADWAY_STAGES", "ingest,router"), ("OTHER", "x")],
        )
        .unwrap();
        assert_eq!((config.drain_seconds, config.http.max_connections), (6, 7));
        assert_eq!(config.stages, [StageName::Ingest, StageName::Router]);
        assert_eq!(config.listen, Config::default().listen);
    }

    #[test]
    fn every_kind_of_value_can_come_from_the_environment() {
        let config = with_file(
            "",
            &[
                ("LEADWAY_DATA", "/tmp/x"),
                ("LEADWAY_LISTEN", "0.0.0.0:9000"),
                ("LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS", "true"),
                ("LEADWAY_LOGGING__FORMAT", "json"),
                ("LEADWAY_HTTP__OPS_LISTEN", "127.0.0.1:9100"),
                ("LEADWAY_HTTP__TRUSTED_PROXIES", "10.0.0.0/8,192.0.2.1"),
                ("LEADWAY_ADMIN_KEY", "not a setting"),
                ("LEADWAY_PORT", "tcp://10.0.0.1:8080"),
                ("LEADWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
                ("LEADWAY_SERVICE_HOST", "10.0.0.1"),
            ],
        )
        .unwrap();
        assert!(config.dispatcher.allow_private_targets);
        assert_eq!(config.listen.port(), 9000);
        assert_eq!(config.http.ops_listen.map(|a| a.port()), Some(9100));
        assert_eq!(config.http.trusted_proxies.len(), 2);
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_line_and_what_is_allowed() {
        let unknown = with_file("drain_seconds = 5\nlisten_on = 1\n", &[]).unwrap_err();
        for part in ["leadway.toml", "line 2", "listen_on", "drain_seconds"] {
            assert!(unknown.contains(part), "{part} in {unknown}");
        }
        let range = with_file("\n[http]\n\nmax_connections = 0\n", &[]).unwrap_err();
        for part in ["leadway.toml", "line 4", "http.max_connections", "1 to 1000000"] {
            assert!(range.contains(part), "{part} in {range}");
        }
        let stage = with_file("stages = [\"ingest\", \"cook\"]\n", &[]).unwrap_err();
        assert!(stage.contains("cook") && stage.contains("router"), "{stage}");
    }

    #[test]
    fn a_limit_of_nothing_is_refused_where_it_stands() {
        let error = with_file("[ingest]\nmax_leads_per_request = 0\n", &[]).unwrap_err();
        assert!(
            error.contains("line 2") && error.contains("ingest.max_leads_per_request must be at least 1"),
            "{error}"
        );
        let error = with_file("", &[("LEADWAY_DISPATCHER__RETRY_FACTOR", "0.5")]).unwrap_err();
        assert!(error.contains("dispatcher.retry_factor"), "{error}");
        let longer = with_file("[router]\ndedupe_window_seconds = 100000\n", &[]).unwrap_err();
        assert!(longer.contains("line 2") && longer.contains("ingest.dedupe_window_seconds"), "{longer}");
        for seconds in [0, 599] {
            let shorter = with_file(&format!("[ingest]\ndedupe_window_seconds = {seconds}\n"), &[]).unwrap_err();
            assert!(shorter.contains("line 2") && shorter.contains("must be at least 600"), "{shorter}");
        }
        assert!(with_file("[ingest]\ndedupe_window_seconds = 600\n", &[]).is_ok());
        assert!(with_file("[scoring]\nlinger_ms = 0\n", &[]).is_ok());
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for (name, value, part) in [
            ("LEADWAY_DRAIN_SECONDS", "soon", "drain"),
            ("LEADWAY_NONSENSE", "1", "nonsense"),
            ("LEADWAY_HTTP__NONSENSE", "1", "nonsense"),
            ("LEADWAY_LISTEN__PORT", "1", "listen"),
            ("LEADWAY_DRAIN_SECONDS", "601", "600"),
        ] {
            let error = with_file("", &[(name, value)]).unwrap_err();
            assert!(error.contains(name) && error.to_lowercase().contains(part), "{error}");
        }
    }

    #[test]
    fn what_is_allowed_is_said_in_plain_words() {
        for (text, part) in [
            ("listen = \"nope\"", "127.0.0.1:8080"),
            ("[ingest]\nmax_body_bytes = -1", "a whole number"),
            ("[dispatcher]\nmax_attempts = \"x\"", "a whole number"),
            ("[http]\ntrusted_proxies = [\"10.0.0.0/33\"]", "such as 10.0.0.0/8"),
        ] {
            let error = with_file(text, &[]).unwrap_err();
            assert!(error.contains(part) && error.contains("line "), "{error}");
        }
    }

    #[test]
    fn a_seal_key_is_checked_and_never_quoted() {
        let key = "0f".repeat(32);
        let config = with_file("", &[("LEADWAY_SEAL_KEY", &key)]).unwrap();
        assert_eq!(config.seal_key.expose(), key);
        assert!(!toml::to_string(&config).unwrap().contains(&key) && !format!("{config:?}").contains(&key));
        let digits = "12".repeat(32);
        assert_eq!(with_file("", &[("LEADWAY_SEAL_KEY", &digits)]).unwrap().seal_key.expose(), digits);
        let error = with_file("", &[("LEADWAY_SEAL_KEY", "hunter2")]).unwrap_err();
        assert!(error.contains("LEADWAY_SEAL_KEY") && error.contains("64") && !error.contains("hunter2"), "{error}");
        let both = with_file("seal_key_file = \"k\"\n", &[("LEADWAY_SEAL_KEY", &key)]).unwrap_err();
        assert!(both.contains("seal_key_file") && both.contains("line 1"), "{both}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Some(Path::new("/nowhere/leadway.toml")), []).unwrap_err().to_string();
        assert!(error.contains("/nowhere/leadway.toml"), "{error}");
    }
}
