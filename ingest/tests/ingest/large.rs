//! Large and packed bodies: what one provider sends costs the others nothing.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use leadway_domain::settings::{Entity, Posting, Provider, RateLimit, Signing};
use leadway_ingest::Options;

use crate::node::{Answer, KEY, LEAD, Node, provider};

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A few kilobytes that unpack to megabytes of leads.
fn tiny() -> Vec<u8> {
    let lead = LEAD.replace('}', &format!(",\"pad\":\"{}\"}}", "x".repeat(8_000)));
    gzip(&format!("[{}]", vec![lead; 200].join(",")))
}

async fn post(node: &Node, key: &str, body: Vec<u8>) -> Answer {
    node.post("/leads/receive", &[("x-api-key", key), ("content-encoding", "gzip")], body).await
}

/// A runtime of one thread, with one more for work aside.
fn alone<F: Future>(work: impl FnOnce() -> F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().max_blocking_threads(1).build().unwrap().block_on(async { work().await })
}

#[test]
fn a_large_body_is_read_aside_and_holds_no_other_lead() {
    alone(|| async {
        let node = Node::start().await;
        // The only thread for such work is taken: only what needs none comes to its end.
        let (free, taken) = std::sync::mpsc::channel::<()>();
        let thread = tokio::task::spawn_blocking(move || taken.recv());
        let mut large = std::pin::pin!(async { tokio::join!(post(&node, KEY, tiny()), post(&node, KEY, tiny())) });
        assert!(futures::poll!(large.as_mut()).is_pending());
        assert_eq!(post(&node, "lwp_b", gzip(LEAD)).await.status, 202, "another provider's lead, packed as well");
        assert_eq!(node.webhook(LEAD).await.status, 202, "and a small one of the same provider");
        assert!(futures::poll!(large.as_mut()).is_pending());
        free.send(()).unwrap();
        thread.await.unwrap().unwrap();
        let (one, other) = large.await;
        assert_eq!((one.status.as_u16(), other.status.as_u16()), (202, 200));
    });
}

#[test]
fn only_few_large_bodies_of_a_provider_wait() {
    alone(|| async {
        let node = Node::with(Options { large_bodies_per_provider: 2, ..Options::default() }).await;
        let (free, taken) = std::sync::mpsc::channel::<()>();
        let thread = tokio::task::spawn_blocking(move || taken.recv());
        let mut waiting = std::pin::pin!(async { tokio::join!(post(&node, KEY, tiny()), post(&node, KEY, tiny())) });
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        let third = post(&node, KEY, tiny()).await;
        third.assert_problem(429, "too-many-requests");
        assert_eq!(third.header("retry-after"), Some("2"));
        let mut others = std::pin::pin!(post(&node, "lwp_b", tiny()));
        assert!(futures::poll!(others.as_mut()).is_pending(), "another provider's has its turn");
        free.send(()).unwrap();
        thread.await.unwrap().unwrap();
        let (waited, other) = tokio::join!(waiting, others);
        assert_eq!((waited.0.status.as_u16(), other.status.as_u16()), (202, 202));
        assert_eq!(post(&node, KEY, tiny()).await.status, 200, "their places are free again");
    });
}

#[tokio::test]
async fn a_packed_body_is_limited_before_it_is_unpacked() {
    let node = Node::start().await;
    node.limit("a", 1, Some(2)).await;
    assert_eq!(post(&node, KEY, gzip(LEAD)).await.status, 202);
    let other = gzip(&LEAD.replace("Ana", "Eva"));
    assert_eq!(post(&node, KEY, other).await.status, 202, "one lead is charged once");
    assert_eq!(post(&node, KEY, b"no gzip".to_vec()).await.status, 429);
    node.advance(2);
    post(&node, KEY, b"no gzip".to_vec()).await.assert_problem(400, "bad-request");
    assert_eq!(post(&node, KEY, gzip(&format!("[{LEAD},{LEAD}]"))).await.status, 429, "the second lead of two");
}

#[tokio::test]
async fn unpacked_bytes_are_bounded_with_all_others() {
    let node = Node::with(Options { max_buffered_bytes: 1 << 20, ..Options::default() }).await;
    let answer = post(&node, KEY, tiny()).await;
    assert_eq!(answer.status, 202, "alone it may exceed the budget: {}", answer.body);
    let huge = gzip(&" ".repeat(5 << 20));
    post(&node, KEY, huge).await.assert_problem(413, "too-large");
}

#[tokio::test]
async fn values_are_bounded_before_they_are_read() {
    let node = Node::with(Options { max_values_per_request: 1_000, ..Options::default() }).await;
    let many = format!("{{\"a\":[{}1]}}", "[],".repeat(1_000));
    node.webhook(many.clone()).await.assert_problem(413, "too-large");
    post(&node, KEY, gzip(&many)).await.assert_problem(413, "too-large");
    let text = LEAD.replace("Ana", &"[,".repeat(40));
    assert_eq!(node.webhook(text).await.status, 202, "what stands in strings is no value");
}

#[tokio::test]
async fn requests_of_one_provider_at_one_moment_are_bounded() {
    let node = Node::with(Options { max_concurrent_per_provider: 2, ..Options::default() }).await;
    let lead = |n: usize| LEAD.replace("Ana", &format!("Ana {n}"));
    node.log.shut();
    let (one, two, ()) = tokio::join!(node.webhook(lead(1)), node.webhook(lead(2)), async {
        node.log.arrivals(2).await;
        node.webhook(lead(3)).await.assert_problem(429, "too-many-requests");
        node.put([Entity::Provider(Provider {
            posting: Posting { max_concurrent: Some(3), ..Posting::default() },
            ..provider("a")
        })])
        .await;
        let (third, other, ()) =
            tokio::join!(node.webhook(lead(3)), node.post("/leads/receive", &[("x-api-key", "lwp_b")], LEAD), async {
                node.log.arrivals(4).await;
                node.log.open();
            });
        assert_eq!((third.status.as_u16(), other.status.as_u16()), (202, 202));
    });
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (202, 202));
    assert_eq!(node.webhook(lead(4)).await.status, 202);
}

#[tokio::test]
async fn bytes_of_a_day_are_bounded_where_the_provider_says_so() {
    let node = Node::start().await;
    let posting = Posting { max_bytes_per_day: Some(2 * LEAD.len() as u64), ..Posting::default() };
    node.put([Entity::Provider(Provider { posting, ..provider("a") })]).await;
    assert_eq!(node.webhook(LEAD).await.status, 202);
    assert_eq!(node.webhook(LEAD.replace("Ana", "Eva")).await.status, 202);
    let answer = node.webhook(LEAD.replace("Ana", "Ida")).await;
    answer.assert_problem(429, "too-many-requests");
    assert_eq!(answer.header("retry-after"), Some("48600"), "until midnight");
    node.advance(48_600);
    assert_eq!(node.webhook(LEAD.replace("Ana", "Ida")).await.status, 202);
}

#[tokio::test]
async fn what_is_to_be_sent_again_later_uses_up_nothing_of_the_day() {
    let node = Node::start().await;
    let posting = Posting { max_bytes_per_day: Some(2 * LEAD.len() as u64), ..Posting::default() };
    let rate_limit = Some(RateLimit { per_second: 1, burst: Some(1) });
    node.put([Entity::Provider(Provider { posting, rate_limit, ..provider("a") })]).await;
    assert_eq!(node.webhook(LEAD).await.status, 202);
    let next = LEAD.replace("Ana", "Eva");
    for _ in 0..3 {
        let answer = node.webhook(next.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, Some("1")));
    }
    node.advance(1);
    assert_eq!(node.webhook(next).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn bodies_with_an_unchecked_signature_have_a_small_part_of_the_memory() {
    let node = Node::with(Options { max_unproven_bytes: 1_000, ..Options::default() }).await;
    let signs = |id| {
        let mut provider = provider(id);
        provider.credentials.signing = Signing::LegacyBody;
        Entity::Provider(provider)
    };
    node.put(["a", "c"].map(signs)).await;
    let slow = |path: &str, headers: [(&'static str, &'static str); 1]| {
        use futures::{StreamExt as _, stream};
        let piece = bytes::Bytes::from(" ".repeat(250));
        let late = async { tokio::time::sleep(Duration::from_secs(5)).await };
        let body = stream::iter([piece.clone()]).chain(stream::once(async move {
            late.await;
            piece
        }));
        let frames = body.map(|data| Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(data)));
        let mut request = http::Request::post(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        node.send(request.body(http_body_util::StreamBody::new(frames)).unwrap())
    };
    let signed = [("x-signature", "0000000000000000000000000000000000000000000000000000000000000000")];
    let (first, other, ()) =
        tokio::join!(slow("/webhook/provider-a", signed), slow("/webhook/provider-c", signed), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            slow("/webhook/provider-a", signed).await.assert_problem(503, "unavailable");
            assert_eq!(node.webhook(LEAD).await.status, 202, "who brings a key is not concerned");
        });
    first.assert_problem(401, "unauthorized");
    other.assert_problem(401, "unauthorized");
}
