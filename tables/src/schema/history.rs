//! What happened to a lead, step by step. The three steps that nearly every lead has stand in rows that are written with
//! them anyway, and all others in rows of their own: three rows of ten less for a lead.

use futures::future::try_join3;
use leadway_domain::record::Topic;
use leadway_domain::{Addressing, LeadId, Offset, Partition, Timestamp};
use serde::Serialize;
use serde_json::{Value as JsonValue, json};

use super::appointments::{AppointmentEventRow, AppointmentRow, micros_of};
use super::leads::LeadRow;
use super::{bucket, event_bucket};
use crate::{Json, Range, Tables, TablesError, get, key, scan};

/// How much of a client's answer an event keeps, in bytes; the appointment's row keeps all of the record's.
const RESPONSE_BYTES: usize = 1_024;

/// Where an event stands in the order of a lead's events.
type Place<'r> = (Timestamp, i64, &'r str, Partition, Offset);

impl AppointmentEventRow {
    fn place(&self) -> Place<'_> {
        (self.at, self.micros, &self.topic, self.log_partition, self.log_offset)
    }

    /// When it happened, to the microsecond.
    pub fn happened_at(&self) -> Timestamp {
        self.at.checked_add(std::time::Duration::from_micros(self.micros.unsigned_abs())).unwrap_or(self.at)
    }
}

/// The first events of a lead, in their order; beginning with the place of `from`, where that is given.
pub async fn history(
    tables: &dyn Tables,
    addressing: Addressing,
    id: LeadId,
    from: Option<&AppointmentEventRow>,
    limit: usize,
) -> Result<Vec<AppointmentEventRow>, TablesError> {
    let (Some(bucket), Some(events)) = (bucket(addressing, id), event_bucket(addressing, id)) else {
        return Ok(Vec::new());
    };
    let first =
        from.map_or_else(|| key![id], |row| key![id, row.at, row.micros, row.topic, row.log_partition, row.log_offset]);
    let range = Range::first(limit).from(first).before(key![LeadId(id.0.saturating_add(1))]);
    let (lead_key, event_key) = (key![bucket, id], key![events]);
    let (lead, appointment, mut rows): (Option<LeadRow>, Option<AppointmentRow>, Vec<AppointmentEventRow>) =
        try_join3(get(tables, &lead_key), get(tables, &lead_key), scan(tables, &event_key, range)).await?;

    let arrived = lead.and_then(|lead| arrival(events, lead, addressing));
    let (routed, taken) = appointment.map_or((None, None), |row| (routing(events, &row), taking(events, &row)));
    let steps = [arrived, routed, taken].into_iter().flatten();
    rows.extend(steps.filter(|row| from.is_none_or(|from| row.place() >= from.place())));
    rows.sort_by(|a, b| a.place().cmp(&b.place()));
    rows.truncate(limit);
    Ok(rows)
}

/// That a lead arrived. Without personal data, as all events: the lead's row has it.
fn arrival(events: i64, lead: LeadRow, addressing: Addressing) -> Option<AppointmentEventRow> {
    let (partition, offset) = addressing.address(lead.lead_id)?;
    let data = json!({
        "provider_id": lead.provider_id,
        "product_type": lead.product_type,
        "zip_code": lead.zip_code,
        "appointment_date": lead.appointment_date,
        "test": lead.test,
    });
    let row = event(events, lead.lead_id, lead.recorded_us?, Topic::Leads, partition, offset)?;
    Some(AppointmentEventRow { event_type: Some("lead.received".into()), event_data: Some(Json(data)), ..row })
}

/// That it was routed, which is decided once.
fn routing(events: i64, row: &AppointmentRow) -> Option<AppointmentEventRow> {
    let mut data = json!({
        "decision": row.decision,
        "workspace_id": row.workspace_id,
        "routing_method": row.routing_method.as_ref().map(|Json(method)| method),
        "appointment_date": row.appointment_date,
        "price": row.price,
    });
    add(&mut data, "rule_id", row.rule_id);
    let (partition, offset) = (row.routed_partition?, row.routed_offset?);
    let row = event(events, row.appointment_id, row.routed_us?, Topic::Appointments, partition, offset)?;
    Some(AppointmentEventRow { event_type: Some("appointment.routed".into()), event_data: Some(Json(data)), ..row })
}

/// That the client took it at the first attempt.
fn taking(events: i64, row: &AppointmentRow) -> Option<AppointmentEventRow> {
    let mut data = json!({ "workspace_id": row.workspace_id, "attempts": 1, "latency_us": row.taken_latency_us });
    add(&mut data, "status", row.forward_http_status);
    add(&mut data, "response", row.forward_response.as_deref().map(cut_response));
    let (partition, offset) = (row.taken_partition?, row.taken_offset?);
    let row = event(events, row.appointment_id, row.taken_us?, Topic::Deliveries, partition, offset)?;
    Some(AppointmentEventRow { event_type: Some("delivery.delivered".into()), event_data: Some(Json(data)), ..row })
}

/// Adds a field, if it has a value.
fn add(data: &mut JsonValue, field: &str, value: Option<impl Serialize>) {
    if let (JsonValue::Object(fields), Some(value)) = (data, value) {
        fields.insert(field.to_owned(), json!(value));
    }
}

/// As much of a client's answer as an event keeps, which ends with a whole character.
pub fn cut_response(response: &str) -> &str {
    response.get(..response.floor_char_boundary(RESPONSE_BYTES)).unwrap_or_default()
}

fn event(
    bucket: i64,
    id: LeadId,
    at_us: i64,
    topic: Topic,
    partition: Partition,
    offset: Offset,
) -> Option<AppointmentEventRow> {
    let at = Timestamp::from_millisecond(at_us.div_euclid(1_000)).ok()?;
    let micros = micros_of(Timestamp::from_microsecond(at_us).ok()?);
    Some(AppointmentEventRow::new(bucket, id, at, micros, topic.name().into(), partition, offset))
}
