//! What an operator sees and does: readiness, metrics, restarts, rebuilding.

use std::collections::BTreeSet;

use leadway_domain::telemetry::METRICS;
use leadway_server::identity::Accepted;
use leadway_server::{rebuild, storage};
use serde_json::json;

use crate::support::{ADMIN_KEY, Client, Pairing, Reply, TestNode, eventually, sample_lead};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_that_it_is_ready_and_exposes_only_specified_metrics() {
    let node = TestNode::start_with(|c| c.http.ops_listen = Some(([127, 0, 0, 1], 0).into())).await;
    let mut refusals = 1;
    let client = Client::start(move |_| {
        refusals -= 1;
        if refusals >= 0 { Reply::status(500) } else { Reply::ok() }
    })
    .await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let id = node.accepted("a", &key, &sample_lead(1)).await;
    node.delivered(id).await;

    let ops = node.node.as_ref().unwrap().addresses.ops;
    let text = |path: &str| {
        let request = node.http.get(format!("http://{ops}{path}"));
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    assert_eq!(text("/healthz").await, "ok\n");
    assert!(text("/readyz").await.contains("\"ingest\":true"));
    let exposed = text("/metrics").await;
    let names: BTreeSet<&str> =
        exposed.lines().filter_map(|l| l.strip_prefix("# TYPE ")).filter_map(|l| l.split(' ').next()).collect();
    // Those of the process have the names that every client library of Prometheus gives them.
    let names: BTreeSet<&str> = names.into_iter().filter(|name| !name.starts_with("process_")).collect();
    let specified: BTreeSet<&str> = METRICS.iter().map(|m| m.name).collect();
    assert!(names.is_subset(&specified), "not specified: {:?}", names.difference(&specified));
    let of_a_folder = |name: &&&str| name.starts_with("leadway_disk_") || **name == "leadway_log_bytes";
    let has_folder = crate::PAIRING == Pairing::Embedded;
    let of_servers = |name: &&&str| name.starts_with("leadway_kafka_") || **name == "leadway_clock_offset_seconds";
    let missing: Vec<_> =
        specified.difference(&names).filter(|name| !of_servers(name) && (has_folder || !of_a_folder(name))).collect();
    assert!(missing.is_empty(), "specified but not exposed: {missing:?}");
    for personal in ["2132200001", "220-0001", "john@example.com", "Solar Customer"] {
        assert!(!exposed.contains(personal), "no personal data in metrics: {personal}");
    }
    assert!(exposed.contains(r#"leadway_delivery_outcomes_total{workspace="w",result="delivered"}"#), "{exposed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_series_of_what_was_deleted_are_forgotten() {
    let node = TestNode::start().await;
    let client = Client::willing().await;
    node.workspace("stays", &client).await;
    node.workspace("goes", &client).await;
    let ops = node.node.as_ref().unwrap().addresses.ops;
    let shown = async |fits: &dyn Fn(&str) -> bool| {
        eventually("the series", async || {
            let text = node.http.get(format!("http://{ops}/metrics")).bearer_auth(ADMIN_KEY).send().await;
            let text = text.unwrap().text().await.unwrap();
            if fits(&text) { Ok(text) } else { Err(text) }
        })
        .await
    };
    shown(&|text| text.contains("workspace=\"goes\"") && text.contains("workspace=\"stays\"")).await;
    let (status, body) = node.call("DELETE", "/api/workspaces/goes", None).await;
    assert!(status.is_success(), "{body}");
    let text = shown(&|text| !text.contains("\"goes\"")).await;
    assert!(text.contains("workspace=\"stays\"") && text.contains("# TYPE leadway_billed_cents_total counter"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_rebuilt_from_the_log_are_equal() {
    let mut node = TestNode::start_with(|c| c.embedded.log.partitions = 3).await;
    let mut count = 0;
    let client = Client::start(move |_| {
        count += 1;
        if count % 3 == 0 { Reply::status(503) } else { Reply::ok() }
    })
    .await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let mut ids = Vec::new();
    for n in 0..40 {
        let mut lead = sample_lead(n);
        if n % 5 == 0 {
            lead["zip_code"] = json!("10001"); // matches nothing
        }
        if n % 7 == 0 {
            lead["phone"] = json!("1"); // refused
            node.lead("a", &key, &lead).await;
            continue;
        }
        ids.push((n, node.accepted("a", &key, &lead).await));
    }
    for (n, id) in ids {
        if n % 5 != 0 {
            node.delivered(id).await;
        }
    }
    node.stop().await;
    let config = node.config.clone();
    // A stopped node may have left records that no table has seen: bring them in first.
    rebuild::run(&config, Accepted::default()).await.unwrap();
    let before = dump(&node).await;
    rebuild::run(&config, Accepted::default()).await.unwrap();
    assert!(before.len() > 200, "{}", before.len());
    assert!(before == dump(&node).await, "the same rows, byte for byte");
    node.restart().await;
    assert_eq!(node.reconciliation().await["differences"], json!([]));
}

async fn dump(node: &TestNode) -> Vec<(String, leadway_tables::Row)> {
    let tables = storage::tables_to_read(&node.config).await.unwrap();
    tables.dump().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_lets_requests_under_way_finish_and_loses_nothing() {
    let mut node = TestNode::start().await;
    let client = Client::willing().await;
    let key = node.provider("a").await;
    node.workspace("w", &client).await;
    node.rule("w", &["Solar"], &["CA"], 1).await;
    let mut accepted = Vec::new();
    let posting = async {
        for n in 0..2_000 {
            let url = format!("{}/webhook/provider-a", node.base);
            let Ok(answer) = node.http.post(url).header("x-api-key", &key).json(&sample_lead(n)).send().await else {
                break;
            };
            if answer.status() != http::StatusCode::ACCEPTED {
                break;
            }
            let body: serde_json::Value = answer.json().await.unwrap();
            accepted.push(body["lead_id"].as_u64().unwrap());
        }
    };
    let running = node.node.take().unwrap();
    let stopping = async {
        client.wait_for(20).await;
        running.stop().await.unwrap();
    };
    let node_ref = &client;
    futures::future::join(posting, stopping).await;
    assert!(node_ref.received().len() >= 20);
    node.restart().await;
    for id in &accepted {
        node.delivered(*id).await;
    }
    assert_eq!(node.reconciliation().await["differences"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_between_requests_but_not_for_a_head_that_does_not_end() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let node = TestNode::start_with(|c| c.http.header_timeout_ms = 200).await;
    let mut stream = tokio::net::TcpStream::connect(node.node.as_ref().unwrap().addresses.api).await.unwrap();
    for _ in 0..2 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 1_000];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    }
    stream.write_all(b"GET /hea").await.unwrap();
    let closed = tokio::time::timeout(std::time::Duration::from_secs(30), stream.read_to_end(&mut Vec::new())).await;
    assert!(closed.is_ok(), "a head that does not end holds the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_asks_for_nothing_is_closed_and_one_at_work_is_not() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let node = TestNode::start_with(|c| {
        c.http.header_timeout_ms = 200;
        c.http.idle_timeout_ms = 200;
        c.ingest.body_timeout_ms = 60_000;
    })
    .await;
    let address = node.node.as_ref().unwrap().addresses.api;
    let open = async |said: &'static [u8]| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(said).await.unwrap();
        stream
    };
    for said in [b"".as_slice(), b"P", b"POST / HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = open(said).await;
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(std::time::Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{said:?} holds the connection");
    }
    // A body that comes slowly is waited for, far longer than a connection may idle.
    let key = node.provider("a").await;
    let body = sample_lead(1).to_string();
    let mut slow = open(b"").await;
    let head = format!(
        "POST /webhook/provider-a HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    slow.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}
