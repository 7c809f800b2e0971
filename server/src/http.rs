//! Listeners and the accept loop: HTTP/1.1 and HTTP/2 (prior knowledge) on one port.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use leadway_config::HttpOptions;
use leadway_domain::telemetry;
use leadway_ingest::Ingest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// What one listener serves.
#[derive(Clone)]
pub struct Front {
    /// The paths of providers.
    pub ingest: Option<Ingest>,
    /// Every other path.
    pub rest: axum::Router,
}

impl Front {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        match self.ingest {
            Some(ingest) if Ingest::serves(request.uri().path()) => Ok(ingest.handle(request).await.map(Body::new)),
            _ => self.rest.oneshot(request.map(Body::new)).await,
        }
    }
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
    let connections = GracefulShutdown::new();
    let header_timeout = Duration::from_millis(options.header_timeout_ms);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).half_close(true);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(options.http2_max_streams);
    loop {
        let (stream, permit) = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = stop.cancelled() => break,
        };
        let (front, builder, watcher) = (front.clone(), builder.clone(), connections.watcher());
        tokio::spawn(async move {
            // Nobody holds a place without saying a word.
            if !matches!(tokio::time::timeout(header_timeout, stream.readable()).await, Ok(Ok(()))) {
                return;
            }
            metrics::gauge!(telemetry::HTTP_CONNECTIONS).increment(1);
            let service = service_fn(move |request| front.clone().answer(request));
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, "a connection ended early");
            }
            metrics::gauge!(telemetry::HTTP_CONNECTIONS).decrement(1);
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(drain, connections.shutdown()).await.is_err() {
        tracing::warn!(?drain, "requests still under way at the end of the drain are cut off");
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
