//! Topic `leads`: contacts, leads and what people asked.

use std::borrow::Cow;

use leadway_domain::lead::Lead;
use leadway_domain::record::{LeadAction, LeadCommand, LeadRecord};
use leadway_domain::{LeadId, Timestamp, WorkspaceId};
use leadway_eventlog::Record;
use leadway_tables::schema::{CommandKeyRow, ContactByDayRow, LeadChange, day};
use leadway_tables::{Json, JsonText, TableRow, TablesError, Write};
use serde::Serialize;

use crate::batch::{Batch, Till};
use crate::daily::{Sums, count, pay};
use crate::events::event;
use crate::fold::{Context, FoldError};

pub(crate) async fn fold(
    record: &Record,
    payload: &LeadRecord,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    match payload {
        LeadRecord::Received(lead) => received(record, lead, batch, context).await,
        LeadRecord::Command(command) => {
            let id = context.addressing.id(record.address.partition, record.address.offset);
            if let Some(asked_as) = &command.asked_as {
                let row = CommandKeyRow {
                    action: Some(Json(command.action.clone())),
                    ..CommandKeyRow::new(command.lead_id, asked_as.as_str().to_owned(), id)
                };
                batch.add(row.upsert());
            }
            event(record, command.lead_id, &Asked::of(command, id), batch, context)
        }
    }
}

async fn received(record: &Record, lead: &Lead, batch: &mut Batch<'_>, context: &Context) -> Result<(), FoldError> {
    let id = context.addressing.id(record.address.partition, record.address.offset);
    let bucket = context.bucket(record, id)?;
    let previous = contact(lead, id, batch).await?;
    lead_day(record, lead, id, batch).await?;
    if !lead.test {
        let daily = batch.daily(sums(record, lead).id()).await?;
        count(&mut daily.leads, 1);
        pay(&mut daily.lead_cost, lead.cost);
        batch.ring(Till::LeadCost, lead.provider_id.shared(), lead.cost);
    }
    batch.add(row(record, lead, bucket, id, previous));
    Ok(())
}

/// The sums in which a lead counts.
pub(crate) fn sums<'r>(record: &Record, lead: &'r Lead) -> Sums<'r> {
    Sums {
        at: lead.received_at,
        provider: &lead.provider_id,
        workspace: None,
        product: &lead.product_type,
        by: record.address,
    }
}

/// Adds a lead to its contact; tells which one came before it. All leads of a contact stand in one partition of the log.
async fn contact(lead: &Lead, id: LeadId, batch: &mut Batch<'_>) -> Result<Option<LeadId>, TablesError> {
    let row = batch.contact(lead.contact_id).await?;
    let is_new = row.leads.is_none();
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    row.first_name = said(&lead.first_name).or(row.first_name.take());
    row.last_name = said(&lead.last_name).or(row.last_name.take());
    row.email = lead.email.clone().or(row.email.take());
    row.updated_at = Some(lead.received_at);
    count(&mut row.leads, 1);
    let previous = row.last_lead_id.replace(id);
    if is_new {
        row.phone = Some(lead.phone);
        row.provider_id = Some(lead.provider_id.clone());
        row.created_at = Some(lead.received_at);
        batch.add(ContactByDayRow::new(day(lead.received_at), lead.received_at, lead.contact_id).upsert());
    }
    Ok(previous)
}

async fn lead_day(record: &Record, lead: &Lead, id: LeadId, batch: &mut Batch<'_>) -> Result<(), TablesError> {
    let row = batch.lead_day((day(lead.received_at), record.address.partition)).await?;
    row.first_lead_id = Some(row.first_lead_id.map_or(id, |first| first.min(id)));
    row.last_lead_id = Some(row.last_lead_id.map_or(id, |last| last.max(id)));
    Ok(())
}

fn row(record: &Record, lead: &Lead, bucket: i64, id: LeadId, previous: Option<LeadId>) -> Write {
    let json = |text: String| JsonText(Cow::Owned(text));
    let interest_level = lead.interest_level.and_then(|level| serde_json::to_string(&level).ok());
    let extra = (!lead.extra.is_empty()).then(|| serde_json::to_string(&lead.extra).unwrap_or_default());
    let row = LeadChange {
        contact_id: Some(lead.contact_id),
        previous_lead_id: previous,
        provider_id: Some(lead.provider_id.as_str()),
        first_name: Some(&lead.first_name),
        last_name: Some(&lead.last_name),
        phone: Some(lead.phone),
        email: lead.email.as_deref(),
        product_type: Some(&lead.product_type),
        zip_code: Some(lead.zip_code),
        state: Some(&lead.state),
        estimated_value: lead.estimated_value,
        interest_level: interest_level.map(json),
        notes: Some(&lead.notes),
        appointment_date: lead.appointment_date,
        external_id: lead.external_id.as_deref(),
        extra: extra.map(json),
        test: Some(lead.test),
        auto_schedule: Some(lead.auto_schedule),
        cost: Some(lead.cost),
        received_at: Some(lead.received_at),
        recorded_us: Some(record.time.as_microsecond()),
        ..LeadChange::new(bucket, id)
    };
    row.upsert()
}

/// What an event says of what somebody asked for.
#[derive(Serialize)]
struct Asked<'a> {
    command_id: LeadId,
    actor: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    appointment_date: Option<Option<Timestamp>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_id: Option<&'a WorkspaceId>,
}

impl<'a> Asked<'a> {
    fn of(command: &'a LeadCommand, id: LeadId) -> Self {
        let (appointment_date, workspace_id) = match &command.action {
            LeadAction::Schedule { appointment_date } => (Some(*appointment_date), None),
            LeadAction::Assign { workspace_id } => (None, Some(workspace_id)),
            LeadAction::Retry => (None, None),
        };
        Self { command_id: id, actor: &command.actor, appointment_date, workspace_id }
    }
}
