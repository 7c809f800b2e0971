//! Topic `deliveries`: outcomes of attempts, and what they bill.
//!
//! All outcomes of one appointment stand in one partition, its workspace's, so what its row says here was written by
//! the records before.

use leadway_domain::record::{DeliveryRecord, HeldReason, Outcome};
use leadway_eventlog::Record;
use leadway_tables::schema::{AppointmentRow, BillingEventRow, DailyRow, DeliveryRow, OpenDeliveryRow, day};
use leadway_tables::{Json, key};
use serde_json::{Value, json};

use crate::batch::{Batch, Till};
use crate::daily::{Sums, count, pay, time};
use crate::events::event;
use crate::fold::{Context, FoldError};

const PENDING: &str = "pending";
const SUCCESS: &str = "success";
const FAILED: &str = "failed";

/// How much of a client's answer an event keeps, in bytes; the appointment's row keeps all of the record's.
const EVENT_RESPONSE_BYTES: usize = 1_024;

pub(crate) async fn fold(
    record: &Record,
    delivery: DeliveryRecord,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    let bucket = context.bucket(record, delivery.appointment_id)?;
    if let Some(due_at) = delivery.previous_due_at {
        batch.remove::<OpenDeliveryRow>(key![delivery.workspace_id, due_at, delivery.appointment_id]);
    }
    batch.add(&event(record, delivery.appointment_id, what_happened(&delivery)));

    let row = batch.appointment(bucket, delivery.appointment_id).await?;
    let before = Standing::of(row);
    let known = row.forward_attempts.unwrap_or(0);
    let attempts = i64::from(delivery.attempts).max(known);
    row.forward_attempts = Some(attempts);
    if before != Standing::Delivered {
        set_outcome(row, &delivery);
    }
    let news = News { attempts: attempts - known, before };
    if !delivery.test && news.counts(&delivery.outcome) {
        let sums = Sums {
            at: delivery.at,
            provider: &delivery.provider_id,
            workspace: delivery.workspace_id.as_str(),
            product: &delivery.service_type,
            by: record.address,
        };
        news.add_to(sums.row(batch).await?, &delivery);
        if news.delivers(&delivery.outcome) {
            batch.ring(Till::Billed, delivery.workspace_id.as_str(), delivery.price);
            batch.ring(Till::DeliveredCost, delivery.workspace_id.as_str(), delivery.cost);
        }
    }
    if before != Standing::Delivered {
        follow_up(delivery, batch);
    }
    Ok(())
}

/// What earlier records made of the appointment. What was delivered stays delivered and is billed once: whatever is
/// said later is history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Open,
    GivenUp,
    Delivered,
}

impl Standing {
    fn of(row: &AppointmentRow) -> Self {
        match row.forward_status.as_deref() {
            Some(SUCCESS) => Self::Delivered,
            Some(FAILED) => Self::GivenUp,
            _ => Self::Open,
        }
    }
}

/// Columns of the client's last answer stay when there was none this time.
fn set_outcome(row: &mut AppointmentRow, delivery: &DeliveryRecord) {
    if let Some(status) = delivery.status {
        row.forward_http_status = Some(i64::from(status));
    }
    if let Some(response) = &delivery.response {
        row.forward_response = Some(response.clone());
    }
    if let Some(error) = &delivery.error {
        row.forward_error = Some(error.clone());
    }
    row.held_reason = Some(String::new());
    match &delivery.outcome {
        Outcome::Delivered => {
            row.forward_status = Some(SUCCESS.to_owned());
            row.forwarded_at = Some(delivery.at);
            row.forward_error = Some(String::new());
        }
        Outcome::Retry { due_at, .. } => {
            row.forward_status = Some(PENDING.to_owned());
            row.next_attempt_at = Some(*due_at);
        }
        Outcome::GivenUp => row.forward_status = Some(FAILED.to_owned()),
        Outcome::Held { due_at, reason, .. } => {
            row.forward_status = Some(PENDING.to_owned());
            row.next_attempt_at = Some(*due_at);
            row.held_reason = Some(held_reason(*reason).to_owned());
        }
    }
}

/// What a record adds to what was known of its appointment.
struct News {
    /// Attempts that no earlier record counted.
    attempts: i64,
    before: Standing,
}

impl News {
    /// It is the first to say that the appointment was delivered.
    fn delivers(&self, outcome: &Outcome) -> bool {
        self.before != Standing::Delivered && *outcome == Outcome::Delivered
    }

    /// It is the first to say that the appointment was given up.
    fn gives_up(&self, outcome: &Outcome) -> bool {
        self.before == Standing::Open && *outcome == Outcome::GivenUp
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
fn follow_up(delivery: DeliveryRecord, batch: &mut Batch<'_>) {
    match delivery.outcome {
        Outcome::Delivered => delivered(delivery, batch),
        Outcome::GivenUp => {}
        Outcome::Retry { due_at, appointment } | Outcome::Held { due_at, appointment, .. } => {
            batch.put(&OpenDeliveryRow {
                attempts: Some(i64::from(delivery.attempts)),
                appointment: Some(Json(*appointment)),
                ..OpenDeliveryRow::new(delivery.workspace_id, due_at, delivery.appointment_id)
            });
        }
    }
}

fn delivered(delivery: DeliveryRecord, batch: &mut Batch<'_>) {
    let day = day(delivery.at);
    batch.add(&DeliveryRow {
        delivered_at: Some(delivery.at),
        price: Some(delivery.price),
        attempts: Some(i64::from(delivery.attempts)),
        test: Some(delivery.test),
        ..DeliveryRow::new(delivery.workspace_id.clone(), day, delivery.appointment_id)
    });
    if delivery.test {
        return;
    }
    batch.add(&BillingEventRow {
        amount: Some(delivery.price),
        delivered_at: Some(delivery.at),
        provider_id: Some(delivery.provider_id),
        service_type: Some(delivery.service_type.to_string()),
        cost: Some(delivery.cost),
        ..BillingEventRow::new(delivery.workspace_id, day, delivery.appointment_id)
    });
}

fn what_happened(delivery: &DeliveryRecord) -> Value {
    let (due_at, held) = match &delivery.outcome {
        Outcome::Delivered | Outcome::GivenUp => (None, None),
        Outcome::Retry { due_at, .. } => (Some(due_at), None),
        Outcome::Held { due_at, reason, .. } => (Some(due_at), Some(held_reason(*reason))),
    };
    json!({
        "workspace_id": delivery.workspace_id,
        "attempts": delivery.attempts,
        "status": delivery.status,
        "response": delivery.response.as_deref().map(cut),
        "error": delivery.error,
        "latency_us": delivery.latency_us,
        "next_attempt_at": due_at,
        "held_reason": held,
    })
}

fn cut(response: &str) -> &str {
    response.get(..response.floor_char_boundary(EVENT_RESPONSE_BYTES)).unwrap_or_default()
}

fn held_reason(reason: HeldReason) -> &'static str {
    match reason {
        HeldReason::WebhookInactive => "webhook_inactive",
        HeldReason::QueueFull => "queue_full",
        HeldReason::CircuitOpen => "circuit_open",
    }
}
