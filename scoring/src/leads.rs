//! Topic `leads`: contacts, leads and what people asked.

use leadway_domain::LeadId;
use leadway_domain::lead::Lead;
use leadway_domain::record::{LeadAction, LeadCommand, LeadRecord};
use leadway_eventlog::Record;
use leadway_tables::schema::{ContactByDayRow, ContactRow, LeadByContactRow, LeadDayRow, LeadRow, day};
use leadway_tables::{Json, TablesError};
use serde_json::{Value, json};

use crate::batch::{Batch, Till};
use crate::daily::{Sums, count, pay};
use crate::events::event;
use crate::fold::{Context, FoldError};

pub(crate) async fn fold(
    record: &Record,
    payload: LeadRecord,
    batch: &mut Batch<'_>,
    context: &Context,
) -> Result<(), FoldError> {
    match payload {
        LeadRecord::Received(lead) => received(record, *lead, batch, context).await,
        LeadRecord::Command(command) => {
            let id = context.addressing.id(record.address.partition, record.address.offset);
            batch.add(&event(record, command.lead_id, asked(&command, id)));
            Ok(())
        }
    }
}

async fn received(record: &Record, lead: Lead, batch: &mut Batch<'_>, context: &Context) -> Result<(), FoldError> {
    let id = context.addressing.id(record.address.partition, record.address.offset);
    let bucket = context.bucket(record, id)?;
    contact(&lead, batch).await?;
    lead_day(record, &lead, id, batch).await?;
    if !lead.test {
        let sums = Sums {
            at: lead.received_at,
            provider: &lead.provider_id,
            workspace: "",
            product: &lead.product_type,
            by: record.address,
        };
        let daily = sums.row(batch).await?;
        count(&mut daily.leads, 1);
        pay(&mut daily.lead_cost, lead.cost);
        batch.ring(Till::LeadCost, lead.provider_id.as_str(), lead.cost);
    }
    batch.add(&LeadByContactRow::new(lead.contact_id, id));
    batch.add(&event(record, id, arrival(&lead)));
    batch.add(&row(lead, bucket, id));
    Ok(())
}

async fn contact(lead: &Lead, batch: &mut Batch<'_>) -> Result<(), TablesError> {
    let row = batch.contact(ContactRow::new(lead.contact_id)).await?;
    let is_new = row.leads.is_none();
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    row.first_name = said(&lead.first_name).or(row.first_name.take());
    row.last_name = said(&lead.last_name).or(row.last_name.take());
    row.email = lead.email.clone().or(row.email.take());
    row.updated_at = Some(lead.received_at);
    count(&mut row.leads, 1);
    if is_new {
        row.phone = Some(lead.phone);
        row.provider_id = Some(lead.provider_id.clone());
        row.created_at = Some(lead.received_at);
        batch.add(&ContactByDayRow::new(day(lead.received_at), lead.received_at, lead.contact_id));
    }
    Ok(())
}

async fn lead_day(record: &Record, lead: &Lead, id: LeadId, batch: &mut Batch<'_>) -> Result<(), TablesError> {
    let row = batch.lead_day(LeadDayRow::new(day(lead.received_at), record.address.partition)).await?;
    row.first_lead_id = Some(row.first_lead_id.map_or(id, |first| first.min(id)));
    row.last_lead_id = Some(row.last_lead_id.map_or(id, |last| last.max(id)));
    Ok(())
}

fn row(lead: Lead, bucket: i64, id: LeadId) -> LeadRow {
    LeadRow {
        contact_id: Some(lead.contact_id),
        provider_id: Some(lead.provider_id),
        first_name: Some(lead.first_name),
        last_name: Some(lead.last_name),
        phone: Some(lead.phone),
        email: lead.email,
        product_type: Some(lead.product_type.to_string()),
        zip_code: Some(lead.zip_code),
        state: Some(lead.state.to_string()),
        estimated_value: lead.estimated_value,
        interest_level: lead.interest_level.map(Json),
        notes: Some(lead.notes),
        appointment_date: lead.appointment_date,
        external_id: lead.external_id,
        extra: (!lead.extra.is_empty()).then_some(Json(lead.extra)),
        test: Some(lead.test),
        auto_schedule: Some(lead.auto_schedule),
        cost: Some(lead.cost),
        received_at: Some(lead.received_at),
        ..LeadRow::new(bucket, id)
    }
}

/// Without personal data: the lead's row has it.
fn arrival(lead: &Lead) -> Value {
    json!({
        "provider_id": lead.provider_id,
        "product_type": lead.product_type,
        "zip_code": lead.zip_code,
        "appointment_date": lead.appointment_date,
        "test": lead.test,
    })
}

fn asked(command: &LeadCommand, id: LeadId) -> Value {
    let mut data = json!({ "command_id": id, "actor": command.actor });
    let detail = match &command.action {
        LeadAction::Schedule { appointment_date } => Some(("appointment_date", json!(appointment_date))),
        LeadAction::Assign { workspace_id } => Some(("workspace_id", json!(workspace_id))),
        LeadAction::Retry => None,
    };
    if let (Some((name, value)), Some(fields)) = (detail, data.as_object_mut()) {
        fields.insert(name.to_owned(), value);
    }
    data
}
