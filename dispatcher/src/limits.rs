//! How fast a workspace may be served.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use leadway_domain::settings::RateLimit;
use leadway_domain::{Clock, Timestamp};

use crate::schedule::later;

/// The injected clock, as governor reads it: time since 1970.
#[derive(Clone, Debug)]
struct Injected(Clock);

impl GovernorClock for Injected {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.now().as_microsecond()).unwrap_or(0))
    }
}

/// The pace of one workspace with a rate limit.
pub(crate) struct Pace {
    limit: RateLimit,
    limiter: RateLimiter<NotKeyed, InMemoryState, Injected, NoOpMiddleware<Duration>>,
    clock: Clock,
}

impl Pace {
    /// A pace begins with its burst used up: another node, or this one before it was restarted, may just have sent it.
    pub(crate) fn new(limit: RateLimit, clock: &Clock) -> Self {
        let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let rate = at_least_one(limit.per_second);
        let burst = limit.burst.map_or(rate, at_least_one);
        let limiter =
            RateLimiter::direct_with_clock(Quota::per_second(rate).allow_burst(burst), Injected(clock.clone()));
        // A whole burst always fits a limiter that was not used.
        let _ = limiter.check_n(burst);
        Self { limit, limiter, clock: clock.clone() }
    }

    /// The limit it keeps.
    pub(crate) fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Takes one attempt's share, or tells when there will be one.
    pub(crate) fn take(&self) -> Result<(), Timestamp> {
        self.limiter.check().map_err(|not_yet| {
            let now = Injected(self.clock.clone()).now();
            // A microsecond more: times are cut to microseconds, and waking too early would mean waking twice.
            later(self.clock.now(), not_yet.wait_time_from(now) + Duration::from_micros(1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let clock = Clock::manual(Timestamp::from_second(1_000).unwrap());
        let pace = Pace::new(RateLimit { per_second: 10, burst: Some(3) }, &clock);
        assert!(pace.take().is_err(), "who had it before may have sent the burst");
        clock.advance_to(later(clock.now(), Duration::from_millis(300)));
        assert_eq!((0..5).filter(|_| pace.take().is_ok()).count(), 3);
        let mut taken = 0;
        let end = later(clock.now(), Duration::from_secs(10));
        while clock.now() < end {
            match pace.take() {
                Ok(()) => taken += 1,
                Err(at) => {
                    assert!(at > clock.now(), "a refusal names a later time");
                    clock.advance_to(at);
                }
            }
        }
        assert!((99..=101).contains(&taken), "{taken} in ten seconds");
    }
}
