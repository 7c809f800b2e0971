//! Leads.

use axum::Json;
use axum::extract::State;
use leadway_domain::lead::InterestLevel;
use leadway_domain::record::Topic;
use leadway_domain::settings::is_past;
use leadway_domain::{ContactId, LeadId, Money, Phone, ProviderId, Timestamp, Zip};
use leadway_tables::schema::{AppointmentRow, LeadRow, bucket};
use leadway_tables::{Json as JsonCell, get, get_all, key};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::openapi::schema::Object;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::appointments::forward_status;
use crate::descent::Descent;
use crate::page::{Page, PageRequest};
use crate::path::Path;
use crate::problem::{Answer, not_found};
use crate::query::{FromQuery, Params, Query};
use crate::shapes::choice;
use crate::span::{Span, SpanRequest};
use crate::state::{Portal, Shared, product_filter};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(read))
}

/// How far a lead has come.
pub(crate) const STATUSES: [&str; 7] = ["received", "waiting", "unrouted", "pending", "success", "failed", "duplicate"];

/// A lead as it was accepted, and how far it has come.
#[derive(Serialize, ToSchema)]
pub(crate) struct LeadView {
    /// Its id, also that of its appointment.
    #[schema(value_type = u64, example = 4096)]
    pub(crate) lead_id: LeadId,
    /// `received` (about to be decided), `waiting` (for a date: POST …/schedule), `unrouted`, the appointment's
    /// `pending`, `success` or `failed`, or `duplicate`.
    pub(crate) status: String,
    /// Who it is about.
    #[schema(value_type = Option<Uuid>)]
    contact_id: Option<ContactId>,
    /// Who sent it.
    #[schema(value_type = Option<String>, example = "a")]
    pub(crate) provider_id: Option<ProviderId>,
    first_name: Option<String>,
    last_name: Option<String>,
    /// E.164.
    #[schema(value_type = Option<String>, example = "+12135550123")]
    phone: Option<Phone>,
    email: Option<String>,
    /// Canonical product name.
    #[schema(example = "Solar")]
    pub(crate) product_type: Option<String>,
    #[schema(value_type = Option<String>, example = "90210")]
    pub(crate) zip_code: Option<Zip>,
    #[schema(example = "CA")]
    state: Option<String>,
    /// In dollars.
    #[schema(value_type = Option<f64>, example = 25000)]
    estimated_value: Option<Money>,
    /// hot, warm or cold.
    #[schema(value_type = Option<String>)]
    interest_level: Option<InterestLevel>,
    notes: Option<String>,
    /// The date asked for.
    appointment_date: Option<Timestamp>,
    /// The provider's own id.
    external_id: Option<String>,
    /// What the provider sent that no field took. In lists only with `extra=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) extra: Option<Map<String, Value>>,
    /// Whether it is a test, which is never billed.
    pub(crate) test: bool,
    /// What the provider is paid, in dollars.
    #[schema(value_type = Option<f64>, example = 75)]
    cost: Option<Money>,
    /// When it arrived.
    pub(crate) received_at: Option<Timestamp>,
    /// The first submission, when this one is a duplicate.
    #[schema(value_type = Option<u64>)]
    duplicate_of: Option<LeadId>,
}

impl LeadView {
    pub(crate) fn of(lead: LeadRow, appointment: Option<&AppointmentRow>) -> Self {
        Self {
            lead_id: lead.lead_id,
            status: status(&lead, appointment).to_owned(),
            contact_id: lead.contact_id,
            provider_id: lead.provider_id,
            first_name: lead.first_name,
            last_name: lead.last_name,
            phone: lead.phone,
            email: lead.email,
            product_type: lead.product_type,
            zip_code: lead.zip_code,
            state: lead.state,
            estimated_value: lead.estimated_value,
            interest_level: lead.interest_level.map(|JsonCell(level)| level),
            notes: lead.notes,
            appointment_date: lead.appointment_date,
            external_id: lead.external_id,
            extra: Some(lead.extra.map(|JsonCell(extra)| extra).unwrap_or_default()),
            test: lead.test.unwrap_or(false),
            cost: lead.cost,
            received_at: lead.received_at,
            duplicate_of: lead.duplicate_of,
        }
    }
}

fn status<'r>(lead: &LeadRow, appointment: Option<&'r AppointmentRow>) -> &'r str {
    match appointment.filter(|a| a.routing_status.is_some()) {
        Some(decided) => forward_status(decided).unwrap_or("unrouted"),
        None if lead.duplicate_of.is_some() => "duplicate",
        None if came_without_date(lead) => "waiting",
        None => "received",
    }
}

/// Whether it came without a date to be sold by, so that it waits for one.
fn came_without_date(lead: &LeadRow) -> bool {
    match lead.appointment_date.zip(lead.received_at) {
        Some((date, received_at)) => is_past(date, received_at),
        None => lead.auto_schedule != Some(true),
    }
}

fn statuses() -> Object {
    choice(&STATUSES, "Only those that have come so far.")
}

/// Which leads are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct LeadFilter {
    /// Only those of this provider.
    provider_id: Option<String>,
    /// Only those for this product (name or synonym).
    product_type: Option<String>,
    /// Only those in this ZIP.
    #[param(value_type = Option<String>, pattern = "^ *([0-9]{3,5}|[0-9]{8,9}|[0-9]{3,5} *[- ][- ]*[0-9]{4})([.]0)? *$")]
    zip_code: Option<Zip>,
    #[param(schema_with = statuses)]
    status: Option<String>,
    /// Only tests, or none of them.
    test: Option<bool>,
    /// Whether to show what the provider sent that no field took; false by default.
    #[param(value_type = Option<bool>)]
    extra: bool,
    #[param(ignore)]
    span: SpanRequest,
    #[param(ignore)]
    page: PageRequest,
}

/// Reads a ZIP of a query string.
pub(crate) fn zip_param(query: &mut Query, name: &'static str) -> Option<Zip> {
    query.with(name, |text| Zip::parse(text).map_err(|e| e.to_string()))
}

/// Reads a parameter that has one of a few values.
pub(crate) fn one_of(query: &mut Query, name: &'static str, values: &[&str]) -> Option<String> {
    query.with(name, |text| match values.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("must be one of {}", values.join(", "))),
    })
}

impl FromQuery for LeadFilter {
    fn read(query: &mut Query) -> Self {
        Self {
            provider_id: query.text("provider_id"),
            product_type: query.text("product_type"),
            zip_code: zip_param(query, "zip_code"),
            status: one_of(query, "status", &STATUSES),
            test: query.parsed("test", "must be true or false"),
            extra: query.parsed("extra", "must be true or false").unwrap_or(false),
            span: SpanRequest::read(query),
            page: PageRequest::read(query),
        }
    }
}

impl LeadFilter {
    fn matches(&self, lead: &LeadView, product: Option<&String>, span: Option<&Span>) -> bool {
        self.provider_id.as_ref().is_none_or(|p| lead.provider_id.as_ref().is_some_and(|id| id.as_str() == p))
            && product.is_none_or(|p| lead.product_type.as_ref() == Some(p))
            && self.zip_code.is_none_or(|z| lead.zip_code == Some(z))
            && self.status.as_ref().is_none_or(|s| lead.status == *s)
            && self.test.is_none_or(|test| lead.test == test)
            && span.is_none_or(|span| lead.received_at.is_some_and(|at| span.contains(at)))
    }
}

/// Leads, newest first. A page looks at a bounded number of rows: with filters it may hold fewer than asked for.
#[utoipa::path(get, path = "/api/leads", operation_id = "list_leads", tag = "Leads", params(LeadFilter, SpanRequest, PageRequest),
    responses((status = 200, body = Page<LeadView>)))]
async fn list(State(portal): State<Shared>, Params(filter): Params<LeadFilter>) -> Answer<Json<Page<LeadView>>> {
    let product = product_filter(&portal.settings.load(), "product_type", filter.product_type.as_deref())?;
    let span = match filter.span.is_given() {
        true => Some(filter.span.resolve(portal.clock.now(), 366)?),
        false => None,
    };
    let mut descent = Descent::start(&portal, &filter.page, span.as_ref()).await?;
    let (mut items, mut room) = (Vec::new(), filter.page.room());
    let mut is_full = false;
    while !is_full {
        let leads = descent.next_rows(&portal, filter.page.at_once()).await?;
        if leads.is_empty() {
            break;
        }
        let appointments = appointments_of(&portal, &leads).await?;
        let mut leads = leads.into_iter().zip(appointments);
        while !is_full && let Some((lead, appointment)) = leads.next() {
            let mut view = LeadView::of(lead, appointment.as_ref());
            if filter.matches(&view, product.as_ref(), span.as_ref()) {
                view.extra = view.extra.filter(|_| filter.extra);
                is_full = room.is_full_with(&view);
                items.push(view);
            }
        }
        let rest: Vec<LeadRow> = leads.map(|(lead, _)| lead).collect();
        descent.put_back(&portal, rest.into_iter());
    }
    Ok(Json(Page::new(items, descent.cursor(&portal))))
}

/// What was decided about these leads, in their order.
async fn appointments_of(portal: &Portal, leads: &[LeadRow]) -> Answer<Vec<Option<AppointmentRow>>> {
    Ok(get_all(&*portal.tables, leads.iter().map(|lead| key![lead.bucket, lead.lead_id])).await?)
}

/// The id in a path: what is no number is nothing's id.
pub(crate) fn lead_id(text: &str) -> Answer<LeadId> {
    text.parse().map(LeadId).map_err(|_| not_found("lead", text))
}

/// The lead of this id. One that is in the log but not in the tables yet is waited for.
pub(crate) async fn lead_row(portal: &Portal, id: LeadId) -> Answer<LeadRow> {
    let missing = || not_found("lead", id);
    let (partition, offset) = portal.addressing.address(id).ok_or_else(missing)?;
    let bucket = bucket(portal.addressing, id).ok_or_else(missing)?;
    if let Some(row) = get(&*portal.tables, &key![bucket, id]).await?.filter(is_whole) {
        return Ok(row);
    }
    let in_log =
        partition.0 < portal.log.partitions(Topic::Leads) && offset < portal.log.end(Topic::Leads, partition).await?;
    if !in_log {
        return Err(missing());
    }
    let applied = portal.tables.wait_applied(Topic::Leads, partition, offset.next());
    let Ok(result) = tokio::time::timeout(portal.catch_up_timeout(), applied).await else {
        let late =
            "The log has something under this id, and the tables do not show it yet. Nothing was changed; try again.";
        return Err(portal.late(late, 1).into());
    };
    result?;
    get(&*portal.tables, &key![bucket, id]).await?.filter(is_whole).ok_or_else(missing)
}

/// That a lead is a duplicate may be applied before the lead itself.
fn is_whole(lead: &LeadRow) -> bool {
    lead.received_at.is_some()
}

/// What was decided about a lead, if anything was.
pub(crate) async fn appointment_row(portal: &Portal, id: LeadId) -> Answer<Option<AppointmentRow>> {
    let Some(bucket) = bucket(portal.addressing, id) else { return Ok(None) };
    let row: Option<AppointmentRow> = get(&*portal.tables, &key![bucket, id]).await?;
    Ok(row.filter(is_decided))
}

/// What was decided about these leads, in their order, without those of which nothing was.
pub(crate) async fn appointment_rows(portal: &Portal, ids: &[LeadId]) -> Answer<Vec<AppointmentRow>> {
    let keys = ids.iter().filter_map(|&id| Some(key![bucket(portal.addressing, id)?, id]));
    Ok(get_all(&*portal.tables, keys).await?.into_iter().flatten().filter(is_decided).collect())
}

/// The outcome of a delivery may be applied before the decision that it follows.
fn is_decided(row: &AppointmentRow) -> bool {
    row.routing_status.is_some()
}

/// One lead. One that was accepted a moment ago is waited for.
#[utoipa::path(get, path = "/api/leads/{id}", operation_id = "get_lead", tag = "Leads", responses((status = 200, body = LeadView)))]
async fn read(State(portal): State<Shared>, Path(id): Path<String>) -> Answer<Json<LeadView>> {
    let lead = lead_row(&portal, lead_id(&id)?).await?;
    let appointment = appointment_row(&portal, lead.lead_id).await?;
    Ok(Json(LeadView::of(lead, appointment.as_ref())))
}
