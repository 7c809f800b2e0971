//! `GET /api/routing/coverage/gaps`: the ZIPs that no rule takes, page by page or as CSV.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use leadway_domain::problem::{FieldError, PROBLEM_JSON, Problem};
use leadway_domain::settings::Settings;
use leadway_domain::{Zip, ZipDirectory};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Failure, Shared, broken, known_product, unreadable};
use crate::gaps::{Gap, GapRank, Lost, gaps};

/// Gaps on a page when the caller does not say, and at most.
const LIMITS: (usize, usize) = (100, 500);

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct GapsQuery {
    /// Only this product, by its name or a synonym; every product when absent.
    product_type: Option<String>,
    /// Only this state.
    #[param(example = "CA")]
    state: Option<String>,
    /// `json` (default) for one page, `csv` for everything at once.
    #[param(pattern = "^(json|csv)$", example = "json")]
    format: Option<String>,
    /// Most gaps to answer with.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500, default = 100)]
    limit: Option<String>,
    /// The `next_cursor` of the page before; without it, the first page.
    cursor: Option<String>,
}

/// ZIPs that no rule takes.
#[derive(Serialize, ToSchema)]
pub(super) struct GapsPage {
    /// Where most leads were lost comes first, then by product and ZIP.
    items: Vec<Gap>,
    /// How many gaps there are in all.
    zips: usize,
    /// How many leads were lost in them.
    leads_lost: u64,
    /// Whether every lead that waits was counted; where more than half a million wait, only some are.
    all_leads_counted: bool,
    /// Send it as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// What is asked for, checked.
struct Asked {
    products: Vec<String>,
    state: Option<String>,
    csv: bool,
    limit: usize,
    after: Option<GapRank>,
}

/// Which ZIPs are not covered
///
/// Every known ZIP that no rule takes, per product, with the leads that wait there for want of one; where most wait comes
/// first. A paused workspace's rules take nothing.
#[utoipa::path(
    get,
    path = "/api/routing/coverage/gaps",
    tag = "Routing rules",
    params(GapsQuery),
    responses(
        (status = 200, description = "A page of gaps, or all of them as CSV",
            content((GapsPage = "application/json"), (String = "text/csv"))),
        (status = 422, description = "Unknown product, state or parameter", content_type = PROBLEM_JSON),
        (status = 503, description = "The tables cannot be read now", content_type = PROBLEM_JSON),
    )
)]
pub(super) async fn routing_gaps(
    State(shared): State<Shared>,
    query: Result<Query<GapsQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query.map_err(unreadable)?;
    let deps = &shared.deps;
    let routing = deps.matcher.latest().await;
    let Asked { products, state, csv, limit, after } =
        check(query, &routing.settings, &deps.zips).map_err(|e| Failure(Problem::validation(e)))?;
    let lost = Lost::count(&*deps.tables).await.map_err(|error| {
        tracing::warn!(%error, "the unrouted leads cannot be counted");
        Failure(Problem::unavailable("The tables cannot be read now. Try again.", 2))
    })?;
    let complete = lost.complete;
    let zips = deps.zips.clone();
    let found = tokio::task::spawn_blocking(move || gaps(&routing, &zips, &lost, &products, state.as_deref())).await;
    let found = found.map_err(|_| broken("list of gaps"))?;
    if csv {
        return Ok(as_csv(&found));
    }
    let (zips, leads_lost) = (found.len(), found.iter().map(|gap| gap.leads_lost).sum());
    let from = after.map_or(0, |after| found.partition_point(|gap| gap.rank() <= after));
    let items: Vec<Gap> = found.iter().skip(from).take(limit).cloned().collect();
    let more = from + items.len() < zips;
    let next_cursor = items.last().filter(|_| more).map(cursor);
    Ok(Json(GapsPage { items, zips, leads_lost, all_leads_counted: complete, next_cursor }).into_response())
}

/// The texts in it are product names and states, which no spreadsheet takes for formulas: a name begins with what it folds
/// to or is quoted, and a leading sign is set off by an apostrophe.
fn as_csv(gaps: &[Gap]) -> Response {
    let mut text = String::from("product_type,zip_code,state,leads_lost\n");
    for gap in gaps {
        let sign = if gap.product_type.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
        let name = gap.product_type.replace('"', "\"\"");
        text.push_str(&format!("\"{sign}{name}\",{},{},{}\n", gap.zip_code, gap.state, gap.leads_lost));
    }
    let disposition = "attachment; filename=\"coverage-gaps.csv\"";
    ([(header::CONTENT_TYPE, "text/csv; charset=utf-8"), (header::CONTENT_DISPOSITION, disposition)], text)
        .into_response()
}

fn cursor(last: &Gap) -> String {
    format!("{}-{}-{}", last.leads_lost, last.zip_code, last.product_type)
}

fn position(cursor: &str) -> Option<GapRank> {
    let mut parts = cursor.splitn(3, '-');
    let leads_lost = parts.next()?.parse().ok()?;
    let zip = Zip::parse(parts.next()?).ok()?;
    Some((std::cmp::Reverse(leads_lost), parts.next()?.to_owned(), zip.number() as u32))
}

fn check(query: GapsQuery, settings: &Settings, zips: &ZipDirectory) -> Result<Asked, Vec<FieldError>> {
    let mut errors = Vec::new();
    let products = match query.product_type.as_deref() {
        None => settings.products.values().map(|p| p.name.clone()).collect(),
        Some(name) => known_product(name, settings).map_err(|e| errors.push(e)).into_iter().collect(),
    };
    let state = query.state.map(|state| state.to_ascii_uppercase());
    if state.as_ref().is_some_and(|state| !zips.iter().any(|zip| *zip.state == **state)) {
        errors.push(FieldError::new("state", "unknown", "is no state with ZIP codes: two letters, such as CA"));
    }
    let csv = match query.format.as_deref() {
        None | Some("json") => false,
        Some("csv") => true,
        Some(_) => {
            errors.push(FieldError::new("format", "invalid", "must be json or csv"));
            false
        }
    };
    let limit = match query.limit.as_deref().map(str::parse) {
        None => LIMITS.0,
        Some(Ok(limit)) if (1..=LIMITS.1).contains(&limit) => limit,
        Some(_) => {
            errors.push(FieldError::new("limit", "invalid", format!("must be 1 to {}", LIMITS.1)));
            LIMITS.0
        }
    };
    let after = query.cursor.as_deref().map(position);
    if after == Some(None) {
        errors.push(FieldError::new("cursor", "invalid", "must be the next_cursor of a page of the same list"));
    }
    if errors.is_empty() { Ok(Asked { products, state, csv, limit, after: after.flatten() }) } else { Err(errors) }
}
