//! How long a connection is kept without a request.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Version;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// What is asked of a connection's client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long the head of a request may take, from its first byte on; the first one from the opening of the connection.
    pub(crate) head: Duration,
    /// How long a connection may stay open without a request.
    pub(crate) idle: Duration,
}

/// When a connection last had a request. One timer watches it for as long as it lives, instead of one for each request.
pub(crate) struct Activity {
    limits: Limits,
    state: Mutex<State>,
}

struct State {
    under_way: usize,
    /// When it is closed if no request begins until then.
    deadline: Instant,
    /// Whether a part of a request's head has come.
    in_head: bool,
    /// Clients of HTTP/2 also say other things, and keep their connections with them.
    is_http2: bool,
}

/// A request under way; it ends when this is dropped.
pub(crate) struct UnderWay<'a>(&'a Activity);

impl Activity {
    pub(crate) fn new(limits: Limits) -> Self {
        let deadline = Instant::now() + limits.head;
        // The first head is awaited from now on.
        Self { limits, state: Mutex::new(State { under_way: 0, deadline, in_head: true, is_http2: false }) }
    }

    /// A request begins: its head is there.
    pub(crate) fn request(&self, version: Version) -> UnderWay<'_> {
        let mut state = self.state.lock();
        state.under_way += 1;
        state.in_head = false;
        state.is_http2 = version == Version::HTTP_2;
        UnderWay(self)
    }

    fn heard(&self) {
        let mut state = self.state.lock();
        if state.under_way == 0 && !state.in_head && !state.is_http2 {
            state.in_head = true;
            state.deadline = state.deadline.min(Instant::now() + self.limits.head);
        }
    }

    /// Waits until the connection is to be closed: nobody holds a place without asking for anything.
    pub(crate) async fn ended(&self) {
        loop {
            let now = Instant::now();
            let deadline = match &*self.state.lock() {
                State { under_way: 1.., .. } => now + self.limits.idle,
                State { deadline, .. } => *deadline,
            };
            if deadline <= now {
                return;
            }
            // A head that begins meanwhile may end the connection earlier, by that much.
            sleep_until(deadline.min(now + self.limits.head)).await;
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.under_way -= 1;
        state.deadline = Instant::now() + self.0.limits.idle;
    }
}

/// A connection that tells its [`Activity`] when something comes.
pub(crate) struct Heard<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Heard<S> {
    pub(crate) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.activity.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{sleep, timeout};

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);

    struct Connection {
        activity: Arc<Activity>,
        client: tokio::io::DuplexStream,
        server: Heard<tokio::io::DuplexStream>,
        since: Instant,
    }

    impl Connection {
        fn open() -> Self {
            let activity = Arc::new(Activity::new(Limits { head: HEAD, idle: IDLE }));
            let (client, server) = tokio::io::duplex(100);
            Self { server: Heard::new(server, Arc::clone(&activity)), activity, client, since: Instant::now() }
        }

        async fn say(&mut self, text: &str) {
            self.client.write_all(text.as_bytes()).await.unwrap();
            self.server.read_exact(&mut vec![0; text.len()]).await.unwrap();
        }

        /// After how many seconds from the opening it is closed.
        async fn closed(&self) -> u64 {
            timeout(Duration::from_secs(1_000), self.activity.ended()).await.unwrap();
            self.since.elapsed().as_secs()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_is_awaited_from_the_opening() {
        let mut connection = Connection::open();
        sleep(Duration::from_secs(4)).await;
        connection.say("POST / HT").await;
        assert_eq!(connection.closed().await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_it_may_idle_but_not_dawdle_in_a_head() {
        let mut connection = Connection::open();
        connection.say("POST / HTTP/1.1").await;
        drop(connection.activity.request(Version::HTTP_11));
        assert_eq!(connection.closed().await, 75);

        let mut connection = Connection::open();
        drop(connection.activity.request(Version::HTTP_11));
        let activity = Arc::clone(&connection.activity);
        let closing = tokio::spawn(async move { activity.ended().await });
        sleep(Duration::from_secs(33)).await;
        connection.say("P").await;
        sleep(Duration::from_secs(6)).await;
        connection.say("OST").await;
        assert!(!closing.is_finished());
        assert_eq!(connection.closed().await, 43);
        sleep(HEAD).await;
        assert!(closing.is_finished(), "who waits already is told, if a little later");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_way_keeps_it() {
        let mut connection = Connection::open();
        let activity = Arc::clone(&connection.activity);
        let under_way = activity.request(Version::HTTP_11);
        assert!(timeout(Duration::from_secs(500), activity.ended()).await.is_err());
        connection.say("more of its body").await;
        drop(under_way);
        assert_eq!(connection.closed().await, 575);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_http2_client_says_between_requests_begins_no_head() {
        let mut connection = Connection::open();
        connection.say("PRI * HTTP/2.0").await;
        drop(connection.activity.request(Version::HTTP_2));
        connection.say("ping").await;
        assert_eq!(connection.closed().await, 75);
    }
}
