//! Topic `appointments`: what the router decided.
//!
//! The decisions about one lead may stand in different partitions (by lead while unrouted, by workspace once routed),
//! so an older one may arrive after a newer one: it then adds to the history and to the sums, and changes nothing else.

use std::borrow::Cow;
use std::cmp::Ordering;

use leadway_domain::record::{Appointment, AppointmentRecord, CommandRefused, DuplicateLead, RoutingMethod, Unrouted};
use leadway_domain::{LeadId, Money, Offset, Partition, Timestamp};
use leadway_eventlog::Record;
use leadway_tables::schema::{
    AppointmentByWorkspaceChange, AppointmentChange, CommandRow, LeadChange, UnroutedRow, day, unrouted_shard,
};
use leadway_tables::{JsonText, TableRow, TablesError, Write, key};
use serde::Serialize;

use crate::batch::{Batch, Decided, Till};
use crate::causes::Causes;
use crate::daily::{Sums, count, pay, time};
use crate::events::event;
use crate::fold::{Context, FoldError};
use crate::rows::kept_time;

/// `routing_status` of a lead that has a workspace.
pub(crate) const ROUTED: &str = "routed";
/// `routing_status` of a lead that matched nothing.
const UNROUTED: &str = "unrouted";
/// Status of a command that was not carried out.
const REFUSED: &str = "refused";

pub(crate) async fn fold(
    record: &Record,
    payload: &AppointmentRecord,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    match payload {
        AppointmentRecord::Routed(appointment) => routed(record, appointment, batch, context).await,
        AppointmentRecord::Unrouted(unrouted_lead) => unrouted(record, unrouted_lead, batch, context).await,
        AppointmentRecord::Duplicate(duplicate_lead) => duplicate(record, duplicate_lead, batch, context).await,
        AppointmentRecord::Refused(refused_command) => refused(record, refused_command, batch, context),
    }
}

async fn routed(
    record: &Record,
    appointment: &Appointment,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    let id = appointment.appointment_id;
    let bucket = context.bucket(record, id)?;
    if !is_new(record, appointment, bucket, batch, context).await? {
        return Ok(());
    }
    if !appointment.test {
        count_routed(record, appointment, batch).await?;
        let slot = (appointment.workspace_id.clone(), kept_time(appointment.appointment_date));
        count(&mut batch.slot(slot).await?.taken, 1);
    }
    batch.add(by_workspace(appointment));
    if let Some(command) = appointment.command_id {
        batch.add(answer(command, id, ROUTED, "", appointment.matched_at));
    }
    let version = i64::from(appointment.decision);
    batch.decided(id, version, true);
    batch.add(routed_row(record, bucket, appointment));
    if version > 1 {
        // Whether or not the earlier decision has been applied: it may be in another node's hands.
        batch.add(UnroutedRow::delete_version(key![unrouted_shard(id), id], version));
    }
    Ok(())
}

/// What the decision goes back to.
fn cause(a: &Appointment, context: &Context) -> Option<(Partition, Offset)> {
    context.addressing.address(a.command_id.unwrap_or(a.appointment_id))
}

/// Whether it takes the tables to tell that the decision is new.
pub(crate) fn is_to_be_looked_up(record: &Record, a: &Appointment, causes: &Causes, context: &Context) -> bool {
    let Some(cause) = cause(a, context) else { return false };
    causes.order(record.address.partition, cause) != Some(Ordering::Greater)
}

/// Whether no earlier decision has made the lead an appointment: it is counted once, and stays what it became first.
async fn is_new(
    record: &Record,
    a: &Appointment,
    bucket: i64,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<bool, TablesError> {
    let mut known = Decided::default();
    if is_to_be_looked_up(record, a, batch.causes(), context) {
        known = batch.decision(bucket, a.appointment_id).await?;
    }
    if let Some(cause) = cause(a, context)
        && known.decision == 0
    {
        batch.causes().note(record.address.partition, cause);
    }
    Ok(!known.routed)
}

fn by_workspace(a: &Appointment) -> Write {
    let row = AppointmentByWorkspaceChange {
        matched_at: Some(a.matched_at),
        provider_id: Some(a.provider_id.as_str()),
        service_type: Some(&a.service_type),
        customer_zip: Some(a.customer_zip),
        appointment_date: Some(a.appointment_date),
        price: Some(a.price),
        test: Some(a.test),
        ..AppointmentByWorkspaceChange::new(a.workspace_id.as_str(), day(a.matched_at), a.appointment_id)
    };
    row.upsert()
}

/// The columns of the decision; those that are left out are emptied if an earlier decision had set them.
fn routed_row(record: &Record, bucket: i64, a: &Appointment) -> Write {
    let method = match a.routing_method {
        RoutingMethod::Auto => "\"auto\"",
        RoutingMethod::Manual => "\"manual\"",
    };
    let row = AppointmentChange {
        decision: Some(i64::from(a.decision)),
        routing_status: Some(ROUTED),
        unrouted_code: Some(""),
        unrouted_reason: Some(""),
        contact_id: Some(a.contact_id),
        provider_id: Some(a.provider_id.as_str()),
        workspace_id: Some(a.workspace_id.as_str()),
        rule_id: a.rule_id,
        routing_method: Some(JsonText(Cow::Borrowed(method))),
        customer_name: Some(&a.customer_name),
        customer_phone: Some(a.customer_phone),
        customer_email: a.customer_email.as_deref(),
        service_type: Some(&a.service_type),
        customer_zip: Some(a.customer_zip),
        appointment_date: Some(a.appointment_date),
        next_free_slot: Some(false),
        estimated_value: a.estimated_value,
        notes: Some(&a.notes),
        price: Some(a.price),
        cost: Some(a.cost),
        test: Some(a.test),
        received_at: Some(a.received_at),
        matched_at: Some(a.matched_at),
        routed_us: Some(record.time.as_microsecond()),
        routed_partition: Some(record.address.partition),
        routed_offset: Some(record.address.offset),
        ..AppointmentChange::new(bucket, a.appointment_id)
    };
    row.upsert()
}

/// The sums in which a routed lead counts.
pub(crate) fn sums_of_routed<'r>(record: &Record, a: &'r Appointment) -> Sums<'r> {
    Sums {
        at: a.matched_at,
        provider: &a.provider_id,
        workspace: Some(&a.workspace_id),
        product: &a.service_type,
        by: record.address,
    }
}

async fn count_routed(record: &Record, a: &Appointment, batch: &mut Batch<'_>) -> Result<(), TablesError> {
    let daily = batch.daily(sums_of_routed(record, a).id()).await?;
    count(&mut daily.appointments, 1);
    if a.command_id.is_none() {
        time(&mut daily.routing_latency, a.received_at, a.matched_at);
    }
    Ok(())
}

async fn unrouted(record: &Record, lead: &Unrouted, batch: &mut Batch<'_>, context: &Context) -> Result<(), FoldError> {
    let id = lead.lead_id;
    let bucket = context.bucket(record, id)?;
    let version = i64::from(lead.decision);
    let last = batch.decision(bucket, id).await?.decision;
    // A lead that is decided again and again is one lead.
    if is_first(record, lead, last, batch, context).await? && !lead.test {
        count_unrouted(record, lead, batch).await?;
    }
    if let Some(command) = lead.command_id {
        batch.add(answer(command, id, UNROUTED, &lead.reason.message, lead.decided_at));
    }
    let Unrouted { decision, reason, .. } = lead;
    let said = NoWorkspace { decision: *decision, code: &reason.code, reason: &reason.message };
    event(record, id, &said, batch, context)?;

    if last >= version {
        return Ok(());
    }
    batch.decided(id, version, false);
    batch.add(unrouted_row(bucket, lead));
    let waiting = UnroutedRow {
        decision: Some(version),
        service_type: Some(lead.service_type.to_string()),
        customer_zip: Some(lead.customer_zip),
        code: Some(reason.code.clone()),
        reason: Some(reason.message.clone()),
        decided_at: Some(lead.decided_at),
        ..UnroutedRow::new(unrouted_shard(id), id)
    };
    batch.add(waiting.upsert());
    Ok(())
}

/// Whether a first decision that found no workspace was not there before. Of a lead whose `last` decision is a later one it is
/// seen from what is told of it: that decision may have been made in another partition, and be applied earlier.
async fn is_first(
    record: &Record,
    lead: &Unrouted,
    last: i64,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<bool, FoldError> {
    if lead.decision != 1 || last == 1 {
        return Ok(false);
    }
    if last == 0 {
        return Ok(true);
    }
    let bucket = context.event_bucket(record, lead.lead_id)?;
    Ok(!batch.was_unrouted(bucket, lead.lead_id, record.address).await?)
}

/// What an event says of a lead that was not routed.
#[derive(Serialize)]
struct NoWorkspace<'a> {
    decision: u32,
    code: &'a str,
    reason: &'a str,
}

fn unrouted_row(bucket: i64, lead: &Unrouted) -> Write {
    let row = AppointmentChange {
        decision: Some(i64::from(lead.decision)),
        routing_status: Some(UNROUTED),
        unrouted_code: Some(&lead.reason.code),
        unrouted_reason: Some(&lead.reason.message),
        contact_id: Some(lead.contact_id),
        provider_id: Some(lead.provider_id.as_str()),
        service_type: Some(&lead.service_type),
        customer_zip: Some(lead.customer_zip),
        appointment_date: lead.appointment_date,
        next_free_slot: Some(lead.appointment_date.is_none()),
        test: Some(lead.test),
        received_at: Some(lead.received_at),
        ..AppointmentChange::new(bucket, lead.lead_id)
    };
    row.upsert()
}

/// The sums in which an unrouted lead counts.
pub(crate) fn sums_of_unrouted<'r>(record: &Record, lead: &'r Unrouted) -> Sums<'r> {
    Sums {
        at: lead.decided_at,
        provider: &lead.provider_id,
        workspace: None,
        product: &lead.service_type,
        by: record.address,
    }
}

async fn count_unrouted(record: &Record, lead: &Unrouted, batch: &mut Batch<'_>) -> Result<(), TablesError> {
    let daily = batch.daily(sums_of_unrouted(record, lead).id()).await?;
    count(&mut daily.unrouted, 1);
    if lead.command_id.is_none() {
        time(&mut daily.routing_latency, lead.received_at, lead.decided_at);
    }
    Ok(())
}

/// The lead was counted when it arrived, by another topic: here it is counted back, in this topic's own row.
async fn duplicate(
    record: &Record,
    lead: &DuplicateLead,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    let bucket = context.bucket(record, lead.lead_id)?;
    if std::mem::replace(&mut batch.twin(bucket, lead.lead_id).await?.known, true) {
        return Ok(());
    }
    if !lead.test {
        let daily = batch.daily(sums_of_duplicate(record, lead).id()).await?;
        count(&mut daily.leads, -1);
        pay(&mut daily.lead_cost, Money::ZERO - lead.cost);
        batch.ring(Till::LeadCostReturned, lead.provider_id.shared(), lead.cost);
    }
    let row = LeadChange { duplicate_of: Some(lead.first_lead_id), ..LeadChange::new(bucket, lead.lead_id) };
    batch.add(row.upsert());
    event(record, lead.lead_id, &Duplicate { first_lead_id: lead.first_lead_id }, batch, context)
}

/// What an event says of a duplicate.
#[derive(Serialize)]
struct Duplicate {
    first_lead_id: LeadId,
}

/// The sums in which a duplicate counts back.
pub(crate) fn sums_of_duplicate<'r>(record: &Record, lead: &'r DuplicateLead) -> Sums<'r> {
    Sums {
        at: lead.received_at,
        provider: &lead.provider_id,
        workspace: None,
        product: &lead.product_type,
        by: record.address,
    }
}

fn refused(
    record: &Record,
    refused: &CommandRefused,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    let said = Refusal { command_id: refused.command_id, reason: &refused.reason };
    event(record, refused.lead_id, &said, batch, context)?;
    batch.add(answer(refused.command_id, refused.lead_id, REFUSED, &refused.reason, refused.decided_at));
    Ok(())
}

/// What an event says of a command that was refused.
#[derive(Serialize)]
struct Refusal<'a> {
    command_id: LeadId,
    reason: &'a str,
}

fn answer(command: LeadId, lead: LeadId, status: &str, reason: &str, decided_at: Timestamp) -> Write {
    let row = CommandRow {
        lead_id: Some(lead),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        decided_at: Some(decided_at),
        ..CommandRow::new(command)
    };
    row.upsert()
}
