//! Answers as old, odd and broken client systems give them, and connections that die.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use leadway_dispatcher::{SendError, Transport};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::http::{read_request, request, transport};

/// What a server does on one connection: how it answers one request after the other, and then hangs up.
type Connection = &'static [&'static [u8]];

/// A server that plays these connections in turn, the last one again and again; counts the requests that it read.
async fn server(connections: &'static [Connection]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    tokio::spawn(async move {
        for turn in 0.. {
            let Ok((mut connection, _)) = listener.accept().await else { return };
            let count = count.clone();
            let answers = connections[turn.min(connections.len() - 1)];
            tokio::spawn(async move {
                for answer in answers {
                    if read_request(&mut connection).await.is_none() {
                        return;
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    if connection.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, requests)
}

/// The status that is made of one answer, after which the connection ends.
async fn status(answer: &[u8]) -> Result<u16, SendError> {
    let connections: &'static [Connection] =
        vec![vec![answer.to_vec().leak() as &'static [u8]].leak() as Connection].leak();
    let (url, _) = server(connections).await;
    transport(true).send(request(&url)).await.map(|answer| answer.status)
}

#[tokio::test]
async fn a_200_is_a_200_whatever_its_header_looks_like() {
    for answer in [
        "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\ncontent-length: 0\n\n",
        "HTTP/1.0 200 OK\r\n\r\nthanks",
        "HTTP/1.1  200   OK\r\ncontent-length: 0\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "http/1.1 200 ok\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 Angenommen \u{2713}\r\ncontent-length: 0\r\n\r\n",
        "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nSome-Header : true\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nfolded: a\r\n b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n folded: at once\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: no name\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nodd name(): 1\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: gr\u{fc}n\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;name=\"a;b\"\r\nok\r\n0\r\nx-trailer: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nok\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 0\r\n\r\n",
    ] {
        assert_eq!(status(answer.as_bytes()).await, Ok(200), "{answer:?}");
    }
    let long = format!("HTTP/1.1 200 OK\r\nset-cookie: {}\r\ncontent-length: 0\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "set-cookie: a=b\r\n".repeat(500));
    assert_eq!((status(long.as_bytes()).await, status(many.as_bytes()).await), (Ok(200), Ok(200)));
    for (answer, told) in [
        ("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok", 204),
        ("HTTP/1.1 500 Broken\r\nno colon, content-length: x\r\n\r\n", 500),
        ("HTTP/1.1 503 Busy\r\ncontent-length: x\r\n\r\n", 503),
        ("HTTP/1.1 299 Fine\r\ncontent-length: x\r\n\r\n", 299),
    ] {
        assert_eq!(status(answer.as_bytes()).await, Ok(told), "{answer:?}");
    }
    for nothing in ["", "HTTP/1.1 20", "HTTP/1.1 100 Continue\r\n\r\n", "200 OK\r\n\r\n", "<html>200</html>"] {
        assert!(matches!(status(nothing.as_bytes()).await, Err(SendError::Broken(_))), "{nothing:?}");
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_kept_connection_that_dies_without_a_word_costs_no_attempt() {
    // The second request on a connection is read, and the connection ends.
    let (url, requests) = server(&[&[OK, b""]]).await;
    let transport = transport(true);
    for sent in 1..=6 {
        assert_eq!(transport.send(request(&url)).await.map(|answer| answer.status), Ok(200), "{sent}");
    }
    // The first went out once; of the others, those that met a kept connection twice.
    assert!((6..=11).contains(&requests.load(Ordering::SeqCst)));
}

#[tokio::test]
async fn a_request_is_repeated_once_and_only_when_a_kept_connection_was_silent() {
    // A new connection that dies tells of the client, not of the connection.
    let (url, requests) = server(&[&[b""]]).await;
    assert!(matches!(transport(true).send(request(&url)).await, Err(SendError::Broken(_))));
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    // The answer had begun.
    let (url, requests) = server(&[&[OK, b"HTTP/1.1 2"], &[OK]]).await;
    let kept = transport(true);
    assert!(kept.send(request(&url)).await.is_ok());
    assert!(matches!(kept.send(request(&url)).await, Err(SendError::Broken(_))));
    assert_eq!(requests.load(Ordering::SeqCst), 2);
    // So does the new one.
    let (url, requests) = server(&[&[OK, b""], &[b""]]).await;
    let kept = transport(true);
    assert!(kept.send(request(&url)).await.is_ok());
    assert!(matches!(kept.send(request(&url)).await, Err(SendError::Broken(_))));
    assert_eq!(requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_redirect_tells_where_it_points() {
    for (location, told) in [
        ("location: https://www.client.example/hook\r\n", Some("https://www.client.example/hook")),
        ("Location : https://www.client.example/hook\r\n", Some("https://www.client.example/hook")),
        ("", None),
    ] {
        for status in [301, 302, 303, 307, 308] {
            let answer = format!("HTTP/1.1 {status} Away\r\n{location}content-length: 0\r\n\r\n");
            let connections = vec![vec![answer.into_bytes().leak() as &'static [u8]].leak() as Connection].leak();
            let (url, _) = server(connections).await;
            let answer = transport(true).send(request(&url)).await.unwrap();
            assert_eq!((answer.status, answer.location.as_deref()), (status, told));
        }
    }
}
