//! A small client system: receives appointments, verifies their signatures as any client would, and now and then fails.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use dashmap::DashMap;
use leadway_domain::Timestamp;
use parking_lot::Mutex;
use tokio::net::TcpListener;

/// What the client systems were sent.
#[derive(Clone)]
pub(crate) struct Receiver {
    address: SocketAddr,
    state: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    verifiers: DashMap<String, standardwebhooks::Webhook>,
    /// Appointments that were refused once, to be tried again.
    refused: Mutex<BTreeSet<u64>>,
    received: Mutex<Counts>,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Webhooks taken.
    pub(crate) taken: u64,
    /// Webhooks refused on purpose, to be sent again.
    pub(crate) refused: u64,
    /// Webhooks with a signature that did not verify.
    pub(crate) forged: u64,
}

impl Receiver {
    /// Listens on a free port of the loopback interface.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let receiver = Self { address: listener.local_addr()?, state: Arc::default() };
        let routes = Router::new().route("/{workspace}", post(receive)).with_state(receiver.state.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(receiver)
    }

    /// Where a workspace's appointments are to be posted.
    pub(crate) fn url(&self, workspace: &str) -> String {
        format!("http://{}/{workspace}", self.address)
    }

    /// Gives the client its signing secret.
    pub(crate) fn trust(&self, workspace: &str, secret: String) {
        if let Ok(verifier) = standardwebhooks::Webhook::new(&secret) {
            self.state.verifiers.insert(workspace.to_owned(), verifier);
        }
    }

    /// What happened so far.
    pub(crate) fn counts(&self) -> Counts {
        *self.state.received.lock()
    }
}

#[allow(clippy::print_stdout)] // the terminal is the demo's output
async fn receive(
    State(state): State<Arc<Shared>>,
    Path(workspace): Path<String>,
    headers: HeaderMap,
    body: bytes::Bytes,
) -> (StatusCode, &'static str) {
    let verified = state.verifiers.get(&workspace).is_some_and(|v| v.verify(&body, &headers).is_ok());
    if !verified {
        state.received.lock().forged += 1;
        return (StatusCode::UNAUTHORIZED, r#"{"error": "signature"}"#);
    }
    let appointment: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    // Every fifth appointment meets a client that is busy at the first attempt.
    let text = |field: &str| appointment.get(field).and_then(|v| v.as_str()).unwrap_or_default();
    let id = appointment.get("appointment_id").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let mut counts = state.received.lock();
    let busy = (counts.taken + counts.refused) % 5 == 4 && state.refused.lock().insert(id);
    if busy {
        counts.refused += 1;
        println!("  {id:>10}  ✗ {workspace} answers 503 (busy); it is tried again");
        return (StatusCode::SERVICE_UNAVAILABLE, r#"{"error": "busy"}"#);
    }
    counts.taken += 1;
    println!(
        "  {id:>10}  → {workspace}: {} in {}, {} after routing, signature verified",
        text("service_type"),
        text("customer_zip"),
        since(text("matched_at")),
    );
    (StatusCode::OK, r#"{"status": "received"}"#)
}

fn since(moment: &str) -> String {
    let now = leadway_domain::Clock::system().now();
    match moment.parse::<Timestamp>() {
        Ok(moment) => format!("{:.1} ms", now.duration_since(moment).as_secs_f64() * 1e3),
        Err(_) => "?".into(),
    }
}
