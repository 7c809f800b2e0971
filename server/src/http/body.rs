//! The body of an answer: given in small pieces, of which the last one ends the request when the socket has taken it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body as AnyBody;
use bytes::{Buf, Bytes};
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};

use super::under_way::{Part, UnderWay};

/// Bytes given at once. What a client must read within the write timeout; and what one that does not read makes the
/// connection keep beside what is here.
const PIECE: usize = 16 << 10;

/// Providers' answers are plain bytes; the others may be anything.
pub(crate) type Plain = Either<Full<Bytes>, AnyBody>;

/// The body of an answer, with the request that it ends.
pub(crate) struct AnswerBody {
    inner: Plain,
    /// What is left of a frame that is larger than a piece.
    rest: Bytes,
    under_way: Option<UnderWay>,
    /// Whether nobody knows its size: what is given is then counted by the piece.
    is_stream: bool,
}

impl AnswerBody {
    pub(crate) fn new(inner: Plain, under_way: Option<UnderWay>) -> Self {
        let is_stream = inner.size_hint().exact().is_none();
        Self { inner, rest: Bytes::new(), under_way, is_stream }
    }

    fn next_piece(&mut self) -> Piece {
        let bytes = self.rest.split_to(self.rest.len().min(PIECE));
        let Some(under_way) = &self.under_way else { return Piece { bytes, _under_way: None, _part: None } };
        under_way.taken();
        let part = self.is_stream.then(|| under_way.part(bytes.len()));
        let under_way = if self.is_end_stream() { self.under_way.take() } else { None };
        Piece { bytes, _under_way: under_way, _part: part }
    }
}

impl AnswerBody {
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = match &mut self.inner {
            Either::Left(full) => {
                let frame = Pin::new(full).poll_frame(cx);
                frame.map(|frame| frame.map(|frame| frame.map_err(|never: Infallible| match never {})))
            }
            Either::Right(any) => Pin::new(any).poll_frame(cx),
        };
        if let (Poll::Pending, Some(under_way)) = (&polled, &self.under_way) {
            // Not the client is late, but we are.
            under_way.making();
        }
        polled
    }
}

impl Body for AnswerBody {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let this = &mut *self;
        while this.rest.is_empty() {
            let Some(frame) = ready!(this.poll_inner(cx)) else { return Poll::Ready(None) };
            match frame?.into_data() {
                Ok(data) => this.rest = data,
                // Trailers, which none of our answers has.
                Err(other) => return Poll::Ready(other.into_trailers().ok().map(|t| Ok(Frame::trailers(t)))),
            }
            if this.rest.is_empty() && this.inner.is_end_stream() {
                return Poll::Ready(None);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(this.next_piece()))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// A part of an answer on its way to the socket.
pub(crate) struct Piece {
    bytes: Bytes,
    _under_way: Option<UnderWay>,
    _part: Option<Part>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::time::Duration;

    use futures::{StreamExt as _, stream};
    use http::Version;
    use http_body_util::BodyExt as _;
    use leadway_config::HttpOptions;
    use tokio::time::{sleep, timeout};

    use super::super::Front;
    use super::super::activity::{Activity, Limits};
    use super::super::connection::Connection;
    use super::super::held::Bounds;
    use super::super::origin::Origin;
    use super::*;

    const WRITE: Duration = Duration::from_secs(30);

    /// An answer of parts, each of which takes longer to make than a client may take to read.
    fn slowly_made(activity: &Arc<Activity>) -> AnswerBody {
        let options = Arc::new(HttpOptions::default());
        let bounds = Arc::new(Bounds::new(&options));
        let front = Front { ingest: None, rest: axum::Router::new(), options };
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let connection = Arc::new(Connection::new(front, bounds, Arc::clone(activity), peer));
        let under_way = UnderWay::begin(&connection, Origin::of(peer), Version::HTTP_11).unwrap();
        let parts = stream::iter(0..3).then(|_| async {
            sleep(3 * WRITE).await;
            Ok::<_, Infallible>(Bytes::from_static(b"part"))
        });
        AnswerBody::new(Either::Right(AnyBody::from_stream(parts)), Some(under_way))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_waits_for_what_is_slow_to_make_and_is_cut_off_only_when_it_does_not_read() {
        let limits = Limits { head: WRITE, idle: WRITE, write: WRITE };
        let activity = Arc::new(Activity::new(limits));
        let mut body = slowly_made(&activity);
        for _ in 0..2 {
            tokio::select! {
                frame = body.frame() => assert!(frame.unwrap().is_ok()),
                () = activity.ended() => panic!("it was cut off while it waited for us"),
            }
        }
        assert!(timeout(2 * WRITE, activity.ended()).await.is_ok(), "nobody asks for the rest");
    }
}
