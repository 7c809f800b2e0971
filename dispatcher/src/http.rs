//! The transport over the network.

use std::error::Error as StdError;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use leadway_domain::target::{TargetError, check_target};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::{Certificate, Client, Response};
use tokio::time::{Instant, timeout_at};

use crate::lookup::PublicOnly;
use crate::{Answer, Error, Options, SendError, Transport, WebhookRequest};

/// How much of an answer's body is read.
const BODY_LIMIT: usize = 64 << 10;
/// Error texts are cut to this many characters.
const REASON_LIMIT: usize = 200;

/// Posts webhooks with HTTP/1.1 or HTTP/2 over kept connections. It follows no redirect (a 3xx is an answer), uses no
/// proxy, and connects to no address that is not public unless the options allow it.
pub struct HttpTransport {
    client: Client,
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
        // reqwest asks for the process's provider of cryptography. Whoever installed one before us wins: both serve.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("Convio-Appointment-Router/1.0"));
        headers.insert("x-webhook-source", HeaderValue::from_static("appointment-routing"));
        let mozilla = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|der| Certificate::from_der(der).ok());
        let client = Client::builder()
            .tls_certs_merge(mozilla)
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(options.connect_timeout())
            .pool_idle_timeout(Duration::from_secs(options.idle_connection_seconds))
            .dns_resolver(lookups)
            .build()
            .map_err(|e| Error::Client(root_cause(&e).to_string()))?;
        Ok(Self { client, allow_private: options.allow_private_targets, timeout: options.request_timeout() })
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: WebhookRequest) -> Result<Answer, SendError> {
        // Lookups see names only: an address in the URL is checked here.
        check_target(&request.url, self.allow_private).map_err(|e| SendError::Refused(format!("the URL {e}")))?;
        let deadline = Instant::now() + self.timeout;
        let post = self
            .client
            .post(request.url)
            .header("webhook-id", request.id)
            .header("webhook-timestamp", request.timestamp)
            .header("webhook-signature", request.signature)
            .body(request.body);
        let response = match timeout_at(deadline, post.send()).await {
            Ok(sent) => sent.map_err(send_error)?,
            Err(_) => return Err(SendError::Timeout),
        };
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).map(str::to_owned);
        Ok(Answer { status, retry_after, body: read_body(response, deadline).await })
    }
}

/// Reads the body until its end, the limit or the deadline. The status has told what became of the appointment; the body
/// is only kept for people to read, so that a slow or torn one does not make an accepted appointment a failed one.
async fn read_body(mut response: Response, deadline: Instant) -> Bytes {
    let mut body = BytesMut::new();
    while body.len() < BODY_LIMIT {
        match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None) | Err(_)) | Err(_) => break,
        }
    }
    body.truncate(BODY_LIMIT);
    body.freeze()
}

fn send_error(error: reqwest::Error) -> SendError {
    let cause = root_cause(&error);
    if let Some(refused) = cause.downcast_ref::<TargetError>() {
        return SendError::Refused(format!("the name {refused}"));
    }
    // Only the innermost cause is told: the outer ones repeat the URL, which may hold a token of the client's.
    let reason: String = cause.to_string().chars().take(REASON_LIMIT).collect();
    if error.is_connect() {
        SendError::Connect(reason)
    } else if error.is_timeout() {
        SendError::Timeout
    } else {
        SendError::Broken(reason)
    }
}

fn root_cause<'a>(error: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause
}
