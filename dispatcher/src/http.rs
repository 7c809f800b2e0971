//! The transport over the network.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use http::{Extensions, Method, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::Connected;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use leadway_domain::target::TargetError;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout_at};

use crate::connect::{Connector, connector};
use crate::heard::Heard;
use crate::lookup::PublicOnly;
use crate::readable::{location, unpacked};
use crate::{Answer, Error, Options, SendError, Transport, WebhookRequest};

/// How much of an answer's body is read.
const BODY_LIMIT: usize = 64 << 10;
/// Error texts are cut to this many characters.
const REASON_LIMIT: usize = 200;

/// Ours, and those that the client adds.
const HEADERS: usize = 9;

static WEBHOOK_SOURCE: HeaderName = HeaderName::from_static("x-webhook-source");
static WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
static WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
static WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

type Client = legacy::Client<Connector, Full<Bytes>>;

/// Posts webhooks with HTTP/1.1 or HTTP/2 over kept connections. It follows no redirect (a 3xx is an answer), uses no
/// proxy, and connects to no address that is not public unless the options allow it.
pub struct HttpTransport {
    client: Client,
    /// Keeps no connections: each request gets a new one.
    afresh: Client,
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
        let afresh = lenient().pool_max_idle_per_host(0).build(connector.clone());
        let client = lenient()
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(options.idle_connection_seconds))
            .build(connector);
        let (allow_private, timeout) = (options.allow_private_targets, options.request_timeout());
        Ok(Self { client, afresh, allow_private, timeout })
    }

    /// Posts once; a second time, at once and on a new connection, when a kept one was being closed just then. A request
    /// that may have been read is never repeated here, and one whose answer began neither.
    async fn post(&self, webhook: &Prepared) -> Result<Response<Incoming>, legacy::Error> {
        match self.client.request(webhook.request()).await {
            Err(error) if was_not_read(&error).await => self.afresh.request(webhook.request()).await,
            sent => sent,
        }
    }
}

/// A client that takes answers as old and odd servers write them (RFC 9112, 5.1 and 5.2).
fn lenient() -> legacy::Builder {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true);
    builder
}

/// What the connection of a failed request has heard; `None` when there was no connection.
fn heard(error: &legacy::Error) -> Option<Heard> {
    let mut extras = Extensions::new();
    error.connect_info()?.get_extras(&mut extras);
    extras.remove()
}

/// Whether a request on a kept connection failed because that connection was at its end.
async fn was_not_read(error: &legacy::Error) -> bool {
    let Some(heard) = heard(error) else { return false };
    if !error.connect_info().is_some_and(Connected::is_negotiated_h2) {
        return heard.was_not_read().await;
    }
    let h2 = causes(error).find_map(|cause| cause.downcast_ref::<h2::Error>());
    heard.is_reused() && h2.is_some_and(is_refused)
}

/// Whether the other side said that it did not look at the request (RFC 9113, 8.7). A GOAWAY is an error only of the
/// streams after the last one that it names; the others go on. A connection that just ended says nothing.
fn is_refused(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// A webhook as it is sent, however often: copies share everything.
struct Prepared {
    uri: Uri,
    id: HeaderValue,
    timestamp: i64,
    signature: HeaderValue,
    authorization: Option<HeaderValue>,
    body: Bytes,
}

impl Prepared {
    fn new(uri: Uri, webhook: WebhookRequest) -> Result<Self, http::Error> {
        let id = HeaderValue::from_maybe_shared(Bytes::from(webhook.id))?;
        let signature = HeaderValue::from_maybe_shared(Bytes::from(webhook.signature))?;
        let authorization = webhook.target.authorization().cloned();
        Ok(Self { uri, id, timestamp: webhook.timestamp, signature, authorization, body: webhook.body })
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("Convio-Appointment-Router/1.0"));
        headers.insert(WEBHOOK_SOURCE.clone(), HeaderValue::from_static("appointment-routing"));
        headers.insert(WEBHOOK_ID.clone(), self.id.clone());
        headers.insert(WEBHOOK_TIMESTAMP.clone(), HeaderValue::from(self.timestamp));
        headers.insert(WEBHOOK_SIGNATURE.clone(), self.signature.clone());
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let mut post = Request::new(Full::new(self.body.clone()));
        (*post.method_mut(), *post.uri_mut(), *post.headers_mut()) = (Method::POST, self.uri.clone(), headers);
        post
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: WebhookRequest) -> Result<Answer, SendError> {
        let deadline = Instant::now() + self.timeout;
        let target = request.target.clone();
        let uri = target.uri(self.allow_private)?.clone();
        let webhook = Prepared::new(uri, request).map_err(|e| SendError::Broken(e.to_string()))?;
        let response = match timeout_at(deadline, self.post(&webhook)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return unreadable(&error).ok_or_else(|| send_error(&error)),
            Err(_) => return Err(SendError::Timeout),
        };
        if response.version() == Version::HTTP_2
            && let Some(heard) = response.extensions().get::<Heard>()
        {
            heard.answered();
        }
        let (head, body) = response.into_parts();
        let text = |name| head.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).map(str::to_owned);
        let (retry_after, encoding) = (text(RETRY_AFTER), text(CONTENT_ENCODING));
        let location = head.status.is_redirection().then(|| location(&head.headers, target.url())).flatten();
        let body = unpacked(read_body(body, deadline).await, encoding.as_deref(), BODY_LIMIT);
        Ok(Answer { status: head.status.as_u16(), retry_after, location, body })
    }
}

/// The answer of which only the status line could be read. It tells what became of the appointment; that the rest is not
/// HTTP must not make an accepted appointment one that was never delivered.
fn unreadable(error: &legacy::Error) -> Option<Answer> {
    let status = heard(error)?.status()?;
    let body = Bytes::from(format!("(no more of the answer could be read: {})", reason(error)));
    Some(Answer { status, body, ..Answer::default() })
}

/// Reads the body until its end, the limit or the deadline. The status has told what became of the appointment, unless the
/// whole body says otherwise; so a slow or torn one does not make an accepted appointment a failed one.
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
    if let Some(refused) = causes(error).find_map(|cause| cause.downcast_ref::<TargetError>()) {
        return SendError::Refused(format!("the name {refused}"));
    }
    if error.is_connect() { SendError::Connect(reason(error)) } else { SendError::Broken(reason(error)) }
}

/// Only the innermost cause is told: the outer ones may repeat the URL, which may hold a token of the client's.
fn reason(error: &legacy::Error) -> String {
    let innermost = causes(error).last().map(ToString::to_string).unwrap_or_default();
    innermost.chars().take(REASON_LIMIT).collect()
}

/// An error and what caused it, the innermost last.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn StdError + 'static) = *error;
        error.source()
    })
}

#[cfg(test)]
mod tests;
