//! The load generator.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::lead;
use crate::track::Track;

/// Where leads are posted.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    /// `host:port`.
    pub(crate) address: String,
    pub(crate) path: String,
    pub(crate) key: String,
}

/// How fast leads are posted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each connection posts its next lead when the one before is answered.
    Closed,
    /// So many a second, whether answers come or not: a lead's time runs from when it was due.
    Rate(u32),
}

/// Which product the lead with this number asks for.
pub(crate) type Product = fn(u32) -> &'static str;

/// Posts every lead of the track once, over `connections` connections to the doors in turn.
pub(crate) async fn post(
    doors: &[Door],
    connections: usize,
    pace: Pace,
    product: Product,
    track: &Arc<Track>,
) -> anyhow::Result<()> {
    let tickets = Arc::new(Tickets::new(pace, track.numbers()));
    let mut posting = JoinSet::new();
    for number in 0..connections {
        let door = doors.get(number % doors.len().max(1)).context("nowhere to post to")?.clone();
        let poster = Poster { sender: connect(&door.address).await?, door, product, track: track.clone() };
        posting.spawn(poster.run(tickets.clone()));
    }
    let pacing = match pace {
        Pace::Closed => None,
        Pace::Rate(rate) => Some(tickets.hand_out(rate, track.leads(), connections)),
    };
    while let Some(ended) = posting.join_next().await {
        ended??;
    }
    if let Some(pacing) = pacing {
        pacing.join().map_err(|_| anyhow::anyhow!("the pacing broke off"))?;
    }
    Ok(())
}

/// Says which lead is next, and when it is due.
struct Tickets {
    numbers: Range<u32>,
    next: AtomicU32,
    pace: Pace,
    due: Semaphore,
    start: Instant,
}

impl Tickets {
    fn new(pace: Pace, numbers: Range<u32>) -> Self {
        Self {
            next: AtomicU32::new(numbers.start),
            numbers,
            pace,
            due: Semaphore::new(0),
            start: Instant::now() + Duration::from_millis(50),
        }
    }

    async fn take(&self) -> Option<(u32, Instant)> {
        let number = match self.pace {
            Pace::Closed => self.next.fetch_add(1, Ordering::Relaxed),
            Pace::Rate(_) => {
                self.due.acquire().await.ok()?.forget();
                self.next.fetch_add(1, Ordering::Relaxed)
            }
        };
        let due = match self.pace {
            Pace::Closed => Instant::now(),
            Pace::Rate(rate) => self.due_at(number - self.numbers.start, rate),
        };
        (number < self.numbers.end).then_some((number, due))
    }

    /// When the lead is due that comes after so many others.
    fn due_at(&self, others: u32, rate: u32) -> Instant {
        self.start + Duration::from_nanos(u64::from(others) * 1_000_000_000 / u64::from(rate))
    }

    /// Makes leads due at their times, from a thread of its own: the runtime's timers are a millisecond coarse.
    fn hand_out(self: &Arc<Self>, rate: u32, leads: u32, connections: usize) -> std::thread::JoinHandle<()> {
        let tickets = self.clone();
        std::thread::spawn(move || {
            for number in 0..leads {
                let due = tickets.due_at(number, rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                tickets.due.add_permits(1);
            }
            // One more for each connection, which then sees that there are no more.
            tickets.due.add_permits(connections);
        })
    }
}

struct Poster {
    sender: SendRequest<Full<Bytes>>,
    door: Door,
    product: Product,
    track: Arc<Track>,
}

impl Poster {
    async fn run(mut self, tickets: Arc<Tickets>) -> anyhow::Result<()> {
        while let Some((number, due)) = tickets.take().await {
            self.track.posted(number, due);
            let status = self.post(Bytes::from(lead::body(number, (self.product)(number)))).await?;
            match status {
                StatusCode::ACCEPTED => self.track.accepted(number),
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => self.track.refused(),
                status => bail!("a lead was answered with {status}"),
            }
        }
        Ok(())
    }

    async fn post(&mut self, body: Bytes) -> anyhow::Result<StatusCode> {
        let request = Request::post(&*self.door.path)
            .header(HOST, &*self.door.address)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("x-api-key", &*self.door.key)
            .body(Full::new(body))?;
        let answer = self.sender.send_request(request).await.context("a lead got no answer")?;
        let status = answer.status();
        answer.into_body().collect().await?;
        Ok(status)
    }
}

async fn connect(address: &str) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
