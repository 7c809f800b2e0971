//! Alerts, dashboards and settings of `deploy/`, checked with the programs that use them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use leadway_deploy_check::{
    Answer, Program, Prometheus, Query, Source, Stack, dashboards, documents, leadway, operands, recomputed, repository,
};
use leadway_domain::telemetry::METRICS;
use tokio::time::Instant;

/// How long data may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn promtool(arguments: &[&str]) {
    run(Command::new(Program::Promtool.find().unwrap()).current_dir(repository().join("deploy/prometheus")), arguments);
}

/// What it wrote to its standard output. The test fails when the program does.
fn run(command: &mut Command, arguments: &[&str]) -> String {
    let output = command.args(arguments).output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}:\n{said}{complained}");
    said.into_owned()
}

/// Templates of the chart are YAML only once they are rendered: `the_chart_renders` reads that.
#[test]
fn every_yaml_file_can_be_read() {
    let yaml = |file: &String| [".yml", ".yaml"].iter().any(|end| file.ends_with(end));
    let files: Vec<String> = files_of(&["deploy"]).into_iter().filter(yaml).collect();
    let read_through = files.iter().filter(|file| !file.starts_with("deploy/helm/leadway/templates/"));
    let mut unreadable = BTreeMap::new();
    for file in read_through {
        if let Err(error) = documents(&read(file)) {
            unreadable.insert(file, format!("{error:#}"));
        }
    }
    assert!(files.iter().any(|file| file == "deploy/compose.yaml"), "{files:?}");
    assert!(unreadable.is_empty(), "{unreadable:#?}");
}

#[test]
fn the_chart_renders() {
    let Some(helm) = Program::Helm.installed() else {
        eprintln!("not checked: `helm` is not installed here, and templates are no YAML before it has rendered them");
        return;
    };
    let chart = repository().join("deploy/helm/leadway");
    let everything = "autoscaling.enabled=true,monitoring.enabled=true,ingress.providers=a.example,ingress.api=b.example,\
                      ingress.tlsSecretName=tls,tlsSecretName=tls";
    for set in ["networkPolicy.enabled=false", everything] {
        run(Command::new(&helm).current_dir(&chart), &["lint", ".", "--set", set]);
        let rendered = run(Command::new(&helm).current_dir(&chart), &["template", "leadway", ".", "--set", set]);
        let objects = documents(&rendered).unwrap_or_else(|e| panic!("rendered with {set}: {e:#}"));
        let deployments = objects.iter().filter(|o| o["kind"] == "Deployment").count();
        assert_eq!(deployments, 4, "rendered with {set}");
    }
}

#[test]
fn docker_compose_accepts_its_file() {
    let docker = Program::Docker.installed().filter(|docker| {
        Command::new(docker).args(["compose", "version"]).output().is_ok_and(|output| output.status.success())
    });
    let Some(docker) = docker else {
        eprintln!("not checked: `docker compose` is not installed here; that the file is YAML is checked all the same");
        return;
    };
    let mut compose = Command::new(docker);
    compose.current_dir(repository().join("deploy")).envs([
        ("LEADWAY_ADMIN_KEY", "key"),
        ("LEADWAY_SEAL_KEY", "key"),
        ("GRAFANA_PASSWORD", "word"),
    ]);
    run(&mut compose, &["compose", "--file", "compose.yaml", "config", "--quiet"]);
}

#[test]
fn the_scrape_configuration_and_the_rules_are_valid() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "rules", "alerts.yml"]);
}

#[test]
fn alerts_fire_when_they_should_and_keep_still_when_they_should() {
    promtool(&["test", "rules", "alerts.test.yml"]);
}

#[test]
fn each_alert_is_tested_both_ways() {
    let tests = read("deploy/prometheus/alerts.test.yml");
    // A case that expects nothing says so on one line, a case that expects the alert goes on below.
    let quiet: BTreeSet<&str> = tests.lines().filter_map(|l| between(l, "alertname: ", ", exp_alerts: []")).collect();
    let firing: BTreeSet<&str> = tests.lines().filter_map(|l| l.trim().strip_prefix("alertname: ")).collect();
    for alert in alerts() {
        assert!(quiet.contains(alert.as_str()), "alerts.test.yml has no case in which {alert} keeps still");
        assert!(firing.contains(alert.as_str()), "alerts.test.yml has no case in which {alert} fires");
    }
}

#[test]
fn each_alert_has_its_page_and_each_page_its_alert() {
    let rules = read("deploy/prometheus/alerts.yml");
    let files = std::fs::read_dir(repository().join("docs/runbooks")).unwrap();
    let pages = files.map(|f| f.unwrap().file_name().into_string().unwrap()).filter(|name| name != "README.md");
    let pages: BTreeSet<String> = pages.map(|name| name.trim_end_matches(".md").to_owned()).collect();
    assert_eq!(alerts(), pages);
    for alert in alerts() {
        let link = format!("runbook_url: '{{{{ $externalLabels.runbooks }}}}/{alert}.md'");
        assert!(rules.contains(&link), "{alert} does not link to its page: {link}");
        let page = read(&format!("docs/runbooks/{alert}.md"));
        for section in [&format!("# {alert}\n"), "**Means.**", "**Users notice.**", "**Look**", "**Do**"] {
            assert!(page.contains(section), "docs/runbooks/{alert}.md has no {section}");
        }
    }
}

#[test]
fn documents_link_to_pages_that_exist() {
    for folder in ["docs", "docs/runbooks"] {
        for file in std::fs::read_dir(repository().join(folder)).unwrap().map(|f| f.unwrap().path()) {
            if file.extension().is_none_or(|e| e != "md") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
                let there = link.starts_with("http") || file.parent().unwrap().join(link).exists();
                assert!(there, "{} links to {link}, which does not exist", file.display());
            }
        }
    }
}

/// `WRITE_CAPACITY=1` puts the computed tables into the page.
#[test]
fn the_tables_of_the_capacity_page_follow_from_its_figures() {
    let page = read("docs/capacity.md");
    let computed = recomputed(&page).unwrap();
    if std::env::var_os("WRITE_CAPACITY").is_some() {
        std::fs::write(repository().join("docs/capacity.md"), computed).unwrap();
        return;
    }
    assert_eq!(page, computed, "make them anew: WRITE_CAPACITY=1 cargo test -p leadway-deploy-check capacity");
}

/// Names of metrics in queries and pages are those of the specification.
#[test]
fn only_metrics_that_exist_are_named() {
    let suffixes = ["", "_bucket", "_sum", "_count"];
    let known: BTreeSet<String> =
        METRICS.iter().flat_map(|m| suffixes.map(|suffix| format!("{}{suffix}", m.name))).collect();
    let mut texts: Vec<(String, String)> = dashboards(&repository().join("deploy/grafana/dashboards"))
        .unwrap()
        .into_iter()
        .map(|query| (query.source.to_string(), query.text))
        .collect();
    for file in files_of(&["deploy/prometheus", "deploy/helm", "docs"]) {
        texts.push((file.clone(), read(&file)));
    }
    let mut unknown = BTreeMap::new();
    for (place, text) in texts {
        for name in words(&text).filter(|w| is_metric(w) && !known.contains(*w)) {
            unknown.insert(name.to_owned(), place.clone());
        }
    }
    assert!(unknown.is_empty(), "not in leadway_domain::telemetry: {unknown:#?}");
}

/// `leadway_` also begins the names of crates, and of Kafka's topics.
fn is_metric(word: &str) -> bool {
    let units = [
        "_total",
        "_seconds",
        "_bytes",
        "_bucket",
        "_records",
        "_ready",
        "_info",
        "_in_flight",
        "_queued",
        "_waiting",
        "_open",
        "_leads",
    ];
    word.starts_with("leadway_") && units.iter().any(|unit| word.ends_with(unit))
}

#[test]
fn every_setting_named_here_exists() {
    let reference = read("config/SETTINGS.md");
    let known: BTreeSet<&str> = words(&reference).filter(|w| w.starts_with("LEADWAY_")).collect();
    let mut unknown = BTreeMap::new();
    for file in files_of(&["deploy/compose.yaml", "deploy/helm", "deploy/systemd", "deploy/Dockerfile", "docs"]) {
        for name in words(&read(&file)).filter(|w| w.starts_with("LEADWAY_") && !known.contains(w)) {
            unknown.insert(name.to_owned(), file.clone());
        }
    }
    assert!(unknown.is_empty(), "not in config/SETTINGS.md: {unknown:#?}");
}

#[test]
fn the_settings_of_the_chart_and_of_the_service_are_accepted() {
    let values = read("deploy/helm/leadway/values.yaml");
    let block = values.split("\nconfig: |\n").nth(1).expect("values.yaml has the block `config: |`");
    let lines = block.lines().take_while(|l| l.is_empty() || l.starts_with("  ")).map(str::trim);
    let chart = lines.collect::<Vec<_>>().join("\n");
    for (name, text) in [("values.yaml", chart), ("leadway.toml", read("deploy/systemd/leadway.toml"))] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut command = Command::new(leadway().unwrap());
        for (variable, _) in std::env::vars().filter(|(name, _)| name.starts_with("LEADWAY_")) {
            command.env_remove(variable);
        }
        let output = command.args(["check-config", "--config"]).arg(file.path()).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What only nodes tell that have Kafka and a database.
const NOT_IN_THE_DEMO: [&str; 2] = ["leadway_kafka_", "leadway_clock_offset_seconds"];

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_dashboards_and_alerts_has_data_while_the_demo_runs() {
    let mut waiting = dashboards(&repository().join("deploy/grafana/dashboards")).unwrap();
    let stack = Stack::start().await.unwrap();
    let alerts = stack.prometheus.alerts().await.unwrap();
    assert!(!alerts.is_empty(), "Prometheus has loaded no alerts");
    for alert in &alerts {
        let source = Source { file: "alerts.yml".into(), title: alert.name.clone() };
        waiting.extend(operands(&alert.query).into_iter().map(|text| Query { source: source.clone(), text }));
    }
    waiting.retain(|query| !NOT_IN_THE_DEMO.iter().any(|name| query.text.contains(name)));
    let deadline = Instant::now() + PATIENCE;
    while !waiting.is_empty() && Instant::now() < deadline {
        waiting = without_data(&stack.prometheus, waiting).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let list: String = waiting.iter().map(|q| format!("\n{}:\n    {}", q.source, q.text)).collect();
    assert!(waiting.is_empty(), "no data for {} queries:{list}", waiting.len());
    for alert in stack.prometheus.alerts().await.unwrap() {
        assert_eq!(alert.health, "ok", "{}: Prometheus cannot evaluate {}", alert.name, alert.query);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_name_only_endpoints_that_exist() {
    let paths = Stack::start().await.unwrap().api_paths().await.unwrap();
    let mut named = 0;
    for file in files_of(&["docs"]) {
        let text = read(&file);
        // `/api/v1/` is Prometheus's own.
        for rest in text.split("/api/").skip(1).filter(|rest| !rest.starts_with("v1/")) {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"/-_".contains(c)).unwrap_or(rest.len());
            let path = format!("/api/{}", rest.get(..end).unwrap_or_default().trim_end_matches('/'));
            assert!(paths.iter().any(|p| leads_to(&path, p)), "{file} names {path}, which the API does not have");
            named += 1;
        }
    }
    assert!(named > 10, "only {named} endpoints were found in the pages");
}

/// A parameter may be named by anything: capitals, such as `ID`, or the id of an example.
fn leads_to(named: &str, path: &str) -> bool {
    let (named, path): (Vec<&str>, Vec<&str>) = (named.split('/').collect(), path.split('/').collect());
    let same = |(n, p): (&&str, &&str)| n == p || (p.starts_with('{') && !n.is_empty());
    named.len() == path.len() && named.iter().zip(&path).all(same)
}

/// The queries that have no data yet. One that cannot be evaluated at all fails the test.
async fn without_data(prometheus: &Prometheus, queries: Vec<Query>) -> Vec<Query> {
    let mut empty = Vec::new();
    for query in queries {
        match prometheus.query(&query.text).await.unwrap() {
            Answer::Data => {}
            Answer::Empty => empty.push(query),
            Answer::Wrong(error) => panic!("{}: {error}\n    {}", query.source, query.text),
        }
    }
    empty
}

fn alerts() -> BTreeSet<String> {
    let rules = read("deploy/prometheus/alerts.yml");
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    text.split_once(before)?.1.split_once(after).map(|(inner, _)| inner)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|w| !w.is_empty())
}

/// The text files below these paths, relative to the repository. Links into other folders are followed where they lead.
fn files_of(paths: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Vec<_> = paths.iter().map(|p| repository().join(p)).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|f| f.unwrap().path()));
        } else if path.extension().is_none_or(|e| e != "png") {
            found.push(relative(&path));
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned()
}
