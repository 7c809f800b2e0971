//! Routing unrouted leads again.

use std::collections::{BTreeSet, HashSet};

use axum::Json;
use axum::extract::State;
use leadway_domain::problem::Problem;
use leadway_domain::record::LeadAction;
use leadway_domain::settings::Rule;
use leadway_domain::zip::ZipPattern;
use leadway_domain::{LeadId, Zip};
use leadway_tables::schema::{LeadRow, UNROUTED_SHARDS, UnroutedRow, bucket};
use leadway_tables::{Range, get, key, scan};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Actor;
use crate::command::command_record;
use crate::fields::{Fields, Input};
use crate::problem::Answer;
use crate::state::{Portal, Shared, known_product};

/// Most commands of one call.
const MAX_RETRIES: usize = 10_000;
/// Commands of one append.
const APPEND: usize = 1_000;
/// Rows of one scan.
const CHUNK: usize = 1_000;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(retry))
}

/// Which unrouted leads are to be routed again.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"product_type": "Solar", "zip_code": "90210", "limit": 1000}))]
struct RetryInput {
    /// Only those for this product (name or synonym).
    product_type: Option<String>,
    /// Only those in this ZIP.
    #[schema(value_type = Option<String>)]
    zip_code: Option<Zip>,
    /// How many at most, 1 to 10,000; 10,000 by default.
    #[schema(value_type = Option<usize>)]
    limit: usize,
}

/// What a retry set going.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"retried": 12, "remaining": 0}))]
pub(crate) struct RetrySummary {
    /// Leads that are being decided again. See their appointments for the result.
    retried: usize,
    /// Matching leads beyond the limit: call again.
    remaining: usize,
}

fn read_input(portal: &Portal, mut fields: Fields) -> Result<RetryInput, Problem> {
    let settings = portal.settings.load();
    let mut product_type = None;
    if let Some(name) = fields.optional::<String>("product_type") {
        match known_product(&settings, "product_type", &name) {
            Ok(product) => product_type = Some(product),
            Err(error) => fields.errors([error]),
        }
    }
    let zip_code = fields.optional("zip_code");
    let limit = fields.optional("limit").unwrap_or(MAX_RETRIES);
    if !(1..=MAX_RETRIES).contains(&limit) {
        fields.error("limit", "invalid", format!("must be 1 to {MAX_RETRIES}"));
    }
    fields.finish(Some(RetryInput { product_type, zip_code, limit }))
}

/// Decides unrouted leads again, oldest first. Answers how many were set going and how many remain.
#[utoipa::path(post, path = "/api/unrouted/retry", tag = "Appointments", request_body = RetryInput,
    responses((status = 200, body = RetrySummary)))]
async fn retry(State(portal): State<Shared>, Actor(actor): Actor, Input(fields): Input) -> Answer<Json<RetrySummary>> {
    let input = read_input(&portal, fields)?;
    let wanted = |row: &UnroutedRow| {
        input.product_type.as_ref().is_none_or(|p| row.service_type.as_ref() == Some(p))
            && input.zip_code.is_none_or(|z| row.customer_zip == Some(z))
    };
    Ok(Json(retry_matching(&portal, &actor, input.limit, wanted).await?))
}

async fn retry_matching(
    portal: &Portal,
    actor: &str,
    limit: usize,
    wanted: impl Fn(&UnroutedRow) -> bool,
) -> Answer<RetrySummary> {
    let (chosen, matching) = oldest_matching(portal, limit, wanted).await?;
    let mut retried = 0;
    let now = portal.clock.now();
    let mut records = Vec::new();
    let mut chosen = chosen.into_iter().peekable();
    while let Some(id) = chosen.next() {
        let Some(bucket) = bucket(portal.addressing, id) else { continue };
        if let Some(lead) = get::<LeadRow>(&*portal.tables, &key![bucket, id]).await? {
            records.extend(command_record(portal, &lead, actor, LeadAction::Retry, now));
        }
        if records.len() == APPEND || chosen.peek().is_none() {
            retried += records.len();
            portal.log.append(std::mem::take(&mut records)).await?;
        }
    }
    Ok(RetrySummary { retried, remaining: matching.saturating_sub(retried) })
}

/// The ids of the oldest unrouted leads that are wanted, and how many are wanted in all.
async fn oldest_matching(
    portal: &Portal,
    limit: usize,
    wanted: impl Fn(&UnroutedRow) -> bool,
) -> Answer<(BTreeSet<LeadId>, usize)> {
    let mut oldest = BTreeSet::new();
    let mut matching = 0;
    for shard in 0..UNROUTED_SHARDS as i64 {
        let mut range = Range::first(CHUNK);
        loop {
            let rows: Vec<UnroutedRow> = scan(&*portal.tables, &key![shard], range).await?;
            for row in rows.iter().filter(|row| wanted(row)) {
                matching += 1;
                oldest.insert(row.lead_id);
                if oldest.len() > limit {
                    oldest.pop_last();
                }
            }
            match rows.last() {
                Some(last) if rows.len() == CHUNK => {
                    range = Range::first(CHUNK).from(key![LeadId(last.lead_id.0 + 1)]);
                }
                _ => break,
            }
        }
    }
    Ok((oldest, matching))
}

/// After rules were made or changed: routes the unrouted leads again that active ones of them match, if the node is set
/// to. The rules stand whatever happens here, so a failure is only logged.
pub(crate) async fn retry_for_rules(portal: &Portal, actor: &str, rules: Vec<Rule>) {
    if !portal.options.retry_unrouted_on_rule_change {
        return;
    }
    let zips = portal.zips.clone();
    let expand = move || {
        let mut covered = HashSet::<(String, Zip)>::new();
        for rule in rules.iter().filter(|rule| rule.is_active) {
            let patterns = rule.zip_codes.iter().filter_map(|text| ZipPattern::parse(text).ok());
            for zip in patterns.flat_map(|pattern| pattern.expand(&zips)) {
                covered.extend(rule.product_types.iter().map(|product| (product.clone(), zip)));
            }
        }
        covered
    };
    // Expanding a state looks at the whole ZIP list: no work for the runtime's own threads.
    let Ok(covered) = tokio::task::spawn_blocking(expand).await else { return };
    if covered.is_empty() {
        return;
    }
    let wanted = |row: &UnroutedRow| {
        row.service_type.clone().zip(row.customer_zip).is_some_and(|service| covered.contains(&service))
    };
    match retry_matching(portal, actor, MAX_RETRIES, wanted).await {
        Ok(done) => {
            tracing::info!(retried = done.retried, remaining = done.remaining, "unrouted leads are routed again")
        }
        Err(refusal) => tracing::warn!(problem = refusal.0.detail, "unrouted leads could not be routed again"),
    }
}
