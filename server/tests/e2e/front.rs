//! What the listeners do for every request, whoever answers it.

use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{TestNode, answer, eventually, sample_lead};

async fn connect(node: &TestNode) -> TcpStream {
    TcpStream::connect(node.node.as_ref().unwrap().addresses.api).await.unwrap()
}

/// Sends a head as it stands; returns the head of the answer, empty when the connection was closed.
async fn say(stream: &mut TcpStream, head: &str) -> String {
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_one_host() {
    let node = TestNode::start().await;
    for (lines, status) in [
        ("GET /healthz HTTP/1.1\r\nhost: x", "200"),
        ("GET http://other.example/healthz HTTP/1.1\r\nhost: x", "200"),
        ("GET /healthz HTTP/1.0", "200"),
        ("GET /healthz HTTP/1.1", "400"),
        ("GET http://other.example/healthz HTTP/1.1", "400"),
        ("GET /healthz HTTP/1.1\r\nhost: x\r\nhost: x", "400"),
        ("GET http://x/healthz HTTP/1.1\r\nhost: x\r\nHost: y", "400"),
        ("GET /healthz HTTP/1.0\r\nhost: x\r\nhost: y", "400"),
        ("GET /healthz HTTP/1.1\r\nhost: x y", "400"),
        ("POST /leads/receive HTTP/1.1\r\ncontent-length: 0", "400"),
        ("GET /api/leads HTTP/1.1\r\nhost: x\r\nhost: y", "400"),
    ] {
        let answer = say(&mut connect(&node).await, &format!("{lines}\r\n\r\n")).await;
        assert_eq!(answer.get(9..12), Some(status), "{lines:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_what_browsers_must_not_do_with_it() {
    let node = TestNode::start_with(|c| c.http.tls_in_front = true).await;
    let key = node.provider("a").await;
    let get = |path: &str| node.http.get(format!("{}{path}", node.base));
    let lead = |key: &str| node.http.post(format!("{}/webhook/provider-a", node.base)).header("x-api-key", key);
    for (request, status) in [
        (lead(&key).json(&sample_lead(1)), 202),
        (lead("wrong").json(&sample_lead(1)), 401),
        (get("/api/leads").bearer_auth(crate::support::ADMIN_KEY), 200),
        (get("/api/leads"), 401),
        (get("/nowhere"), 404),
        (get("/healthz"), 200),
        (get("/docs/"), 200),
        (get("/openapi.json"), 200),
    ] {
        let answer = request.send().await.unwrap();
        let (what, headers) = (answer.url().path().to_owned(), answer.headers().clone());
        assert_eq!(answer.status(), status, "{what}");
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        assert_eq!(header("x-content-type-options"), "nosniff", "{what}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{what}");
        assert_eq!(header("cache-control"), "no-store", "{what}");
        assert_eq!(header("strict-transport-security"), "max-age=63072000", "{what}");
        let (policy, is_page) = (header("content-security-policy"), what == "/docs/");
        assert!(policy.contains("frame-ancestors 'none'"), "{what}: {policy}");
        assert_eq!(policy.starts_with("default-src 'self'"), is_page, "{what}: {policy}");
        assert!(!policy.contains("script-src"), "scripts come from here only: {policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_want_a_key_unless_they_have_an_address_of_their_own() {
    let node = TestNode::start().await;
    let reader = node.post("/api/keys", json!({"name": "prometheus", "role": "reader"})).await;
    let ask = |key: Option<&str>| {
        let request = node.http.get(format!("{}/metrics", node.base));
        answer(match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        })
    };
    for key in [None, Some("lwk_wrong"), Some("")] {
        assert_eq!(ask(key).await.0, StatusCode::UNAUTHORIZED);
    }
    let (status, text) = ask(reader["key"].as_str()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.as_str().unwrap().contains("leadway_ready"));
    for path in ["/healthz", "/readyz"] {
        let answer = node.http.get(format!("{}{path}", node.base)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path} wants none");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_gets_the_place_that_was_idle_longest() {
    let node = TestNode::start_with(|c| c.http.max_connections = 3).await;
    let ask = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&node).await;
        assert!(say(&mut stream, ask).await.contains("200 OK"));
        open.push(stream);
    }
    // The first one asks again: the second one is now idle for longest.
    assert!(say(&mut open[0], ask).await.contains("200 OK"));
    let mut new = connect(&node).await;
    assert!(say(&mut new, ask).await.contains("200 OK"));
    assert_eq!(open[1].read(&mut [0; 100]).await.unwrap_or(0), 0, "it is closed");
    for stream in [&mut open[0], &mut new] {
        assert!(say(stream, ask).await.contains("200 OK"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_tries_keys_waits_and_who_has_one_does_not() {
    let node = TestNode::start_with(|c| c.http.ops_listen = Some(([127, 0, 0, 1], 0).into())).await;
    let key = node.provider("a").await;
    let tries = (0..60).map(|n| {
        let guess = format!("lwp_guess_{n}");
        let request = node.http.post(format!("{}/webhook/provider-a", node.base)).header("x-api-key", guess);
        tokio::spawn(request.json(&sample_lead(n)).send())
    });
    let tries: Vec<_> = tries.collect();
    let metrics = format!("http://{}/metrics", node.node.as_ref().unwrap().addresses.ops);
    eventually("all of them are counted", async || {
        let metrics = node.http.get(&metrics).send().await.unwrap().text().await.unwrap();
        let name = "leadway_wrong_keys_total{service=\"ingest\"} ";
        let count = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0").to_owned();
        if count.parse::<u32>().unwrap() >= 60 { Ok(()) } else { Err(count) }
    })
    .await;
    // Whoever of them still waits keeps nobody else waiting.
    node.accepted("a", &key, &sample_lead(100)).await;
    assert_eq!(node.call("GET", "/api/leads", None).await.0, StatusCode::OK);
    tries.into_iter().for_each(|guess| guess.abort());
}
