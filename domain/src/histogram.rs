//! Latency histograms that add up: in rows, over days and over nodes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Counts of durations in buckets whose bounds grow by a quarter (so a percentile is at most 25 % too high).
/// Adding is commutative: rows written in any order give the same totals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LatencyHistogram(Vec<u64>);

/// Upper bound of the first bucket.
const FIRST: f64 = 100.0; // µs
const GROWTH: f64 = 1.25;
/// The last bucket ends above 30 days; what is longer is counted there.
const BUCKETS: usize = 108;

impl LatencyHistogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let bucket = Self::bucket(duration.as_micros() as f64);
        if self.0.len() <= bucket {
            self.0.resize(bucket + 1, 0);
        }
        if let Some(count) = self.0.get_mut(bucket) {
            *count += 1;
        }
    }

    fn bucket(micros: f64) -> usize {
        if micros <= FIRST {
            return 0;
        }
        (((micros / FIRST).ln() / GROWTH.ln()).ceil() as usize).min(BUCKETS - 1)
    }

    /// Adds the counts of another.
    pub fn merge(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The duration that a share `q` (0 to 1) of all stays within: the upper bound of its bucket. `None` when empty.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = ((self.count() as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.0.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_micros((FIRST * GROWTH.powi(bucket as i32)) as u64));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_quarter() {
        let mut h = LatencyHistogram::default();
        assert_eq!(h.quantile(0.5), None);
        for ms in 1..=1_000 {
            h.record(Duration::from_millis(ms));
        }
        for (q, ms) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let got = h.quantile(q).unwrap().as_secs_f64() * 1e3;
            assert!((ms..=ms * 1.25).contains(&got), "{q}: {got}");
        }
        h.record(Duration::from_secs(u64::MAX / 2));
        assert_eq!(h.count(), 1_001);
    }

    #[test]
    fn merging_is_adding() {
        let (mut a, mut b, mut all) =
            (LatencyHistogram::default(), LatencyHistogram::default(), LatencyHistogram::default());
        for ms in [1, 5, 700] {
            a.record(Duration::from_millis(ms));
            all.record(Duration::from_millis(ms));
        }
        for ms in [3, 90_000] {
            b.record(Duration::from_millis(ms));
            all.record(Duration::from_millis(ms));
        }
        let mut ba = b.clone();
        ba.merge(&a);
        a.merge(&b);
        assert_eq!(a, all);
        assert_eq!(ba, all);
    }
}
