//! Headers that every answer has: what a browser that is led here must not do with it.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue};

/// Nothing may be loaded by what is no page.
const DATA: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// Pages have their scripts, styles and pictures from here; the API's page sets styles of its own as it runs.
const PAGE: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'",
);
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const DENY: HeaderValue = HeaderValue::from_static("DENY");
const TWO_YEARS: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// Adds what is missing. Answers are not kept by caches unless they say so themselves: most hold personal data.
pub(crate) fn complete(headers: &mut HeaderMap, tls_in_front: bool) {
    let is_page = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    headers.entry(REFERRER_POLICY).or_insert(NO_REFERRER);
    headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(if is_page { PAGE } else { DATA });
    if is_page {
        // For browsers that do not know frame-ancestors.
        headers.insert(X_FRAME_OPTIONS, DENY);
    }
    if tls_in_front {
        headers.insert(STRICT_TRANSPORT_SECURITY, TWO_YEARS);
    }
}
