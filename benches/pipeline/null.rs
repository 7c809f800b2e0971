//! The least that a pipeline can do, and the least that a server can do.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Leads that the null pipeline has under way at most; the next one is answered when there is room.
pub(crate) const UNDER_WAY: usize = 512;

/// Takes leads, answers 202 at once, posts them on over pooled connections: nothing is kept, matched or signed.
pub(crate) async fn pipeline(target: &str) -> anyhow::Result<()> {
    let (client, target): (_, http::Uri) = (client(), target.parse()?);
    let room = Arc::new(Semaphore::new(UNDER_WAY));
    announce(serve(move |request| relay(client.clone(), target.clone(), room.clone(), request)).await?).await
}

/// A client that keeps connections.
pub(crate) fn client() -> Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector)
}

/// Reads leads and answers 202.
pub(crate) async fn bare() -> anyhow::Result<()> {
    announce(serve(|request| async { Ok(answer(request.into_body().collect().await.is_ok())) }).await?).await
}

async fn relay(
    client: Client<HttpConnector, Full<Bytes>>,
    target: http::Uri,
    room: Arc<Semaphore>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let Ok(body) = request.into_body().collect().await else { return Ok(answer(false)) };
    let Ok(permit) = room.acquire_owned().await else { return Ok(answer(false)) };
    let onward = post(target, body.to_bytes());
    tokio::spawn(async move {
        let _under_way = permit;
        if let Ok(answer) = client.request(onward).await {
            // What the client says is read, so that its connection can be used again.
            let _ = answer.into_body().collect().await;
        }
    });
    Ok(answer(true))
}

pub(crate) fn post(target: http::Uri, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    (*request.method_mut(), *request.uri_mut()) = (http::Method::POST, target);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request
}

pub(crate) fn answer(taken: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"{\"status\":\"accepted\"}")));
    *response.status_mut() = if taken { StatusCode::ACCEPTED } else { StatusCode::BAD_REQUEST };
    response
}

/// Serves HTTP/1.1 on a free port, in the background.
pub(crate) async fn serve<F>(
    handle: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) -> anyhow::Result<SocketAddr>
where
    F: Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(handle.clone())));
        }
    });
    Ok(address)
}

/// Says where it listens, and stays until it is killed.
#[allow(clippy::print_stdout)]
pub(crate) async fn announce(address: SocketAddr) -> anyhow::Result<()> {
    println!("http://{address}");
    std::future::pending().await
}
