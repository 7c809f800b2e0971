//! Limits of rate, size, time and number.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::Request;
use http_body_util::StreamBody;
use hyper::body::Frame;
use leadway_domain::Clock;
use leadway_ingest::Options;

use crate::log::GatedLog;
use crate::node::{KEY, LEAD, Node, start_of_time};

fn lead(n: usize) -> String {
    LEAD.replace("Ana", &format!("Ana {n}"))
}

fn array(count: usize) -> String {
    format!("[{}]", (0..count).map(lead).collect::<Vec<_>>().join(","))
}

fn streamed(body: impl futures::Stream<Item = Bytes>) -> Request<impl hyper::body::Body<Data = Bytes>> {
    let frames = body.map(|data| Ok::<_, Infallible>(Frame::data(data)));
    Request::post("/leads/receive").header("x-api-key", KEY).body(StreamBody::new(frames)).unwrap()
}

#[tokio::test]
async fn more_leads_than_allowed_are_refused_with_the_rule() {
    let node = Node::start().await;
    assert_eq!(node.webhook(array(1_000)).await.status, 202);
    let answer = node.webhook(array(1_001)).await;
    answer.assert_problem(413, "too-large");
    assert!(answer.body["detail"].as_str().unwrap().contains("1000"));
    assert_eq!(node.leads().await.len(), 1_000, "all or none of them");
}

#[tokio::test]
async fn a_body_may_come_in_pieces_but_not_be_too_large() {
    let node = Node::with(Options { max_body_bytes: 200, ..Options::default() }).await;
    let pieces = |body: String| stream::iter(body.into_bytes().into_iter().map(|byte| Bytes::from(vec![byte])));
    assert_eq!(node.send(streamed(pieces(LEAD.to_owned()))).await.status, 202);
    let answer = node.send(streamed(pieces(" ".repeat(201)))).await;
    answer.assert_problem(413, "too-large");
    assert_eq!(answer.header("connection"), Some("close"));
    node.webhook(" ".repeat(201)).await.assert_problem(413, "too-large");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_timed_out() {
    let node = Node::start().await;
    let body = stream::iter([Bytes::from_static(b"{")]).chain(stream::pending());
    let answer = node.send(streamed(body)).await;
    answer.assert_problem(408, "body-timeout");
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test]
async fn what_is_posted_too_fast_must_wait_and_each_lead_of_a_batch_counts() {
    let node = Node::start().await;
    node.limit("a", 1, Some(3)).await;
    assert_eq!(node.webhook(array(2)).await.status, 202);
    let answer = node.webhook(array(2)).await;
    answer.assert_problem(429, "too-many-requests");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(node.webhook(lead(7)).await.status, 202, "what is refused takes nothing away");
    assert_eq!(node.webhook("{").await.status, 429, "what cannot be read counts too");
    node.advance(1);
    assert_eq!(node.webhook(lead(8)).await.status, 202);
    let too_many = node.webhook(array(4)).await;
    too_many.assert_problem(413, "too-large");
    assert!(too_many.body["detail"].as_str().unwrap().contains("at most 3"));
    assert_eq!(node.post("/leads/receive", &[("x-api-key", "lwp_b")], LEAD).await.status, 202, "another's is its own");
}

#[tokio::test]
async fn a_changed_rate_limit_holds_at_once() {
    let node = Node::start().await;
    node.limit("a", 1, None).await;
    assert_eq!(node.webhook(lead(0)).await.status, 202);
    assert_eq!(node.webhook(lead(1)).await.status, 429);
    node.limit("a", 1, Some(2)).await;
    assert_eq!(node.webhook(lead(1)).await.status, 202);
}

#[tokio::test]
async fn leads_in_flight_are_bounded() {
    let node = Node::with(Options { max_in_flight: 3, retry_after_seconds: 7, ..Options::default() }).await;
    node.log.shut();
    let (answer, ()) = tokio::join!(node.webhook(array(2)), async {
        node.log.arrivals(1).await;
        let busy = node.webhook(format!("[{},{}]", lead(8), lead(9))).await;
        busy.assert_problem(503, "unavailable");
        assert_eq!(busy.header("retry-after"), Some("7"));
        node.log.open();
    });
    assert_eq!(answer.status, 202);
    assert_eq!(node.webhook(array(3)).await.status, 202, "what was held is given back");
}

#[tokio::test(start_paused = true)]
async fn buffered_bodies_are_bounded() {
    let node = Node::with(Options { max_buffered_bytes: 300, ..Options::default() }).await;
    let slow = stream::iter([Bytes::from(" ".repeat(250))]).chain(stream::once(async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Bytes::from_static(LEAD.as_bytes())
    }));
    let (slow, ()) = tokio::join!(node.send(streamed(slow)), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        node.webhook(LEAD).await.assert_problem(503, "unavailable");
    });
    assert_eq!(slow.status, 202, "who holds all of it may go on");
}

#[tokio::test]
async fn nothing_is_taken_before_the_window_is_loaded_nor_after_stopping() {
    let node = Node::idle(GatedLog::new(), Clock::manual(start_of_time()), Options::default()).await;
    assert!(!node.ingest.is_ready());
    let starting = node.webhook(LEAD).await;
    starting.assert_problem(503, "unavailable");
    assert_eq!((starting.header("retry-after"), starting.header("connection")), (Some("2"), None));

    let node = Node::start().await;
    node.log.shut();
    let (under_way, stopping) = tokio::join!(node.webhook(LEAD), async {
        node.log.arrivals(1).await;
        node.ingest.stop_accepting();
        let stopping = node.webhook(lead(2)).await;
        node.log.open();
        stopping
    });
    assert_eq!(under_way.status, 202);
    stopping.assert_problem(503, "unavailable");
    assert_eq!((stopping.header("retry-after"), stopping.header("connection")), (Some("2"), Some("close")));
}
