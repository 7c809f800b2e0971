//! Appointments: what was decided about leads, and its delivery.

use axum::Json;
use axum::extract::State;
use leadway_domain::record::RoutingMethod;
use leadway_domain::{ContactId, LeadId, Money, Phone, ProviderId, RuleId, Timestamp, WorkspaceId, Zip};
use leadway_tables::schema::{AppointmentByWorkspaceRow, AppointmentRow, LeadRow, day};
use leadway_tables::{Day, Json as JsonCell, Range, get, key, scan};
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::Object;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::descent::{Descent, first_day};
use crate::leads::{appointment_row, appointment_rows, lead_id, lead_row, one_of, zip_param};
use crate::page::{Page, PageRequest};
use crate::path::Path;
use crate::problem::{Answer, not_found};
use crate::query::{FromQuery, Params, Query};
use crate::shapes::choice;
use crate::span::{Span, SpanRequest};
use crate::state::{Portal, Shared, product_filter};

/// Most days that one page of a workspace's appointments passes.
const MAX_DAYS: usize = 800;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(read))
}

/// An appointment, or a lead that matched nothing.
#[derive(Serialize, ToSchema)]
pub(crate) struct AppointmentView {
    /// The lead's id.
    #[schema(value_type = u64, example = 4096)]
    pub(crate) appointment_id: LeadId,
    /// The same: a lead has at most one appointment.
    #[schema(value_type = u64, example = 4096)]
    lead_id: LeadId,
    #[schema(value_type = Option<Uuid>)]
    contact_id: Option<ContactId>,
    /// Who sent the lead.
    #[schema(value_type = Option<String>, example = "a")]
    provider_id: Option<ProviderId>,
    /// `routed` or `unrouted`.
    #[schema(example = "routed")]
    routing_status: Option<String>,
    /// Why it is unrouted, for programs.
    unrouted_code: Option<String>,
    /// Why it is unrouted, for people.
    unrouted_reason: Option<String>,
    /// Who receives it.
    #[schema(value_type = Option<String>, example = "solar_west_coast")]
    workspace_id: Option<WorkspaceId>,
    /// The rule that matched; none when it was assigned by hand.
    #[schema(value_type = Option<Uuid>)]
    rule_id: Option<RuleId>,
    /// auto or manual.
    #[schema(value_type = Option<String>, example = "auto")]
    routing_method: Option<RoutingMethod>,
    customer_name: Option<String>,
    /// E.164.
    #[schema(value_type = Option<String>, example = "+12135550123")]
    customer_phone: Option<Phone>,
    customer_email: Option<String>,
    #[schema(example = "Solar")]
    service_type: Option<String>,
    #[schema(value_type = Option<String>, example = "90210")]
    customer_zip: Option<Zip>,
    appointment_date: Option<Timestamp>,
    /// In dollars.
    #[schema(value_type = Option<f64>, example = 25000)]
    estimated_value: Option<Money>,
    notes: Option<String>,
    /// The rate agreed when it was routed, in dollars.
    #[schema(value_type = Option<f64>, example = 150)]
    price: Option<Money>,
    /// What the provider is paid for the lead, in dollars.
    #[schema(value_type = Option<f64>, example = 75)]
    cost: Option<Money>,
    /// Whether it is a test, which is never billed.
    test: bool,
    /// When the lead arrived.
    received_at: Option<Timestamp>,
    /// When it was routed.
    matched_at: Option<Timestamp>,
    /// `pending`, `success` or `failed`; absent while unrouted.
    #[schema(example = "success")]
    forward_status: Option<String>,
    /// When the client took it.
    forwarded_at: Option<Timestamp>,
    /// The client's last answer, cut at 4 KiB.
    forward_response: Option<String>,
    /// HTTP status of the last answer.
    forward_http_status: Option<i64>,
    /// What went wrong last.
    forward_error: Option<String>,
    /// Attempts made.
    forward_attempts: i64,
    /// When the next attempt is due.
    next_attempt_at: Option<Timestamp>,
    /// Why it waits without an attempt: `webhook_inactive`, `queue_full`, `circuit_open`.
    held_reason: Option<String>,
}

/// The delivery's status: `None` when unrouted; a routed one of which no outcome is known is pending.
pub(crate) fn forward_status(row: &AppointmentRow) -> Option<&str> {
    let routed = row.routing_status.as_deref() == Some("routed");
    routed.then(|| row.forward_status.as_deref().unwrap_or("pending"))
}

/// An empty text in a column that scoring emptied is shown as nothing.
fn filled(text: Option<String>) -> Option<String> {
    text.filter(|t| !t.is_empty())
}

impl AppointmentView {
    /// Shows a row. What a decision without a workspace does not repeat of its `lead` is shown from there.
    pub(crate) fn of(row: AppointmentRow, lead: Option<&LeadRow>) -> Self {
        let lead_text = |text: fn(&LeadRow) -> &Option<String>| lead.and_then(|lead| filled(text(lead).clone()));
        let status = forward_status(&row).map(str::to_owned);
        let waits = status.as_deref() == Some("pending");
        let routed = status.is_some();
        Self {
            appointment_id: row.appointment_id,
            lead_id: row.appointment_id,
            contact_id: row.contact_id,
            provider_id: row.provider_id,
            routing_status: row.routing_status,
            unrouted_code: filled(row.unrouted_code).filter(|_| !routed),
            unrouted_reason: filled(row.unrouted_reason).filter(|_| !routed),
            workspace_id: row.workspace_id,
            rule_id: row.rule_id,
            routing_method: row.routing_method.map(|JsonCell(method)| method),
            customer_name: row.customer_name.or_else(|| lead.and_then(customer_name)),
            customer_phone: row.customer_phone.or_else(|| lead?.phone),
            customer_email: row.customer_email.or_else(|| lead_text(|lead| &lead.email)),
            service_type: row.service_type,
            customer_zip: row.customer_zip,
            appointment_date: row.appointment_date,
            estimated_value: row.estimated_value.or_else(|| lead?.estimated_value),
            notes: row.notes.or_else(|| lead_text(|lead| &lead.notes)),
            price: row.price,
            cost: row.cost,
            test: row.test.unwrap_or(false),
            received_at: row.received_at,
            matched_at: row.matched_at,
            forward_status: status,
            forwarded_at: row.forwarded_at,
            forward_response: row.forward_response,
            forward_http_status: row.forward_http_status,
            forward_error: filled(row.forward_error),
            forward_attempts: row.forward_attempts.unwrap_or(0),
            // Columns are not taken away when a delivery ends: what it waited for means nothing then.
            next_attempt_at: row.next_attempt_at.filter(|_| waits),
            held_reason: filled(row.held_reason).filter(|_| waits),
        }
    }
}

/// First and last name, with one space between.
fn customer_name(lead: &LeadRow) -> Option<String> {
    let parts = [lead.first_name.as_deref(), lead.last_name.as_deref()];
    filled(Some(parts.map(Option::unwrap_or_default).join(" ").trim().to_owned()))
}

/// Shows an appointment; of one without a workspace, the customer is read from its lead.
async fn shown(portal: &Portal, row: AppointmentRow) -> Answer<AppointmentView> {
    let lead: Option<LeadRow> = match forward_status(&row) {
        Some(_) => None,
        None => get(&*portal.tables, &key![row.bucket, row.appointment_id]).await?,
    };
    Ok(AppointmentView::of(row, lead.as_ref()))
}

/// What can be asked for: a delivery's status, or that there is none.
const STATUSES: [&str; 4] = ["pending", "success", "failed", "unrouted"];

fn statuses() -> Object {
    choice(&STATUSES, "Only those whose delivery has come so far, or those that have none.")
}

/// Which appointments are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct AppointmentFilter {
    #[param(schema_with = statuses)]
    status: Option<String>,
    /// Only those routed to this workspace.
    workspace_id: Option<String>,
    /// Only those of this provider's leads.
    provider_id: Option<String>,
    /// Only those for this product (name or synonym).
    product_type: Option<String>,
    /// Only those in this ZIP.
    #[param(value_type = Option<String>, pattern = "^ *([0-9]{3,5}|[0-9]{8,9}|[0-9]{3,5} *[- ][- ]*[0-9]{4})([.]0)? *$")]
    zip_code: Option<Zip>,
    /// Only tests, or none of them.
    test: Option<bool>,
    #[param(ignore)]
    span: SpanRequest,
    #[param(ignore)]
    page: PageRequest,
}

impl FromQuery for AppointmentFilter {
    fn read(query: &mut Query) -> Self {
        Self {
            status: one_of(query, "status", &STATUSES),
            workspace_id: query.text("workspace_id"),
            provider_id: query.text("provider_id"),
            product_type: query.text("product_type"),
            zip_code: zip_param(query, "zip_code"),
            test: query.parsed("test", "must be true or false"),
            span: SpanRequest::read(query),
            page: PageRequest::read(query),
        }
    }
}

/// A filter with what it needs to judge a row.
struct Wanted {
    filter: AppointmentFilter,
    product: Option<String>,
    span: Option<Span>,
}

impl Wanted {
    fn matches(&self, row: &AppointmentRow) -> bool {
        let Some(routing) = row.routing_status.as_deref() else { return false };
        let status = forward_status(row).unwrap_or(routing);
        let filter = &self.filter;
        filter.status.as_ref().is_none_or(|s| status == s)
            && filter.workspace_id.as_ref().is_none_or(|w| row.workspace_id.as_ref().is_some_and(|id| id.as_str() == w))
            && filter.provider_id.as_ref().is_none_or(|p| row.provider_id.as_ref().is_some_and(|id| id.as_str() == p))
            && self.product.as_ref().is_none_or(|p| row.service_type.as_ref() == Some(p))
            && filter.zip_code.is_none_or(|z| row.customer_zip == Some(z))
            && filter.test.is_none_or(|test| row.test.unwrap_or(false) == test)
            && self.span.is_none_or(|span| row.received_at.is_some_and(|at| span.contains(at)))
    }
}

/// Appointments, newest first; those of one workspace by the day of routing, the last day first, and within it by id. `from` and
/// `to` are about the lead's arrival. A page looks at a bounded number of rows: with
/// filters it may hold fewer than asked for. Leads that wait for a date have no appointment yet: see
/// `/api/leads?status=waiting`.
#[utoipa::path(get, path = "/api/appointments", operation_id = "list_appointments", tag = "Appointments",
    params(AppointmentFilter, SpanRequest, PageRequest),
    responses((status = 200, body = Page<AppointmentView>)))]
async fn list(
    State(portal): State<Shared>,
    Params(filter): Params<AppointmentFilter>,
) -> Answer<Json<Page<AppointmentView>>> {
    let product = product_filter(&portal.settings.load(), "product_type", filter.product_type.as_deref())?;
    let span = match filter.span.is_given() {
        true => Some(filter.span.resolve(portal.clock.now(), 366)?),
        false => None,
    };
    let wanted = Wanted { filter, product, span };
    let workspace = wanted.filter.workspace_id.as_deref().map(WorkspaceId::new);
    let page = match workspace {
        Some(Ok(workspace)) if wanted.filter.status.as_deref() != Some("unrouted") => {
            by_workspace(&portal, &wanted, workspace).await?
        }
        // No workspace has such a name, or no unrouted lead has a workspace.
        Some(_) => Page::new(Vec::new(), None::<()>),
        None => by_id(&portal, &wanted).await?,
    };
    Ok(Json(page))
}

async fn by_id(portal: &Portal, wanted: &Wanted) -> Answer<Page<AppointmentView>> {
    let mut descent = Descent::start(portal, &wanted.filter.page, wanted.span.as_ref()).await?;
    let (mut items, mut room) = (Vec::new(), wanted.filter.page.room());
    let mut is_full = false;
    while !is_full && let Some(row) = descent.next(portal).await? {
        if wanted.matches(&row) {
            let view = shown(portal, row).await?;
            is_full = room.is_full_with(&view);
            items.push(view);
        }
    }
    Ok(Page::new(items, descent.cursor(portal)))
}

/// Where the next page of a workspace's appointments starts.
#[derive(Serialize, Deserialize)]
struct DayPosition {
    day: Day,
    before: Option<LeadId>,
}

/// Down the days on which the workspace's appointments were routed: never before the leads arrived.
async fn by_workspace(portal: &Portal, wanted: &Wanted, workspace: WorkspaceId) -> Answer<Page<AppointmentView>> {
    let page = &wanted.filter.page;
    let first = match &wanted.span {
        Some(span) => Some(span.first_day()),
        None => first_day(portal).await?,
    };
    let Some(first) = first else { return Ok(Page::new(Vec::new(), None::<()>)) };
    let start = DayPosition { day: day(portal.clock.now()), before: None };
    let mut position = page.position()?.unwrap_or(start);
    // No page of this list ends above its first day.
    position.day = position.day.min(day(portal.clock.now()));
    let (mut items, mut room) = (Vec::new(), page.room());
    let (mut rows_left, mut days_left) = (portal.options.page_scan_rows, MAX_DAYS);
    while position.day >= first && rows_left > 0 && days_left > 0 {
        let limit = page.limit.max(250).min(rows_left);
        let mut range = Range::last(limit);
        range.before = position.before.map(|before| key![before]);
        let rows: Vec<AppointmentByWorkspaceRow> = scan(&*portal.tables, &key![workspace, position.day], range).await?;
        let ids: Vec<LeadId> = rows.iter().map(|row| row.appointment_id).collect();
        for ids in ids.chunks(page.at_once()) {
            for row in appointment_rows(portal, ids).await? {
                position.before = Some(row.appointment_id);
                if !wanted.matches(&row) {
                    continue;
                }
                let view = AppointmentView::of(row, None);
                let is_full = room.is_full_with(&view);
                items.push(view);
                if is_full {
                    return Ok(Page::new(items, Some(position)));
                }
            }
        }
        rows_left -= ids.len();
        position.before = ids.last().copied().or(position.before);
        if ids.len() < limit {
            position = DayPosition { day: position.day.plus(-1), before: None };
            days_left -= 1;
        }
    }
    let more = position.day >= first;
    Ok(Page::new(items, more.then_some(position)))
}

/// One appointment, or what was decided instead.
#[utoipa::path(get, path = "/api/appointments/{id}", operation_id = "get_appointment", tag = "Appointments",
    responses((status = 200, body = AppointmentView)))]
async fn read(State(portal): State<Shared>, Path(id): Path<String>) -> Answer<Json<AppointmentView>> {
    let id = lead_id(&id)?;
    let row = match appointment_row(&portal, id).await? {
        Some(row) => row,
        None => {
            // Waits for a lead that was accepted a moment ago; then its decision is often there, too.
            lead_row(&portal, id).await?;
            appointment_row(&portal, id).await?.ok_or_else(|| not_found("decision yet about lead", id))?
        }
    };
    Ok(Json(shown(&portal, row).await?))
}
