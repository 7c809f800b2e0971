//! When each lead was posted, accepted and delivered.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The times of a run's leads, in microseconds since its start; 0 where something has not happened.
pub(crate) struct Track {
    start: Instant,
    /// The number of its first lead: no two leads of this process have the same.
    first: u32,
    posted: Box<[AtomicU64]>,
    accepted_after: Box<[AtomicU32]>,
    delivered_after: Box<[AtomicU32]>,
    awaited: fn(u32) -> bool,
    delivered: AtomicU64,
    awaited_delivered: AtomicU64,
    last_delivery: AtomicU64,
    again: AtomicU64,
    refused: AtomicU64,
}

/// Percentiles of a latency.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// What they are of, in order, until it is [forgotten](Self::without_samples).
    #[serde(skip)]
    micros: Vec<u32>,
}

impl Track {
    /// Of so many leads, of which a run waits for those that `awaited` names.
    pub(crate) fn new(leads: u32, awaited: fn(u32) -> bool) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let zeros = |_| AtomicU32::new(0);
        Self {
            first: NEXT.fetch_add(leads, Ordering::Relaxed),
            start: Instant::now(),
            posted: (0..leads).map(|_| AtomicU64::new(0)).collect(),
            accepted_after: (0..leads).map(zeros).collect(),
            delivered_after: (0..leads).map(zeros).collect(),
            awaited,
            delivered: AtomicU64::new(0),
            awaited_delivered: AtomicU64::new(0),
            last_delivery: AtomicU64::new(0),
            again: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// The numbers of its leads.
    pub(crate) fn numbers(&self) -> std::ops::Range<u32> {
        self.first..self.first + self.leads()
    }

    fn place(&self, number: u32) -> usize {
        number.wrapping_sub(self.first) as usize
    }

    fn since(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_micros() as u64 + 1
    }

    /// It was posted, or should have been, at this moment.
    pub(crate) fn posted(&self, number: u32, at: Instant) {
        if let Some(slot) = self.posted.get(self.place(number)) {
            slot.store(self.since(at), Ordering::Relaxed);
        }
    }

    fn after(&self, number: u32, now: u64) -> u32 {
        let posted = self.posted.get(self.place(number)).map_or(0, |posted| posted.load(Ordering::Relaxed));
        u32::try_from(now.saturating_sub(posted)).unwrap_or(u32::MAX).max(1)
    }

    pub(crate) fn accepted(&self, number: u32) {
        let after = self.after(number, self.since(Instant::now()));
        if let Some(slot) = self.accepted_after.get(self.place(number)) {
            slot.store(after, Ordering::Relaxed);
        }
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn delivered(&self, number: u32) {
        let Some(slot) = self.delivered_after.get(self.place(number)) else { return };
        let now = self.since(Instant::now());
        if slot.swap(self.after(number, now), Ordering::Relaxed) == 0 {
            self.delivered.fetch_add(1, Ordering::Relaxed);
            if (self.awaited)(number) {
                self.awaited_delivered.fetch_add(1, Ordering::Relaxed);
                self.last_delivery.fetch_max(now, Ordering::Relaxed);
            }
        } else {
            self.again.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn leads(&self) -> u32 {
        self.posted.len() as u32
    }

    /// Whether every lead that was accepted and is waited for has been delivered.
    pub(crate) fn is_complete(&self, awaited: u64) -> bool {
        self.awaited_delivered.load(Ordering::Relaxed) >= awaited
    }

    /// Leads that a run waits for, if none is refused.
    pub(crate) fn count_awaited(&self) -> u64 {
        self.numbers().filter(|number| (self.awaited)(*number)).count() as u64
    }

    pub(crate) fn count_delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(crate) fn count_again(&self) -> u64 {
        self.again.load(Ordering::Relaxed)
    }

    pub(crate) fn count_refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// From the first post to the last delivery.
    pub(crate) fn time_to_last_delivery(&self) -> Duration {
        let first = self.posted.iter().map(|p| p.load(Ordering::Relaxed)).filter(|p| *p > 0).min().unwrap_or(0);
        Duration::from_micros(self.last_delivery.load(Ordering::Relaxed).saturating_sub(first))
    }

    /// From posting to the answer.
    pub(crate) fn accept_latency(&self) -> Percentiles {
        Percentiles::of(self.accepted_after.iter().map(|a| a.load(Ordering::Relaxed)).filter(|a| *a > 0).collect())
    }

    /// From posting to delivery, of the leads that were waited for.
    pub(crate) fn delivery_latency(&self) -> Percentiles {
        let all = self.numbers().zip(self.delivered_after.iter());
        let after = all.filter(|(number, _)| (self.awaited)(*number)).map(|(_, after)| after.load(Ordering::Relaxed));
        Percentiles::of(after.filter(|a| *a > 0).collect())
    }
}

impl Percentiles {
    /// Of latencies in microseconds.
    pub(crate) fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        let last = micros.len().saturating_sub(1) as f64;
        let at = |q: f64| micros.get((last * q).round() as usize).map_or(0.0, |us| f64::from(*us) / 1_000.0);
        Self { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99), max_ms: at(1.0), micros }
    }

    /// The same, in little memory: they can no longer be pooled.
    pub(crate) fn without_samples(self) -> Self {
        Self { micros: Vec::new(), ..self }
    }

    /// Of all that these are of.
    pub(crate) fn pooled(rounds: impl Iterator<Item = Self>) -> Self {
        Self::of(rounds.flat_map(|round| round.micros).collect())
    }
}
