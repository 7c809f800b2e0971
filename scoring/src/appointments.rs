//! Topic `appointments`: what the router decided.
//!
//! The decisions about one lead may stand in different partitions (by lead while unrouted, by workspace once routed),
//! so an older one may arrive after a newer one: it then adds to the history and to the sums, and changes nothing else.

use leadway_domain::record::{Appointment, AppointmentRecord, CommandRefused, DuplicateLead, Unrouted};
use leadway_domain::{LeadId, Money, Timestamp};
use leadway_eventlog::Record;
use leadway_tables::schema::{
    AppointmentByWorkspaceRow, AppointmentRow, CommandRow, LeadRow, SlotRow, UnroutedRow, day, unrouted_shard,
};
use leadway_tables::{Json, TablesError, key};
use serde_json::json;

use crate::batch::{Batch, Till};
use crate::daily::{Sums, count, pay, time};
use crate::events::event;
use crate::fold::{Context, FoldError};

/// `routing_status` of a lead that has a workspace.
const ROUTED: &str = "routed";
/// `routing_status` of a lead that matched nothing.
const UNROUTED: &str = "unrouted";
/// Status of a command that was not carried out.
const REFUSED: &str = "refused";

pub(crate) async fn fold(
    record: &Record,
    payload: AppointmentRecord,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    match payload {
        AppointmentRecord::Routed(appointment) => routed(record, *appointment, batch, context).await,
        AppointmentRecord::Unrouted(unrouted_lead) => unrouted(record, *unrouted_lead, batch, context).await,
        AppointmentRecord::Duplicate(duplicate_lead) => duplicate(record, duplicate_lead, batch, context).await,
        AppointmentRecord::Refused(refused_command) => {
            refused(record, refused_command, batch);
            Ok(())
        }
    }
}

async fn routed(
    record: &Record,
    appointment: Appointment,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    let id = appointment.appointment_id;
    let bucket = context.bucket(record, id)?;
    if !appointment.test {
        count_routed(record, &appointment, batch).await?;
        let slot = SlotRow::new(appointment.workspace_id.clone(), appointment.appointment_date);
        count(&mut batch.slot(slot).await?.taken, 1);
    }
    batch.add(&AppointmentByWorkspaceRow {
        matched_at: Some(appointment.matched_at),
        provider_id: Some(appointment.provider_id.clone()),
        service_type: Some(appointment.service_type.to_string()),
        customer_zip: Some(appointment.customer_zip),
        appointment_date: Some(appointment.appointment_date),
        price: Some(appointment.price),
        test: Some(appointment.test),
        ..AppointmentByWorkspaceRow::new(appointment.workspace_id.clone(), day(appointment.matched_at), id)
    });
    if let Some(command) = appointment.command_id {
        batch.add(&answer(command, id, ROUTED, String::new(), appointment.matched_at));
    }
    let data = json!({
        "decision": appointment.decision,
        "workspace_id": appointment.workspace_id,
        "rule_id": appointment.rule_id,
        "routing_method": appointment.routing_method,
        "appointment_date": appointment.appointment_date,
        "price": appointment.price,
    });
    batch.add(&event(record, id, data));

    let version = i64::from(appointment.decision);
    batch.decided(id, version);
    batch.add(&routed_row(bucket, appointment));
    if version > 1 {
        // Whether or not the earlier decision has been applied: it may be in another node's hands.
        batch.remove_version::<UnroutedRow>(key![unrouted_shard(id), id], version);
    }
    Ok(())
}

/// The columns of the decision; those that are left out are emptied if an earlier decision had set them.
fn routed_row(bucket: i64, a: Appointment) -> AppointmentRow {
    AppointmentRow {
        decision: Some(i64::from(a.decision)),
        routing_status: Some(ROUTED.to_owned()),
        unrouted_code: Some(String::new()),
        unrouted_reason: Some(String::new()),
        contact_id: Some(a.contact_id),
        provider_id: Some(a.provider_id),
        workspace_id: Some(a.workspace_id),
        rule_id: a.rule_id,
        routing_method: Some(Json(a.routing_method)),
        customer_name: Some(a.customer_name),
        customer_phone: Some(a.customer_phone),
        customer_email: a.customer_email,
        service_type: Some(a.service_type.to_string()),
        customer_zip: Some(a.customer_zip),
        appointment_date: Some(a.appointment_date),
        next_free_slot: Some(false),
        estimated_value: a.estimated_value,
        notes: Some(a.notes),
        price: Some(a.price),
        cost: Some(a.cost),
        test: Some(a.test),
        received_at: Some(a.received_at),
        matched_at: Some(a.matched_at),
        ..AppointmentRow::new(bucket, a.appointment_id)
    }
}

async fn count_routed(record: &Record, a: &Appointment, batch: &mut Batch<'_>) -> Result<(), TablesError> {
    let sums = Sums {
        at: a.matched_at,
        provider: &a.provider_id,
        workspace: a.workspace_id.as_str(),
        product: &a.service_type,
        by: record.address,
    };
    let daily = sums.row(batch).await?;
    count(&mut daily.appointments, 1);
    if a.command_id.is_none() {
        time(&mut daily.routing_latency, a.received_at, a.matched_at);
    }
    Ok(())
}

async fn unrouted(record: &Record, lead: Unrouted, batch: &mut Batch<'_>, context: &Context) -> Result<(), FoldError> {
    let id = lead.lead_id;
    let bucket = context.bucket(record, id)?;
    // A lead that is decided again and again is one lead.
    if !lead.test && lead.decision == 1 {
        count_unrouted(record, &lead, batch).await?;
    }
    if let Some(command) = lead.command_id {
        batch.add(&answer(command, id, UNROUTED, lead.reason.message.clone(), lead.decided_at));
    }
    let data = json!({ "decision": lead.decision, "code": lead.reason.code, "reason": lead.reason.message });
    batch.add(&event(record, id, data));

    let version = i64::from(lead.decision);
    if batch.last_decision(bucket, id).await? >= version {
        return Ok(());
    }
    batch.decided(id, version);
    batch.add(&unrouted_row(bucket, &lead));
    batch.add(&UnroutedRow {
        decision: Some(version),
        service_type: Some(lead.service_type.to_string()),
        customer_zip: Some(lead.customer_zip),
        code: Some(lead.reason.code),
        reason: Some(lead.reason.message),
        decided_at: Some(lead.decided_at),
        ..UnroutedRow::new(unrouted_shard(id), id)
    });
    Ok(())
}

fn unrouted_row(bucket: i64, lead: &Unrouted) -> AppointmentRow {
    AppointmentRow {
        decision: Some(i64::from(lead.decision)),
        routing_status: Some(UNROUTED.to_owned()),
        unrouted_code: Some(lead.reason.code.clone()),
        unrouted_reason: Some(lead.reason.message.clone()),
        contact_id: Some(lead.contact_id),
        provider_id: Some(lead.provider_id.clone()),
        service_type: Some(lead.service_type.to_string()),
        customer_zip: Some(lead.customer_zip),
        appointment_date: lead.appointment_date,
        next_free_slot: Some(lead.appointment_date.is_none()),
        test: Some(lead.test),
        received_at: Some(lead.received_at),
        ..AppointmentRow::new(bucket, lead.lead_id)
    }
}

async fn count_unrouted(record: &Record, lead: &Unrouted, batch: &mut Batch<'_>) -> Result<(), TablesError> {
    let sums = Sums {
        at: lead.decided_at,
        provider: &lead.provider_id,
        workspace: "",
        product: &lead.service_type,
        by: record.address,
    };
    let daily = sums.row(batch).await?;
    count(&mut daily.unrouted, 1);
    if lead.command_id.is_none() {
        time(&mut daily.routing_latency, lead.received_at, lead.decided_at);
    }
    Ok(())
}

/// The lead was counted when it arrived, by another topic: here it is counted back, in this topic's own row.
async fn duplicate(
    record: &Record,
    lead: DuplicateLead,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    let bucket = context.bucket(record, lead.lead_id)?;
    if !lead.test {
        let sums = Sums {
            at: lead.received_at,
            provider: &lead.provider_id,
            workspace: "",
            product: &lead.product_type,
            by: record.address,
        };
        let daily = sums.row(batch).await?;
        count(&mut daily.leads, -1);
        pay(&mut daily.lead_cost, Money::ZERO - lead.cost);
        batch.ring(Till::LeadCostReturned, lead.provider_id.as_str(), lead.cost);
    }
    batch.add(&LeadRow { duplicate_of: Some(lead.first_lead_id), ..LeadRow::new(bucket, lead.lead_id) });
    batch.add(&event(record, lead.lead_id, json!({ "first_lead_id": lead.first_lead_id })));
    Ok(())
}

fn refused(record: &Record, refused: CommandRefused, batch: &mut Batch<'_>) {
    let data = json!({ "command_id": refused.command_id, "reason": refused.reason });
    batch.add(&event(record, refused.lead_id, data));
    batch.add(&answer(refused.command_id, refused.lead_id, REFUSED, refused.reason, refused.decided_at));
}

fn answer(command: LeadId, lead: LeadId, status: &str, reason: String, decided_at: Timestamp) -> CommandRow {
    CommandRow {
        lead_id: Some(lead),
        status: Some(status.to_owned()),
        reason: Some(reason),
        decided_at: Some(decided_at),
        ..CommandRow::new(command)
    }
}
