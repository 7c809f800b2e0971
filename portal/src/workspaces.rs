//! Client businesses.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use leadway_domain::hours::OpeningHours;
use leadway_domain::phone::PhoneFormat;
use leadway_domain::problem::{FieldError, Problem};
use leadway_domain::seal::Sealed;
use leadway_domain::settings::{
    Change, Entity, EntityKind, PastDates, RateLimit, Settings, SigningSecret, WebhookCredentials, Workspace,
    rotated_secrets, signing_place, webhook_place,
};
use leadway_domain::{Money, Timestamp, WorkspaceId};
use serde::Serialize;
use url::Url;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Actor;
use crate::change::Decided;
use crate::fields::{Fields, Input, NoFields, OptionalInput};
use crate::page::{Page, PageRequest};
use crate::path::Path;
use crate::problem::{Answer, Refusal, counted, not_found, some_of};
use crate::providers::read_rate_limit;
use crate::query::Params;
use crate::retry_rules::retry_for_workspace;
use crate::rotation::RotationInput;
use crate::shapes::{OpeningHoursShape, RateLimitShape};
use crate::state::{Portal, Shared};
use crate::undelivered::undelivered;
use crate::webhook_url::{self, UserInfo, Webhook};

/// Most posts to one workspace that may be under way at once.
const MAX_CONCURRENCY: u32 = 10_000;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(read, replace, patch, delete))
        .routes(routes!(rotate_secret))
}

/// What is set about a workspace; also, with the times, how it is shown.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "id": "solar_west_coast", "name": "Solar West Coast Team",
    "outbound_webhook_url": "https://solar-client.com/webhooks/appts", "webhook_active": true,
    "business_type": "Solar Installation", "payment_rate": 150,
}))]
struct WorkspaceInput {
    /// Chosen by the operator; cannot be changed later.
    #[schema(value_type = String, example = "solar_west_coast", pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    id: WorkspaceId,
    /// Display name.
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    /// Where appointments are posted; without it, deliveries are held. A name and password before the host
    /// (`https://name:password@…`) are sent as `Authorization: Basic`; they are shown as `***`, and `***` keeps them.
    #[schema(value_type = Option<String>, format = "uri", max_length = 2000)]
    outbound_webhook_url: Option<Url>,
    /// Where appointments of test leads are posted.
    #[schema(value_type = Option<String>, format = "uri", max_length = 2000)]
    test_webhook_url: Option<Url>,
    /// While false, deliveries are held; false by default.
    #[schema(value_type = Option<bool>)]
    webhook_active: bool,
    /// While true, routing passes over its rules, and the next rule wins. What it was routed before is delivered. False by
    /// default.
    #[schema(value_type = Option<bool>)]
    paused: bool,
    /// Whether it takes appointments whose date lies more than an hour back: `take` or `refuse`; as their provider's
    /// `past_dates` says when absent.
    #[schema(value_type = Option<String>, pattern = "^(refuse|take)$", example = "refuse")]
    past_dates: Option<PastDates>,
    /// What it does.
    #[schema(value_type = Option<String>, max_length = 200)]
    business_type: String,
    /// What one delivered appointment pays, in dollars, with at most two decimals. An appointment keeps the rate of the moment it was routed.
    #[schema(value_type = f64, minimum = 0, maximum = 1_000_000, example = 150)]
    payment_rate: Money,
    /// Whether a 2xx counts though the answer's body says `"success": false` or `"ok": false`. False by default: such an
    /// answer declines the appointment, which is tried again and not billed. If it also says `duplicate` or `already`, a
    /// later attempt counts as delivered, and the first is given up.
    #[schema(value_type = Option<bool>)]
    ignore_answer_body: bool,
    /// How it wants to read telephone numbers: `dashed` (default), `e164`, `national` or `digits`.
    #[schema(value_type = Option<String>, pattern = "^(dashed|e164|national|digits)$", example = "dashed")]
    phone_format: PhoneFormat,
    /// How fast appointments may be posted to it: per second, and how many at once (`burst`); no limit when absent.
    #[schema(value_type = Option<RateLimitShape>)]
    rate_limit: Option<RateLimit>,
    /// How many posts may be under way at once; only the node's own limit when absent.
    #[schema(minimum = 1, maximum = 10_000)]
    max_concurrency: Option<u32>,
    /// When it takes appointments, in the customer's time zone; Monday to Friday, 9 to 17 by default.
    #[schema(value_type = Option<OpeningHoursShape>)]
    opening_hours: OpeningHours,
}

/// A workspace.
#[derive(Serialize, ToSchema)]
struct WorkspaceView {
    #[serde(flatten)]
    set: WorkspaceInput,
    /// When it was made.
    created_at: Timestamp,
    /// When it was last changed.
    updated_at: Timestamp,
}

/// A workspace as it was just set.
#[derive(Serialize, ToSchema)]
struct WorkspaceAsSet {
    #[serde(flatten)]
    workspace: WorkspaceView,
    /// What was taken and should still be changed: webhooks without TLS. Absent when there is nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// A workspace with its new signing secret, which is shown this once.
#[derive(Serialize, ToSchema)]
struct WorkspaceWithSecret {
    #[serde(flatten)]
    workspace: WorkspaceAsSet,
    /// What its deliveries are signed with (Standard Webhooks). It cannot be shown again.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw…")]
    signing_secret: String,
    /// How long the secret before stays valid, after a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_secret_valid_until: Option<Timestamp>,
}

impl WorkspaceAsSet {
    fn of(w: &Workspace, allow_private: bool) -> Self {
        let urls = [("outbound_webhook_url", &w.outbound_webhook_url), ("test_webhook_url", &w.test_webhook_url)];
        let warnings =
            urls.into_iter().filter_map(|(field, url)| webhook_url::warning(field, url.as_ref(), allow_private));
        Self { workspace: WorkspaceView::of(w), warnings: warnings.collect() }
    }
}

impl WorkspaceView {
    fn of(w: &Workspace) -> Self {
        let set = WorkspaceInput {
            id: w.id.clone(),
            name: w.name.clone(),
            outbound_webhook_url: shown(&w.outbound_webhook_url, &w.webhook_credentials.outbound),
            test_webhook_url: shown(&w.test_webhook_url, &w.webhook_credentials.test),
            webhook_active: w.webhook_active,
            paused: w.paused,
            past_dates: w.past_dates,
            business_type: w.business_type.clone(),
            payment_rate: w.payment_rate,
            ignore_answer_body: w.ignore_answer_body,
            phone_format: w.phone_format,
            rate_limit: w.rate_limit,
            max_concurrency: w.max_concurrency,
            opening_hours: w.opening_hours.clone(),
        };
        Self { set, created_at: w.created_at, updated_at: w.updated_at }
    }
}

fn read_input(
    mut fields: Fields,
    existing: Option<&WorkspaceId>,
    allow_private: bool,
) -> Result<(WorkspaceInput, UserInfos), Problem> {
    fields.read_only(&["created_at", "updated_at", "warnings"]);
    let id = fields.id("id", existing);
    let name = fields.required_text("name", 200);
    let (outbound_webhook_url, outbound) = read_url(&mut fields, "outbound_webhook_url", allow_private);
    let (test_webhook_url, test) = read_url(&mut fields, "test_webhook_url", allow_private);
    let webhook_active = fields.optional("webhook_active").unwrap_or(false);
    let paused = fields.optional("paused").unwrap_or(false);
    let past_dates = fields.optional("past_dates");
    let business_type = fields.text("business_type", 200);
    let payment_rate = fields.amount("payment_rate");
    let ignore_answer_body = fields.optional("ignore_answer_body").unwrap_or(false);
    let phone_format = fields.optional("phone_format").unwrap_or_default();
    let rate_limit = read_rate_limit(&mut fields);
    let max_concurrency: Option<u32> = fields.optional("max_concurrency");
    if max_concurrency.is_some_and(|most| !(1..=MAX_CONCURRENCY).contains(&most)) {
        let rule = format!("must be 1 to {MAX_CONCURRENCY}; set webhook_active to false to hold deliveries");
        fields.error("max_concurrency", "invalid", rule);
    }
    let opening_hours: OpeningHours = fields.optional("opening_hours").unwrap_or_default();
    if let Some(wrong) = opening_hours.check() {
        fields.error("opening_hours", "invalid", wrong);
    }
    let input = id.zip(payment_rate).map(|(id, payment_rate)| WorkspaceInput {
        id,
        name,
        outbound_webhook_url,
        test_webhook_url,
        webhook_active,
        paused,
        past_dates,
        business_type,
        payment_rate,
        ignore_answer_body,
        phone_format,
        rate_limit,
        max_concurrency,
        opening_hours,
    });
    fields.finish(input.map(|input| (input, UserInfos { outbound, test })))
}

/// What the two URLs say before their `@`.
struct UserInfos {
    outbound: UserInfo,
    test: UserInfo,
}

fn read_url(fields: &mut Fields, name: &'static str, allow_private: bool) -> (Option<Url>, UserInfo) {
    let text: Option<String> = fields.optional(name);
    let read = text.map(|text| webhook_url::parse(&text, allow_private));
    match read {
        Some(Ok(Webhook { url, user_info })) => (Some(url), user_info),
        Some(Err(rule)) => {
            fields.error(name, "invalid", rule);
            (None, UserInfo::None)
        }
        None => (None, UserInfo::None),
    }
}

/// A URL as it is shown.
fn shown(url: &Option<Url>, credentials: &Option<Sealed>) -> Option<Url> {
    url.as_ref().map(|url| webhook_url::shown(url, credentials.is_some()))
}

/// What is kept of the names and passwords of a workspace's URLs.
fn webhook_credentials(
    portal: &Portal,
    settings: &Settings,
    input: &WorkspaceInput,
    user_infos: UserInfos,
    present: Option<&Workspace>,
    now: Timestamp,
) -> Answer<WebhookCredentials> {
    let seal = |field: &'static str, user_info, url: &Option<Url>, before: Option<(&Option<Url>, &Option<Sealed>)>| {
        let sealed = match user_info {
            UserInfo::None => return Ok(None),
            UserInfo::New(text) => settings.seals().seal(&webhook_place(&input.id), &text, portal.random.nonce()?)?,
            UserInfo::Kept => {
                let same_host = |(old, _): &(&Option<Url>, _)| {
                    old.as_ref().zip(url.as_ref()).is_some_and(|(old, new)| old.origin() == new.origin())
                };
                let kept = before.filter(same_host).and_then(|(_, sealed)| sealed.clone());
                let rule = "*** stands for the name and password that are kept for this host, and there are none; write them out";
                kept.ok_or_else(|| Problem::validation(vec![FieldError::new(field, "invalid", rule)]))?
            }
        };
        Ok::<_, Refusal>(Some(sealed))
    };
    let outbound = present.map(|w| (&w.outbound_webhook_url, &w.webhook_credentials.outbound));
    let test = present.map(|w| (&w.test_webhook_url, &w.webhook_credentials.test));
    Ok(WebhookCredentials {
        outbound: seal("outbound_webhook_url", user_infos.outbound, &input.outbound_webhook_url, outbound)?,
        test: seal("test_webhook_url", user_infos.test, &input.test_webhook_url, test)?,
        changed_at: present.map_or(Some(now), |w| w.webhook_credentials.changed_at),
    })
}

impl WorkspaceInput {
    fn into_workspace(
        self,
        signing_secrets: Vec<SigningSecret>,
        webhook_credentials: WebhookCredentials,
        created_at: Timestamp,
        now: Timestamp,
    ) -> Workspace {
        Workspace {
            id: self.id,
            name: self.name,
            outbound_webhook_url: self.outbound_webhook_url,
            test_webhook_url: self.test_webhook_url,
            webhook_active: self.webhook_active,
            paused: self.paused,
            past_dates: self.past_dates,
            business_type: self.business_type,
            payment_rate: self.payment_rate,
            signing_secrets,
            webhook_credentials,
            ignore_answer_body: self.ignore_answer_body,
            phone_format: self.phone_format,
            rate_limit: self.rate_limit,
            max_concurrency: self.max_concurrency,
            opening_hours: self.opening_hours,
            created_at,
            updated_at: now,
        }
    }
}

fn find<'s>(settings: &'s Settings, id: &str) -> Result<&'s Arc<Workspace>, Refusal> {
    settings.workspaces.get(id).ok_or_else(|| not_found("workspace", id))
}

fn put(workspace: Workspace) -> Change {
    Change::Put(Entity::Workspace(workspace))
}

/// Workspaces in the order of their ids.
#[utoipa::path(get, path = "/api/workspaces", operation_id = "list_workspaces", tag = "Workspaces", params(PageRequest),
    responses((status = 200, body = Page<WorkspaceView>)))]
async fn list(State(portal): State<Shared>, Params(page): Params<PageRequest>) -> Answer<Json<Page<WorkspaceView>>> {
    let settings = portal.settings.load();
    let rows = settings.workspaces.iter().map(|(id, workspace)| (id.clone(), &**workspace));
    Ok(Json(Page::of_sorted(rows, &page, WorkspaceView::of)?))
}

/// Makes a workspace. Its `signing_secret` is shown in this answer only.
#[utoipa::path(post, path = "/api/workspaces", operation_id = "create_workspace", tag = "Workspaces", request_body = WorkspaceInput,
    responses((status = 201, body = WorkspaceWithSecret), (status = 409, description = "The id is taken")))]
async fn create(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Input(fields): Input,
) -> Answer<(StatusCode, Json<WorkspaceWithSecret>)> {
    let secret = portal.random.signing_secret()?;
    let decide = |settings: &Settings, now| {
        let (input, user_infos) = read_input(fields, None, portal.options.allow_private_targets)?;
        if settings.workspaces.contains_key(&input.id) {
            let detail = format!("There is a workspace {} already; change it with PUT or PATCH.", input.id);
            return Err(Refusal(Problem::conflict(detail)));
        }
        let sealed = settings.seals().seal(&signing_place(&input.id), &secret, portal.random.nonce()?)?;
        let secrets = vec![SigningSecret { secret: sealed, valid_until: None }];
        let credentials = webhook_credentials(&portal, settings, &input, user_infos, None, now)?;
        let workspace = input.into_workspace(secrets, credentials, now, now);
        let answer = WorkspaceWithSecret {
            workspace: WorkspaceAsSet::of(&workspace, portal.options.allow_private_targets),
            signing_secret: secret,
            previous_secret_valid_until: None,
        };
        Ok::<_, Refusal>(Decided::new(put(workspace), answer))
    };
    let made = portal.writer.change(&actor, decide).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// One workspace.
#[utoipa::path(get, path = "/api/workspaces/{id}", operation_id = "get_workspace", tag = "Workspaces", responses((status = 200, body = WorkspaceView)))]
async fn read(State(portal): State<Shared>, Path(id): Path<String>) -> Answer<Json<WorkspaceView>> {
    Ok(Json(WorkspaceView::of(find(&portal.settings.load(), &id)?)))
}

async fn change(portal: &Shared, actor: &str, id: &str, fields: Fields, merge: bool) -> Answer<Json<WorkspaceAsSet>> {
    let decide = |settings: &Settings, now| {
        let present = find(settings, id)?;
        let fields = if merge { fields.merged_onto(&WorkspaceView::of(present))? } else { fields };
        let (input, user_infos) = read_input(fields, Some(&present.id), portal.options.allow_private_targets)?;
        let credentials = webhook_credentials(portal, settings, &input, user_infos, Some(present), now)?;
        let workspace = input.into_workspace(present.signing_secrets.clone(), credentials, present.created_at, now);
        let resumed = (present.paused && !workspace.paused).then(|| workspace.id.clone());
        let view = WorkspaceAsSet::of(&workspace, portal.options.allow_private_targets);
        Ok::<_, Refusal>(Decided::new(put(workspace), (view, resumed)))
    };
    let (view, resumed) = portal.writer.change(actor, decide).await?;
    if let Some(workspace) = resumed {
        retry_for_workspace(portal, actor, &workspace);
    }
    Ok(Json(view))
}

/// Replaces what is set about a workspace; what is left out takes its default.
#[utoipa::path(put, path = "/api/workspaces/{id}", operation_id = "replace_workspace", tag = "Workspaces", request_body = WorkspaceInput,
    responses((status = 200, body = WorkspaceAsSet)))]
async fn replace(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    Input(fields): Input,
) -> Answer<Json<WorkspaceAsSet>> {
    change(&portal, &actor, &id, fields, false).await
}

/// Changes the fields that are sent (RFC 7396) and leaves the others.
#[utoipa::path(patch, path = "/api/workspaces/{id}", operation_id = "update_workspace", tag = "Workspaces",
    request_body(content = WorkspaceInput, example = json!({"webhook_active": false})),
    responses((status = 200, body = WorkspaceAsSet)))]
async fn patch(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    Input(fields): Input,
) -> Answer<Json<WorkspaceAsSet>> {
    change(&portal, &actor, &id, fields, true).await
}

/// Removes a workspace to which no rule refers, and of whose appointments each one decided so far was taken or given up.
#[utoipa::path(delete, path = "/api/workspaces/{id}", operation_id = "delete_workspace", tag = "Workspaces",
    responses((status = 204), (status = 409, description = "Rules or undelivered appointments refer to it")))]
async fn delete(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    _: NoFields,
) -> Answer<StatusCode> {
    // No rule that refers to it is made while the turn lasts.
    let turn = portal.writer.turn().await?;
    let workspace = find(&turn.settings, &id)?.id.clone();
    let rules = turn.settings.rules.values().filter(|r| r.workspace_id == workspace);
    let rules: Vec<String> = rules.map(|r| r.id.to_string()).collect();
    if !rules.is_empty() {
        let subject = counted(rules.len(), "routing rule refers", "routing rules refer");
        let detail = format!("{subject} to it; delete first: {}.", some_of(&rules));
        return Err(Problem::conflict(detail).into());
    }
    let open = undelivered(&portal, &workspace).await?;
    if !open.is_empty() {
        let detail = format!("Appointments wait for delivery to it; deliver them first: {}.", some_of(&open));
        return Err(Problem::conflict(detail).into());
    }
    let change = Change::Delete { kind: EntityKind::Workspace, id };
    turn.carry_out(&actor, Decided::new(change, StatusCode::NO_CONTENT)).await
}

/// Gives a workspace a new signing secret, shown in this answer only. Deliveries are signed with the ones before too, for a
/// day unless the body says otherwise: `revoke_now` ends all earlier ones at once.
#[utoipa::path(post, path = "/api/workspaces/{id}/rotate-secret", operation_id = "rotate_workspace_secret", tag = "Workspaces", request_body = Option<RotationInput>,
    responses((status = 200, body = WorkspaceWithSecret), (status = 409, description = "Too many earlier secrets are still valid")))]
async fn rotate_secret(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    OptionalInput(fields): OptionalInput,
) -> Answer<Json<WorkspaceWithSecret>> {
    let rotation = RotationInput::read(fields)?;
    let secret = portal.random.signing_secret()?;
    let decide = |settings: &Settings, now: Timestamp| {
        let mut workspace = Workspace::clone(find(settings, &id)?);
        let until = rotation.until(now, workspace.signing_secrets.iter().filter_map(|secret| secret.valid_until))?;
        let sealed = settings.seals().seal(&signing_place(&workspace.id), &secret, portal.random.nonce()?)?;
        workspace.signing_secrets = rotated_secrets(workspace.signing_secrets, sealed, now, until);
        workspace.webhook_credentials.changed_at = Some(now);
        workspace.updated_at = now;
        let answer = WorkspaceWithSecret {
            workspace: WorkspaceAsSet::of(&workspace, portal.options.allow_private_targets),
            signing_secret: secret,
            previous_secret_valid_until: until,
        };
        Ok::<_, Refusal>(Decided::new(put(workspace), answer))
    };
    portal.writer.change(&actor, decide).await.map(Json)
}
