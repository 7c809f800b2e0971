//! Billing events.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use leadway_domain::{LeadId, Money, ProviderId, Timestamp, WorkspaceId};
use leadway_tables::schema::BillingEventRow;
use leadway_tables::{Day, Range, key, scan};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::daily::for_each;
use crate::page::{Page, PageRequest};
use crate::problem::Answer;
use crate::query::{FromQuery, Params, Query};
use crate::span::{Span, SpanRequest};
use crate::state::{Portal, Shared};

/// Days that are shown when the caller does not say.
const DEFAULT_DAYS: i64 = 30;
/// Most days, summed over workspaces, that one page passes.
const MAX_LOOKS: usize = 10_000;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(list))
}

/// The one billing event of a delivered appointment.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "appointment_id": 4096, "workspace_id": "solar_west_coast", "billable_amount": 150, "delivery_status": "delivered",
    "delivery_timestamp": "2024-01-15T10:30:00Z", "provider_id": "a", "service_type": "Solar", "provider_cost": 75,
}))]
struct BillingEventView {
    #[schema(value_type = u64)]
    appointment_id: LeadId,
    /// Who pays.
    #[schema(value_type = String)]
    workspace_id: WorkspaceId,
    /// The rate agreed when it was routed, in dollars.
    #[schema(value_type = Option<f64>)]
    billable_amount: Option<Money>,
    /// Always `delivered`: nothing else is billed.
    delivery_status: String,
    /// When the client took it.
    delivery_timestamp: Option<Timestamp>,
    /// Who sent the lead.
    #[schema(value_type = Option<String>)]
    provider_id: Option<ProviderId>,
    service_type: Option<String>,
    /// What the provider is paid for the lead, in dollars.
    #[schema(value_type = Option<f64>)]
    provider_cost: Option<Money>,
}

impl BillingEventView {
    fn of(row: BillingEventRow) -> Self {
        Self {
            appointment_id: row.appointment_id,
            workspace_id: row.workspace_id,
            billable_amount: row.amount,
            delivery_status: "delivered".into(),
            delivery_timestamp: row.delivered_at,
            provider_id: row.provider_id,
            service_type: row.service_type,
            provider_cost: row.cost,
        }
    }
}

/// Which billing events are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct BillingFilter {
    /// Only those of this workspace.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    workspace_id: Option<WorkspaceId>,
    #[param(ignore)]
    span: SpanRequest,
    #[param(ignore)]
    page: PageRequest,
}

impl FromQuery for BillingFilter {
    fn read(query: &mut Query) -> Self {
        Self { workspace_id: workspace_param(query), span: SpanRequest::read(query), page: PageRequest::read(query) }
    }
}

/// Reads the workspace of a query string.
pub(crate) fn workspace_param(query: &mut Query) -> Option<WorkspaceId> {
    query.with("workspace_id", |text| WorkspaceId::new(text).map_err(|e| e.to_string()))
}

/// The workspaces that may have billing events in this span: those there are, and those that had deliveries then.
pub(crate) async fn billed_workspaces(portal: &Portal, span: &Span) -> Answer<BTreeSet<WorkspaceId>> {
    let mut workspaces: BTreeSet<WorkspaceId> = portal.settings.load().workspaces.keys().cloned().collect();
    for_each(portal, span, |row| {
        workspaces.extend(WorkspaceId::new(&row.workspace).ok());
    })
    .await?;
    Ok(workspaces)
}

/// Where the next page starts; it goes on in the same span, though time passes.
#[derive(Serialize, Deserialize)]
struct BillingPosition {
    workspace: WorkspaceId,
    day: Day,
    from: Option<LeadId>,
    end: Timestamp,
}

/// Billing events (of the last 30 days by default), workspace by workspace, by day of delivery.
#[utoipa::path(get, path = "/api/billing/events", operation_id = "list_billing_events", tag = "Billing", params(BillingFilter, SpanRequest, PageRequest),
    responses((status = 200, body = Page<BillingEventView>)))]
async fn list(
    State(portal): State<Shared>,
    Params(filter): Params<BillingFilter>,
) -> Answer<Json<Page<BillingEventView>>> {
    let start: Option<BillingPosition> = filter.page.position()?;
    let now = start.as_ref().map_or_else(|| portal.clock.now(), |s| s.end);
    let span = filter.span.resolve(now, DEFAULT_DAYS)?;
    let workspaces = match filter.workspace_id {
        Some(workspace) => BTreeSet::from([workspace]),
        None => billed_workspaces(&portal, &span).await?,
    };
    let (mut items, mut looks_left) = (Vec::new(), MAX_LOOKS);
    for workspace in workspaces.into_iter().filter(|w| start.as_ref().is_none_or(|s| *w >= s.workspace)) {
        let here = start.as_ref().filter(|s| s.workspace == workspace);
        for day in span.days().filter(|day| here.is_none_or(|s| *day >= s.day)) {
            let mut from = here.filter(|s| s.day == day).and_then(|s| s.from);
            loop {
                if looks_left == 0 {
                    let position = BillingPosition { workspace, day, from, end: now };
                    return Ok(Json(Page::new(items, Some(position))));
                }
                looks_left -= 1;
                let room = filter.page.limit - items.len();
                let mut range = Range::first(room + 1);
                range.from = from.map(|id| key![id]);
                let mut rows: Vec<BillingEventRow> = scan(&*portal.tables, &key![workspace, day], range).await?;
                // The row beyond the room begins the next page.
                let next = (rows.len() > room).then(|| rows.pop()).flatten().map(|row| row.appointment_id);
                let inside = |row: &BillingEventRow| row.delivered_at.is_none_or(|at| span.contains(at));
                items.extend(rows.into_iter().filter(inside).map(BillingEventView::of));
                let Some(next) = next else { break };
                if items.len() == filter.page.limit {
                    let position = BillingPosition { workspace, day, from: Some(next), end: now };
                    return Ok(Json(Page::new(items, Some(position))));
                }
                from = Some(next);
            }
        }
    }
    Ok(Json(Page::new(items, None::<()>)))
}
