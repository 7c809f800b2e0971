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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::activity::{Activity, Heard, Limits};
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
    let limits = Limits {
        head: Duration::from_millis(options.header_timeout_ms),
        idle: Duration::from_millis(options.idle_timeout_ms),
    };
    // hyper would start and cancel a timer for the head of each request: the connection's own one sees to that.
    builder.http1().header_read_timeout(None).half_close(true);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(options.http2_max_streams);
    while let Some((stream, permit)) = stop.run_until_cancelled(accept(&listener, &permits)).await {
        while connections.try_join_next().is_some() {}
        let connection = serve_connection(stream, front.clone(), builder.clone(), limits, stop.clone());
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
    limits: Limits,
    stop: CancellationToken,
) {
    let activity = Arc::new(Activity::new(limits));
    let stream = TokioIo::new(Heard::new(stream, Arc::clone(&activity)));
    // One for all requests of the connection: what all connections share is not touched for each.
    let shared = Arc::new((front, Arc::clone(&activity)));
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move {
            let (front, activity) = &*shared;
            let _under_way = activity.request(request.version());
            Ok::<_, Infallible>(front.answer(request).await)
        }
    });
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut closing = false;
    loop {
        let disturbance = pin!(disturbance(&activity, &stop, closing));
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
    /// It asks for nothing.
    Idle,
}

async fn disturbance(activity: &Activity, stop: &CancellationToken, stopping: bool) -> Disturbance {
    tokio::select! {
        () = stop.cancelled(), if !stopping => Disturbance::Stop,
        () = activity.ended() => Disturbance::Idle,
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
