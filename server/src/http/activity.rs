//! How long a connection is kept without a request, and without its client reading what it asked for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Version;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// What is asked of a connection's client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How long the head of a request may take, from its first byte on; the first one from the opening of the connection.
    pub(crate) head: Duration,
    /// How long a connection may stay open without a request.
    pub(crate) idle: Duration,
    /// How long the client may take to read the next part of an answer.
    pub(crate) write: Duration,
}

/// When a connection last had a request. One timer watches it for as long as it lives, instead of one for each request.
pub(crate) struct Activity {
    limits: Limits,
    state: Mutex<State>,
    /// Rings when the connection is to give way.
    bell: Notify,
}

struct State {
    /// The requests under way, in places that are used again; HTTP/1 needs one.
    places: SmallVec<[Place; 1]>,
    under_way: usize,
    /// Since when there is no request.
    idle_since: Instant,
    /// When it is closed if no request begins until then.
    deadline: Instant,
    /// Whether a part of a request's head has come.
    in_head: bool,
    /// Clients of HTTP/2 also say other things, and keep their connections with them.
    is_http2: bool,
    /// Whether its place was given to another connection.
    gives_way: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    /// The answer, or the next part of it, is being made.
    Working,
    /// The answer is there; when a part of it was last taken.
    Answering(Instant),
}

impl Activity {
    pub(crate) fn new(limits: Limits) -> Self {
        let now = Instant::now();
        let state = State {
            places: SmallVec::new(),
            under_way: 0,
            idle_since: now,
            deadline: now + limits.head,
            // The first head is awaited from now on.
            in_head: true,
            is_http2: false,
            gives_way: false,
        };
        Self { limits, state: Mutex::new(state), bell: Notify::new() }
    }

    /// A request begins: its head is there. Returns its place, which it has until [`end`](Self::end).
    pub(crate) fn begin(&self, version: Version) -> usize {
        let mut state = self.state.lock();
        state.under_way += 1;
        state.in_head = false;
        state.is_http2 = version == Version::HTTP_2;
        let free = state.places.iter_mut().enumerate().find(|(_, place)| **place == Place::Free);
        if let Some((index, place)) = free {
            *place = Place::Working;
            return index;
        }
        state.places.push(Place::Working);
        state.places.len() - 1
    }

    /// The client has taken a part of the answer.
    pub(crate) fn taken(&self, place: usize) {
        let mut state = self.state.lock();
        if let Some(place) = state.places.get_mut(place) {
            *place = Place::Answering(Instant::now());
        }
    }

    /// The client has all that is there: the next part is still being made.
    pub(crate) fn making(&self, place: usize) {
        let mut state = self.state.lock();
        if let Some(place) = state.places.get_mut(place) {
            *place = Place::Working;
        }
    }

    /// The request is over: its answer was read, or never will be.
    pub(crate) fn end(&self, place: usize) {
        let mut state = self.state.lock();
        if let Some(place) = state.places.get_mut(place) {
            *place = Place::Free;
        }
        state.under_way -= 1;
        state.idle_since = Instant::now();
        state.deadline = state.idle_since + self.limits.idle;
    }

    fn heard(&self) {
        let mut state = self.state.lock();
        if state.under_way == 0 && !state.in_head && !state.is_http2 {
            state.in_head = true;
            state.deadline = state.deadline.min(Instant::now() + self.limits.head);
        }
    }

    /// Since when there is no request; `None` while there is one, and when it gives way already.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        (state.under_way == 0 && !state.gives_way).then_some(state.idle_since)
    }

    /// Ends the connection if there is no request on it: another one needs its place.
    pub(crate) fn give_way(&self) -> bool {
        let mut state = self.state.lock();
        let idle = state.under_way == 0 && !state.gives_way;
        if idle {
            state.gives_way = true;
            self.bell.notify_one();
        }
        idle
    }

    /// Waits until the connection is to be closed: nobody holds a place without asking for anything, nor memory without
    /// reading what was asked for.
    pub(crate) async fn ended(&self) {
        loop {
            let now = Instant::now();
            let deadline = self.state.lock().deadline(now, self.limits);
            if deadline <= now {
                return;
            }
            tokio::select! {
                // A head that begins meanwhile may end the connection earlier, by that much.
                () = sleep_until(deadline.min(now + self.limits.head)) => {}
                () = self.bell.notified() => {}
            }
        }
    }
}

impl State {
    /// When the connection is closed if nothing happens.
    fn deadline(&self, now: Instant, limits: Limits) -> Instant {
        if self.under_way == 0 {
            return if self.gives_way { now } else { self.deadline };
        }
        let unread = self.places.iter().filter_map(|place| match place {
            Place::Answering(taken) => Some(*taken + limits.write),
            Place::Free | Place::Working => None,
        });
        unread.min().unwrap_or(now + limits.idle)
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
    const WRITE: Duration = Duration::from_secs(30);

    struct Connection {
        activity: Arc<Activity>,
        client: tokio::io::DuplexStream,
        server: Heard<tokio::io::DuplexStream>,
        since: Instant,
    }

    impl Connection {
        fn open() -> Self {
            let activity = Arc::new(Activity::new(Limits { head: HEAD, idle: IDLE, write: WRITE }));
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
        connection.activity.end(connection.activity.begin(Version::HTTP_11));
        assert_eq!(connection.closed().await, 75);

        let mut connection = Connection::open();
        connection.activity.end(connection.activity.begin(Version::HTTP_11));
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
        let place = activity.begin(Version::HTTP_11);
        assert!(timeout(Duration::from_secs(500), activity.ended()).await.is_err());
        connection.say("more of its body").await;
        activity.end(place);
        assert_eq!(connection.closed().await, 575);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_http2_client_says_between_requests_begins_no_head() {
        let mut connection = Connection::open();
        connection.say("PRI * HTTP/2.0").await;
        connection.activity.end(connection.activity.begin(Version::HTTP_2));
        connection.say("ping").await;
        assert_eq!(connection.closed().await, 75);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_as_long_as_it_likes_while_its_client_reads() {
        let connection = Connection::open();
        let place = connection.activity.begin(Version::HTTP_11);
        let ended = connection.activity.ended();
        tokio::pin!(ended);
        for _ in 0..20 {
            connection.activity.taken(place);
            assert!(timeout(Duration::from_secs(20), &mut ended).await.is_err());
        }
        assert_eq!(connection.closed().await, 410);
    }

    #[tokio::test(start_paused = true)]
    async fn one_answer_that_is_not_read_ends_it_whatever_the_others_do() {
        let connection = Connection::open();
        let (unread, read) = (connection.activity.begin(Version::HTTP_2), connection.activity.begin(Version::HTTP_2));
        connection.activity.taken(unread);
        let activity = Arc::clone(&connection.activity);
        let ended = tokio::spawn(async move { activity.ended().await });
        for _ in 0..40 {
            connection.activity.taken(read);
            sleep(Duration::from_secs(1)).await;
        }
        assert!(ended.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_way_only_between_requests() {
        let connection = Connection::open();
        let place = connection.activity.begin(Version::HTTP_11);
        assert!(!connection.activity.give_way());
        assert_eq!(connection.activity.idle_since(), None);
        connection.activity.end(place);
        let activity = Arc::clone(&connection.activity);
        let ended = tokio::spawn(async move { activity.ended().await });
        tokio::task::yield_now().await;
        assert!(connection.activity.give_way());
        ended.await.unwrap();
        assert_eq!(connection.since.elapsed(), Duration::ZERO);
        assert_eq!(connection.activity.idle_since(), None, "it is not asked twice");
    }
}
