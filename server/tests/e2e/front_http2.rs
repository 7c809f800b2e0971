//! Clients of HTTP/2 that ask and do not read.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::crash::{KEY, Process};
use crate::support::{TestNode, answer, eventually, http_client, sample_lead};

/// The largest answer that anybody gets: 1.4 MB.
const LARGE: &str = "/docs/swagger-ui-bundle.js";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A connection that asks for as much as it likes, whatever it is allowed, and says that it can take nothing.
fn greedy(path: &str, streams: u32) -> Vec<u8> {
    let text = |index: u8, text: &str| [vec![index, text.len() as u8], text.as_bytes().to_vec()].concat();
    let head = [vec![0x82, 0x86], text(0x04, path), text(0x01, "x")].concat();
    let no_window = [0, 4, 0, 0, 0, 0];
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &no_window));
    for n in 0..streams {
        bytes.extend(frame(1, 0x5, 2 * n + 1, &head));
    }
    bytes
}

/// The most memory that a process ever had, in MiB.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
}

/// A connection from another address than everybody else's.
async fn connect_as_another(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    socket.connect(address).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_take_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&folder.path().join("data"));
    let (http, base) = (http_client(Duration::from_secs(60)), process.base());
    let address: SocketAddr = base.trim_start_matches("http://").parse().unwrap();
    let body = json!({"id": "a", "name": "A", "cost_per_lead": 75});
    let made = answer(http.post(format!("{base}/api/providers")).bearer_auth(KEY).json(&body)).await;
    let key = made.1["key"].as_str().unwrap().to_owned();
    // What is read once is there for all: it does not count.
    http.get(format!("{base}{LARGE}")).send().await.unwrap().bytes().await.unwrap();
    let before = peak(process.id());

    let mut unread = Vec::new();
    for path in [LARGE, "/openapi.json", "/nowhere", "/leads/receive"] {
        for _ in 0..4 {
            let mut stream = connect_as_another(address).await;
            let questions = greedy(path, 256);
            // It may be cut off.
            let _ = tokio::time::timeout(Duration::from_secs(5), stream.write_all(&questions)).await;
            unread.push(stream);
        }
    }
    for n in 0..50 {
        // A client that comes only now has shown no key before.
        let http = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
        let lead = http.post(format!("{base}/webhook/provider-a")).header("x-api-key", &key).json(&sample_lead(n));
        assert_eq!(answer(lead).await.0, StatusCode::ACCEPTED, "others are served meanwhile");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let grown = peak(process.id()) - before;
    assert!(grown < 150, "{grown} MiB are held for 16 connections that read nothing");

    drop(unread);
    eventually("what was held is given back", async || {
        let metrics = http.get(format!("{base}/metrics")).bearer_auth(KEY).send().await.unwrap().text().await.unwrap();
        let held = metrics.lines().find(|line| line.starts_with("leadway_http_held_bytes ")).unwrap().to_owned();
        if held.ends_with(" 0") { Ok(()) } else { Err(held) }
    })
    .await;
}

/// A client whose windows are as small as one says, with a request for the large answer.
async fn ask(node: &TestNode, window: u32) -> Result<h2::RecvStream, h2::Error> {
    let stream = TcpStream::connect(node.node.as_ref().unwrap().addresses.api).await.unwrap();
    let client = h2::client::Builder::new().initial_window_size(window).handshake::<_, Bytes>(stream);
    let (mut client, connection) = client.await?;
    tokio::spawn(connection);
    let request = Request::get(format!("{}{LARGE}", node.base)).body(()).unwrap();
    let response = client.send_request(request, true)?.0.await?;
    assert_eq!(response.status(), StatusCode::OK);
    Ok(response.into_body())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_read_slowly_comes_to_its_end() {
    let node = TestNode::start_with(|c| {
        (c.http.idle_timeout_ms, c.http.header_timeout_ms, c.http.write_timeout_ms) = (100, 100, 30_000);
    })
    .await;
    let mut body = ask(&node, 32 << 10).await.unwrap();
    let mut read = 0;
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        read += piece.len();
        tokio::time::sleep(Duration::from_millis(10)).await;
        body.flow_control().release_capacity(piece.len()).unwrap();
    }
    assert!(read > 1_000_000, "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_cut_off() {
    let node = TestNode::start_with(|c| (c.http.header_timeout_ms, c.http.write_timeout_ms) = (200, 300)).await;
    let mut body = ask(&node, 0).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), body.data()).await.unwrap();
    assert!(ended.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_can_be_switched_off() {
    let node = TestNode::start_with(|c| c.http.http2 = false).await;
    assert!(ask(&node, 65_535).await.is_err());
    assert_eq!(node.call("GET", "/api/leads", None).await.0, StatusCode::OK);
}
