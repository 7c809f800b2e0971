//! How a request reaches a client: the contract, so that tests can stand in for the network.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Uri};
use leadway_domain::secret::Secret;
use leadway_domain::target::{TargetError, check_plain, check_target};
use url::Url;

/// Where webhooks are posted: a URL, read and checked once for all attempts.
#[derive(Clone, Debug)]
pub struct Target {
    url: Url,
    /// `None` when HTTP cannot say it.
    uri: Option<Uri>,
    /// What the URL alone tells: whether it may be used at all, and whether it may lead to the public internet.
    usable: Result<(), TargetError>,
    public: Result<(), TargetError>,
    /// The value of `Authorization`; it is marked as not to be shown.
    authorization: Option<HeaderValue>,
}

impl Target {
    /// Reads and checks a URL.
    pub fn new(url: &Url) -> Self {
        Self::with_credentials(url, None)
    }

    /// The same for a host that asks for HTTP Basic authentication: `credentials` are `name:password`.
    pub fn with_credentials(url: &Url, credentials: Option<Secret>) -> Self {
        let check = |allow| check_target(url, allow).and_then(|()| check_plain(url, allow));
        let (usable, public) = (check(true), check(false));
        let authorization = credentials.and_then(|credentials| {
            let basic = format!("Basic {}", STANDARD.encode(credentials.expose()));
            let mut value = HeaderValue::from_maybe_shared(Bytes::from(basic)).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self { url: url.clone(), uri: url.as_str().parse().ok(), usable, public, authorization }
    }

    /// What `Authorization` says, if the host asks for it.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// The URL as it was given.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What a request line is made of; an error when nothing may be posted there. A name is not looked up yet: what it
    /// leads to is checked then.
    pub fn uri(&self, allow_private: bool) -> Result<&Uri, SendError> {
        let checked = if allow_private { &self.usable } else { &self.public };
        checked.as_ref().map_err(|e| SendError::Refused(format!("the URL {e}")))?;
        self.uri.as_ref().ok_or_else(|| SendError::Refused("the URL has characters that HTTP does not allow".into()))
    }
}

/// One attempt's request, ready to be posted. `Content-Type`, `User-Agent` and `X-Webhook-Source` are the same for all
/// and added by the transport.
#[derive(Clone, Debug)]
pub struct WebhookRequest {
    /// Where to.
    pub target: Arc<Target>,
    /// `webhook-id`: the same at every attempt.
    pub id: String,
    /// `webhook-timestamp`: this attempt's time in Unix seconds.
    pub timestamp: i64,
    /// `webhook-signature`.
    pub signature: String,
    /// JSON.
    pub body: Bytes,
}

/// What a client answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The header `Retry-After`, as it came.
    pub retry_after: Option<String>,
    /// Where a redirect points, as a whole address that people may read; it is not followed.
    pub location: Option<String>,
    /// Unpacked, at most the first 64 KiB of the body; less when the time was over before its end.
    pub body: Bytes,
}

/// Why there was no answer. The texts are short and hold nothing of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The client may not be reached from here.
    #[error("target refused: {0}")]
    Refused(String),
    /// No connection came about.
    #[error("no connection: {0}")]
    Connect(String),
    /// The time was over before an answer began.
    #[error("no answer in time")]
    Timeout,
    /// The connection ended before an answer began, or the answer is not HTTP.
    #[error("no valid answer: {0}")]
    Broken(String),
}

/// Posts requests. `send` ends within bounded time, whatever the client does, and dropping its future is safe.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Posts once: neither redirects nor failures are followed by another request.
    async fn send(&self, request: WebhookRequest) -> Result<Answer, SendError>;
}
