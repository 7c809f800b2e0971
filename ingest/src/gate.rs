//! What one provider has under way, so that none takes all from the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use leadway_domain::settings::Provider;
use leadway_domain::{ProviderId, Timestamp};
use parking_lot::Mutex;
use rustc_hash::FxBuildHasher;
use tokio::sync::Semaphore;

use crate::Options;
use crate::budget::Budget;
use crate::measure::Leads;
use crate::refusal::Refusal;

/// One provider may hold at most one part in so many of what all share.
const PART: usize = 2;
/// Bodies that name one provider and whose signature is still to be checked may hold one part in so many of what all such
/// bodies share: whoever names it fills no other's.
const UNPROVEN_PART: usize = 8;
const DAY_SECONDS: i64 = 86_400;

/// What is bounded and counted of one provider.
pub(crate) struct Gate {
    under_way: AtomicUsize,
    max_under_way: usize,
    /// Its large bodies that are read or wait for it.
    pub(crate) large_under_way: AtomicUsize,
    /// Its large bodies that are read.
    pub(crate) large: Arc<Semaphore>,
    /// Its part of the bytes kept in memory.
    pub(crate) buffered: Arc<Budget>,
    /// Its part of the bytes of bodies whose signature is not checked yet.
    pub(crate) unproven: Arc<Budget>,
    /// Its part of the leads that await their durability.
    pub(crate) in_flight: Arc<Budget>,
    pub(crate) leads: Leads,
    today: Mutex<Today>,
}

/// The bytes of one day.
#[derive(Default)]
struct Today {
    day: i64,
    bytes: u64,
}

/// One request that is under way; it ends when this is dropped.
pub(crate) struct Place(Arc<Gate>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::ops::Deref for Place {
    type Target = Arc<Gate>;

    fn deref(&self) -> &Arc<Gate> {
        &self.0
    }
}

impl Gate {
    /// Takes one of the provider's places for a request.
    pub(crate) fn enter(self: &Arc<Self>, provider: &Provider) -> Result<Place, Refusal> {
        let limit = provider.posting.max_concurrent.map_or(self.max_under_way, |max| max as usize);
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= limit {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::TooManyAtOnce { limit });
        }
        Ok(Place(Arc::clone(self)))
    }

    /// Counts bytes of leads, and refuses them when they are too many for a day.
    pub(crate) fn take_bytes(&self, provider: &Provider, bytes: usize, now: Timestamp) -> Result<(), Refusal> {
        if let Some(limit) = provider.posting.max_bytes_per_day {
            let (day, second) = (now.as_second().div_euclid(DAY_SECONDS), now.as_second().rem_euclid(DAY_SECONDS));
            let mut today = self.today.lock();
            if today.day != day {
                *today = Today { day, bytes: 0 };
            }
            let after = today.bytes.saturating_add(bytes as u64);
            if after > limit {
                return Err(Refusal::TooMuchToday { limit, seconds: (DAY_SECONDS - second).unsigned_abs() });
            }
            today.bytes = after;
        }
        self.leads.count_bytes(bytes);
        Ok(())
    }
}

/// The gates of all providers that ever posted.
pub(crate) struct Gates {
    gates: DashMap<ProviderId, Arc<Gate>, FxBuildHasher>,
    max_under_way: usize,
    large: usize,
    /// The bytes of all requests kept in memory.
    buffered: Arc<Budget>,
    unproven: Arc<Budget>,
    in_flight: Arc<Budget>,
}

impl Gates {
    /// `large` bodies are read at one moment.
    pub(crate) fn new(options: &Options, large: usize) -> Self {
        let buffered = Budget::new(options.max_buffered_bytes);
        Self {
            gates: DashMap::default(),
            max_under_way: options.max_concurrent_per_provider,
            large: large.div_ceil(PART),
            unproven: buffered.part(options.max_unproven_bytes),
            buffered,
            in_flight: Budget::new(options.max_in_flight),
        }
    }

    pub(crate) fn of(&self, provider: &ProviderId) -> Arc<Gate> {
        if let Some(known) = self.gates.get(provider) {
            return Arc::clone(&known);
        }
        let part = |budget: &Arc<Budget>, of: usize| budget.part(budget.max().div_ceil(of));
        let gate = || Gate {
            under_way: AtomicUsize::new(0),
            max_under_way: self.max_under_way,
            large_under_way: AtomicUsize::new(0),
            large: Arc::new(Semaphore::new(self.large)),
            buffered: part(&self.buffered, PART),
            unproven: part(&self.unproven, UNPROVEN_PART),
            in_flight: part(&self.in_flight, PART),
            leads: Leads::of(provider),
            today: Mutex::default(),
        };
        Arc::clone(&self.gates.entry(provider.clone()).or_insert_with(|| Arc::new(gate())))
    }
}
