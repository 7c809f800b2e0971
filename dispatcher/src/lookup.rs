//! Looking up the names of clients: only public addresses come out, and a resolver that does not answer holds few threads.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use hyper_util::client::legacy::connect::dns::Name;
use leadway_domain::target::{check_address, check_plain_address};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tower::{BoxError, Service};

/// Lookups under way at once. Each takes a thread of the pool that all of the process shares, for as long as the system's
/// resolver likes.
const AT_ONCE: usize = 32;

type Resolver = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Resolves names and lets through public addresses only. The connection is made to the very addresses that were checked,
/// so that a name cannot change its meaning in between (DNS rebinding).
#[derive(Clone)]
pub(crate) struct PublicOnly {
    allow_private: bool,
    /// Whether the connections are made without TLS.
    is_plain: bool,
    permits: Arc<Semaphore>,
    resolver: Arc<Resolver>,
}

impl PublicOnly {
    /// Asks the system's resolver.
    pub(crate) fn new(allow_private: bool) -> Self {
        // Port 0 stands for the URL's own.
        Self::asking(allow_private, |name| Ok((name, 0).to_socket_addrs()?.collect()))
    }

    /// Asks this resolver.
    pub(crate) fn asking(
        allow_private: bool,
        resolver: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            allow_private,
            is_plain: false,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            resolver: Arc::new(resolver),
        }
    }

    /// The same for connections without TLS, which may lead to private addresses at most.
    pub(crate) fn plain(&self) -> Self {
        Self { is_plain: true, ..self.clone() }
    }
}

impl Service<Name> for PublicOnly {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { allow_private, is_plain, permits, resolver } = self.clone();
        async move {
            // The attempt's time covers the wait: when it is over, this future is dropped and leaves the queue.
            let permit = permits.acquire_owned().await?;
            // A lookup cannot be broken off: the permit stays with the thread, also when nobody waits for it any more.
            let look_up = move || {
                let _permit = permit;
                resolver(name.as_str())
            };
            let found = spawn_blocking(look_up).await??;
            // One private address among public ones already shows intent or error: none is used.
            let check = if is_plain { check_plain_address } else { check_address };
            found.iter().try_for_each(|address| check(address.ip(), allow_private))?;
            Ok(found.into_iter())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HttpTransport, Options, SendError, Target, Transport, WebhookRequest};
    use bytes::Bytes;
    use parking_lot::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use tokio::task::JoinSet;
    use url::Url;

    fn transport(lookups: &PublicOnly) -> Arc<HttpTransport> {
        let options = Options { request_timeout_ms: 100, ..Options::default() };
        Arc::new(HttpTransport::resolving(&options, lookups.clone()).unwrap())
    }

    fn request() -> WebhookRequest {
        request_to("https://client.example.com/")
    }

    fn request_to(url: &str) -> WebhookRequest {
        WebhookRequest {
            target: Arc::new(Target::new(&Url::parse(url).unwrap())),
            id: "appt_7".into(),
            timestamp: 1_705_314_600,
            signature: "v1,abc".into(),
            body: Bytes::from_static(b"{}"),
        }
    }

    #[tokio::test]
    async fn a_name_with_a_private_address_among_public_ones_is_refused() {
        let addresses = ["8.8.8.8:0", "10.0.0.1:0"].map(|a| a.parse::<SocketAddr>().unwrap());
        let lookups = PublicOnly::asking(false, move |_| Ok(addresses.to_vec()));
        let options = Options::default();
        let transport = HttpTransport::resolving(&options, lookups).unwrap();
        let refused = transport.send(request()).await.unwrap_err();
        assert!(matches!(&refused, SendError::Refused(why) if why.contains("10.0.0.1")), "{refused}");
    }

    #[tokio::test]
    async fn plain_http_is_not_sent_to_a_name_that_leads_to_a_public_address() {
        // Nobody listens there: what is not refused before finds no connection.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://client.example.com:{closed}/");
        for (address, allow, refused) in
            [("8.8.8.8:0", true, true), ("127.0.0.1:0", true, false), ("127.0.0.1:0", false, true)]
        {
            let address: SocketAddr = address.parse().unwrap();
            let lookups = PublicOnly::asking(allow, move |_| Ok(vec![address]));
            let options = Options { allow_private_targets: allow, ..Options::default() };
            let transport = HttpTransport::resolving(&options, lookups).unwrap();
            let sent = transport.send(request_to(&url)).await.unwrap_err();
            let why = sent.to_string();
            assert_eq!(matches!(sent, SendError::Refused(_)), refused, "{address}: {why}");
            assert_eq!(why.contains("https://"), refused, "{why}");
        }
    }

    #[tokio::test]
    async fn a_resolver_that_does_not_answer_holds_few_threads_and_no_attempt_beyond_its_time() {
        let (release, dead) = mpsc::channel::<()>();
        let (dead, asked) = (Mutex::new(dead), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        let lookups = PublicOnly::asking(false, move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = dead.lock().recv();
            Err(io::ErrorKind::NotFound.into())
        });
        let transport = transport(&lookups);
        let mut attempts = JoinSet::new();
        for _ in 0..3 * AT_ONCE {
            let transport = transport.clone();
            attempts.spawn(async move { transport.send(request()).await });
        }
        assert!(attempts.join_all().await.iter().all(|sent| *sent == Err(SendError::Timeout)));
        // The attempts are over, their lookups are not: no more are begun.
        assert_eq!(lookups.permits.available_permits(), 0);
        assert_eq!(transport.send(request()).await, Err(SendError::Timeout));
        drop(release);
        let all = lookups.permits.acquire_many(AT_ONCE as u32).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), AT_ONCE, "who left the queue is not looked up");
        drop(all);
        assert!(matches!(transport.send(request()).await, Err(SendError::Connect(_))), "the next lookup is made");
    }
}
