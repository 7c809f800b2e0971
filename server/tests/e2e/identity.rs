//! A log and tables that do not belong together: nobody gets another's lead, and nothing goes unbilled in silence.

use std::path::{Path, PathBuf};

use leadway_config::Config;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use leadway_server::flow::Node;
use leadway_server::identity::Accepted;
use leadway_server::{rebuild, storage};
use serde_json::json;

use crate::support::{ADMIN_KEY, Client, TestNode, eventually, sample_lead};

/// A node that has delivered some appointments, stopped.
async fn stopped() -> TestNode {
    let client = Client::willing().await;
    let mut node = TestNode::start_with(|config| config.embedded.log.partitions = 2).await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    for n in 0..6 {
        let id = node.accepted("a", &key, &sample_lead(n)).await;
        node.delivered(id).await;
    }
    assert_eq!(node.reconciliation().await["balanced"], json!(true));
    node.stop().await;
    node
}

/// What a start on this data folder says, which must fail.
async fn refusal(config: &Config) -> String {
    match Node::start(config.clone(), Some(ADMIN_KEY.into())).await {
        Ok(_) => panic!("a node started"),
        Err(error) => format!("{error:#}"),
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn segment(node: &TestNode) -> PathBuf {
    node.data().join("log/000000000000.log")
}

/// What happens to the files of a node that is stopped.
type Damage = fn(&TestNode);

/// The rows, as a tool sees them.
async fn rows(config: &Config) -> Vec<(String, leadway_tables::Row)> {
    storage::tables_to_read(config).await.unwrap().dump().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_gone_or_cut_is_refused_until_it_is_restored() {
    let mut node = stopped().await;
    let backup = node.data().join("backup");
    copy(&node.data().join("log"), &backup);
    let ways: [(&str, Damage); 4] = [
        ("the folder is gone", |node| std::fs::remove_dir_all(node.data().join("log")).unwrap()),
        ("its only segment is gone", |node| std::fs::remove_file(segment(node)).unwrap()),
        ("its only segment is empty", |node| std::fs::write(segment(node), b"").unwrap()),
        ("its only segment is cut", |node| {
            let file = std::fs::OpenOptions::new().write(true).open(segment(node)).unwrap();
            // The settings and the first leads stay.
            file.set_len(9_000).unwrap();
        }),
    ];
    let before = rows(&node.config).await;
    for (way, damage) in ways {
        damage(&node);
        // A second try is no better: what the first one made is not taken for the log.
        for _ in 0..2 {
            let said = refusal(&node.config).await;
            assert!(said.contains("do not belong together"), "{way}: {said}");
            assert!(said.contains("estore") && said.contains("leadway rebuild --accept-loss"), "{way}: {said}");
        }
        let error = rebuild::run(&node.config, Accepted::default()).await.expect_err(way);
        assert!(format!("{error:#}").contains("--accept-loss"), "{way}: {error:#}");
        assert!(before == rows(&node.config).await, "{way}: the tables are as they were");
        std::fs::remove_dir_all(node.data().join("log")).unwrap();
        copy(&backup, &node.data().join("log"));
    }
    node.restart().await;
    let report = node.reconciliation().await;
    assert_eq!((&report["balanced"], &report["positions_ahead"]), (&json!(true), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_is_accepted_makes_the_tables_anew_of_what_is_there() {
    let mut node = stopped().await;
    std::fs::remove_dir_all(node.data().join("log")).unwrap();
    rebuild::run(&node.config, Accepted { loss: true, ..Accepted::default() }).await.unwrap();
    node.restart().await;
    assert_eq!(node.get("/api/leads").await["items"], json!([]));
    node.restart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_of_another_log_are_refused_and_its_copy_in_an_empty_folder_is_taken() {
    let (one, mut other) = (stopped().await, stopped().await);
    let leads = |node: &TestNode| node.data().join("log");
    // The copy of a log alone, as the documentation has it restored.
    let restored = Config { data: other.data().join("restored"), ..other.config.clone() };
    copy(&leads(&one), &restored.data.join("log"));
    let node = Node::start(restored.clone(), Some(ADMIN_KEY.into())).await.unwrap();
    node.stop().await.unwrap();

    // The other node's tables hold as much as this log does: nothing but its identity tells.
    std::fs::remove_dir_all(leads(&other)).unwrap();
    copy(&leads(&one), &leads(&other));
    let said = refusal(&other.config).await;
    assert!(said.contains("the tables were made of log"), "{said}");
    // Without tables it is a restored copy again.
    std::fs::remove_dir_all(other.data().join("tables")).unwrap();
    other.restart().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_an_older_version_gets_an_identity_at_its_first_start() {
    let mut node = stopped().await;
    // As older versions left it: the settings stand in the log without an identity before them.
    let (log, other) = (node.data().join("log"), node.data().join("old"));
    let options = |folder: &Path| leadway_eventlog::EmbeddedOptions {
        folder: folder.into(),
        partitions: 2,
        ..Default::default()
    };
    {
        let (from, to) = (
            leadway_eventlog::open(options(&log)).await.unwrap(),
            leadway_eventlog::open(options(&other)).await.unwrap(),
        );
        let records = from.read(Topic::Settings, Partition(0), Offset(1), Default::default()).await.unwrap();
        // Their places are one less: what they say of them is, too.
        for record in records {
            let mut change: leadway_domain::settings::SettingsChange = record.decode().unwrap();
            change.at_offset = change.at_offset.map(|at| Offset(at.0 - 1));
            to.append(vec![leadway_eventlog::NewRecord::of(&change, record.time)]).await.unwrap();
        }
        for topic in [Topic::Leads, Topic::Appointments, Topic::Deliveries] {
            for partition in [0, 1].map(Partition) {
                let records = from.read(topic, partition, Offset(0), Default::default()).await.unwrap();
                to.append(records.into_iter().map(leadway_eventlog::NewRecord::copy_of).collect()).await.unwrap();
            }
        }
        assert_eq!(leadway_eventlog::identity(&*to).await.unwrap(), None);
    }
    std::fs::copy(log.join("seal.key"), other.join("seal.key")).unwrap();
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::rename(&other, &log).unwrap();
    std::fs::remove_dir_all(node.data().join("tables")).unwrap();
    for _ in 0..2 {
        node.restart().await;
        assert_eq!(node.get("/api/leads").await["items"].as_array().unwrap().len(), 6);
        node.stop().await;
        let log = storage::log_to_read(&node.config).await.unwrap();
        let id = leadway_eventlog::identity(&*log).await.unwrap().expect("it has one now");
        let said = storage::tables_to_read(&node.config).await.unwrap().log().await.unwrap().unwrap();
        assert_eq!((said.id, said.settled), (id, true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_fails_leaves_the_tables_in_force() {
    let node = stopped().await;
    let before = rows(&node.config).await;
    // Damage in the middle of a full segment is met when it is read, not at the start: the segment is made a full one.
    let mut config = node.config.clone();
    config.embedded.log.segment_bytes = 1;
    Node::start(config.clone(), Some("lwk_another_key_of_the_tests".into())).await.unwrap().stop().await.unwrap();
    let path = segment(&node);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&path, bytes).unwrap();
    let error = rebuild::run(&config, Accepted::default()).await.unwrap_err();
    assert!(format!("{error:#}").contains("the tables are as they were"), "{error:#}");
    assert!(rows(&config).await.len() >= before.len());
    assert!(!config.data.join("tables.rebuild").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_whose_log_is_taken_away_stops_loudly() {
    let client = Client::willing().await;
    let node = TestNode::start().await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let id = node.accepted("a", &key, &sample_lead(1)).await;
    node.delivered(id).await;
    let (_, held) = node.lead("a", &key, &json!({})).await;
    assert_eq!(node.call("GET", "/readyz", None).await.0, 200);
    std::fs::rename(node.data().join("log"), node.data().join("gone")).unwrap();
    let ready = eventually("the node is not ready", async || {
        let (status, body) = node.call("GET", "/readyz", None).await;
        if status == 503 && body["scoring"] == json!(false) { Ok(body) } else { Err(body.to_string()) }
    })
    .await;
    assert_eq!((&ready["log"], &ready["router"], &ready["dispatcher"]), (&json!(false), &json!(false), &json!(false)));
    let (status, body) = node.lead("a", &key, &sample_lead(2)).await;
    assert_eq!(status, 503, "no id is given that would be given again: {body}");
    let held = held["quarantine_id"].as_str().unwrap();
    let provider = json!({"id": "b", "name": "B", "cost_per_lead": 75});
    for (method, path, body) in [
        ("POST", format!("/api/quarantine/{held}/release"), None),
        ("DELETE", format!("/api/quarantine/{held}"), None),
        ("POST", "/api/providers".to_owned(), Some(provider)),
        ("PATCH", "/api/providers/a".to_owned(), Some(json!({"name": "A"}))),
        ("POST", "/api/unrouted/retry".to_owned(), Some(json!({}))),
    ] {
        let (status, body) = node.call(method, &path, body).await;
        assert_eq!(status, 503, "{method} {path}: {body}");
        assert!(body["detail"].as_str().unwrap().contains("log"), "{body}");
    }
    assert_eq!(node.get("/api/leads").await["items"].as_array().unwrap().len(), 1, "what is there can be read");
}
