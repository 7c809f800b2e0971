//! How many reads one key may have under way: nobody keeps the others from the tables, nor fills the memory with answers.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use leadway_domain::problem::Problem;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::problem::Refusal;

/// Heavy reads of one key under way at once.
const HEAVY: usize = 2;
/// Light reads of one key under way at once.
const LIGHT: usize = 16;
/// Heavy reads of all keys under way at once.
const HEAVY_OF_ALL: usize = 16;
/// How long a read waits for others to end.
const WAIT: Duration = Duration::from_secs(1);
/// When to come back, in seconds.
const RETRY_AFTER: u64 = 2;
/// When so many keys are known, those that read nothing now are forgotten.
const KEYS: usize = 1_000;

/// Reads of few rows, or of what is in memory anyway. All others are heavy, so that none is light by oversight.
const LIGHT_PATHS: [&str; 15] = [
    "/api/appointments/{id}",
    "/api/appointments/{id}/events",
    "/api/commands/{id}",
    "/api/contacts/{id}",
    "/api/keys",
    "/api/keys/{id}",
    "/api/leads/{id}",
    "/api/products",
    "/api/products/{name}",
    "/api/providers",
    "/api/providers/{id}",
    "/api/quarantine/{provider_id}/{id}",
    "/api/routing-rules/{id}",
    "/api/workspaces",
    "/api/workspaces/{id}",
];

/// The reads under way.
pub(crate) struct Reads {
    of_keys: Mutex<HashMap<Uuid, Lanes>>,
    heavy_of_all: Arc<Semaphore>,
}

#[derive(Clone)]
struct Lanes {
    heavy: Arc<Semaphore>,
    light: Arc<Semaphore>,
}

impl Default for Reads {
    fn default() -> Self {
        Self { of_keys: Mutex::default(), heavy_of_all: Arc::new(Semaphore::new(HEAVY_OF_ALL)) }
    }
}

impl Reads {
    /// Carries a read out when there is room for it. It has its place until its answer was read to the end.
    pub(crate) async fn run(&self, account: Uuid, request: Request, next: Next) -> Response {
        // HEAD costs what GET costs. A path that leads nowhere costs nothing.
        let path = request.extensions().get::<MatchedPath>();
        let is_heavy = path.is_some_and(|path| is_heavy(path.as_str()));
        let lanes = self.of(account);
        let places = async {
            let own = if is_heavy { lanes.heavy } else { lanes.light }.acquire_owned().await.ok()?;
            let of_all = match is_heavy {
                true => Some(self.heavy_of_all.clone().acquire_owned().await.ok()?),
                false => None,
            };
            Some((own, of_all))
        };
        let Ok(Some(places)) = tokio::time::timeout(WAIT, places).await else {
            return Refusal(too_many(is_heavy)).into_response();
        };
        next.run(request).await.map(|body| Body::new(Placed { body, _places: places }))
    }

    fn of(&self, account: Uuid) -> Lanes {
        let mut of_keys = self.of_keys.lock();
        if of_keys.len() >= KEYS && !of_keys.contains_key(&account) {
            of_keys.retain(|_, lanes| lanes.is_used());
        }
        let lanes = || Lanes { heavy: Arc::new(Semaphore::new(HEAVY)), light: Arc::new(Semaphore::new(LIGHT)) };
        of_keys.entry(account).or_insert_with(lanes).clone()
    }
}

impl Lanes {
    /// Whether somebody has a place, or waits for one.
    fn is_used(&self) -> bool {
        Arc::strong_count(&self.heavy) > 1 || Arc::strong_count(&self.light) > 1
    }
}

/// Whether a read of this path is heavy.
pub(crate) fn is_heavy(path: &str) -> bool {
    !LIGHT_PATHS.contains(&path)
}

fn too_many(is_heavy: bool) -> Problem {
    let (count, what) = if is_heavy { (HEAVY, "lists, reports and exports") } else { (LIGHT, "reads") };
    let detail = format!("A key may have {count} {what} under way at once. Wait for them to end, then send it again.");
    Problem::too_many_requests(detail, RETRY_AFTER)
}

/// An answer that has its places until it was read.
struct Placed {
    body: Body,
    _places: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl http_body::Body for Placed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
