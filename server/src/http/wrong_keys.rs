//! Who tries keys is answered ever more slowly.

use std::collections::HashMap;
use std::time::Duration;

use leadway_domain::telemetry::WRONG_KEYS;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::origin::Origin;

/// Refusals that an origin gets at once.
const AT_ONCE: u32 = 20;
/// After them, one refusal in this time.
const PACE: Duration = Duration::from_secs(1);
/// Longest wait of one refusal; what would wait longer is cut off.
const LONGEST: Duration = Duration::from_secs(10);
/// Most origins that are remembered. Beyond them every refusal waits, as if its origin had used up what it gets at once.
const ORIGINS: usize = 50_000;
/// How often the log tells of it.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Delays refusals by where the requests came from. A request with a valid key never comes here.
pub(crate) struct WrongKeys(Mutex<State>);

struct State {
    /// Until when an origin has used up its refusals, at the pace.
    used_until: HashMap<Origin, Instant>,
    cleaned: Instant,
    told: Option<Instant>,
    untold: u64,
}

impl WrongKeys {
    pub(crate) fn new() -> Self {
        for service in ["ingest", "api"] {
            metrics::counter!(WRONG_KEYS, "service" => service).increment(0);
        }
        let state = State { used_until: HashMap::new(), cleaned: Instant::now(), told: None, untold: 0 };
        Self(Mutex::new(state))
    }

    /// Counts a request that brought no valid key. How long its refusal waits; `None` when too many wait already.
    pub(crate) fn refuse(&self, origin: Origin, service: &'static str) -> Option<Duration> {
        metrics::counter!(WRONG_KEYS, "service" => service).increment(1);
        let now = Instant::now();
        let mut state = self.0.lock();
        if let Some(requests) = state.take_untold(now) {
            tracing::warn!(requests, service, from = %origin, "requests without a valid key are refused");
        }
        state.wait(origin, now)
    }
}

impl State {
    /// How many requests the log is to be told of, if it is time.
    fn take_untold(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now < told + TOLD_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    fn wait(&mut self, origin: Origin, now: Instant) -> Option<Duration> {
        if self.used_until.len() >= ORIGINS && now >= self.cleaned + PACE {
            self.used_until.retain(|_, until| *until > now);
            self.cleaned = now;
        }
        if self.used_until.len() >= ORIGINS && !self.used_until.contains_key(&origin) {
            return Some(PACE);
        }
        let until = self.used_until.entry(origin).or_insert(now);
        let next = (*until).max(now) + PACE;
        let wait = next.saturating_duration_since(now + PACE * AT_ONCE);
        if wait > LONGEST {
            return None;
        }
        *until = next;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(n: u32) -> Origin {
        Origin::of(std::net::Ipv4Addr::from_bits(n).into())
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_that_goes_on_waits_and_others_do_not() {
        let keys = WrongKeys::new();
        for _ in 0..AT_ONCE {
            assert_eq!(keys.refuse(origin(1), "api"), Some(Duration::ZERO));
        }
        let waits: Vec<_> = (0..12).map(|_| keys.refuse(origin(1), "api").map(|wait| wait.as_secs())).collect();
        assert_eq!(waits[..10], (1..=10).map(Some).collect::<Vec<_>>()[..]);
        assert_eq!(waits[10..], [None, None], "they are not let pile up");
        assert_eq!(keys.refuse(origin(2), "api"), Some(Duration::ZERO));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(keys.refuse(origin(1), "api"), Some(Duration::ZERO), "who stops is forgiven");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_origins_are_remembered_than_fit() {
        let keys = WrongKeys::new();
        for n in 0..ORIGINS as u32 {
            keys.refuse(origin(n), "api");
        }
        assert_eq!(keys.refuse(origin(u32::MAX), "api"), Some(PACE));
        assert_eq!(keys.0.lock().used_until.len(), ORIGINS);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(keys.refuse(origin(u32::MAX), "api"), Some(Duration::ZERO));
        assert_eq!(keys.0.lock().used_until.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_is_told_once_a_minute() {
        let keys = WrongKeys::new();
        let tell = || keys.0.lock().take_untold(Instant::now());
        assert_eq!((tell(), tell(), tell()), (Some(1), None, None));
        tokio::time::advance(TOLD_EVERY).await;
        assert_eq!(tell(), Some(3));
    }
}
