//! Listeners and the accept loop: HTTP/1.1 and HTTP/2 (prior knowledge) on one port.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use leadway_config::HttpOptions;
use leadway_domain::problem::{PROBLEM_JSON, Problem};
use leadway_domain::telemetry;
use leadway_ingest::Ingest;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::aside::Aside;

/// Longest time of one request to the API, its body included.
const API_TIMEOUT: Duration = Duration::from_secs(60);

/// What one listener serves.
#[derive(Clone)]
pub struct Front {
    /// The paths of providers.
    pub ingest: Option<Ingest>,
    /// Every other path.
    pub rest: axum::Router,
}

/// Providers' answers are plain bytes; the others may be anything.
type Answer = Response<Either<Full<Bytes>, Body>>;

impl Front {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        match &self.ingest {
            Some(ingest) if Ingest::serves(request.uri().path()) => ingest.handle(request).await.map(Either::Left),
            _ => match tokio::time::timeout(API_TIMEOUT, self.rest.clone().oneshot(request.map(Body::new))).await {
                Ok(Ok(answer)) => answer.map(Either::Right),
                Ok(Err(never)) => match never {},
                Err(_) => too_slow().map(Either::Left),
            },
        }
    }
}

fn too_slow() -> Response<Full<Bytes>> {
    let detail = format!("The request did not end within {} seconds. Send it again.", API_TIMEOUT.as_secs());
    let problem = Problem::new(408, "timeout", "The request took too long", detail);
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    response
}

/// Accepts connections until `stop`, then closes the listener and lets requests under way finish, for `drain` at most.
pub async fn serve(
    listener: TcpListener,
    front: Front,
    options: HttpOptions,
    drain: Duration,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(options.max_connections));
    let mut connections = JoinSet::new();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let header_timeout = Duration::from_millis(options.header_timeout_ms);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).half_close(true);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(options.http2_max_streams);
    while let Some((stream, permit)) = stop.run_until_cancelled(accept(&listener, &permits)).await {
        while connections.try_join_next().is_some() {}
        let activity = Activity::new(header_timeout, Duration::from_millis(options.idle_timeout_ms));
        let connection = serve_connection(stream, front.clone(), builder.clone(), activity, stop.clone());
        connections.spawn(async move {
            metrics::gauge!(telemetry::HTTP_CONNECTIONS).increment(1);
            connection.await;
            metrics::gauge!(telemetry::HTTP_CONNECTIONS).decrement(1);
            drop(permit);
        });
    }
    drop((listener, front));
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, finished).await.is_err() {
        tracing::warn!(?drain, "requests still under way at the end of the drain are cut off");
        connections.shutdown().await;
    }
}

async fn serve_connection(
    stream: TcpStream,
    front: Front,
    builder: auto::Builder<TokioExecutor>,
    activity: Activity,
    stop: CancellationToken,
) {
    // One for all requests of the connection: what all connections share is not touched for each.
    let parts = Arc::new((front, activity));
    let (_, activity) = &*parts;
    let shared = Arc::clone(&parts);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move {
            let (front, activity) = &*shared;
            let _under_way = activity.request();
            Ok::<_, Infallible>(front.answer(request).await)
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut closing = false;
    loop {
        let disturbance = pin!(disturbance(activity, &stop, closing));
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            disturbed = Aside::new(disturbance) => match disturbed {
                Disturbance::Stop => {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                }
                Disturbance::Idle => return,
            }
        }
    }
}

/// What ends a connection that its client keeps.
enum Disturbance {
    /// The node stops.
    Stop,
    /// Nobody holds a place without asking for anything.
    Idle,
}

async fn disturbance(activity: &Activity, stop: &CancellationToken, stopping: bool) -> Disturbance {
    loop {
        tokio::select! {
            () = stop.cancelled(), if !stopping => return Disturbance::Stop,
            () = sleep_until(activity.deadline()) => {
                if activity.deadline() <= Instant::now() {
                    return Disturbance::Idle;
                }
            }
        }
    }
}

/// When a connection last had a request.
struct Activity(Mutex<Requests>);

struct Requests {
    under_way: usize,
    /// When it is closed if no request begins until then.
    deadline: Instant,
    idle: Duration,
}

/// A request under way; it ends when this is dropped.
struct UnderWay<'a>(&'a Activity);

impl Activity {
    fn new(first: Duration, idle: Duration) -> Self {
        Self(Mutex::new(Requests { under_way: 0, deadline: Instant::now() + first, idle }))
    }

    fn request(&self) -> UnderWay<'_> {
        self.0.lock().under_way += 1;
        UnderWay(self)
    }

    /// When the connection is to be closed; later and later while a request is under way.
    fn deadline(&self) -> Instant {
        let requests = self.0.lock();
        if requests.under_way > 0 { Instant::now() + requests.idle } else { requests.deadline }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut requests = self.0.0.lock();
        requests.under_way -= 1;
        requests.deadline = Instant::now() + requests.idle;
    }
}

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            std::future::pending::<()>().await;
            continue;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and wait for nobody.
                let _ = stream.set_nodelay(true);
                return (stream, permit);
            }
            Err(error) => {
                // Out of file descriptors, mostly: connections that end make room.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
