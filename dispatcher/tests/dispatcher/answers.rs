//! Answers as old, odd and broken client systems give them, and connections that die.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use leadway_dispatcher::{SendError, Transport};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::http::{read_request, request, transport};

/// What a server does when a request comes.
#[derive(Clone, Copy)]
enum Step {
    /// Reads it and answers.
    Answer(&'static [u8]),
    /// Closes the connection without reading it.
    Close,
}

/// What a server does on one connection, before it hangs up.
type Connection = &'static [Step];

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
            let steps = connections[turn.min(connections.len() - 1)];
            tokio::spawn(async move {
                for step in steps {
                    let Step::Answer(answer) = step else {
                        // It is there, and stays unread.
                        let _ = connection.peek(&mut [0]).await;
                        return;
                    };
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

/// A server that gives one answer on each connection, whatever it is.
async fn answering(answer: &[u8]) -> String {
    let steps: Connection = vec![Step::Answer(answer.to_vec().leak())].leak();
    server(vec![steps].leak()).await.0
}

/// The status that is made of one answer, after which the connection ends.
async fn status(answer: &[u8]) -> Result<u16, SendError> {
    transport(true).send(request(&answering(answer).await)).await.map(|answer| answer.status)
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

const OK: Step = Step::Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
const HANG_UP: Step = Step::Answer(b"");

#[tokio::test]
async fn a_kept_connection_that_is_being_closed_costs_no_attempt() {
    let (url, requests) = server(&[&[OK, Step::Close]]).await;
    let transport = transport(true);
    for sent in 1..=6 {
        assert_eq!(transport.send(request(&url)).await.map(|answer| answer.status), Ok(200), "{sent}");
    }
    assert_eq!(requests.load(Ordering::SeqCst), 6, "each was read once");
}

#[tokio::test]
async fn what_may_have_been_read_is_not_repeated() {
    const FRESH: Connection = &[OK];
    // Each with how many requests are read.
    const CASES: [(&[Connection], usize); 5] = [
        // A new connection that is closed tells of the client, not of the connection.
        (&[&[Step::Close], FRESH], 0),
        (&[&[HANG_UP], FRESH], 1),
        // It was read; perhaps it was what ended the client.
        (&[&[OK, HANG_UP], FRESH], 2),
        // The answer had begun.
        (&[&[OK, Step::Answer(b"HTTP/1.1 2")], FRESH], 2),
        // Closed twice: it is tried again later.
        (&[&[OK, Step::Close], &[Step::Close], FRESH], 1),
    ];
    for (connections, read) in CASES {
        let (url, requests) = server(connections).await;
        let kept = transport(true);
        if connections[0].len() > 1 {
            assert!(kept.send(request(&url)).await.is_ok());
        }
        let sent = kept.send(request(&url)).await;
        assert!(matches!(sent, Err(SendError::Broken(_))), "{sent:?}");
        assert_eq!(requests.load(Ordering::SeqCst), read);
    }
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
            let answer = transport(true).send(request(&answering(answer.as_bytes()).await)).await.unwrap();
            assert_eq!((answer.status, answer.location.as_deref()), (status, told));
        }
    }
}
