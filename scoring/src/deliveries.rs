//! Topic `deliveries`: outcomes of attempts, and what they bill.
//!
//! All outcomes of one appointment stand in one partition, its workspace's, so what its row says here was written by
//! the records before.

use leadway_domain::record::{DeliveryRecord, HeldReason, Outcome};
use leadway_domain::{Timestamp, WorkspaceId};
use leadway_eventlog::Record;
use leadway_tables::schema::{
    AppointmentChange, BillingEventChange, DailyRow, DeliveryChange, OpenDeliveryRow, cut_response, day,
};
use leadway_tables::{Json, TablesError, key};
use serde::Serialize;

use crate::batch::{Batch, Till};
use crate::daily::{Sums, count, pay, time};
use crate::events::event;
use crate::fold::{Context, FoldError};

const PENDING: &str = "pending";
const SUCCESS: &str = "success";
const FAILED: &str = "failed";

pub(crate) async fn fold(
    record: &Record,
    delivery: &DeliveryRecord,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    let bucket = context.bucket(record, delivery.appointment_id)?;
    if let Some(due_at) = delivery.previous_due_at {
        batch.remove::<OpenDeliveryRow>(key![delivery.workspace_id, due_at, delivery.appointment_id]);
    }
    let standing = batch.standing(bucket, delivery.appointment_id).await?;
    let (before, known) = (*standing, standing.attempts);
    let attempts = i64::from(delivery.attempts).max(known);
    standing.attempts = attempts;
    if before.stage != Stage::Delivered {
        standing.stage = Stage::after(&delivery.outcome);
    }
    let news = News { attempts: attempts - known, before: before.stage };
    let row = outcome(delivery, bucket, attempts, before.stage);
    if news.takes_at_once(delivery) {
        batch.add(taken(record, delivery, row).upsert());
    } else {
        event(record, delivery.appointment_id, &WhatHappened::of(delivery), batch, context)?;
        batch.add(row.upsert());
    }
    if !delivery.test && news.counts(&delivery.outcome) {
        news.add_to(batch.daily(sums(record, delivery).id()).await?, delivery);
        if news.delivers(&delivery.outcome) {
            batch.ring(Till::Billed, delivery.workspace_id.shared(), delivery.price);
            batch.ring(Till::DeliveredCost, delivery.workspace_id.shared(), delivery.cost);
        }
    }
    if before.stage != Stage::Delivered {
        follow_up(delivery, batch)?;
    }
    Ok(())
}

/// The sums in which an outcome counts.
pub(crate) fn sums<'r>(record: &Record, delivery: &'r DeliveryRecord) -> Sums<'r> {
    Sums {
        at: delivery.at,
        provider: &delivery.provider_id,
        workspace: Some(&delivery.workspace_id),
        product: &delivery.service_type,
        by: record.address,
    }
}

/// What earlier records made of an appointment. What was delivered stays delivered and is billed once: whatever is said
/// later is history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Open,
    GivenUp,
    Delivered,
}

impl Stage {
    /// By the column `forward_status`.
    pub(crate) fn of(status: Option<&str>) -> Self {
        match status {
            Some(SUCCESS) => Self::Delivered,
            Some(FAILED) => Self::GivenUp,
            _ => Self::Open,
        }
    }

    fn after(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Delivered => Self::Delivered,
            Outcome::GivenUp => Self::GivenUp,
            Outcome::Retry { .. } | Outcome::Held { .. } => Self::Open,
        }
    }
}

/// The columns of the outcome. Those of the client's last answer stay when there was none this time.
fn outcome(delivery: &DeliveryRecord, bucket: i64, attempts: i64, before: Stage) -> AppointmentChange<'_> {
    let id = delivery.appointment_id;
    let row = AppointmentChange { forward_attempts: Some(attempts), ..AppointmentChange::new(bucket, id) };
    if before == Stage::Delivered {
        return row;
    }
    let row = AppointmentChange {
        forward_http_status: delivery.status.map(i64::from),
        forward_response: delivery.response.as_deref(),
        forward_error: delivery.error.as_deref(),
        held_reason: Some(""),
        ..row
    };
    match &delivery.outcome {
        Outcome::Delivered => AppointmentChange {
            forward_status: Some(SUCCESS),
            forwarded_at: Some(delivery.at),
            forward_error: Some(""),
            ..row
        },
        Outcome::Retry { due_at, .. } => {
            AppointmentChange { forward_status: Some(PENDING), next_attempt_at: Some(*due_at), ..row }
        }
        Outcome::GivenUp => AppointmentChange { forward_status: Some(FAILED), ..row },
        Outcome::Held { due_at, reason, .. } => AppointmentChange {
            forward_status: Some(PENDING),
            next_attempt_at: Some(*due_at),
            held_reason: Some(held_reason(*reason)),
            ..row
        },
    }
}

/// With the columns that tell the history of it, which then needs no row: nothing changes the others any more.
fn taken<'a>(record: &Record, delivery: &DeliveryRecord, row: AppointmentChange<'a>) -> AppointmentChange<'a> {
    AppointmentChange {
        taken_us: Some(record.time.as_microsecond()),
        taken_partition: Some(record.address.partition),
        taken_offset: Some(record.address.offset),
        taken_latency_us: Some(i64::try_from(delivery.latency_us).unwrap_or(i64::MAX)),
        ..row
    }
}

/// What a record adds to what was known of its appointment.
struct News {
    /// Attempts that no earlier record counted.
    attempts: i64,
    before: Stage,
}

impl News {
    /// It is the first to say that the appointment was delivered.
    fn delivers(&self, outcome: &Outcome) -> bool {
        self.before != Stage::Delivered && *outcome == Outcome::Delivered
    }

    /// It says that the client took the appointment at the first attempt, as nearly all do: the columns of the outcome then
    /// say all that an event would.
    fn takes_at_once(&self, delivery: &DeliveryRecord) -> bool {
        let first = (self.attempts, delivery.attempts) == (1, 1);
        first && self.delivers(&delivery.outcome) && delivery.error.is_none()
    }

    /// It is the first to say that the appointment was given up.
    fn gives_up(&self, outcome: &Outcome) -> bool {
        self.before == Stage::Open && *outcome == Outcome::GivenUp
    }

    fn counts(&self, outcome: &Outcome) -> bool {
        self.attempts > 0 || self.delivers(outcome) || self.gives_up(outcome)
    }

    fn add_to(&self, daily: &mut DailyRow, delivery: &DeliveryRecord) {
        if self.attempts > 0 {
            count(&mut daily.attempts, self.attempts);
        }
        if self.delivers(&delivery.outcome) {
            count(&mut daily.delivered, 1);
            count(&mut daily.accepted_attempts, 1);
            pay(&mut daily.revenue, delivery.price);
            pay(&mut daily.delivered_cost, delivery.cost);
            time(&mut daily.delivery_latency, delivery.matched_at, delivery.at);
        }
        if self.gives_up(&delivery.outcome) {
            count(&mut daily.given_up, 1);
        }
    }
}

/// The rows that an outcome leaves: a bill, or a delivery that waits.
fn follow_up(delivery: &DeliveryRecord, batch: &mut Batch<'_>) -> Result<(), TablesError> {
    match &delivery.outcome {
        Outcome::Delivered => delivered(delivery, batch),
        Outcome::GivenUp => {}
        Outcome::Retry { due_at, appointment } | Outcome::Held { due_at, appointment, .. } => {
            batch.put(&OpenDeliveryRow {
                attempts: Some(i64::from(delivery.attempts)),
                appointment: Some(Json((**appointment).clone())),
                ..OpenDeliveryRow::new(delivery.workspace_id.clone(), *due_at, delivery.appointment_id)
            })?;
        }
    }
    Ok(())
}

fn delivered(delivery: &DeliveryRecord, batch: &mut Batch<'_>) {
    let (workspace, day) = (delivery.workspace_id.as_str(), day(delivery.at));
    let row = DeliveryChange {
        delivered_at: Some(delivery.at),
        price: Some(delivery.price),
        attempts: Some(i64::from(delivery.attempts)),
        test: Some(delivery.test),
        ..DeliveryChange::new(workspace, day, delivery.appointment_id)
    };
    batch.add(row.upsert());
    if delivery.test {
        return;
    }
    let row = BillingEventChange {
        amount: Some(delivery.price),
        delivered_at: Some(delivery.at),
        provider_id: Some(delivery.provider_id.as_str()),
        service_type: Some(&delivery.service_type),
        cost: Some(delivery.cost),
        ..BillingEventChange::new(workspace, day, delivery.appointment_id)
    };
    batch.add(row.upsert());
}

/// What an event says of an outcome.
#[derive(Serialize)]
struct WhatHappened<'a> {
    workspace_id: &'a WorkspaceId,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    latency_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_reason: Option<&'static str>,
}

impl<'a> WhatHappened<'a> {
    fn of(delivery: &'a DeliveryRecord) -> Self {
        let (due_at, held) = match &delivery.outcome {
            Outcome::Delivered | Outcome::GivenUp => (None, None),
            Outcome::Retry { due_at, .. } => (Some(*due_at), None),
            Outcome::Held { due_at, reason, .. } => (Some(*due_at), Some(held_reason(*reason))),
        };
        Self {
            workspace_id: &delivery.workspace_id,
            attempts: delivery.attempts,
            status: delivery.status,
            response: delivery.response.as_deref().map(cut_response),
            error: delivery.error.as_deref(),
            latency_us: delivery.latency_us,
            next_attempt_at: due_at,
            held_reason: held,
        }
    }
}

fn held_reason(reason: HeldReason) -> &'static str {
    match reason {
        HeldReason::WebhookInactive => "webhook_inactive",
        HeldReason::QueueFull => "queue_full",
        HeldReason::CircuitOpen => "circuit_open",
    }
}
