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

impl Body for AnswerBody {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let this = &mut *self;
        while this.rest.is_empty() {
            let frame = match &mut this.inner {
                Either::Left(full) => {
                    ready!(Pin::new(full).poll_frame(cx)).map(|frame| frame.map_err(|never: Infallible| match never {}))
                }
                Either::Right(any) => ready!(Pin::new(any).poll_frame(cx)),
            };
            let Some(frame) = frame else { return Poll::Ready(None) };
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
