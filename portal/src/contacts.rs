//! Contacts: one per telephone and provider.

use axum::Json;
use axum::extract::State;
use leadway_domain::problem::{FieldError, Problem};
use leadway_domain::{ContactId, LeadId, Phone, ProviderId, Timestamp};
use leadway_tables::schema::{ContactByDayRow, ContactRow, LeadRow, day};
use leadway_tables::{Day, Range, get, get_all, key, scan};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::descent::first_day;
use crate::leads::{LeadView, appointment_row, lead_row};
use crate::page::{Page, PageRequest};
use crate::path::Path;
use crate::problem::{Answer, not_found};
use crate::query::{FromQuery, Params, Query};
use crate::span::{Span, SpanRequest};
use crate::state::{Portal, Shared};

/// Most days that one page passes.
const MAX_DAYS: usize = 800;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(list)).routes(routes!(read)).routes(routes!(leads))
}

/// A customer of one provider.
#[derive(Serialize, ToSchema)]
struct ContactView {
    #[schema(value_type = Uuid)]
    contact_id: ContactId,
    /// E.164.
    #[schema(value_type = Option<String>, example = "+12135550123")]
    phone: Option<Phone>,
    #[schema(value_type = Option<String>, example = "a")]
    provider_id: Option<ProviderId>,
    /// As last sent.
    first_name: Option<String>,
    /// As last sent.
    last_name: Option<String>,
    /// As last sent.
    email: Option<String>,
    /// How many leads.
    leads: i64,
    /// First lead's arrival.
    created_at: Option<Timestamp>,
    /// Last lead's arrival.
    updated_at: Option<Timestamp>,
}

impl ContactView {
    fn of(row: ContactRow) -> Self {
        Self {
            contact_id: row.contact_id,
            phone: row.phone,
            provider_id: row.provider_id,
            first_name: row.first_name,
            last_name: row.last_name,
            email: row.email,
            leads: row.leads.unwrap_or(0),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Which contacts are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct ContactFilter {
    /// Only the contact with this telephone; needs `provider_id`, too.
    #[param(value_type = Option<String>)]
    phone: Option<Phone>,
    /// Only those of this provider.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    provider_id: Option<ProviderId>,
    /// Only those first seen on this day (`2024-01-15`); short for `from` and `to` both on it.
    #[param(value_type = Option<String>)]
    day: SpanRequest,
    #[param(ignore)]
    span: SpanRequest,
    #[param(ignore)]
    page: PageRequest,
}

impl FromQuery for ContactFilter {
    fn read(query: &mut Query) -> Self {
        Self {
            phone: query.with("phone", |text| Phone::parse(text).map_err(|e| e.to_string())),
            provider_id: query.with("provider_id", |text| ProviderId::new(text).map_err(|e| e.to_string())),
            day: SpanRequest::day(query, "day"),
            span: SpanRequest::read(query),
            page: PageRequest::read(query),
        }
    }
}

/// Contacts, newest first. `from` and `to` are about the first lead's arrival.
#[utoipa::path(get, path = "/api/contacts", operation_id = "list_contacts", tag = "Contacts", params(ContactFilter, SpanRequest, PageRequest),
    responses((status = 200, body = Page<ContactView>)))]
async fn list(State(portal): State<Shared>, Params(filter): Params<ContactFilter>) -> Answer<Json<Page<ContactView>>> {
    let span = filter.span(portal.clock.now())?;
    let page = match (filter.phone, &filter.provider_id) {
        (Some(phone), Some(provider)) => {
            let row: Option<ContactRow> = get(&*portal.tables, &key![ContactId::derive(phone, provider)]).await?;
            let seen = |row: &ContactRow| span.is_none_or(|s| row.created_at.is_some_and(|at| s.contains(at)));
            Page::new(row.filter(seen).into_iter().map(ContactView::of).collect(), None::<()>)
        }
        (Some(_), None) => {
            let message = "is needed with phone: a contact is one telephone at one provider";
            return Err(Problem::validation(vec![FieldError::new("provider_id", "required", message)]).into());
        }
        (None, _) => by_day(&portal, &filter, span).await?,
    };
    Ok(Json(page))
}

impl ContactFilter {
    /// The time asked for; `None` for all of it.
    fn span(&self, now: Timestamp) -> Result<Option<Span>, Problem> {
        let asked = match (self.day.is_given(), self.span.is_given()) {
            (true, true) => {
                let message = "stands for from and to; send either it or them";
                return Err(Problem::validation(vec![FieldError::new("day", "invalid", message)]));
            }
            (true, false) => &self.day,
            (false, true) => &self.span,
            (false, false) => return Ok(None),
        };
        asked.resolve(now, 366).map(Some)
    }
}

/// Where the next page starts.
#[derive(Serialize, Deserialize)]
struct ContactPosition {
    day: Day,
    before: Option<(Timestamp, ContactId)>,
}

async fn by_day(portal: &Portal, filter: &ContactFilter, span: Option<Span>) -> Answer<Page<ContactView>> {
    let (first, last) = match &span {
        Some(span) => (Some(span.first_day()), span.last_day()),
        None => (first_day(portal).await?, day(portal.clock.now())),
    };
    let Some(first) = first else { return Ok(Page::new(Vec::new(), None::<()>)) };
    let limit = filter.page.limit;
    let within = |entry: &&ContactByDayRow| span.as_ref().is_none_or(|span| span.contains(entry.created_at));
    let wanted = |row: &ContactRow| filter.provider_id.is_none() || row.provider_id == filter.provider_id;
    let mut position = filter.page.position()?.unwrap_or(ContactPosition { day: last, before: None });
    // No page of this list ends above its first day.
    position.day = position.day.min(last);
    let (mut items, mut rows_left, mut days_left) = (Vec::new(), portal.options.page_scan_rows, MAX_DAYS);
    while position.day >= first && rows_left > 0 && days_left > 0 {
        let chunk = limit.max(250).min(rows_left);
        let mut range = Range::last(chunk);
        range.before = position.before.map(|(at, id)| key![at, id]);
        let rows: Vec<ContactByDayRow> = scan(&*portal.tables, &key![position.day], range).await?;
        let seen: Vec<&ContactByDayRow> = rows.iter().filter(within).collect();
        for entries in seen.chunks(filter.page.at_once()) {
            let keys = entries.iter().map(|entry| key![entry.contact_id]);
            let contacts: Vec<Option<ContactRow>> = get_all(&*portal.tables, keys).await?;
            for (entry, row) in entries.iter().zip(contacts) {
                position.before = Some((entry.created_at, entry.contact_id));
                items.extend(row.filter(wanted).map(ContactView::of));
                if items.len() == limit {
                    return Ok(Page::new(items, Some(position)));
                }
            }
        }
        rows_left -= rows.len();
        position.before = rows.last().map(|last| (last.created_at, last.contact_id)).or(position.before);
        if rows.len() < chunk {
            position = ContactPosition { day: position.day.plus(-1), before: None };
            days_left -= 1;
        }
    }
    let more = position.day >= first;
    Ok(Page::new(items, more.then_some(position)))
}

async fn contact_row(portal: &Portal, id: &str) -> Answer<ContactRow> {
    let missing = || not_found("contact", id);
    let contact = ContactId(Uuid::parse_str(id).map_err(|_| missing())?);
    get(&*portal.tables, &key![contact]).await?.ok_or_else(missing)
}

/// One contact.
#[utoipa::path(get, path = "/api/contacts/{id}", operation_id = "get_contact", tag = "Contacts", responses((status = 200, body = ContactView)))]
async fn read(State(portal): State<Shared>, Path(id): Path<String>) -> Answer<Json<ContactView>> {
    Ok(Json(ContactView::of(contact_row(&portal, &id).await?)))
}

/// A lead of this contact. It may be named a moment before it can be read: it is waited for.
pub(crate) async fn lead_of(portal: &Portal, contact: ContactId, id: LeadId) -> Answer<LeadRow> {
    let lead = lead_row(portal, id).await?;
    if lead.contact_id != Some(contact) {
        return Err(not_found("lead", id.to_string()));
    }
    Ok(lead)
}

/// What is shown of a contact's leads.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct Shown {
    /// Whether to show what the provider sent that no field took; false by default.
    #[param(value_type = Option<bool>)]
    extra: bool,
    #[param(ignore)]
    page: PageRequest,
}

impl FromQuery for Shown {
    fn read(query: &mut Query) -> Self {
        Self { extra: query.parsed("extra", "must be true or false").unwrap_or(false), page: PageRequest::read(query) }
    }
}

/// A contact's leads, newest first.
#[utoipa::path(get, path = "/api/contacts/{id}/leads", operation_id = "list_contact_leads", tag = "Contacts", params(Shown, PageRequest),
    responses((status = 200, body = Page<LeadView>)))]
async fn leads(
    State(portal): State<Shared>,
    Path(id): Path<String>,
    Params(shown): Params<Shown>,
) -> Answer<Json<Page<LeadView>>> {
    let contact = contact_row(&portal, &id).await?;
    let page = &shown.page;
    let mut next = page.position()?.or(contact.last_lead_id);
    let (mut items, mut room, mut is_full) = (Vec::new(), page.room(), false);
    while !is_full && let Some(id) = next {
        let lead = lead_of(&portal, contact.contact_id, id).await?;
        next = lead.previous_lead_id;
        let appointment = appointment_row(&portal, lead.lead_id).await?;
        let mut view = LeadView::of(lead, appointment.as_ref());
        view.extra = view.extra.filter(|_| shown.extra);
        is_full = room.is_full_with(&view);
        items.push(view);
    }
    Ok(Json(Page::new(items, next)))
}
