//! Changing many rules at once, all or none.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use leadway_domain::Timestamp;
use leadway_domain::problem::{FieldError, Problem};
use leadway_domain::settings::{Change, Entity, Rule, Settings};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Actor;
use crate::change::Decided;
use crate::fields::{Fields, Input};
use crate::problem::{Answer, broken};
use crate::query::{FromQuery, Params, Query};
use crate::retry_rules::retry_for_rules;
use crate::rule_check::{PatternChecks, RulePatch, RulePatchInput};
use crate::rule_filter::RuleFilter;
use crate::state::Shared;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(change_many))
}

/// How they are changed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct BulkOptions {
    /// Whether the answer tells what would be changed, and nothing is.
    #[param(value_type = Option<bool>)]
    dry_run: bool,
}

impl FromQuery for BulkOptions {
    fn read(query: &mut Query) -> Self {
        Self { dry_run: query.parsed("dry_run", "must be true or false").unwrap_or(false) }
    }
}

struct BulkParams {
    filter: RuleFilter,
    options: BulkOptions,
}

impl FromQuery for BulkParams {
    fn read(query: &mut Query) -> Self {
        Self { filter: RuleFilter::read(query), options: BulkOptions::read(query) }
    }
}

/// How many rules a change of many was about.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"matched": 12, "changed": 11, "dry_run": false}))]
struct BulkSummary {
    /// Rules that are meant.
    matched: usize,
    /// Those among them that were not so already.
    changed: usize,
    /// Whether nothing was changed in fact.
    dry_run: bool,
}

/// Changes every rule that the filter means, all of them or none, and tells how many. The fields sent are set in each
/// (RFC 7396), the others stay. At least one filter and one field must be given. In force for the next lead.
#[utoipa::path(patch, path = "/api/routing-rules", operation_id = "update_rules", tag = "Routing rules",
    params(RuleFilter, BulkOptions), request_body(content = RulePatchInput, example = json!({"is_active": false})),
    responses((status = 200, body = BulkSummary)))]
async fn change_many(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Params(BulkParams { filter, options }): Params<BulkParams>,
    Input(fields): Input,
) -> Answer<Json<BulkSummary>> {
    if filter.is_empty() {
        let message = "must name the rules that are meant, by at least one of workspace_id, product_type, zip_code, \
                       state, is_active and q";
        return Err(Problem::validation(vec![FieldError::new("query", "required", message)]).into());
    }
    // No other change comes in between: what is selected here is what is changed.
    let turn = portal.writer.turn().await?;
    let patch = read_patch(fields, &turn.settings, &portal)?;
    let wanted = filter.resolve(&turn.settings, &portal.zips)?;
    let rules = wanted.select(turn.settings.clone(), portal.zips.clone(), None, usize::MAX).await?;
    let (matched, now) = (rules.len(), turn.now);
    let changed = tokio::task::spawn_blocking(move || changed(&rules, &patch, now)).await;
    let changed: Vec<Rule> = changed.map_err(|_| broken("The rules could not be changed."))?;
    let summary = BulkSummary { matched, changed: changed.len(), dry_run: options.dry_run };
    if options.dry_run {
        return Ok(Json(summary));
    }
    let change = Change::Batch(changed.iter().cloned().map(Entity::Rule).map(Change::Put).collect());
    let summary = turn.carry_out(&actor, Decided::new(change, summary)).await?;
    retry_for_rules(&portal, &actor, &changed);
    Ok(Json(summary))
}

fn read_patch(fields: Fields, settings: &Settings, portal: &Shared) -> Result<RulePatch, Problem> {
    RulePatch::read(fields, settings, &portal.zips, &mut PatternChecks::default())
}

/// The rules that the patch makes other than they are.
fn changed(rules: &[Arc<Rule>], patch: &RulePatch, now: Timestamp) -> Vec<Rule> {
    let patched = rules.iter().map(|rule| (rule, patch.applied_to(rule)));
    patched.filter(|(rule, patched)| ***rule != *patched).map(|(_, new)| Rule { updated_at: now, ..new }).collect()
}
