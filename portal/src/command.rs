//! Asking for something to be done with a lead: append the command, await the answer.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::civil::DateTime;
use leadway_domain::problem::Problem;
use leadway_domain::record::{CommandKey, LeadAction, LeadCommand, LeadRecord, Topic};
use leadway_domain::settings::is_past;
use leadway_domain::{LeadId, Phone, ProviderId, Timestamp, WorkspaceId};
use leadway_eventlog::NewRecord;
use leadway_tables::schema::{CommandKeyRow, CommandRow, LeadRow};
use leadway_tables::{Json as JsonCell, Range, get, key, scan};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::answers::Listener;
use crate::appointments::AppointmentView;
use crate::auth::Actor;
use crate::fields::{Fields, Input, OptionalInput};
use crate::idempotency::IdempotencyKey;
use crate::leads::{appointment_row, lead_id, lead_row};
use crate::path::Path;
use crate::problem::{Answer, Refusal, not_found, recorded};
use crate::state::{Portal, Shared};

/// How often the tables are looked at for an answer that was not heard in the log.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(schedule)).routes(routes!(assign)).routes(routes!(read))
}

/// A command and what became of it.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"command_id": 8192, "lead_id": 4096, "status": "routed", "reason": "", "decided_at": "2024-01-15T10:30:00Z", "href": "/api/commands/8192"}))]
struct CommandView {
    /// Which command.
    #[schema(value_type = u64)]
    command_id: LeadId,
    /// The lead concerned.
    #[schema(value_type = Option<u64>)]
    lead_id: Option<LeadId>,
    /// `pending`, `routed`, `unrouted` or `refused`.
    status: String,
    /// Why it was refused or not routed.
    reason: String,
    /// When it was decided.
    decided_at: Option<Timestamp>,
    /// Where to look for the answer.
    href: String,
}

impl CommandView {
    fn pending(command_id: LeadId, lead_id: Option<LeadId>) -> Self {
        let href = format!("/api/commands/{command_id}");
        Self { command_id, lead_id, status: "pending".into(), reason: String::new(), decided_at: None, href }
    }

    /// 202: what is known of it, with where to look for the rest.
    fn accepted(self) -> Response {
        (StatusCode::ACCEPTED, Json(self)).into_response()
    }

    fn of(row: CommandRow) -> Self {
        Self {
            lead_id: row.lead_id,
            status: row.status.unwrap_or_default(),
            reason: row.reason.unwrap_or_default(),
            decided_at: row.decided_at,
            ..Self::pending(row.command_id, None)
        }
    }
}

/// The log key of a lead: that of its own record, so that its commands follow it in the same partition.
pub(crate) fn lead_key(phone: Phone, provider: &ProviderId) -> String {
    format!("{}/{provider}", phone.e164())
}

/// The record of a command about this lead; `None` for a row that is no whole lead.
pub(crate) fn command_record(
    portal: &Portal,
    lead: &LeadRow,
    actor: &str,
    action: LeadAction,
    asked_as: Option<CommandKey>,
    at: Timestamp,
) -> Option<NewRecord> {
    let (partition, _) = portal.addressing.address(lead.lead_id)?;
    let lead_key = lead_key(lead.phone?, lead.provider_id.as_ref()?);
    let actor = actor.to_owned();
    let command = LeadCommand { v: 1, lead_id: lead.lead_id, lead_key, actor, at, action, asked_as };
    Some(NewRecord::of(&LeadRecord::Command(command), at).in_partition(partition))
}

/// Who asks, and the name that it gave the command.
struct Caller {
    actor: String,
    idempotency_key: Option<String>,
}

/// Appends the command and answers with what became of it, or with where to look when that takes too long or cannot be
/// read: once the command is in the log, nothing that fails here undoes it. A command that was asked before under the same
/// name is answered as that one was.
async fn submit(portal: &Portal, lead: &LeadRow, caller: Caller, action: LeadAction) -> Answer<Response> {
    let deadline = Instant::now() + Duration::from_millis(portal.options.command_timeout_ms);
    let asked_as = caller.idempotency_key.map(|key| CommandKey::new(&caller.actor, &key));
    let mut answers = portal.answers.listen();
    if let Some(first) = first_asked(portal, lead.lead_id, asked_as.as_ref()).await? {
        return answer_again(portal, lead, first, &action, answers, deadline).await;
    }
    let record = command_record(portal, lead, &caller.actor, action.clone(), asked_as.clone(), portal.clock.now());
    let record = record.ok_or_else(|| not_found("lead", lead.lead_id))?;
    let addresses = portal.append(vec![record]).await?;
    let unknown =
        "The command was recorded, but the log did not say under which id. Read the lead before you repeat it.";
    let address = addresses.first().ok_or_else(|| recorded(unknown))?;
    let command_id = portal.addressing.id(address.partition, address.offset);
    if asked_as.is_some() {
        // Somebody may have asked the same at the same moment: the first in the log is carried out.
        portal.wait_applied(&addresses).await;
        if let Ok(Some(first)) = first_asked(portal, lead.lead_id, asked_as.as_ref()).await
            && first.command_id != command_id
        {
            return answer_again(portal, lead, first, &action, answers, deadline).await;
        }
    }
    answer(portal, lead, command_id, &mut answers, deadline).await
}

/// The first command about this lead that its caller gave this name.
async fn first_asked(portal: &Portal, lead_id: LeadId, asked_as: Option<&CommandKey>) -> Answer<Option<CommandKeyRow>> {
    let Some(asked_as) = asked_as else { return Ok(None) };
    let same = key![lead_id, asked_as.as_str().to_owned()];
    Ok(scan::<CommandKeyRow>(&*portal.tables, &same, Range::first(1)).await?.into_iter().next())
}

async fn answer_again(
    portal: &Portal,
    lead: &LeadRow,
    first: CommandKeyRow,
    action: &LeadAction,
    mut answers: Listener,
    deadline: Instant,
) -> Answer<Response> {
    if first.action.is_some_and(|JsonCell(asked)| asked != *action) {
        let detail = "This Idempotency-Key was sent before with another request about this lead. Send a new key.";
        return Err(Problem::conflict(detail).into());
    }
    answer(portal, lead, first.command_id, &mut answers, deadline).await
}

/// Waits for the decision, as the log tells of it or as it is found in the tables.
async fn answer(
    portal: &Portal,
    lead: &LeadRow,
    command_id: LeadId,
    answers: &mut Listener,
    deadline: Instant,
) -> Answer<Response> {
    // A command that was decided before will not be heard of again.
    let mut pause = Duration::ZERO;
    loop {
        let heard = tokio::select! {
            biased;
            address = answers.decision(command_id) => Some(address),
            () = tokio::time::sleep(pause) => None,
        };
        if let Some(decided) = heard {
            // Which also tells scoring not to wait for more.
            let applied = portal.tables.wait_applied(decided.topic, decided.partition, decided.offset.next());
            let _late = tokio::time::timeout_at(deadline, applied).await;
        }
        let row = match get::<CommandRow>(&*portal.tables, &key![command_id]).await {
            Ok(Some(row)) => {
                if heard.is_none() {
                    // The decision's other rows may follow this one. They are waited for as long as the command itself: an
                    // answer that misses them is still an answer.
                    let _late = tokio::time::timeout_at(deadline, portal.catch_up(&[Topic::Appointments])).await;
                }
                return decided(portal, lead, row).await;
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = &row {
            tracing::warn!(%error, %command_id, "the answer to a command cannot be read");
        }
        if row.is_some() || Instant::now() >= deadline {
            return Ok(CommandView::pending(command_id, Some(lead.lead_id)).accepted());
        }
        pause = LOOK_AGAIN;
    }
}

async fn decided(portal: &Portal, lead: &LeadRow, row: CommandRow) -> Answer<Response> {
    if row.status.as_deref() == Some("refused") {
        return Err(Problem::conflict(row.reason.unwrap_or_default()).into());
    }
    match appointment_row(portal, lead.lead_id).await {
        Ok(Some(appointment)) => Ok(Json(AppointmentView::of(appointment, Some(lead))).into_response()),
        Ok(None) | Err(_) => Ok(CommandView::of(row).accepted()),
    }
}

/// When the appointment is to be.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"appointment_date": "2024-12-01T14:00:00Z"}))]
#[serde(deny_unknown_fields)]
struct ScheduleInput {
    /// RFC 3339, or a local time (`2024-12-01T14:00`) in the customer's zone, at most an hour back unless `past_dates`
    /// says otherwise. Without it, the next free slot of the workspace that matches.
    appointment_date: Option<String>,
}

/// Gives a lead a date, which makes it an appointment, and answers with it: routed, or unrouted with the reason.
#[utoipa::path(post, path = "/api/leads/{id}/schedule", operation_id = "schedule_lead", tag = "Leads", params(IdempotencyKey), request_body = Option<ScheduleInput>,
    responses((status = 200, body = AppointmentView),
        (status = 202, body = CommandView, description = "Not decided yet; `href` tells where to look"),
        (status = 409, description = "The lead cannot be scheduled; `detail` says why")))]
async fn schedule(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Path(id): Path<String>,
    OptionalInput(fields): OptionalInput,
) -> Answer<Response> {
    let lead = lead_row(&portal, lead_id(&id)?).await?;
    let appointment_date = read_date(&portal, &lead, fields)?;
    let caller = Caller { actor, idempotency_key };
    submit(&portal, &lead, caller, LeadAction::Schedule { appointment_date }).await
}

fn read_date(portal: &Portal, lead: &LeadRow, mut fields: Fields) -> Result<Option<Timestamp>, Problem> {
    let text = fields.optional::<String>("appointment_date");
    let zone = lead.zip_code.and_then(|zip| portal.zips.get(zip)).map(|info| info.time_zone.clone());
    let local = |text: &str| {
        let time = text.parse::<DateTime>().ok().filter(|_| text.len() > "2024-12-01".len())?;
        time.to_zoned(zone?).ok().map(|zoned| zoned.timestamp())
    };
    let date = text.as_deref().and_then(|text| text.parse::<Timestamp>().ok().or_else(|| local(text)));
    if text.is_some() && date.is_none() {
        let rule = "must be a time such as 2024-12-01T14:00:00Z, or 2024-12-01T14:00 in the customer's time zone";
        fields.error("appointment_date", "invalid", rule);
    }
    let settings = portal.settings.load();
    let sold = |date| {
        !is_past(date, portal.clock.now()) || lead.provider_id.as_ref().is_some_and(|p| settings.may_sell_past(p))
    };
    if date.is_some_and(|date| !sold(date)) {
        let rule = "lies more than an hour back, and such dates are not sold: give one that is still to come, or set \
                    past_dates of the provider or the workspace to \"take\"";
        fields.error("appointment_date", "past", rule);
    }
    fields.finish(Some(date))
}

/// Who is to receive the appointment.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"workspace_id": "solar_west_coast"}))]
#[serde(deny_unknown_fields)]
struct AssignInput {
    /// The workspace, whatever the rules say.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    workspace_id: String,
}

/// Sends an appointment to a workspace by hand (`routing_method` manual), and answers with it.
#[utoipa::path(post, path = "/api/appointments/{id}/assign", operation_id = "assign_appointment", tag = "Appointments", params(IdempotencyKey), request_body = AssignInput,
    responses((status = 200, body = AppointmentView),
        (status = 202, body = CommandView, description = "Not decided yet; `href` tells where to look"),
        (status = 409, description = "It cannot be assigned; `detail` says why")))]
async fn assign(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Path(id): Path<String>,
    Input(mut fields): Input,
) -> Answer<Response> {
    let lead = lead_row(&portal, lead_id(&id)?).await?;
    let workspace = fields.required::<WorkspaceId>("workspace_id");
    if workspace.as_ref().is_some_and(|w| !portal.settings.load().workspaces.contains_key(w)) {
        fields.error("workspace_id", "unknown", "is no workspace; GET /api/workspaces lists them");
    }
    let workspace_id = fields.finish(workspace)?;
    let caller = Caller { actor, idempotency_key };
    submit(&portal, &lead, caller, LeadAction::Assign { workspace_id }).await
}

/// What became of a command.
#[utoipa::path(get, path = "/api/commands/{id}", operation_id = "get_command", tag = "Appointments", responses((status = 200, body = CommandView)))]
async fn read(State(portal): State<Shared>, Path(id): Path<String>) -> Answer<Json<CommandView>> {
    let missing = || not_found("command", &id);
    let command_id = lead_id(&id).map_err(|_| missing())?;
    if let Some(row) = get::<CommandRow>(&*portal.tables, &key![command_id]).await? {
        return Ok(Json(CommandView::of(row)));
    }
    // Not decided yet, if the log holds a command there.
    let (partition, offset) = portal.addressing.address(command_id).ok_or_else(missing)?;
    if partition.0 >= portal.log.partitions(Topic::Leads) {
        return Err(missing());
    }
    let limit = leadway_eventlog::ReadLimit { records: 1, ..Default::default() };
    let records = portal.log.read(Topic::Leads, partition, offset, limit).await?;
    let record = records.first().filter(|r| r.address.offset == offset).ok_or_else(missing)?;
    match record.decode::<LeadRecord>() {
        Ok(LeadRecord::Command(command)) => Ok(Json(CommandView::pending(command_id, Some(command.lead_id)))),
        _ => Err::<_, Refusal>(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadway_domain::ContactId;
    use leadway_domain::lead::Lead;

    #[test]
    fn the_key_of_a_command_is_that_of_its_lead() {
        let (phone, provider) = (Phone::parse("2135550123").unwrap(), ProviderId::new("a").unwrap());
        let lead: Lead = serde_json::from_value(serde_json::json!({
            "v": 1, "provider_id": "a", "contact_id": ContactId::derive(phone, &provider), "first_name": "",
            "last_name": "", "phone": "2135550123", "product_type": "Solar", "zip_code": "90210", "state": "CA",
            "cost": 75, "submission": "0", "received_at": "2024-01-15T10:30:00Z",
        }))
        .unwrap();
        assert_eq!(lead_key(phone, &provider), lead.log_key());
    }
}
