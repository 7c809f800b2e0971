//! The transport against real sockets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leadway_dispatcher::{HttpTransport, Options, SendError, Target, Transport, WebhookRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use url::Url;

/// A server that hands over the text of each request and answers with these bytes, then keeps the connection open.
async fn server(answer: Vec<u8>) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (requests, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let (requests, answer) = (requests.clone(), answer.clone());
            tokio::spawn(async move {
                while let Some(request) = read_request(&mut connection).await {
                    let _ = requests.send(request);
                    if connection.write_all(&answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (port, received)
}

/// Reads up to the end of the body `{}`.
pub(crate) async fn read_request(connection: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"{}") {
        let mut part = [0; 4096];
        let count = connection.read(&mut part).await.ok().filter(|n| *n > 0)?;
        text.extend_from_slice(&part[..count]);
    }
    Some(String::from_utf8_lossy(&text).into_owned())
}

pub(crate) fn transport(allow_private_targets: bool) -> HttpTransport {
    let options = Options { allow_private_targets, request_timeout_ms: 2_000, ..Options::default() };
    HttpTransport::new(&options).unwrap()
}

pub(crate) fn request(url: &str) -> WebhookRequest {
    WebhookRequest {
        target: Arc::new(Target::new(&Url::parse(url).unwrap())),
        id: "appt_7".into(),
        timestamp: 1_705_314_600,
        signature: "v1,abc v1,def".into(),
        body: Bytes::from_static(b"{}"),
    }
}

#[tokio::test]
async fn the_request_has_the_headers_of_the_seed_and_of_standard_webhooks() {
    let (port, mut received) = server(b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok".to_vec()).await;
    let transport = transport(true);
    for _ in 0..2 {
        let answer = transport.send(request(&format!("http://127.0.0.1:{port}/hook?a=b"))).await.unwrap();
        assert_eq!((answer.status, &answer.body[..], answer.retry_after), (201, &b"ok"[..], None));
        let text = received.recv().await.unwrap();
        assert!(text.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{text}");
        for line in [
            "content-type: application/json",
            "user-agent: Convio-Appointment-Router/1.0",
            "x-webhook-source: appointment-routing",
            "webhook-id: appt_7",
            "webhook-timestamp: 1705314600",
            "webhook-signature: v1,abc v1,def",
        ] {
            assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} in {text}");
        }
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (target, mut followed) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let answer = format!("HTTP/1.1 307 Away\r\nlocation: http://127.0.0.1:{target}/\r\ncontent-length: 0\r\n\r\n");
    let (port, _received) = server(answer.into_bytes()).await;
    let answer = transport(true).send(request(&format!("http://127.0.0.1:{port}/"))).await.unwrap();
    assert_eq!((answer.status, answer.location), (307, Some(format!("http://127.0.0.1:{target}/"))));
    assert!(followed.try_recv().is_err());
}

#[tokio::test]
async fn of_a_long_answer_64_kib_are_read() {
    let mut answer = b"HTTP/1.1 200 OK\r\nretry-after: 7\r\ncontent-length: 1000000\r\n\r\n".to_vec();
    answer.resize(answer.len() + 1_000_000, b'x');
    let (port, _received) = server(answer).await;
    let answer = transport(true).send(request(&format!("http://127.0.0.1:{port}/"))).await.unwrap();
    assert_eq!((answer.status, answer.body.len(), answer.retry_after.as_deref()), (200, 65_536, Some("7")));
}

#[tokio::test]
async fn no_answer_times_out_but_a_slow_body_keeps_the_status() {
    let (silent, _received) = server(Vec::new()).await;
    let (halting, _received) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart".to_vec()).await;
    let options = Options { allow_private_targets: true, request_timeout_ms: 300, ..Options::default() };
    let transport = HttpTransport::new(&options).unwrap();
    let send = |port: u16| transport.send(request(&format!("http://127.0.0.1:{port}/")));
    assert_eq!(send(silent).await, Err(SendError::Timeout));
    let answer = send(halting).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"part"[..]));
}

#[tokio::test]
async fn a_closed_port_and_a_torn_answer_are_told_apart_without_the_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap().port();
    drop(listener);
    let error = transport(true).send(request(&format!("http://127.0.0.1:{closed}/?token=hidden"))).await.unwrap_err();
    assert!(matches!(&error, SendError::Connect(_)) && !error.to_string().contains("hidden"), "{error}");
    let (garbage, _received) = server(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()).await;
    let error = transport(true).send(request(&format!("http://127.0.0.1:{garbage}/?token=hidden"))).await.unwrap_err();
    assert!(matches!(&error, SendError::Broken(_)) && !error.to_string().contains("hidden"), "{error}");
}

#[tokio::test]
async fn private_addresses_are_refused_however_they_are_named() {
    let (port, mut received) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let transport = transport(false);
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001", "169.254.169.254", "10.0.0.1"] {
        let sent = transport.send(request(&format!("http://{host}:{port}/"))).await;
        assert!(matches!(sent, Err(SendError::Refused(_))), "{host}: {sent:?}");
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), received.recv()).await.is_err());
}
