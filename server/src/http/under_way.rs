//! A request from its head until its answer was read to the end.

use std::sync::Arc;

use http::Version;
use tokio::sync::OwnedSemaphorePermit;

use super::connection::Connection;
use super::held::REQUEST;
use super::origin::Origin;

/// Keeps a request's place and memory. It goes along with the answer: first in its body, then in the last of its bytes, so
/// that it ends when the socket has taken these, and not before.
pub(crate) struct UnderWay {
    connection: Arc<Connection>,
    /// Who holds what it holds as a stranger.
    origin: Origin,
    place: usize,
    /// What it holds of what all may hold.
    bytes: usize,
    /// What it holds of the strangers' part.
    strangers_bytes: usize,
    _turn: Option<OwnedSemaphorePermit>,
}

impl UnderWay {
    /// `None` when too much is held already.
    pub(crate) fn begin(connection: &Arc<Connection>, origin: Origin, version: Version) -> Option<Self> {
        let bounds = &connection.bounds;
        // A connection of HTTP/1 has one request at a time: their number bounds what strangers hold.
        let strangers_bytes = if version == Version::HTTP_2 && !connection.is_proven() { REQUEST } else { 0 };
        if strangers_bytes > 0 && !bounds.strangers.take(origin, 0, strangers_bytes) {
            return None;
        }
        if !bounds.held.take(REQUEST) {
            bounds.strangers.give_back(origin, strangers_bytes);
            return None;
        }
        let mut counted = Self::uncounted(connection, origin, version);
        (counted.bytes, counted.strangers_bytes) = (REQUEST, strangers_bytes);
        Some(counted)
    }

    /// One that is served however much is held.
    pub(crate) fn uncounted(connection: &Arc<Connection>, origin: Origin, version: Version) -> Self {
        let place = connection.activity.begin(version);
        Self { connection: Arc::clone(connection), origin, place, bytes: 0, strangers_bytes: 0, _turn: None }
    }

    /// Whether it is one of an HTTP/2 connection that has shown no valid key yet.
    pub(crate) fn is_strangers(&self) -> bool {
        self.strangers_bytes > 0
    }

    /// Its turn among those of the connection ends with it.
    pub(crate) fn keep(&mut self, turn: OwnedSemaphorePermit) {
        self._turn = Some(turn);
    }

    /// Whether there is room for a refusal that waits.
    pub(crate) fn count_as_strangers(&mut self) -> bool {
        if self.strangers_bytes == 0 && self.connection.bounds.strangers.take(self.origin, 0, REQUEST) {
            self.strangers_bytes = REQUEST;
        }
        self.is_strangers()
    }

    /// Whether there is room for an answer of this size.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(REQUEST);
        if more == 0 {
            return true;
        }
        let bounds = &self.connection.bounds;
        let is_strangers = !self.connection.is_proven();
        if is_strangers && !bounds.strangers.take(self.origin, self.strangers_bytes, more) {
            return false;
        }
        if !bounds.held.take(more) {
            bounds.strangers.give_back(self.origin, if is_strangers { more } else { 0 });
            return false;
        }
        self.bytes += more;
        self.strangers_bytes += if is_strangers { more } else { 0 };
        true
    }

    /// The client has taken a part of the answer.
    pub(crate) fn taken(&self) {
        self.connection.activity.taken(self.place);
    }

    /// The next part of the answer is still being made.
    pub(crate) fn making(&self) {
        self.connection.activity.making(self.place);
    }

    /// What a part of an answer takes whose size nobody knew before.
    pub(crate) fn part(&self, bytes: usize) -> Part {
        self.connection.bounds.held.add(bytes);
        Part { connection: Arc::clone(&self.connection), bytes }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let bounds = &self.connection.bounds;
        bounds.held.give_back(self.bytes);
        bounds.strangers.give_back(self.origin, self.strangers_bytes);
        self.connection.activity.end(self.place);
    }
}

/// The memory of a part of an answer.
pub(crate) struct Part {
    connection: Arc<Connection>,
    bytes: usize,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.connection.bounds.held.give_back(self.bytes);
    }
}
