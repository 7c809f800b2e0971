//! Who is posting: the provider's key, or its signature.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use leadway_domain::Timestamp;
use leadway_domain::settings::{Provider, Settings, Signing};

use crate::head::{self, Target};
use crate::refusal::Refusal;
use crate::signature::{self, Stamp};

static API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What is known of the sender before the body is read.
pub(crate) enum Sender {
    /// Its key proved who it is.
    Known(Arc<Provider>),
    /// It signed the body as sent, packed or not, and nothing else: one of the signatures is to be its HMAC-SHA256.
    SignedBody { named: Arc<Provider>, signatures: Vec<[u8; 32]> },
    /// It signed id, time and body, as Standard Webhooks says.
    SignedMessage { named: Arc<Provider>, stamp: Stamp },
}

/// A sender that is proven, and what makes its request the same as another.
pub(crate) struct Proven {
    pub(crate) provider: Arc<Provider>,
    pub(crate) identity: Identity,
}

/// What names a request, beside what stands in it.
pub(crate) enum Identity {
    /// The header `Idempotency-Key`, if it is sent.
    Header,
    /// The `webhook-id` that was signed.
    Id(String),
    /// Nothing: only the body was signed, so that whoever saw the request could send it again under another key.
    ContentAlone,
}

impl Sender {
    /// By the first that is not empty of: `X-Api-Key`, `Authorization: Bearer`, the password of `Authorization: Basic`, the
    /// query's `key` or `api_key`, the signature of Standard Webhooks, a signature of the body.
    ///
    /// What no body could make valid is refused here: anybody can send a signature, and a body takes memory and time.
    pub(crate) fn of(head: &Parts, target: Target<'_>, settings: &Settings, now: Timestamp) -> Result<Self, Refusal> {
        let known = |key: &str| by_key(settings, target, key, now).map(Self::Known);
        if let Some(key) = key_in_headers(&head.headers) {
            return known(key);
        }
        if let Some(password) = password(&head.headers) {
            return known(&password);
        }
        if let Some(key) = key_in_query(head) {
            return known(&key);
        }
        if let Some(stamp) = Stamp::of(&head.headers) {
            let named = signer(settings, named(head, target), Signing::StandardWebhooks);
            let named = named.filter(|_| stamp.is_of(now)).ok_or(Refusal::Unauthorized)?;
            return Ok(Self::SignedMessage { named, stamp });
        }
        let signatures = signature::of_body(&head.headers);
        let named = signer(settings, named(head, target), Signing::LegacyBody);
        let named = named.filter(|_| !signatures.is_empty()).ok_or(Refusal::Unauthorized)?;
        Ok(Self::SignedBody { named, signatures })
    }

    /// The sender for certain, now that the body is there.
    pub(crate) fn prove(
        self,
        head: &Parts,
        target: Target<'_>,
        settings: &Settings,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Proven, Refusal> {
        let signed = |way: Signing, parts: &[&[u8]], signatures: &[[u8; 32]]| {
            let name = named(head, target);
            active(find(settings, name, |provider| {
                let asked_for = provider.credentials.signing == way;
                // Reckoned in any case, so that the answer takes as long for each provider.
                let proven = settings.verifiers(&provider.id).is_some_and(|v| v.prove(parts, signatures, now));
                asked_for & proven
            }))
        };
        match self {
            Self::Known(provider) => Ok(Proven { provider, identity: Identity::Header }),
            Self::SignedBody { signatures, .. } => {
                let provider = signed(Signing::LegacyBody, &[body], &signatures)?;
                Ok(Proven { provider, identity: Identity::ContentAlone })
            }
            Self::SignedMessage { stamp, .. } => {
                let before = stamp.before_body();
                let provider = signed(Signing::StandardWebhooks, &[before.as_bytes(), body], &stamp.signatures)?;
                Ok(Proven { provider, identity: Identity::Id(stamp.id) })
            }
        }
    }
}

/// Whether a request brings a key, right or wrong.
pub(crate) fn has_key(head: &Parts) -> bool {
    key_in_headers(&head.headers).is_some() || password(&head.headers).is_some() || key_in_query(head).is_some()
}

fn key_in_query(head: &Parts) -> Option<Cow<'_, str>> {
    let query = head.uri.query()?.as_bytes();
    let is_key = |name: &str, value: &str| head::is_key(name) && !value.is_empty();
    let (_, key) = form_urlencoded::parse(query).find(|(name, value)| is_key(name, value))?;
    Some(key)
}

/// The password of `Authorization: Basic`; without one the user, where some software puts the key.
fn password(headers: &HeaderMap) -> Option<String> {
    let (scheme, credentials) = headers.get(&AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let credentials = scheme.eq_ignore_ascii_case("basic").then(|| credentials.trim().trim_end_matches('='))?;
    let text = String::from_utf8(STANDARD_NO_PAD.decode(credentials).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    [password, user].into_iter().map(str::trim).find(|key| !key.is_empty()).map(str::to_owned)
}

fn key_in_headers(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let bearer = || {
        let (scheme, key) = text(&AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    };
    let is_there = |key: &&str| !key.is_empty();
    text(&API_KEY).filter(is_there).or_else(|| bearer().filter(is_there))
}

/// The provider that `key` belongs to; at a webhook's address only that webhook's own.
fn by_key(settings: &Settings, target: Target<'_>, key: &str, now: Timestamp) -> Result<Arc<Provider>, Refusal> {
    let found = match target {
        Target::Webhook(name) => {
            let presented = settings.seals().presented(key);
            find(settings, name, |provider| provider.has_key(&presented, now))
        }
        Target::Leads | Target::Appointments => settings.provider_by_key(key, now),
    };
    active(found)
}

/// Whom a signed request names: the webhook's own provider, or at the other addresses the one of `X-Provider-Id`.
fn named<'r>(head: &'r Parts, target: Target<'r>) -> &'r str {
    match target {
        Target::Webhook(name) => name,
        Target::Leads | Target::Appointments => {
            let header = head.headers.get("x-provider-id").and_then(|value| value.to_str().ok());
            header.map(str::trim).unwrap_or_default()
        }
    }
}

/// A provider that `name` may mean and that signs this way.
fn signer(settings: &Settings, name: &str, way: Signing) -> Option<Arc<Provider>> {
    candidates(settings, name).find(|provider| provider.credentials.signing == way).cloned()
}

/// The provider called `name`, with or without the prefix `provider-`, that `proves` takes.
fn find<'s>(settings: &'s Settings, name: &str, proves: impl Fn(&Provider) -> bool) -> Option<&'s Arc<Provider>> {
    let mut known = candidates(settings, name).peekable();
    if known.peek().is_none()
        && let Some((_, other)) = settings.providers.get_min()
    {
        // An unknown provider costs the time of a wrong key.
        proves(other);
    }
    known.find(|provider| proves(provider))
}

/// The providers that `name` may mean.
pub(crate) fn candidates<'s>(settings: &'s Settings, name: &str) -> impl Iterator<Item = &'s Arc<Provider>> {
    let names = [name.strip_prefix("provider-"), Some(name)];
    names.into_iter().flatten().filter_map(|id| settings.providers.get(id))
}

fn active(found: Option<&Arc<Provider>>) -> Result<Arc<Provider>, Refusal> {
    match found {
        None => Err(Refusal::Unauthorized),
        Some(provider) if !provider.is_active => Err(Refusal::Inactive),
        Some(provider) => Ok(Arc::clone(provider)),
    }
}
