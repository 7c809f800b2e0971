//! What a connection has said since the last request went out on it. HTTP parsers refuse a whole answer for one odd header
//! line; the status line, which tells what became of the appointment, is read here on its own. It also tells whether a
//! request that got no answer was read: clients close idle connections after some seconds, and sometimes just when the next
//! request is on its way.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How much of an answer's beginning is kept: a status line, and interim answers before it.
const KEPT: usize = 1 << 10;
/// How long a reset may take to follow the end of a connection: a round trip.
const RESET_WITHIN: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

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
    /// The other side has thrown away what was sent.
    reset: bool,
    /// What is left of a connection that ended without an answer.
    ended: Option<std::net::TcpStream>,
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

    /// Whether the last request of HTTP/1, on a reused connection, was certainly not read: no byte came back, and the other
    /// side reset the connection. That is how a socket answers what comes after it was closed, or was not read before. One
    /// that read the request and then hung up just ends.
    pub(crate) async fn was_not_read(&self) -> bool {
        if !self.is_reused() || !self.0.lock().beginning.is_empty() {
            return false;
        }
        let until = tokio::time::Instant::now() + RESET_WITHIN;
        loop {
            {
                let mut state = self.0.lock();
                let ended = state.ended.as_ref();
                if state.reset || ended.is_some_and(|tcp| tcp.take_error().is_ok_and(|error| error.is_some())) {
                    return true;
                }
                if ended.is_none() || tokio::time::Instant::now() >= until {
                    state.ended = None;
                    return false;
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The status of the answer to the last request, if its status line came.
    pub(crate) fn status(&self) -> Option<u16> {
        final_status(&self.0.lock().beginning)
    }

    /// The connection ended or failed.
    fn ended(&self, tcp: &TcpStream, error: Option<&io::Error>) {
        let mut state = self.0.lock();
        match error.map(io::Error::kind) {
            Some(ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe) => {
                state.reset = true
            }
            // TLS that ends without saying so.
            None | Some(ErrorKind::UnexpectedEof) if state.requests > 1 && state.beginning.is_empty() => {
                state.ended = tcp.as_fd().try_clone_to_owned().ok().map(Into::into);
            }
            _ => {}
        }
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

type Stream = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// A connection that tells what comes and goes on it.
pub(crate) struct Listened {
    stream: Stream,
    heard: Heard,
}

impl Listened {
    pub(crate) fn new(stream: MaybeHttpsStream<TokioIo<TcpStream>>) -> Self {
        Self { stream: TokioIo::new(stream), heard: Heard::default() }
    }

    fn tcp(&self) -> &TcpStream {
        match self.stream.inner() {
            MaybeHttpsStream::Http(tcp) => tcp.inner(),
            MaybeHttpsStream::Https(tls) => tls.inner().get_ref().0.inner().inner(),
        }
    }

    /// Passes on what a write led to.
    fn wrote<T>(&self, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &done {
            self.heard.ended(self.tcp(), Some(error));
        }
        done
    }
}

impl Connection for Listened {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(self.heard.clone())
    }
}

impl AsyncRead for Listened {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let done = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        match buffer.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => self.heard.read(bytes),
            None => self.heard.ended(self.tcp(), done.as_ref().err()),
        }
        Poll::Ready(done)
    }
}

impl AsyncWrite for Listened {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.heard.written(bytes);
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = bytes.first() {
            self.heard.written(first);
        }
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.wrote(done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        self.wrote(done)
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
        assert_eq!((heard.status(), heard.is_reused()), (Some(413), false));
        heard.written(b"POST / HTTP/1.1\r\n");
        assert_eq!((heard.status(), heard.is_reused()), (None, true));
        heard.read(&[b'x'; 3 * KEPT]);
        assert_eq!(heard.0.lock().beginning.len(), KEPT);
    }
}
