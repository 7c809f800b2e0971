use std::time::Duration;

use crate::Error;

/// Settings of webhook delivery.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Whether webhooks may go to loopback, private, link-local and other addresses that are not on the public internet.
    pub allow_private_targets: bool,
    /// Longest time to connect to a client, TLS included, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest time of one attempt, from the name lookup to the end of the answer, in milliseconds.
    pub request_timeout_ms: u64,
    /// How long an unused connection to a client is kept, in seconds.
    pub idle_connection_seconds: u64,
    /// Attempts under way at once on this node. A workspace with nothing under way may always start one more,
    /// so that slow clients never keep the others waiting.
    pub max_in_flight: u32,
    /// Attempts under way at once to one workspace; a workspace's own `max_concurrency` can lower it.
    pub max_in_flight_per_workspace: u32,
    /// Deliveries that wait in memory on this node; beyond it they wait on disk. Each workspace leaves to the others at
    /// least what it has itself, so that slow clients never push the others out.
    pub max_queued: usize,
    /// What deliveries that wait in memory may take of it, in bytes; shared in the same way.
    pub max_queued_bytes: usize,
    /// Deliveries of one workspace that wait in memory, whatever the others leave; beyond it they wait on disk.
    pub max_queued_per_workspace: usize,
    /// How long a new appointment waits in memory before it is put on disk, in seconds. It bounds what a restart reads again.
    pub max_wait_seconds: u64,
    /// Upper bound of the pause before the second attempt, in milliseconds. The pause is drawn between 0 and the bound.
    pub first_retry_ms: u64,
    /// By how much the bound grows with each attempt; at least 1.
    pub retry_factor: f32,
    /// Largest bound of the pause between two attempts, in seconds.
    pub max_retry_seconds: u64,
    /// Attempts in all; when the last one fails the delivery is given up. With the other defaults the twentieth comes
    /// after about three days.
    pub max_attempts: u32,
    /// Longest `Retry-After` that is honoured, in seconds.
    pub max_retry_after_seconds: u64,
    /// While a client keeps failing, deliveries are given up when they are older than this, in hours, counted from the
    /// routing or from the last change of the workspace, whichever is later. It ends what the open circuit keeps waiting.
    pub give_up_after_hours: u32,
    /// Failures in a row after which a workspace is left alone for a while; 0 for never.
    pub circuit_failures: u32,
    /// How long it is then left alone before one attempt probes it, in seconds.
    pub circuit_pause_seconds: u64,
    /// How long attempts under way may take to end when the node stops, in seconds.
    pub drain_seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_private_targets: false,
            connect_timeout_ms: 5_000,
            request_timeout_ms: 15_000,
            idle_connection_seconds: 90,
            max_in_flight: 512,
            max_in_flight_per_workspace: 64,
            max_queued: 50_000,
            max_queued_bytes: 64 << 20,
            max_queued_per_workspace: 50_000,
            max_wait_seconds: 60,
            first_retry_ms: 10_000,
            retry_factor: 3.0,
            max_retry_seconds: 43_200,
            max_attempts: 20,
            max_retry_after_seconds: 86_400,
            give_up_after_hours: 96,
            circuit_failures: 10,
            circuit_pause_seconds: 60,
            drain_seconds: 20,
        }
    }
}

/// No setting in seconds may be longer: a year. It keeps sums of times within what a timestamp holds.
const LONGEST_SECONDS: u64 = 366 * 86_400;

impl Options {
    /// Checks that the settings can be used; names the first that cannot.
    pub fn check(&self) -> Result<(), Error> {
        let rules = [
            ("connect_timeout_ms", self.connect_timeout_ms >= 1, "must be at least 1"),
            ("request_timeout_ms", self.request_timeout_ms >= 1, "must be at least 1"),
            ("max_in_flight", self.max_in_flight >= 1, "must be at least 1"),
            ("max_in_flight_per_workspace", self.max_in_flight_per_workspace >= 1, "must be at least 1"),
            ("max_queued", self.max_queued >= 1, "must be at least 1"),
            ("max_queued_bytes", self.max_queued_bytes >= 1, "must be at least 1"),
            ("max_queued_per_workspace", self.max_queued_per_workspace >= 1, "must be at least 1"),
            ("retry_factor", (1.0..=1_000.0).contains(&self.retry_factor), "must be between 1 and 1000"),
            ("max_attempts", (1..=1_000).contains(&self.max_attempts), "must be between 1 and 1000"),
            ("first_retry_ms", self.first_retry_ms <= LONGEST_SECONDS * 1_000, "must be at most a year"),
            ("max_retry_seconds", self.max_retry_seconds <= LONGEST_SECONDS, "must be at most a year"),
            ("max_retry_after_seconds", self.max_retry_after_seconds <= LONGEST_SECONDS, "must be at most a year"),
            (
                "circuit_pause_seconds",
                (1..=LONGEST_SECONDS).contains(&self.circuit_pause_seconds),
                "must be 1 to a year",
            ),
            ("drain_seconds", self.drain_seconds <= LONGEST_SECONDS, "must be at most a year"),
            ("max_wait_seconds", (1..=LONGEST_SECONDS).contains(&self.max_wait_seconds), "must be 1 to a year"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, rule)) => Err(Error::Setting { field, rule }),
            None => Ok(()),
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_used_and_a_wrong_setting_is_named() {
        assert!(Options::default().check().is_ok());
        let wrong = Options { retry_factor: 0.5, ..Options::default() };
        assert_eq!(
            wrong.check().map_err(|e| e.to_string()),
            Err("dispatcher.retry_factor must be between 1 and 1000".into())
        );
        assert!(Options { max_attempts: 0, ..Options::default() }.check().is_err());
        assert!(Options { drain_seconds: u64::MAX, ..Options::default() }.check().is_err(), "no time is that far away");
    }
}
