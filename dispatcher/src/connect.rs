//! How connections to clients come about: a lookup, TCP, and TLS where the URL says so, all within one time.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::timeout;
use tower::{BoxError, Service};

use crate::heard::Listened;
use crate::lookup::PublicOnly;

/// A connection of which nothing is heard for so long is asked whether it still stands, a few times.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;

/// Makes connections for the pool.
#[derive(Clone)]
pub(crate) struct Connector {
    https: HttpsConnector<HttpConnector<PublicOnly>>,
    plain: HttpsConnector<HttpConnector<PublicOnly>>,
    limit: Duration,
}

/// A connector that looks names up with `lookups` and takes no longer than `limit`.
pub(crate) fn connector(tls: ClientConfig, lookups: PublicOnly, limit: Duration) -> Connector {
    let plain = over(tls.clone(), lookups.plain(), limit);
    Connector { https: over(tls, lookups, limit), plain, limit }
}

fn over(tls: ClientConfig, lookups: PublicOnly, limit: Duration) -> HttpsConnector<HttpConnector<PublicOnly>> {
    let mut tcp = HttpConnector::new_with_resolver(lookups);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    // Divided among the addresses of a name: one that does not answer leaves time for the next.
    tcp.set_connect_timeout(Some(limit));
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions();
    https.wrap_connector(tcp)
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Listened>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        ready!(self.plain.poll_ready(cx))?;
        self.https.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let is_plain = uri.scheme() == Some(&http::uri::Scheme::HTTP);
        let connector = if is_plain { &mut self.plain } else { &mut self.https };
        let connecting = timeout(self.limit, connector.call(uri));
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it took longer than connect_timeout_ms").into();
        let listened = |stream| TokioIo::new(Listened::new(stream));
        connecting.map(move |connected| connected.unwrap_or_else(|elapsed| Err(late(elapsed))).map(listened)).boxed()
    }
}
