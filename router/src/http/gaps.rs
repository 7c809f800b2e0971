//! `GET /api/routing/coverage/gaps`: the ZIPs that no rule takes, page by page or as CSV.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use jiff::SignedDuration;
use leadway_domain::formula::neutral;
use leadway_domain::problem::{FieldError, PROBLEM_JSON, Problem};
use leadway_domain::settings::Settings;
use leadway_domain::{Zip, ZipDirectory};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Failure, Shared, broken, known_product, unreadable};
use crate::gaps::{Gap, GapRank, Lost, Survey, Wanted};

/// Gaps on a page when the caller does not say, and at most.
const LIMITS: (usize, usize) = (100, 500);
/// Rows of CSV that are made at once.
const STRETCH: usize = 1_000;
/// How long what was found is good enough: a lead more or less in a gap changes little.
const FRESH: SignedDuration = SignedDuration::from_secs(10);

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
    wanted: Wanted,
    csv: bool,
    limit: usize,
    after: Option<GapRank>,
}

/// Which ZIPs are not covered
///
/// Every known ZIP that no rule takes, per product, with the leads that wait there for want of one; where most wait comes
/// first. A paused workspace's rules take nothing. Leads are counted every ten seconds.
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
    let settings = deps.matcher.latest().await.settings.clone();
    let asked = check(query, &settings, &deps.zips).map_err(|e| Failure(Problem::validation(e)))?;
    let Asked { wanted, csv, limit, after } = asked;
    let survey = survey(&shared).await?;
    if csv {
        return Ok(as_csv(survey, wanted));
    }
    let all_leads_counted = survey.is_complete();
    let found =
        tokio::task::spawn_blocking(move || (survey.totals(&wanted), survey.page(&wanted, after.as_ref(), limit + 1)));
    let ((zips, leads_lost), mut items) = found.await.map_err(|_| broken("list of gaps"))?;
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(cursor);
    Ok(Json(GapsPage { items, zips, leads_lost, all_leads_counted, next_cursor }).into_response())
}

/// The gaps as they were a moment ago, or now. One caller looks for them while the others wait for what it finds.
async fn survey(shared: &Shared) -> Result<Arc<Survey>, Failure> {
    let deps = &shared.deps;
    let mut last = shared.gaps.lock().await;
    let (routing, now) = (deps.matcher.latest().await, deps.clock.now());
    if let Some((made_at, survey)) = &*last
        && survey.settings_version() == routing.settings_version
        && now.duration_since(*made_at).abs() < FRESH
    {
        return Ok(survey.clone());
    }
    let lost = Lost::count(&*deps.tables).await.map_err(|error| {
        tracing::warn!(%error, "the unrouted leads cannot be counted");
        Failure(Problem::unavailable("The tables cannot be read now. Try again.", 2))
    })?;
    let zips = deps.zips.clone();
    let made = tokio::task::spawn_blocking(move || Arc::new(Survey::make(routing, zips, lost))).await;
    let survey = made.map_err(|_| broken("list of gaps"))?;
    *last = Some((now, survey.clone()));
    Ok(survey)
}

/// All of them, a stretch at a time. One that fails breaks the answer off, so that nobody takes a part for all.
fn as_csv(survey: Arc<Survey>, wanted: Wanted) -> Response {
    let rows = stream::try_unfold((survey, Arc::new(wanted), None::<GapRank>), |(survey, wanted, after)| async move {
        let (from, of) = (survey.clone(), wanted.clone());
        let found = tokio::task::spawn_blocking(move || {
            let gaps = from.page(&of, after.as_ref(), STRETCH);
            Ok::<_, std::io::Error>((written(&gaps)?, gaps.last().map(Gap::rank)))
        });
        let (text, last) = found.await.map_err(std::io::Error::other)??;
        Ok::<_, std::io::Error>(last.map(|last| (text, (survey, wanted, Some(last)))))
    });
    let head = stream::iter([Ok(b"product_type,zip_code,state,leads_lost\n".to_vec())]);
    let disposition = "attachment; filename=\"coverage-gaps.csv\"";
    let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8"), (header::CONTENT_DISPOSITION, disposition)];
    (headers, Body::from_stream(head.chain(rows))).into_response()
}

fn written(gaps: &[Gap]) -> std::io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for gap in gaps {
        let (zip, lost) = (gap.zip_code.to_string(), gap.leads_lost.to_string());
        writer.write_record([&*neutral(&gap.product_type), &zip, &gap.state, &lost])?;
    }
    writer.into_inner().map_err(|error| error.into_error())
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
    let mut products: Vec<String> = match query.product_type.as_deref() {
        None => settings.products.values().map(|p| p.name.clone()).collect(),
        Some(name) => known_product(name, settings).map_err(|e| errors.push(e)).into_iter().collect(),
    };
    products.sort_unstable();
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
    let wanted = Wanted { products, state };
    if errors.is_empty() { Ok(Asked { wanted, csv, limit, after: after.flatten() }) } else { Err(errors) }
}
