//! Leaving a client alone that keeps failing.

use std::time::Duration;

use leadway_domain::Timestamp;

use crate::Options;
use crate::schedule::later;

/// When the circuit opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    /// Failures in a row; 0 for never.
    pub(crate) failures: u32,
    pub(crate) pause: Duration,
}

impl Rule {
    pub(crate) fn new(options: &Options) -> Self {
        Self { failures: options.circuit_failures, pause: Duration::from_secs(options.circuit_pause_seconds) }
    }
}

/// What one workspace's last attempts say of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Circuit {
    /// Attempts go out; so many have failed in a row.
    Closed { failures: u32 },
    /// Nothing goes out before this time; then one attempt probes.
    Open { until: Timestamp },
    /// One attempt is under way to see whether the client is back.
    Probing,
}

/// Whether an attempt may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    Go,
    /// Not before this time.
    NotBefore(Timestamp),
    /// Not before the probe has ended.
    AfterProbe,
}

impl Circuit {
    /// Of a client of which nothing is known.
    pub(crate) fn new() -> Self {
        Self::Closed { failures: 0 }
    }

    pub(crate) fn permit(self, now: Timestamp) -> Permit {
        match self {
            Self::Closed { .. } => Permit::Go,
            Self::Open { until } if now < until => Permit::NotBefore(until),
            Self::Open { .. } => Permit::Go,
            Self::Probing => Permit::AfterProbe,
        }
    }

    pub(crate) fn is_closed(self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// An attempt that was permitted goes out.
    pub(crate) fn sent(&mut self) {
        if !self.is_closed() {
            *self = Self::Probing;
        }
    }

    /// An attempt ended.
    pub(crate) fn ended(&mut self, succeeded: bool, now: Timestamp, rule: Rule) {
        let open = Self::Open { until: later(now, rule.pause) };
        *self = match *self {
            _ if succeeded => Self::Closed { failures: 0 },
            Self::Closed { failures } if rule.failures > 0 && failures + 1 >= rule.failures => open,
            Self::Closed { failures } => Self::Closed { failures: failures.saturating_add(1) },
            // Attempts that were under way when it opened do not make it stay open longer.
            Self::Open { until } => Self::Open { until },
            Self::Probing => open,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { failures: 3, pause: Duration::from_secs(60) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn opened() -> Circuit {
        let mut circuit = Circuit::new();
        (0..3).for_each(|_| circuit.ended(false, at(0), RULE));
        circuit
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let mut circuit = Circuit::new();
        for succeeded in [false, false, true, false, false] {
            circuit.ended(succeeded, at(0), RULE);
            assert_eq!(circuit.permit(at(0)), Permit::Go);
        }
        circuit.ended(false, at(0), RULE);
        assert_eq!(circuit.permit(at(59)), Permit::NotBefore(at(60)));
    }

    #[test]
    fn after_the_pause_one_attempt_probes_and_decides() {
        for (succeeded, then) in [(true, Permit::Go), (false, Permit::NotBefore(at(121)))] {
            let mut circuit = opened();
            assert_eq!(circuit.permit(at(60)), Permit::Go);
            circuit.sent();
            assert_eq!(circuit.permit(at(61)), Permit::AfterProbe);
            circuit.ended(succeeded, at(61), RULE);
            assert_eq!(circuit.permit(at(62)), then);
        }
    }

    #[test]
    fn stragglers_do_not_prolong_the_pause_and_zero_never_opens() {
        let mut circuit = opened();
        circuit.ended(false, at(50), RULE);
        assert_eq!(circuit.permit(at(59)), Permit::NotBefore(at(60)));
        let mut never = Circuit::new();
        (0..100).for_each(|_| never.ended(false, at(0), Rule { failures: 0, ..RULE }));
        assert_eq!(never.permit(at(0)), Permit::Go);
    }
}
