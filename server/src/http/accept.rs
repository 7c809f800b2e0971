//! The accept loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use leadway_config::HttpOptions;
use leadway_domain::telemetry;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Front;
use super::activity::{Activity, Limits};
use super::connection::{self, Connection};
use super::held::Bounds;
use super::places::Places;

/// How much of an answer, and of a request's head, HTTP/1 buffers for a connection; HTTP/2, of an answer for a stream.
const BUFFER: usize = 64 << 10;
/// How much of a request's body HTTP/2 takes for a stream, and for a connection, before somebody reads it.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 128 << 10;
/// While all places are taken and none of them is idle, it is looked again after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often the log tells of connections that are closed because their address has too many.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Accepts connections until `stop`, then closes the listener and lets requests under way finish, for `drain` at most.
pub async fn serve(listener: TcpListener, front: Front, bounds: Arc<Bounds>, drain: Duration, stop: CancellationToken) {
    let options = Arc::clone(&front.options);
    let builder = builder(&options);
    let limits = Limits {
        head: Duration::from_millis(options.header_timeout_ms),
        idle: Duration::from_millis(options.idle_timeout_ms),
        write: Duration::from_millis(options.write_timeout_ms),
    };
    let mut open = Connections { tasks: JoinSet::new(), places: Places::new(&options), told: None };
    while let Some((stream, peer)) = open.next(&listener, &stop).await {
        let origin = match open.places.admit(peer.ip()) {
            Ok(origin) => origin,
            Err(origin) => {
                open.tell_of(&origin.to_string());
                continue;
            }
        };
        if open.places.are_taken() && stop.run_until_cancelled(open.wait_for_place()).await.is_none() {
            break;
        }
        let activity = Arc::new(Activity::new(limits));
        let connection = Connection::new(front.clone(), Arc::clone(&bounds), Arc::clone(&activity), peer.ip());
        let serving = connection::serve(stream, connection, builder.clone(), stop.clone());
        let task = open.tasks.spawn(async move {
            metrics::gauge!(telemetry::HTTP_CONNECTIONS).increment(1);
            serving.await;
            metrics::gauge!(telemetry::HTTP_CONNECTIONS).decrement(1);
        });
        open.places.take(task.id(), activity, origin);
    }
    drop((listener, front));
    let mut connections = open.tasks;
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, finished).await.is_err() {
        tracing::warn!(?drain, "requests still under way at the end of the drain are cut off");
        connections.shutdown().await;
    }
}

fn builder(options: &HttpOptions) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // hyper would start and cancel a timer for the head of each request: the connection's own one sees to that.
    builder.http1().header_read_timeout(None).half_close(true).max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.http2_max_streams)
        .max_send_buf_size(BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    if options.http2 { builder } else { builder.http1_only() }
}

struct Connections {
    tasks: JoinSet<()>,
    places: Places,
    /// When the log was last told of an address with too many.
    told: Option<Instant>,
}

impl Connections {
    /// The next connection; `None` after `stop`.
    async fn next(&mut self, listener: &TcpListener, stop: &CancellationToken) -> Option<(TcpStream, SocketAddr)> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                accepted = accept(listener) => return Some(accepted),
                Some(ended) = self.tasks.join_next_with_id() => self.leave(ended),
            }
        }
    }

    fn leave(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        self.places.leave(ended.map_or_else(|error| error.id(), |(task, ())| task));
    }

    /// Waits until one of the places is free, the one that was idle longest if none else is.
    async fn wait_for_place(&mut self) {
        let mut made_room = false;
        loop {
            while let Some(ended) = self.tasks.try_join_next_with_id() {
                self.leave(ended);
            }
            if !self.places.are_taken() {
                return;
            }
            made_room = made_room || self.places.make_room();
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.leave(ended),
                () = tokio::time::sleep(LOOK_AGAIN), if !made_room => {}
            }
        }
    }

    fn tell_of(&mut self, origin: &str) {
        let now = Instant::now();
        if self.told.is_none_or(|told| now >= told + TOLD_EVERY) {
            self.told = Some(now);
            tracing::warn!(from = origin, "an address has as many connections as it may; further ones are closed");
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are small and wait for nobody.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) => {
                // Out of file descriptors, mostly: connections that end make room.
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
