//! Routing rules, one by one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use leadway_domain::problem::{FieldError, Problem};
use leadway_domain::settings::{Change, Entity, EntityKind, Rule, Settings};
use leadway_domain::{RuleId, Timestamp, WorkspaceId};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::auth::Actor;
use crate::change::Decided;
use crate::fields::{Fields, Input, NoFields};
use crate::page::{Page, PageRequest};
use crate::path::Path;
use crate::problem::{Answer, Refusal, not_found};
use crate::query::{FromQuery, Params, Query};
use crate::retry_rules::retry_for_rules;
use crate::rule_check::{IdField, PatternChecks, RuleDraft, RuleIds, RuleInput, check_external_id};
use crate::rule_filter::RuleFilter;
use crate::state::{Portal, Shared};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(list, create)).routes(routes!(read, replace, patch, delete))
}

/// A routing rule.
#[derive(Serialize, ToSchema)]
pub(crate) struct RuleView {
    /// Made by the node; among equal priorities the smaller (older) one wins.
    #[schema(value_type = Uuid)]
    id: RuleId,
    /// Where its appointments go.
    #[schema(value_type = String, example = "solar_west_coast")]
    workspace_id: WorkspaceId,
    /// Canonical product names.
    #[schema(example = json!(["Solar"]))]
    product_types: Vec<String>,
    /// ZIP patterns in their canonical form.
    #[schema(example = json!(["90210", "902*"]))]
    zip_codes: Vec<String>,
    /// The lowest number wins.
    priority: i32,
    /// Whether it takes part in matching.
    is_active: bool,
    /// The operator's notes.
    notes: String,
    /// What it is called where it was imported from.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    /// When it was made.
    created_at: Timestamp,
    /// When it was last changed.
    updated_at: Timestamp,
}

impl RuleView {
    pub(crate) fn of(rule: &Rule) -> Self {
        Self {
            id: rule.id,
            workspace_id: rule.workspace_id.clone(),
            product_types: rule.product_types.clone(),
            zip_codes: rule.zip_codes.clone(),
            priority: rule.priority,
            is_active: rule.is_active,
            notes: rule.notes.clone(),
            external_id: rule.external_id.clone(),
            created_at: rule.created_at,
            updated_at: rule.updated_at,
        }
    }
}

fn find<'s>(settings: &'s Settings, id: &str) -> Result<&'s Arc<Rule>, Refusal> {
    let rule = Uuid::parse_str(id).ok().and_then(|id| settings.rules.get(&RuleId(id)));
    rule.ok_or_else(|| not_found("routing rule", id))
}

/// Refuses more rules than the node is set to hold.
pub(crate) fn check_count(portal: &Portal, count: usize) -> Result<(), Problem> {
    let max = portal.options.max_rules;
    if count <= max {
        return Ok(());
    }
    let message = format!("{count} rules would be more than the {max} that LEADWAY_PORTAL__MAX_RULES allows");
    Err(Problem::validation(vec![FieldError::new("rules", "too_many", message)]))
}

/// Which page of which rules is asked for.
struct ListParams {
    filter: RuleFilter,
    page: PageRequest,
}

impl FromQuery for ListParams {
    fn read(query: &mut Query) -> Self {
        Self { filter: RuleFilter::read(query), page: PageRequest::read(query) }
    }
}

/// Rules, older first.
#[utoipa::path(get, path = "/api/routing-rules", operation_id = "list_rules", tag = "Routing rules", params(RuleFilter, PageRequest),
    responses((status = 200, body = Page<RuleView>)))]
async fn list(State(portal): State<Shared>, Params(params): Params<ListParams>) -> Answer<Json<Page<RuleView>>> {
    let ListParams { filter, page } = params;
    let wanted = filter.resolve(&portal.settings.load(), &portal.zips)?;
    let (after, limit) = (page.position()?, page.limit);
    // One more than the page holds, to know whether another follows.
    let mut rules = wanted.select(portal.settings.load(), portal.zips.clone(), after, limit + 1).await?;
    let more = rules.len() > limit;
    rules.truncate(limit);
    let next = rules.last().filter(|_| more).map(|rule| rule.id);
    Ok(Json(Page::new(rules.iter().map(|rule| RuleView::of(rule)).collect(), next)))
}

/// Makes a rule. It is in force for the next lead.
#[utoipa::path(post, path = "/api/routing-rules", operation_id = "create_rule", tag = "Routing rules", request_body = RuleInput,
    responses((status = 201, body = RuleView)))]
async fn create(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Input(fields): Input,
) -> Answer<(StatusCode, Json<RuleView>)> {
    let random = portal.random.bytes()?;
    let decide = |settings: &Settings, now| {
        let draft = RuleDraft::read(fields, IdField::Absent);
        let checked =
            draft.check(settings, &portal.zips, &mut PatternChecks::default()).map_err(Problem::validation)?;
        check_count(&portal, settings.rules.len() + 1)?;
        let rule = checked.into_rule(RuleIds::after(settings, now, random).make(), now, now);
        check_external_id(&rule, settings)?;
        Ok::<_, Problem>(Decided::new(Change::Put(Entity::Rule(rule.clone())), rule))
    };
    let rule = portal.writer.change(&actor, decide).await?;
    let view = RuleView::of(&rule);
    retry_for_rules(&portal, &actor, [&rule]);
    Ok((StatusCode::CREATED, Json(view)))
}

/// One rule.
#[utoipa::path(get, path = "/api/routing-rules/{id}", operation_id = "get_rule", tag = "Routing rules", responses((status = 200, body = RuleView)))]
async fn read(State(portal): State<Shared>, Path(id): Path<String>) -> Answer<Json<RuleView>> {
    Ok(Json(RuleView::of(find(&portal.settings.load(), &id)?)))
}

async fn change(portal: &Shared, actor: &str, id: &str, fields: Fields, merge: bool) -> Answer<Json<RuleView>> {
    let decide = |settings: &Settings, now| {
        let present = find(settings, id)?;
        let fields = if merge { fields.merged_onto(&RuleView::of(present))? } else { fields };
        let draft = RuleDraft::read(fields, IdField::Is(present.id));
        let checked =
            draft.check(settings, &portal.zips, &mut PatternChecks::default()).map_err(Problem::validation)?;
        let rule = checked.into_rule(present.id, present.created_at, now);
        check_external_id(&rule, settings)?;
        Ok::<_, Refusal>(Decided::new(Change::Put(Entity::Rule(rule.clone())), rule))
    };
    let rule = portal.writer.change(actor, decide).await?;
    let view = RuleView::of(&rule);
    retry_for_rules(portal, actor, [&rule]);
    Ok(Json(view))
}

/// Replaces what is set about a rule; what is left out takes its default. In force for the next lead.
#[utoipa::path(put, path = "/api/routing-rules/{id}", operation_id = "replace_rule", tag = "Routing rules", request_body = RuleInput,
    responses((status = 200, body = RuleView)))]
async fn replace(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    Input(fields): Input,
) -> Answer<Json<RuleView>> {
    change(&portal, &actor, &id, fields, false).await
}

/// Changes the fields that are sent (RFC 7396) and leaves the others. In force for the next lead.
#[utoipa::path(patch, path = "/api/routing-rules/{id}", operation_id = "update_rule", tag = "Routing rules",
    request_body(content = RuleInput, example = json!({"priority": 2})),
    responses((status = 200, body = RuleView)))]
async fn patch(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    Input(fields): Input,
) -> Answer<Json<RuleView>> {
    change(&portal, &actor, &id, fields, true).await
}

/// Removes a rule. Appointments that it routed stay.
#[utoipa::path(delete, path = "/api/routing-rules/{id}", operation_id = "delete_rule", tag = "Routing rules", responses((status = 204)))]
async fn delete(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Path(id): Path<String>,
    _: NoFields,
) -> Answer<StatusCode> {
    let decide = |settings: &Settings, _| {
        let rule = find(settings, &id)?;
        let change = Change::Delete { kind: EntityKind::Rule, id: rule.id.to_string() };
        Ok::<_, Refusal>(Decided::new(change, StatusCode::NO_CONTENT))
    };
    portal.writer.change(&actor, decide).await
}
