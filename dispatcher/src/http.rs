//! The transport over the network.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use leadway_domain::target::TargetError;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout_at};

use crate::connect::{Connector, connector};
use crate::lookup::PublicOnly;
use crate::{Answer, Error, Options, SendError, Transport, WebhookRequest};

/// How much of an answer's body is read.
const BODY_LIMIT: usize = 64 << 10;
/// Error texts are cut to this many characters.
const REASON_LIMIT: usize = 200;

/// Ours, and those that the client adds.
const HEADERS: usize = 8;

static WEBHOOK_SOURCE: HeaderName = HeaderName::from_static("x-webhook-source");
static WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
static WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
static WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Posts webhooks with HTTP/1.1 or HTTP/2 over kept connections. It follows no redirect (a 3xx is an answer), uses no
/// proxy, and connects to no address that is not public unless the options allow it.
pub struct HttpTransport {
    client: legacy::Client<Connector, Full<Bytes>>,
    allow_private: bool,
    timeout: Duration,
}

impl HttpTransport {
    /// Makes the client and its pool of connections. It trusts the system's root certificates and, so that it also works
    /// where there are none (a bare container), Mozilla's, which come along.
    pub fn new(options: &Options) -> Result<Self, Error> {
        Self::resolving(options, PublicOnly::new(options.allow_private_targets))
    }

    pub(crate) fn resolving(options: &Options, lookups: PublicOnly) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self::trusting(options, lookups, roots)
    }

    fn trusting(options: &Options, lookups: PublicOnly, roots: RootCertStore) -> Result<Self, Error> {
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::Client(e.to_string()))?;
        let tls = tls.with_root_certificates(roots).with_no_client_auth();
        let connector = connector(tls, lookups, options.connect_timeout());
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(options.idle_connection_seconds))
            .build(connector);
        let (allow_private, timeout) = (options.allow_private_targets, options.request_timeout());
        Ok(Self { client, allow_private, timeout })
    }
}

fn post(uri: Uri, webhook: WebhookRequest) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("Convio-Appointment-Router/1.0"));
    headers.insert(WEBHOOK_SOURCE.clone(), HeaderValue::from_static("appointment-routing"));
    headers.insert(WEBHOOK_ID.clone(), HeaderValue::from_maybe_shared(Bytes::from(webhook.id))?);
    headers.insert(WEBHOOK_TIMESTAMP.clone(), HeaderValue::from(webhook.timestamp));
    headers.insert(WEBHOOK_SIGNATURE.clone(), HeaderValue::from_maybe_shared(Bytes::from(webhook.signature))?);
    let mut post = Request::new(Full::new(webhook.body));
    (*post.method_mut(), *post.uri_mut(), *post.headers_mut()) = (Method::POST, uri, headers);
    Ok(post)
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: WebhookRequest) -> Result<Answer, SendError> {
        let deadline = Instant::now() + self.timeout;
        let uri = request.target.uri(self.allow_private)?.clone();
        let post = post(uri, request).map_err(|e| SendError::Broken(e.to_string()))?;
        let response = match timeout_at(deadline, self.client.request(post)).await {
            Ok(sent) => sent.map_err(|e| send_error(&e))?,
            Err(_) => return Err(SendError::Timeout),
        };
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).map(str::to_owned);
        Ok(Answer { status, retry_after, body: read_body(response.into_body(), deadline).await })
    }
}

/// Reads the body until its end, the limit or the deadline. The status has told what became of the appointment; the body
/// is only kept for people to read, so that a slow or torn one does not make an accepted appointment a failed one.
async fn read_body(mut incoming: Incoming, deadline: Instant) -> Bytes {
    let mut body = BytesMut::new();
    while body.len() < BODY_LIMIT {
        match timeout_at(deadline, incoming.frame()).await {
            Ok(Some(Ok(frame))) => body.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default()),
            Ok(None | Some(Err(_))) | Err(_) => break,
        }
    }
    body.truncate(BODY_LIMIT);
    body.freeze()
}

fn send_error(error: &legacy::Error) -> SendError {
    let cause = root_cause(error);
    if let Some(refused) = cause.downcast_ref::<TargetError>() {
        return SendError::Refused(format!("the name {refused}"));
    }
    // Only the innermost cause is told: the outer ones may repeat the URL, which may hold a token of the client's.
    let reason: String = cause.to_string().chars().take(REASON_LIMIT).collect();
    if error.is_connect() { SendError::Connect(reason) } else { SendError::Broken(reason) }
}

fn root_cause<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause
}

#[cfg(test)]
mod tests;
