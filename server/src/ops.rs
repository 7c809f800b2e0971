//! What operators and their tools ask a node: `/metrics`, `/healthz`, `/readyz`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use leadway_domain::problem::{PROBLEM_JSON, Problem};
use leadway_domain::telemetry::READY;
use leadway_eventlog::SettingsHandle;
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use serde::Serialize;

use crate::telemetry;

/// Which components are ready; shared by those who know and those who ask.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, State>>>);

/// How a component is, as `/readyz` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum State {
    Ready(bool),
    /// It does not run here, and is not to: in words.
    Off(&'static str),
}

impl Readiness {
    /// Notes that a component is ready, or is not.
    pub fn set(&self, component: &'static str, ready: bool) {
        self.0.lock().insert(component, State::Ready(ready));
        metrics::gauge!(READY, "component" => component).set(f64::from(u8::from(ready)));
    }

    /// Notes that a component does not run here on purpose, and why: it keeps the node from nothing.
    pub fn off(&self, component: &'static str, why: &'static str) {
        self.0.lock().insert(component, State::Off(why));
    }

    /// Whether every component that was named is ready.
    pub fn all(&self) -> bool {
        self.0.lock().values().all(|state| *state != State::Ready(false))
    }

    fn by_name(&self) -> BTreeMap<&'static str, State> {
        self.0.lock().clone()
    }
}

/// `/healthz` answers as long as the process does; `/readyz` tells whether to send traffic.
pub fn health(readiness: Readiness) -> Router {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(readyz)).with_state(readiness)
}

/// Whether the path is one of [`health`].
pub(crate) fn is_health(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// `/metrics`.
pub fn metrics(prometheus: PrometheusHandle, settings: SettingsHandle) -> Router {
    Router::new().route("/metrics", get(render).with_state((prometheus, settings)))
}

/// Answers every path with 404, for a listener that serves only a part.
pub fn nothing_else() -> Router {
    Router::new().fallback(async || {
        let problem = Problem::not_found("This address serves only a part of leadway; see http in its settings.");
        (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, PROBLEM_JSON)], Json(problem).into_response().into_body())
    })
}

async fn readyz(extract::State(readiness): extract::State<Readiness>) -> impl IntoResponse {
    let status = if readiness.all() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness.by_name()))
}

async fn render(
    extract::State((prometheus, settings)): extract::State<(PrometheusHandle, SettingsHandle)>,
) -> impl IntoResponse {
    let shown = telemetry::without_deleted(&prometheus.render(), &settings.load());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shown)
}
