//! The queries of the dashboards, with their variables filled in.

use std::fmt;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// What Grafana fills in, the longest names first.
const VARIABLES: [(&str, &str); 8] = [
    ("$__rate_interval", "15s"),
    ("$__interval", "5s"),
    ("$__range", "1m"),
    ("${datasource}", "prometheus"),
    ("$workspace", ".*"),
    ("$provider", ".*"),
    ("$instance", ".*"),
    ("$datasource", "prometheus"),
];

/// Where a query stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// File name, or the name of the rules.
    pub file: String,
    /// Title of the panel, name of the variable or of the alert.
    pub title: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, “{}”", self.file, self.title)
    }
}

/// A query to be asked.
#[derive(Clone, Debug)]
pub struct Query {
    /// Where it stands.
    pub source: Source,
    /// As Prometheus takes it.
    pub text: String,
}

#[derive(Deserialize)]
struct Dashboard {
    uid: String,
    title: String,
    description: String,
    templating: Templating,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
struct Templating {
    list: Vec<Variable>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    query: String,
}

#[derive(Deserialize)]
struct Panel {
    title: String,
    description: String,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    expr: String,
}

/// Every query of every dashboard in the folder. An error names the file and what is wrong with it.
pub fn dashboards(folder: &Path) -> anyhow::Result<Vec<Query>> {
    let mut queries = Vec::new();
    let mut uids = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path)?;
        let dashboard: Dashboard = serde_json::from_str(&text).with_context(|| file.clone())?;
        ensure!(uids.insert(dashboard.uid.clone()), "{file} has the uid of another dashboard");
        ensure!(!dashboard.title.is_empty() && !dashboard.description.is_empty(), "{file} does not say what it shows");
        queries.extend(of(dashboard, &file)?);
    }
    ensure!(!queries.is_empty(), "{} holds no dashboards", folder.display());
    Ok(queries)
}

fn of(dashboard: Dashboard, file: &str) -> anyhow::Result<Vec<Query>> {
    let mut queries = Vec::new();
    let mut add = |title: &str, text: &str| -> anyhow::Result<()> {
        let filled = VARIABLES.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
        ensure!(!filled.contains('$'), "{file}, “{title}”: a variable is not known: {filled}");
        queries.push(Query { source: Source { file: file.to_owned(), title: title.to_owned() }, text: filled });
        Ok(())
    };
    for variable in dashboard.templating.list.iter().filter(|v| v.kind == "query") {
        let inner = variable.query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')'));
        let (series, label) = inner.and_then(|q| q.rsplit_once(", ")).with_context(|| {
            format!("{file}: the variable {} is not of the form label_values(series, label)", variable.name)
        })?;
        add(&variable.name, &format!("group by ({label}) ({series})"))?;
    }
    for panel in &dashboard.panels {
        ensure!(!panel.description.is_empty(), "{file}, “{}” has no description", panel.title);
        ensure!(!panel.targets.is_empty(), "{file}, “{}” asks nothing", panel.title);
        for target in &panel.targets {
            add(&panel.title, &target.expr)?;
        }
    }
    Ok(queries)
}
