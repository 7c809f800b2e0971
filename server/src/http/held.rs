//! How much memory requests hold, answers that their clients have not read yet included.

use std::sync::atomic::{AtomicUsize, Ordering};

use leadway_config::HttpOptions;

use super::wrong_keys::WrongKeys;

/// What one request under way counts as, with an answer up to this size.
pub(crate) const REQUEST: usize = 8 << 10;

/// This part of the memory is for the requests of HTTP/2 connections that have shown no valid key, and for refusals that
/// wait: strangers leave the rest to those who are known.
const FOR_STRANGERS: usize = 8;

/// What all listeners that share it may hold together.
pub struct Bounds {
    pub(crate) held: Held,
    pub(crate) strangers: Held,
    pub(crate) wrong_keys: WrongKeys,
}

impl Bounds {
    /// The bounds that the settings name.
    pub fn new(options: &HttpOptions) -> Self {
        Self {
            held: Held::new(options.max_held_bytes),
            strangers: Held::new(options.max_held_bytes / FOR_STRANGERS),
            wrong_keys: WrongKeys::new(),
        }
    }

    /// Bytes that are held now.
    pub fn held_bytes(&self) -> usize {
        self.held.used.load(Ordering::Relaxed)
    }
}

/// Bytes held, up to a bound.
pub(crate) struct Held {
    used: AtomicUsize,
    max: usize,
}

impl Held {
    fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    /// Takes bytes if there is room for them.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// Takes bytes that are there already, whatever the bound: the next ones find less room.
    pub(crate) fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}
