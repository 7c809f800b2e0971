//! What happened to an appointment, step by step.

use axum::Json;
use axum::extract::State;
use leadway_domain::{Offset, Partition, Timestamp};
use leadway_tables::Json as JsonCell;
use leadway_tables::schema::{AppointmentEventRow, event_bucket, history};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::leads::{lead_id, lead_row};
use crate::page::{Page, PageRequest};
use crate::path::Path;
use crate::problem::{Answer, not_found};
use crate::query::Params;
use crate::state::Shared;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(list))
}

/// One step.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "at": "2024-01-15T10:30:00.120Z", "event_type": "delivery.delivered",
    "event_data": {"status": 200, "attempts": 1}, "topic": "deliveries", "partition": 3, "offset": 17,
}))]
struct EventView {
    /// When.
    at: Timestamp,
    /// `lead.received`, `appointment.routed`, `delivery.retry`, …
    event_type: Option<String>,
    /// What matters of it.
    #[schema(value_type = Option<Object>)]
    event_data: Option<Value>,
    /// Where the record stands in the log.
    topic: String,
    #[schema(value_type = u32)]
    partition: Partition,
    #[schema(value_type = u64)]
    offset: Offset,
}

/// The key of an event: where the next page starts.
#[derive(Serialize, Deserialize)]
struct EventPosition {
    at: Timestamp,
    micros: i64,
    topic: String,
    partition: Partition,
    offset: Offset,
}

/// Everything that happened to a lead and its appointment, in order.
#[utoipa::path(get, path = "/api/appointments/{id}/events", operation_id = "list_appointment_events", tag = "Appointments", params(PageRequest),
    responses((status = 200, body = Page<EventView>)))]
async fn list(
    State(portal): State<Shared>,
    Path(id): Path<String>,
    Params(page): Params<PageRequest>,
) -> Answer<Json<Page<EventView>>> {
    let id = lead_row(&portal, lead_id(&id)?).await?.lead_id;
    let bucket = event_bucket(portal.addressing, id).ok_or_else(|| not_found("lead", id.to_string()))?;
    let position = page.position::<EventPosition>()?;
    let from = position.map(|p| AppointmentEventRow::new(bucket, id, p.at, p.micros, p.topic, p.partition, p.offset));
    let mut rows = history(&*portal.tables, portal.addressing, id, from.as_ref(), page.limit + 1).await?;
    let mut room = page.room();
    let is_full = |row: &AppointmentEventRow| room.is_full_with(&row.event_data.as_ref().map(|JsonCell(data)| data));
    let shown = rows.iter().position(is_full).map_or(page.limit, |last| last + 1);
    let next = rows.get(shown).map(|row| EventPosition {
        at: row.at,
        micros: row.micros,
        topic: row.topic.clone(),
        partition: row.log_partition,
        offset: row.log_offset,
    });
    rows.truncate(shown);
    let show = |row: AppointmentEventRow| EventView {
        at: row.happened_at(),
        event_type: row.event_type,
        event_data: row.event_data.map(|JsonCell(data)| data),
        topic: row.topic,
        partition: row.log_partition,
        offset: row.log_offset,
    };
    Ok(Json(Page::new(rows.into_iter().map(show).collect(), next)))
}
