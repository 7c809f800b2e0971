//! What the dispatcher measures. Handles are kept: looking a metric up by its name takes longer than counting.

use std::time::Duration;

use leadway_domain::record::{DeliveryRecord, Outcome, Payload};
use leadway_domain::telemetry::{
    CIRCUIT_OPEN, DELIVERY_ATTEMPT_SECONDS, DELIVERY_IN_FLIGHT, DELIVERY_OUTCOMES, DELIVERY_QUEUED, DELIVERY_SECONDS,
    DELIVERY_WAITING, END_TO_END_SECONDS,
};
use leadway_domain::{Timestamp, WorkspaceId};
use metrics::{Counter, Gauge, Histogram};

/// Of all workspaces together.
pub(crate) struct Meters {
    pub(crate) attempt: Histogram,
    pub(crate) in_flight: Gauge,
    pub(crate) queued: Gauge,
    delivery: Histogram,
    end_to_end: Histogram,
}

impl Meters {
    pub(crate) fn new() -> Self {
        Self {
            attempt: metrics::histogram!(DELIVERY_ATTEMPT_SECONDS),
            in_flight: metrics::gauge!(DELIVERY_IN_FLIGHT),
            queued: metrics::gauge!(DELIVERY_QUEUED),
            delivery: metrics::histogram!(DELIVERY_SECONDS),
            end_to_end: metrics::histogram!(END_TO_END_SECONDS),
        }
    }

    /// A delivery has reached its client.
    pub(crate) fn delivered(&self, record: &DeliveryRecord) {
        self.delivery.record(seconds_between(record.matched_at, record.at));
        self.end_to_end.record(seconds_between(record.received_at, record.at));
    }
}

/// Whether a workspace's client is left alone because it keeps failing.
pub(crate) fn circuit_gauge(workspace: &WorkspaceId, open: bool) {
    metrics::gauge!(CIRCUIT_OPEN, "workspace" => workspace.to_string()).set(f64::from(u8::from(open)));
}

/// How many of a workspace wait in memory and nowhere else.
pub(crate) fn waiting_gauge(workspace: &WorkspaceId, waiting: usize) {
    metrics::gauge!(DELIVERY_WAITING, "workspace" => workspace.to_string(), "where" => "memory").set(waiting as f64);
}

/// One workspace's outcomes. A counter is there once it has something to count.
#[derive(Default)]
pub(crate) struct Tally {
    delivered: Option<Counter>,
    retry: Option<Counter>,
    given_up: Option<Counter>,
    held: Option<Counter>,
}

impl Tally {
    pub(crate) fn count(&mut self, workspace: &WorkspaceId, record: &DeliveryRecord) {
        let counter = match record.outcome {
            Outcome::Delivered => &mut self.delivered,
            Outcome::Retry { .. } => &mut self.retry,
            Outcome::GivenUp => &mut self.given_up,
            Outcome::Held { .. } => &mut self.held,
        };
        let kind = record.kind();
        let result = kind.strip_prefix("delivery.").unwrap_or(kind);
        let named = || metrics::counter!(DELIVERY_OUTCOMES, "workspace" => workspace.to_string(), "result" => result);
        counter.get_or_insert_with(named).increment(1);
    }
}

fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    Duration::from_micros(u64::try_from(to.as_microsecond() - from.as_microsecond()).unwrap_or(0)).as_secs_f64()
}
