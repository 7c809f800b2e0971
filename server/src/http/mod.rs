//! Listeners: HTTP/1.1 and HTTP/2 (prior knowledge) on one port, and what bounds their clients.
//!
//! `accept` gives connections their places, `connection` takes their requests, `held` bounds the memory that all of
//! them hold until the answers are read, `activity` ends connections that ask for nothing or do not read, and
//! `wrong_keys` slows down who tries keys.

mod accept;
mod activity;
mod aside;
mod body;
mod connection;
mod headers;
mod held;
mod host;
mod origin;
mod places;
mod under_way;
mod wrong_keys;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Either;
use hyper::body::Incoming;
use leadway_config::HttpOptions;
use leadway_domain::problem::{PROBLEM_JSON, Problem};
use leadway_ingest::Ingest;
use tower::ServiceExt;

pub use accept::serve;
use body::Plain;
pub use held::Bounds;

/// Longest time until the API begins to answer a request, its body included.
const API_TIMEOUT: Duration = Duration::from_secs(60);

/// What one listener serves.
#[derive(Clone)]
pub struct Front {
    /// The paths of providers.
    pub ingest: Option<Ingest>,
    /// Every other path.
    pub rest: axum::Router,
    /// The bounds of its clients.
    pub options: Arc<HttpOptions>,
}

/// Who answers a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Providers,
    Api,
    /// Pages, descriptions and what operators' tools ask.
    Other,
}

impl Service {
    fn name(self) -> &'static str {
        if self == Self::Providers { "ingest" } else { "api" }
    }

    /// Whether such an answer is given only to those who brought a valid key.
    fn has_checked_a_key(self, status: StatusCode) -> bool {
        let after_the_key = matches!(status.as_u16(), 403 | 409 | 422);
        self != Self::Other && (status.is_success() || after_the_key)
    }
}

impl Front {
    fn service(&self, path: &str) -> Service {
        if self.ingest.is_some() && Ingest::serves(path) {
            Service::Providers
        } else if path.starts_with("/api/") {
            Service::Api
        } else {
            Service::Other
        }
    }

    async fn answer(&self, service: Service, request: Request<Incoming>) -> Response<Plain> {
        if let (Service::Providers, Some(ingest)) = (service, &self.ingest) {
            return ingest.handle(request).await.map(Either::Left);
        }
        match tokio::time::timeout(API_TIMEOUT, self.rest.clone().oneshot(request.map(Body::new))).await {
            Ok(Ok(answer)) => answer.map(Either::Right),
            Ok(Err(never)) => match never {},
            Err(_) => too_slow(),
        }
    }
}

fn too_slow() -> Response<Plain> {
    let detail = format!("The request did not end within {} seconds. Send it again.", API_TIMEOUT.as_secs());
    problem(&Problem::new(408, "timeout", "The request took too long", detail))
}

fn problem(problem: &Problem) -> Response<Plain> {
    let body = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(connection::plain(body));
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
