//! Routing unrouted leads again.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use leadway_domain::problem::Problem;
use leadway_domain::record::LeadAction;
use leadway_domain::{LeadId, Zip};
use leadway_tables::schema::{LeadRow, UNROUTED_SHARDS, UnroutedRow, bucket};
use leadway_tables::{Range, get_all, key, scan};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Actor;
use crate::command::command_record;
use crate::fields::{Fields, OptionalInput};
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
#[serde(deny_unknown_fields)]
struct RetryInput {
    /// Only those for this product (name or synonym).
    product_type: Option<String>,
    /// Only those in this ZIP.
    #[schema(value_type = Option<String>)]
    zip_code: Option<Zip>,
    /// How many at most; 10,000 by default.
    #[schema(value_type = Option<usize>, minimum = 1, maximum = 10_000)]
    limit: usize,
}

/// What a retry set going.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"retried": 12, "remaining": 0}))]
pub(crate) struct RetrySummary {
    /// Leads that are being decided again. See their appointments for the result.
    retried: usize,
    /// Matching leads that were not reached, for the limit or because the log took no more: call again.
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
#[utoipa::path(post, path = "/api/unrouted/retry", operation_id = "retry_unrouted", tag = "Appointments", request_body = Option<RetryInput>,
    responses((status = 200, body = RetrySummary)))]
async fn retry(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    OptionalInput(fields): OptionalInput,
) -> Answer<Json<RetrySummary>> {
    let input = read_input(&portal, fields)?;
    let wanted = |row: &UnroutedRow| {
        input.product_type.as_ref().is_none_or(|p| row.service_type.as_ref() == Some(p))
            && input.zip_code.is_none_or(|z| row.customer_zip == Some(z))
    };
    let (chosen, matching) = oldest_matching(&portal, input.limit, wanted).await?;
    let retried = retry_leads(&portal, &actor, chosen).await?;
    Ok(Json(RetrySummary { retried, remaining: matching.saturating_sub(retried) }))
}

/// Asks for the leads to be routed again; tells for how many it did. When some were asked for before something failed,
/// that is no failure of the whole: the caller learns how far it came.
pub(crate) async fn retry_leads(
    portal: &Portal,
    actor: &str,
    leads: impl IntoIterator<Item = LeadId>,
) -> Answer<usize> {
    let mut leads = leads.into_iter();
    let mut retried = 0;
    loop {
        let chunk: Vec<LeadId> = leads.by_ref().take(APPEND).collect();
        if chunk.is_empty() {
            return Ok(retried);
        }
        match retry_chunk(portal, actor, &chunk).await {
            Ok(done) => retried += done,
            Err(refusal) if retried > 0 => {
                tracing::warn!(retried, problem = refusal.0.detail, "only some unrouted leads are routed again");
                return Ok(retried);
            }
            Err(refusal) => return Err(refusal),
        }
    }
}

/// All of them or none.
async fn retry_chunk(portal: &Portal, actor: &str, leads: &[LeadId]) -> Answer<usize> {
    let now = portal.clock.now();
    let keys = leads.iter().filter_map(|&id| Some(key![bucket(portal.addressing, id)?, id]));
    let leads: Vec<Option<LeadRow>> = get_all(&*portal.tables, keys).await?;
    let command = |lead: &LeadRow| command_record(portal, lead, actor, LeadAction::Retry, None, now);
    let records: Vec<_> = leads.iter().flatten().filter_map(command).collect();
    let count = records.len();
    if count > 0 {
        portal.append(records).await?;
    }
    Ok(count)
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
