//! The client systems: a server that counts what is delivered to it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use parking_lot::RwLock;

use crate::lead;
use crate::null::serve;
use crate::track::Track;

/// Deliveries to this path are answered after ten seconds.
pub(crate) const SLOW_PATH: &str = "/slow";
/// Deliveries to this path are refused while the sink is down.
pub(crate) const UNSURE_PATH: &str = "/unsure";
const SLOW: Duration = Duration::from_secs(10);

/// A running sink.
pub(crate) struct Sink {
    /// `http://host:port`.
    pub(crate) url: String,
    state: Arc<State>,
}

struct State {
    track: RwLock<Arc<Track>>,
    /// What comes to [`UNSURE_PATH`], where that is followed on its own.
    unsure: RwLock<Option<Arc<Track>>>,
    down: AtomicBool,
}

impl Sink {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let state = Arc::new(State {
            track: RwLock::new(Arc::new(Track::new(0, |_| true))),
            unsure: RwLock::new(None),
            down: AtomicBool::new(false),
        });
        let shared = state.clone();
        let address = serve(move |request| take(shared.clone(), request)).await?;
        Ok(Self { url: format!("http://{address}"), state })
    }

    /// What is delivered from now on belongs to this run.
    pub(crate) fn follow(&self, track: Arc<Track>) {
        *self.state.track.write() = track;
    }

    /// What is delivered to the client that may be down belongs to this run from now on.
    pub(crate) fn follow_unsure(&self, track: Arc<Track>) {
        *self.state.unsure.write() = Some(track);
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::Relaxed);
    }
}

async fn take(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let status = match body.collect().await {
        Ok(body) => state.delivered(head.uri.path(), &body.to_bytes()).await,
        Err(_) => StatusCode::BAD_REQUEST,
    };
    let mut response = Response::new(Full::new(Bytes::from_static(b"{\"status\":\"received\"}")));
    *response.status_mut() = status;
    Ok(response)
}

impl State {
    async fn delivered(&self, path: &str, body: &[u8]) -> StatusCode {
        if path == UNSURE_PATH && self.down.load(Ordering::Relaxed) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        if path == SLOW_PATH {
            tokio::time::sleep(SLOW).await;
        }
        let unsure = if path == UNSURE_PATH { self.unsure.read().clone() } else { None };
        let track = unsure.unwrap_or_else(|| self.track.read().clone());
        match lead::number_in(body) {
            Some(number) => track.delivered(number),
            None => return StatusCode::BAD_REQUEST,
        }
        StatusCode::OK
    }
}
