//! Who calls, and what they may do.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use leadway_domain::problem::Problem;
use leadway_domain::settings::{Account, Role, Settings};
use leadway_eventlog::SettingsHandle;

use crate::problem::{Refusal, forbidden};
use crate::state::Shared;

/// Says that the answer to a read may be old, and why.
const STALE: HeaderName = HeaderName::from_static("x-leadway-stale");
const FULL: HeaderValue = HeaderValue::from_static("the tables are full");

/// The account that makes a request; its name goes into the log of changes.
#[derive(Clone, Debug)]
pub(crate) struct Actor(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| unauthorized().into())
    }
}

/// Lets requests under `/api` through when they bring the key of an account that may make them. Every refusal for want
/// of a key looks the same, and comes before it is known whether anything is at the path.
pub(crate) async fn require_key(State(portal): State<Shared>, mut request: Request, next: Next) -> Response {
    if !is_protected(request.uri().path()) {
        return next.run(request).await;
    }
    let account = account(&portal.settings.load(), request.headers());
    let Some(account) = account else { return Refusal(unauthorized()).into_response() };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if account.role == Role::Reader && !reads {
        return Refusal(forbidden()).into_response();
    }
    if !reads && portal.writes.are_stopped() {
        return Refusal(foreign_log()).into_response();
    }
    request.extensions_mut().insert(Actor(account.name.clone()));
    if !reads {
        return next.run(request).await;
    }
    let mut response = portal.reads.run(account.id, request, next).await;
    if portal.tables.are_full() {
        response.headers_mut().insert(STALE, FULL);
    }
    response
}

/// Serves these reads, which are not the portal's own, to whoever brings the key of an API account, a reader's at least.
pub fn behind_key(routes: Router, settings: SettingsHandle) -> Router {
    routes.layer(from_fn_with_state(settings, any_key))
}

async fn any_key(State(settings): State<SettingsHandle>, request: Request, next: Next) -> Response {
    let account = account(&settings.load(), request.headers());
    if account.is_some() { next.run(request).await } else { Refusal(unauthorized()).into_response() }
}

/// The account whose key a request brings. Keys are found by their keyed hash, so that how long the search takes
/// tells nothing about a key.
fn account(settings: &Settings, headers: &HeaderMap) -> Option<Arc<Account>> {
    settings.account_by_key(bearer(headers)?).cloned()
}

fn foreign_log() -> Problem {
    let detail = "The log of this node is not the one it was started with, so that nothing can be recorded. Nothing was changed. \
                  The node's log says what is wrong; when it is put right, start the node again.";
    Problem::unavailable(detail, 60)
}

fn is_protected(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

fn unauthorized() -> Problem {
    Problem::unauthorized("Send the key of an API account as Authorization: Bearer <key>.")
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}
