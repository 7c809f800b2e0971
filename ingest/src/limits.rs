//! Rate limits per provider.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use leadway_domain::settings::{Provider, RateLimit};
use leadway_domain::{Clock, ProviderId};

type Limiter = RateLimiter<NotKeyed, InMemoryState, LimitClock, NoOpMiddleware<Duration>>;

/// The injected clock as the limiters read it: time since 1970.
#[derive(Clone, Debug)]
struct LimitClock(Clock);

impl governor::clock::Clock for LimitClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.now().as_microsecond()).unwrap_or(0))
    }
}

/// Why leads are not taken at this rate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TooFast {
    /// Too many of late.
    Wait {
        /// How long to wait, in whole seconds, at least 1.
        seconds: u64,
        /// Leads a second that are taken.
        per_second: u32,
    },
    /// More at once than can ever pass.
    Never {
        /// How many may come at once.
        burst: u32,
    },
}

/// The providers' limiters, made when a provider first posts and made anew when its limit changes.
pub(crate) struct Limits {
    clock: LimitClock,
    limiters: DashMap<ProviderId, (RateLimit, Arc<Limiter>)>,
}

impl Limits {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock: LimitClock(clock), limiters: DashMap::new() }
    }

    /// Takes `leads` from the provider's allowance.
    pub(crate) fn take(&self, provider: &Provider, leads: usize) -> Result<(), TooFast> {
        let Some(rate) = provider.rate_limit else { return Ok(()) };
        let quota = quota(rate);
        let never = TooFast::Never { burst: quota.burst_size().get() };
        let Some(leads) = u32::try_from(leads).ok().and_then(NonZeroU32::new) else { return Err(never) };
        let full_pause = quota.burst_size_replenished_in() + Duration::from_secs(1);
        match wait(&self.limiter(provider, rate, quota), leads, &self.clock) {
            Ok(None) => Ok(()),
            // No honest clock makes a wait longer than filling up takes: the clock was set back. Start afresh.
            Ok(Some(pause)) if pause > full_pause => {
                self.limiters.remove(&provider.id);
                Ok(())
            }
            Ok(Some(pause)) => {
                let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
                Err(TooFast::Wait { seconds: seconds.max(1), per_second: rate.per_second })
            }
            Err(governor::InsufficientCapacity(_)) => Err(never),
        }
    }

    fn limiter(&self, provider: &Provider, rate: RateLimit, quota: Quota) -> Arc<Limiter> {
        if let Some(present) = self.limiters.get(&provider.id)
            && present.0 == rate
        {
            return Arc::clone(&present.1);
        }
        let limiter = Arc::new(Limiter::direct_with_clock(quota, self.clock.clone()));
        self.limiters.insert(provider.id.clone(), (rate, Arc::clone(&limiter)));
        limiter
    }
}

fn quota(rate: RateLimit) -> Quota {
    let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    let per_second = at_least_one(rate.per_second);
    Quota::per_second(per_second).allow_burst(rate.burst.map_or(per_second, at_least_one))
}

/// How long to wait before so many may pass; `None` when they pass now.
fn wait(
    limiter: &Limiter,
    leads: NonZeroU32,
    clock: &LimitClock,
) -> Result<Option<Duration>, governor::InsufficientCapacity> {
    use governor::clock::Clock as _;
    Ok(limiter.check_n(leads)?.err().map(|not_until| not_until.wait_time_from(clock.now())))
}
