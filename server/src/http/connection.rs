//! One connection: its requests, and when it ends.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{Either, Full};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use leadway_domain::problem::Problem;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Heard};
use super::aside::Aside;
use super::body::{AnswerBody, Plain};
use super::held::Bounds;
use super::origin::{Origin, forwarded, is_proxy};
use super::under_way::UnderWay;
use super::{Front, Service, headers, host, problem};
use crate::ops;

/// Requests of an HTTP/2 connection that are worked on at once before one of them brought a valid key.
const BEFORE_A_KEY: usize = 4;
/// How long a further one waits for its turn.
const TURN: Duration = Duration::from_secs(10);
/// When to come back to a node that holds all that it may, in seconds.
const RETRY_AFTER: u64 = 2;

/// What the requests of a connection share; what all connections share is not touched for each request.
pub(crate) struct Connection {
    front: Front,
    pub(crate) bounds: Arc<Bounds>,
    pub(crate) activity: Arc<Activity>,
    peer: IpAddr,
    /// Whether a request brought a valid key.
    proven: AtomicBool,
    /// For the requests before that.
    turns: Arc<Semaphore>,
}

/// What is kept of a request to judge its answer by.
struct Asked {
    version: Version,
    service: Service,
    /// Questions about what may be asked need no key.
    is_options: bool,
    /// Who asks: the client that a trusted proxy names, else whoever opened the connection.
    origin: Origin,
}

impl Connection {
    pub(crate) fn new(front: Front, bounds: Arc<Bounds>, activity: Arc<Activity>, peer: IpAddr) -> Self {
        let turns = Arc::new(Semaphore::new(BEFORE_A_KEY));
        Self { front, bounds, activity, peer, proven: AtomicBool::new(false), turns }
    }

    pub(crate) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// Answers a request. An error resets its stream, or closes the connection where there are no streams.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<AnswerBody>, h2::Error> {
        let proxies = &self.front.options.trusted_proxies;
        let named = if is_proxy(self.peer, proxies) { forwarded(request.headers(), proxies) } else { None };
        let asked = Asked {
            version: request.version(),
            service: self.front.service(request.uri().path()),
            is_options: *request.method() == Method::OPTIONS,
            origin: named.unwrap_or_else(|| Origin::of(self.peer)),
        };
        let mut under_way = match UnderWay::begin(&self, asked.origin, asked.version) {
            Some(under_way) => under_way,
            // What is reset was not begun, and clients may send it again; an answer would have to be held.
            None if asked.version == Version::HTTP_2 => return Err(h2::Reason::REFUSED_STREAM.into()),
            // Whoever watches over the node must not take a busy one for a dead one.
            None if ops::is_health(request.uri().path()) => UnderWay::uncounted(&self, asked.origin, asked.version),
            None => return Ok(overloaded().map(|body| AnswerBody::new(body, None))),
        };
        if under_way.is_strangers() {
            under_way.keep(self.turn().await?);
        }
        let answer = match host::check(&request) {
            Ok(()) => self.front.answer(asked.service, request).await,
            Err(detail) => unclear_host(asked.version, detail),
        };
        self.finish(answer, &asked, under_way).await
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, h2::Error> {
        match tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(h2::Reason::REFUSED_STREAM.into()),
        }
    }

    async fn finish(
        &self,
        answer: Response<Plain>,
        asked: &Asked,
        mut under_way: UnderWay,
    ) -> Result<Response<AnswerBody>, h2::Error> {
        if answer.status() == StatusCode::UNAUTHORIZED {
            match self.bounds.wrong_keys.refuse(asked.origin, asked.service.name()) {
                Some(Duration::ZERO) => {}
                Some(wait) if under_way.count_as_strangers() => tokio::time::sleep(wait).await,
                _ => return Err(h2::Reason::ENHANCE_YOUR_CALM.into()),
            }
        } else if !self.is_proven() && !asked.is_options && asked.service.has_checked_a_key(answer.status()) {
            self.proven.store(true, Ordering::Relaxed);
            // Those that wait need no turn any more; nor do later ones.
            self.turns.add_permits(self.front.options.http2_max_streams as usize);
        }
        let size = answer.body().size_hint().lower();
        let mut answer = match under_way.hold(usize::try_from(size).unwrap_or(usize::MAX)) {
            true => answer,
            false => overloaded(),
        };
        headers::complete(answer.headers_mut(), self.front.options.tls_in_front);
        Ok(answer.map(|body| AnswerBody::new(body, Some(under_way))))
    }
}

fn overloaded() -> Response<Plain> {
    problem(&Problem::unavailable("This node has as much in hand as it can take. Send it again.", RETRY_AFTER))
}

/// What else such a connection brings is as unclear: it is closed.
fn unclear_host(version: Version, detail: &'static str) -> Response<Plain> {
    let mut answer = problem(&Problem::bad_request(detail));
    if version < Version::HTTP_2 {
        answer.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    }
    answer
}

/// Serves a connection until its client ends it, until it is to be closed, or until `stop` and the end of what is under way.
pub(crate) async fn serve(
    stream: TcpStream,
    connection: Connection,
    builder: auto::Builder<TokioExecutor>,
    stop: CancellationToken,
) {
    let activity = Arc::clone(&connection.activity);
    let stream = TokioIo::new(Heard::new(stream, Arc::clone(&activity)));
    let shared = Arc::new(connection);
    let service = service_fn(move |request| Arc::clone(&shared).answer(request));
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
                Disturbance::Over => return,
            }
        }
    }
}

/// What ends a connection that its client keeps.
enum Disturbance {
    /// The node stops.
    Stop,
    /// It asks for nothing, or does not read what it asked for.
    Over,
}

async fn disturbance(activity: &Activity, stop: &CancellationToken, stopping: bool) -> Disturbance {
    tokio::select! {
        () = stop.cancelled(), if !stopping => Disturbance::Stop,
        () = activity.ended() => Disturbance::Over,
    }
}

/// The body of an answer of ours that is there whole.
pub(crate) fn plain(bytes: Vec<u8>) -> Plain {
    Either::Left(Full::new(bytes.into()))
}
