//! Leads that were refused.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use leadway_domain::problem::FieldError;
use leadway_domain::record::{PostedAs, QuarantineEnd, QuarantineRecord};
use leadway_domain::settings::{EntityKind, Note, SettingsChange};
use leadway_domain::{LeadId, ProviderId, Timestamp};
use leadway_eventlog::NewRecord;
use leadway_tables::schema::QuarantineRow;
use leadway_tables::{Json as JsonCell, Range, get, key, scan};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::Actor;
use crate::fields::NoFields;
use crate::page::{Page, PageRequest};
use crate::path::Path;
use crate::problem::{Answer, ProblemField, not_found};
use crate::query::{FromQuery, Params, Query};
use crate::state::{Portal, Shared};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(read, discard))
}

/// A lead that was refused, kept so that it can be corrected.
#[derive(Serialize, ToSchema)]
struct QuarantineView {
    id: Uuid,
    #[schema(value_type = String, example = "a")]
    provider_id: ProviderId,
    /// `lead` or `appointment`.
    #[schema(value_type = Option<String>)]
    posted_as: Option<PostedAs>,
    /// As it was sent.
    body: Option<Value>,
    /// Everything that is wrong with it.
    #[schema(value_type = Vec<ProblemField>)]
    errors: Vec<FieldError>,
    received_at: Option<Timestamp>,
}

impl QuarantineView {
    fn of(row: QuarantineRow) -> Self {
        Self {
            id: row.id,
            provider_id: row.provider_id,
            posted_as: row.posted_as.map(|JsonCell(posted_as)| posted_as),
            body: row.body.map(|JsonCell(body)| body),
            errors: row.errors.map(|JsonCell(errors)| errors).unwrap_or_default(),
            received_at: row.received_at,
        }
    }
}

/// Whose refused leads are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct QuarantineFilter {
    /// Only those of this provider.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    provider_id: Option<ProviderId>,
    #[param(ignore)]
    page: PageRequest,
}

impl FromQuery for QuarantineFilter {
    fn read(query: &mut Query) -> Self {
        Self {
            provider_id: query.with("provider_id", |text| ProviderId::new(text).map_err(|e| e.to_string())),
            page: PageRequest::read(query),
        }
    }
}

/// So many refused leads are read together.
const READ_AT_ONCE: usize = 50;

/// Where the next page starts.
#[derive(Serialize, Deserialize)]
struct QuarantinePosition {
    provider: ProviderId,
    before: Option<Uuid>,
}

/// Refused leads, provider by provider, each provider's newest first.
#[utoipa::path(get, path = "/api/quarantine", operation_id = "list_quarantine", tag = "Quarantine", params(QuarantineFilter, PageRequest),
    responses((status = 200, body = Page<QuarantineView>)))]
async fn list(
    State(portal): State<Shared>,
    Params(filter): Params<QuarantineFilter>,
) -> Answer<Json<Page<QuarantineView>>> {
    let start: Option<QuarantinePosition> = filter.page.position()?;
    let providers: Vec<ProviderId> = match filter.provider_id {
        Some(provider) => vec![provider],
        None => portal.settings.load().providers.keys().cloned().collect(),
    };
    let (mut items, mut room) = (Vec::new(), filter.page.room());
    let rest = providers.into_iter().filter(|p| start.as_ref().is_none_or(|s| *p >= s.provider));
    for provider in rest {
        let before = start.as_ref().filter(|s| s.provider == provider).and_then(|s| s.before);
        // Each may be large: few are read together.
        let (chunk, mut before) = (filter.page.limit.min(READ_AT_ONCE), before);
        loop {
            let mut range = Range::last(chunk);
            range.before = before.map(|id| key![id]);
            let rows: Vec<QuarantineRow> = scan(&*portal.tables, &key![provider], range).await?;
            let is_last = rows.len() < chunk;
            for row in rows {
                before = Some(row.id);
                let view = QuarantineView::of(row);
                let is_full = room.is_full_with(&view);
                items.push(view);
                if is_full {
                    return Ok(Json(Page::new(items, Some(QuarantinePosition { provider, before }))));
                }
            }
            if is_last {
                break;
            }
        }
    }
    Ok(Json(Page::new(items, None::<()>)))
}

/// The refused lead at this address.
pub(crate) async fn quarantine_row(portal: &Portal, provider: &str, id: &str) -> Answer<QuarantineRow> {
    let missing = || not_found("refused lead", format!("{provider}/{id}"));
    let (Ok(provider), Ok(id)) = (ProviderId::new(provider), Uuid::parse_str(id)) else { return Err(missing()) };
    get(&*portal.tables, &key![provider, id]).await?.ok_or_else(missing)
}

/// The record that takes a refused lead out of the quarantine.
pub(crate) fn end_record(row: &QuarantineRow, actor: &str, lead_id: Option<LeadId>, at: Timestamp) -> NewRecord {
    let end =
        QuarantineEnd { v: 1, id: row.id, provider_id: row.provider_id.clone(), actor: actor.to_owned(), at, lead_id };
    NewRecord::of(&QuarantineRecord::Ended(end), at)
}

/// What the log of changes says of a discarded lead: nothing of what stood in it.
fn discarded(row: &QuarantineRow) -> Note {
    let errors: Vec<Value> = row.errors.iter().flat_map(|JsonCell(errors)| errors).map(named).collect();
    Note {
        kind: EntityKind::Quarantine,
        id: format!("{}/{}", row.provider_id, row.id),
        before: json!({"provider_id": row.provider_id, "received_at": row.received_at, "errors": errors}),
        after: Value::Null,
    }
}

/// Which field was wrong and in what way, without the message, which may quote it.
fn named(error: &FieldError) -> Value {
    json!({"field": error.field, "code": error.code})
}

/// One refused lead.
#[utoipa::path(get, path = "/api/quarantine/{provider_id}/{id}", operation_id = "get_refused_lead", tag = "Quarantine",
    responses((status = 200, body = QuarantineView)))]
async fn read(
    State(portal): State<Shared>,
    Path((provider, id)): Path<(String, String)>,
) -> Answer<Json<QuarantineView>> {
    Ok(Json(QuarantineView::of(quarantine_row(&portal, &provider, &id).await?)))
}

/// Discards a refused lead.
#[utoipa::path(delete, path = "/api/quarantine/{provider_id}/{id}", operation_id = "discard_refused_lead", tag = "Quarantine", responses((status = 204)))]
async fn discard(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path((provider, id)): Path<(String, String)>,
    _: NoFields,
) -> Answer<StatusCode> {
    let _turn = portal.releasing.lock().await;
    let row = quarantine_row(&portal, &provider, &id).await?;
    // Nobody here decides a change of the settings meanwhile: it would lose its place in the log.
    let _settings = portal.writer.turn().await?;
    let now = portal.clock.now();
    let note = SettingsChange::noting(&actor, now, discarded(&row));
    let records = vec![end_record(&row, &actor, None, now), NewRecord::of(&note, now)];
    let addresses = portal.append(records).await?;
    portal.wait_applied(&addresses).await;
    Ok(StatusCode::NO_CONTENT)
}
