//! The binary's commands, run as a user runs them.

use std::process::{Command, Output};

use crate::support::{Client, TestNode, sample_lead};

fn leadway(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leadway")).args(arguments).envs(variables.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn check_config_prints_what_is_in_force_and_names_what_is_wrong() {
    let good = leadway(&["check-config"], &[("LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS", "true")]);
    assert!(good.status.success(), "{}", text(&good.stderr));
    assert!(text(&good.stdout).contains("allow_private_targets = true"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("leadway.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:8080\"\nlisten_twice = true\n").unwrap();
    let bad = leadway(&["check-config", "--config", file.to_str().unwrap()], &[]);
    assert!(!bad.status.success());
    let error = text(&bad.stderr);
    assert!(error.contains("leadway.toml") && error.contains("line 2") && error.contains("listen_twice"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_and_explain_read_beside_a_running_node() {
    let node = TestNode::start().await;
    let client = Client::willing().await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let id = node.accepted("a", &key, &sample_lead(1)).await;
    node.delivered(id).await;
    let (settings, id) = (node.settings_file(), id.to_string());
    let traced = leadway(&["trace", "--config", &settings, &id], &[]);
    let out = text(&traced.stdout);
    assert!(traced.status.success(), "{}", text(&traced.stderr));
    let at = |kind: &str| out.find(kind).unwrap_or_else(|| panic!("{kind} in {out}"));
    assert!(at("lead.received") < at("appointment.routed") && at("appointment.routed") < at("delivery.delivered"));
    let unknown = leadway(&["trace", "--config", &settings, "409600000"], &[]);
    assert!(!unknown.status.success() && text(&unknown.stderr).contains("409600000"), "{}", text(&unknown.stderr));
    let explained =
        leadway(&["explain", "--config", &settings, "--product-type", "solar panels", "--zip-code", "90210"], &[]);
    assert!(text(&explained.stdout).contains("\"w\""), "{} {}", text(&explained.stdout), text(&explained.stderr));
}

#[test]
fn the_demo_runs_to_its_end() {
    let demo = leadway(&["demo", "--listen", "127.0.0.1:0", "--rate", "50", "--leads", "40"], &[]);
    let out = text(&demo.stdout);
    assert!(demo.status.success(), "{out}\n{}", text(&demo.stderr));
    assert!(
        out.contains("/docs") && out.contains("signature verified") && out.contains("met 0 bad signatures"),
        "{out}"
    );
    assert!(out.contains("finds 0 differences"), "{out}");
}
