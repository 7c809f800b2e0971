//! How much memory requests hold, answers that their clients have not read yet included.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use leadway_config::HttpOptions;
use parking_lot::Mutex;

use super::origin::Origin;
use super::wrong_keys::WrongKeys;

/// What one request under way counts as, with an answer up to this size.
pub(crate) const REQUEST: usize = 8 << 10;

/// This part of the memory is for the requests of HTTP/2 connections that have shown no valid key, and for refusals that
/// wait: strangers leave the rest to those who are known.
const FOR_STRANGERS: usize = 8;

/// One origin has one part in so many of the strangers' part: it does not keep the others from showing their keys.
const ONE_ORIGIN: usize = 8;

/// What all listeners that share it may hold together.
pub struct Bounds {
    pub(crate) held: Held,
    pub(crate) strangers: Strangers,
    pub(crate) wrong_keys: WrongKeys,
}

impl Bounds {
    /// The bounds that the settings name.
    pub fn new(options: &HttpOptions) -> Self {
        Self {
            held: Held::new(options.max_held_bytes),
            strangers: Strangers::new(options.max_held_bytes / FOR_STRANGERS),
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

/// What strangers hold, all together and each origin for itself.
pub(crate) struct Strangers {
    all: Held,
    max_of_one: usize,
    /// Of origins that hold something.
    by_origin: Mutex<HashMap<Origin, usize>>,
}

impl Strangers {
    fn new(max: usize) -> Self {
        Self { all: Held::new(max), max_of_one: max / ONE_ORIGIN, by_origin: Mutex::default() }
    }

    /// Takes bytes for a request that holds `held` already, if there is room for them. An answer larger than an origin's
    /// part passes while the origin holds nothing else.
    pub(crate) fn take(&self, origin: Origin, held: usize, bytes: usize) -> bool {
        let mut by_origin = self.by_origin.lock();
        let used = by_origin.get(&origin).copied().unwrap_or_default();
        let after = used.saturating_add(bytes);
        let fits = (after <= self.max_of_one || used == held) && self.all.take(bytes);
        if fits {
            by_origin.insert(origin, after);
        }
        fits
    }

    pub(crate) fn give_back(&self, origin: Origin, bytes: usize) {
        if bytes == 0 {
            return;
        }
        self.all.give_back(bytes);
        let mut by_origin = self.by_origin.lock();
        if let Some(used) = by_origin.get_mut(&origin) {
            *used = used.saturating_sub(bytes);
            if *used == 0 {
                by_origin.remove(&origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(n: u32) -> Origin {
        Origin::of(std::net::Ipv4Addr::from_bits(n).into())
    }

    #[test]
    fn one_origin_leaves_room_for_the_others() {
        let strangers = Strangers::new(80);
        let (one, other) = (origin(1), origin(2));
        assert!(strangers.take(one, 0, 6) && !strangers.take(one, 0, 6));
        assert!(strangers.take(other, 0, 6));
        strangers.give_back(one, 6);
        assert!(strangers.take(one, 0, 30), "what is larger than its part passes alone");
        assert!(!strangers.take(one, 0, 1));
        strangers.give_back(one, 30);
        strangers.give_back(other, 6);
        assert!(strangers.by_origin.lock().is_empty(), "nobody is remembered who holds nothing");
    }

    #[test]
    fn all_origins_together_are_bounded_and_what_is_refused_takes_nothing() {
        let strangers = Strangers::new(80);
        for n in 0..8 {
            assert!(strangers.take(origin(n), 0, 10));
        }
        assert!(!strangers.take(origin(8), 0, 1));
        strangers.give_back(origin(0), 10);
        assert!(strangers.take(origin(8), 0, 10));
    }
}
