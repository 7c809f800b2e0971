//! Who calls, and what they may do.

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, Method, header};
use leadway_domain::problem::Problem;
use leadway_domain::settings::Role;

use crate::problem::{Refusal, forbidden};
use crate::state::Shared;

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
/// of a key looks the same, and comes before it is known whether anything is at the path. Keys are found by their
/// keyed hash, so that how long the search takes tells nothing about a key.
pub(crate) async fn require_key(State(portal): State<Shared>, mut request: Request, next: Next) -> Response {
    if !is_protected(request.uri().path()) {
        return next.run(request).await;
    }
    let account = bearer(request.headers()).and_then(|key| {
        let settings = portal.settings.load();
        settings.account_by_key(key).map(|a| (a.name.clone(), a.role))
    });
    let Some((name, role)) = account else { return Refusal(unauthorized()).into_response() };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if role == Role::Reader && !reads {
        return Refusal(forbidden()).into_response();
    }
    request.extensions_mut().insert(Actor(name));
    next.run(request).await
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
