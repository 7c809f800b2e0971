//! Posts from pages of other web sites (CORS), for providers that allow these.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use leadway_domain::settings::Provider;
use leadway_eventlog::SettingsHandle;

use crate::auth;
use crate::head::Target;

/// What a page may send along.
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-encoding, content-type, idempotency-key, x-api-key, x-hub-signature-256, x-provider-id, \
     x-signature, x-webhook-signature, webhook-id, webhook-timestamp, webhook-signature",
);
const METHODS: HeaderValue = HeaderValue::from_static("POST, GET");
/// For so many seconds a browser need not ask again.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The web site whose page sends a request, if it may: at a webhook's address by that provider's leave, at the others by
/// any one's. Who it is for shows only with the key, which a browser's question does not carry.
pub(crate) fn allowed(head: &Parts, settings: &SettingsHandle) -> Option<HeaderValue> {
    let origin = head.headers.get(ORIGIN)?;
    let settings = settings.load();
    let text = origin.to_str().ok()?;
    let allows = |provider: &Provider| provider.is_active && provider.posting.allows_origin(text);
    let is_allowed = match Target::of_path(head.uri.path())? {
        Target::Webhook(name) => auth::candidates(&settings, name).any(|provider| allows(provider)),
        Target::Leads | Target::Appointments => settings.providers.values().any(|provider| allows(provider)),
    };
    is_allowed.then(|| origin.clone())
}

/// Whether a browser asks what it may send.
pub(crate) fn is_question(head: &Parts) -> bool {
    head.method == Method::OPTIONS && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to that.
pub(crate) fn leave() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}

/// Lets the page of that web site read an answer.
pub(crate) fn show(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    headers.append(VARY, HeaderValue::from_static("origin"));
}
