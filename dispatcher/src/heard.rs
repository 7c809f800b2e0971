//! What a connection has said since the last request went out on it. HTTP parsers refuse a whole answer for one odd header
//! line; the status line, which tells what became of the appointment, is read here on its own. It also tells a connection
//! that died without a word from one that died in the middle of an answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much of an answer's beginning is kept: a status line, and interim answers before it.
const KEPT: usize = 1 << 10;

/// Shared between a connection and the transport.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Requests of HTTP/1 that went out on it.
    requests: u64,
    /// Over HTTP/2: whether an answer came on it.
    answered: bool,
    /// The first bytes that came since the last request.
    beginning: Vec<u8>,
}

impl Heard {
    /// An answer came over HTTP/2.
    pub(crate) fn answered(&self) {
        self.0.lock().answered = true;
    }

    /// Whether it has served a request before the last one.
    pub(crate) fn is_reused(&self) -> bool {
        let state = self.0.lock();
        state.requests > 1 || state.answered
    }

    /// Whether nothing came since the last request of HTTP/1. (Over HTTP/2 something always comes.)
    pub(crate) fn nothing(&self) -> bool {
        self.0.lock().beginning.is_empty()
    }

    /// The status of the answer to the last request, if its status line came.
    pub(crate) fn status(&self) -> Option<u16> {
        final_status(&self.0.lock().beginning)
    }

    fn read(&self, bytes: &[u8]) {
        let mut state = self.0.lock();
        let room = KEPT.saturating_sub(state.beginning.len());
        state.beginning.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    /// A body may be written in parts, and its answer begin between them: only the head of a request starts anew.
    fn written(&self, bytes: &[u8]) {
        if bytes.starts_with(b"POST ") {
            let mut state = self.0.lock();
            state.requests += 1;
            state.beginning.clear();
        }
    }
}

/// The status of the first answer that is not an interim one (1xx).
fn final_status(mut text: &[u8]) -> Option<u16> {
    loop {
        text = text.trim_ascii_start();
        let (name, rest) = text.split_at_checked(4)?;
        if !name.eq_ignore_ascii_case(b"HTTP") {
            return None;
        }
        let version = rest.iter().position(|b| b.is_ascii_whitespace())?;
        let rest = rest.get(version..)?;
        let blanks = rest.iter().position(|b| !matches!(b, b' ' | b'\t'))?;
        let (digits, rest) = rest.get(blanks..)?.split_at_checked(3)?;
        if rest.first()?.is_ascii_digit() {
            return None;
        }
        match std::str::from_utf8(digits).ok()?.parse().ok()? {
            // 101 ends HTTP on this connection: nothing follows it.
            100 | 102..200 => text = rest.get(end_of_head(rest)?..)?,
            status @ (101 | 200..=999) => return Some(status),
            _ => return None,
        }
    }
}

fn end_of_head(text: &[u8]) -> Option<usize> {
    let after = |end: &[u8]| text.windows(end.len()).position(|w| w == end).map(|at| at + end.len());
    [after(b"\r\n\r\n"), after(b"\n\n")].into_iter().flatten().min()
}

/// A connection that tells what comes and goes on it.
pub(crate) struct Listened<S> {
    stream: S,
    heard: Heard,
}

impl<S> Listened<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, heard: Heard::default() }
    }
}

impl<S: Connection> Connection for Listened<TokioIo<S>> {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(self.heard.clone())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Listened<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if let Some(bytes) = buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            self.heard.read(bytes);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listened<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.heard.written(bytes);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = bytes.first() {
            self.heard.written(first);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read_however_it_is_written() {
        for (text, status) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.1 200\r\n", Some(200)),
            ("HTTP/1.1  201   Created\n", Some(201)),
            ("\r\n\r\nhttp/1.0 204 no content\r\n", Some(204)),
            ("HTTP/2 202 \r\n", Some(202)),
            ("HTTP 503 busy\r\n", Some(503)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\nLink: </a>\n\nHTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.1 101 Switching\r\n\r\nHTTP/1.1 200 OK\r\n", Some(101)),
            ("HTTP/1.1 100 Continue\r\n\r\n", None),
            ("HTTP/1.1 2", None),
            ("HTTP/1.1 200", None),
            ("HTTP/1.1 2000 OK", None),
            ("HTTP/1.1 099 OK", None),
            ("HTTP/1.1 OK 200", None),
            ("SSH-2.0-OpenSSH\r\n", None),
            ("", None),
        ] {
            assert_eq!(final_status(text.as_bytes()), status, "{text:?}");
        }
    }

    #[test]
    fn only_a_new_request_forgets_what_came() {
        let heard = Heard::default();
        heard.written(b"POST / HTTP/1.1\r\n");
        heard.read(b"HTTP/1.1 413 Too Large\r\n");
        heard.written(b"the rest of the body");
        assert_eq!((heard.status(), heard.is_reused(), heard.nothing()), (Some(413), false, false));
        heard.written(b"POST / HTTP/1.1\r\n");
        assert_eq!((heard.status(), heard.is_reused(), heard.nothing()), (None, true, true));
        heard.read(&[b'x'; 3 * KEPT]);
        assert_eq!(heard.0.lock().beginning.len(), KEPT);
    }
}
