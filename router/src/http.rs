//! What can be asked about routing over HTTP.

mod gaps;

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use leadway_domain::problem::{FieldError, PROBLEM_JSON, Problem};
use leadway_domain::settings::Settings;
use leadway_domain::{Clock, Offset, Timestamp, Zip, ZipDirectory};
use leadway_eventlog::EventLog;
use leadway_tables::Tables;
use serde::Deserialize;
use tokio::sync::Mutex;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::coverage::{Coverage, coverage};
use crate::explain::{Explanation, explain};
use crate::gaps::Survey;
use crate::history::settings_at;
use crate::matcher::Matcher;

/// What the answers come from.
#[derive(Clone)]
pub struct ApiDeps {
    /// The rules in force.
    pub matcher: Matcher,
    /// The list of ZIPs.
    pub zips: Arc<ZipDirectory>,
    /// Where earlier settings are read.
    pub log: Arc<dyn EventLog>,
    /// Where the leads that nobody took are counted.
    pub tables: Arc<dyn Tables>,
    /// Tells the time.
    pub clock: Clock,
}

/// `GET /api/routing/explain`, `GET /api/routing/coverage` and its `gaps`. They read only; who may ask is for the caller to check.
pub fn api(deps: ApiDeps) -> OpenApiRouter {
    let state = Shared { deps, coverage: Arc::default(), gaps: Arc::default() };
    OpenApiRouter::default()
        .routes(routes!(explain_routing))
        .routes(routes!(routing_coverage))
        .routes(routes!(gaps::routing_gaps))
        .with_state(state)
}

#[derive(Clone)]
struct Shared {
    deps: ApiDeps,
    /// The last coverage that was made. The lock makes it once for all who ask meanwhile.
    coverage: Arc<Mutex<Option<Surveyed>>>,
    /// The last gaps that were found, and when; likewise.
    gaps: Arc<Mutex<Option<Found>>>,
}

/// The gaps, and when they were found.
type Found = (Timestamp, Arc<Survey>);

/// The coverage by one version of the settings.
struct Surveyed {
    version: Offset,
    coverage: Arc<Coverage>,
}

/// A problem document as an answer.
struct Failure(Problem);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CoverageQuery {
    /// Only this product, by its name or a synonym; every product when absent.
    product_type: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExplainQuery {
    /// A product's name or synonym.
    #[param(required, example = "Solar")]
    product_type: Option<String>,
    /// A US ZIP code.
    #[param(required, example = "90210")]
    zip_code: Option<String>,
    /// An RFC 3339 moment: explains by the settings as they were then. Now when absent.
    #[param(format = DateTime, example = "2025-01-31T12:00:00Z")]
    at: Option<String>,
}

/// Why a product in a ZIP goes where it goes
///
/// The rule that wins, and for every other rule of that product or ZIP why it does not.
#[utoipa::path(
    get,
    path = "/api/routing/explain",
    tag = "Routing rules",
    params(ExplainQuery),
    responses(
        (status = 200, description = "The winner and the others", body = Explanation),
        (status = 422, description = "Unknown product or ZIP, or not a moment", content_type = PROBLEM_JSON),
        (status = 503, description = "The earlier settings cannot be read now", content_type = PROBLEM_JSON),
    )
)]
async fn explain_routing(
    State(shared): State<Shared>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Result<Json<Explanation>, Failure> {
    let Query(query) = query.map_err(unreadable)?;
    let ApiDeps { matcher, zips, log, clock, .. } = shared.deps;
    let at = moment(&query, clock.now());
    let settings: Arc<Settings> = match &at {
        Ok(Some(at)) => Arc::new(settings_at(&*log, *at).await.map_err(|error| {
            tracing::warn!(%error, "earlier settings cannot be read");
            Failure(Problem::unavailable("The settings of that time cannot be read now; try again.", 2))
        })?),
        _ => matcher.latest().await.settings.clone(),
    };
    let (product, zip, at) = checked(&query, &settings, &zips, at).map_err(|e| Failure(Problem::validation(e)))?;
    // It reads every rule: not on a thread that serves others.
    let explained = tokio::task::spawn_blocking(move || explain(&settings, &zips, &product, zip)).await;
    let explanation = explained.map_err(|_| broken("explanation"))?;
    Ok(Json(Explanation { at, ..explanation }))
}

/// Which ZIPs are covered
///
/// Per product: how many ZIPs are covered and by whom, where rules of several workspaces overlap, and where no rule is.
#[utoipa::path(
    get,
    path = "/api/routing/coverage",
    tag = "Routing rules",
    params(CoverageQuery),
    responses(
        (status = 200, description = "The coverage of every product, or of the one asked for", body = Coverage),
        (status = 422, description = "Unknown product or parameter", content_type = PROBLEM_JSON),
    )
)]
async fn routing_coverage(
    State(shared): State<Shared>,
    query: Result<Query<CoverageQuery>, QueryRejection>,
) -> Result<Json<Arc<Coverage>>, Failure> {
    let Query(query) = query.map_err(unreadable)?;
    let settings = shared.deps.matcher.latest().await.settings.clone();
    let product = query.product_type.as_deref().map(|name| known_product(name, &settings)).transpose();
    let product = product.map_err(|e| Failure(Problem::validation(vec![e])))?;
    let coverage = whole_coverage(&shared).await?;
    Ok(Json(match product {
        None => coverage,
        Some(name) => Arc::new(Coverage {
            zips_known: coverage.zips_known,
            products: coverage.products.iter().filter(|p| p.product_type == name).cloned().collect(),
        }),
    }))
}

/// The coverage of every product, made once for each version of the settings.
async fn whole_coverage(shared: &Shared) -> Result<Arc<Coverage>, Failure> {
    let mut last = shared.coverage.lock().await;
    let routing = shared.deps.matcher.latest().await;
    let version = routing.settings_version;
    if let Some(surveyed) = last.as_ref().filter(|s| s.version == version) {
        return Ok(surveyed.coverage.clone());
    }
    let zips = shared.deps.zips.clone();
    let surveyed = tokio::task::spawn_blocking(move || coverage(&routing, &zips)).await;
    let coverage = Arc::new(surveyed.map_err(|_| broken("coverage"))?);
    *last = Some(Surveyed { version, coverage: coverage.clone() });
    Ok(coverage)
}

/// A parameter that is unknown or given twice.
fn unreadable(rejection: QueryRejection) -> Failure {
    Failure(Problem::validation(vec![FieldError::new("query", "invalid", rejection.body_text())]))
}

fn broken(what: &str) -> Failure {
    let detail = format!("The {what} could not be made; the node's log says why.");
    Failure(Problem::new(500, "internal", "Something is wrong on our side", detail))
}

fn moment(query: &ExplainQuery, now: Timestamp) -> Result<Option<Timestamp>, FieldError> {
    let Some(text) = &query.at else { return Ok(None) };
    match text.parse::<Timestamp>() {
        Ok(at) if at <= now => Ok(Some(at)),
        Ok(_) => Err(FieldError::new("at", "invalid", "must not be in the future; leave it out for the present")),
        Err(_) => Err(FieldError::new("at", "invalid", "must be an RFC 3339 moment, such as 2025-01-31T12:00:00Z")),
    }
}

/// The canonical product, the ZIP and the moment; or everything that is wrong.
fn checked(
    query: &ExplainQuery,
    settings: &Settings,
    zips: &ZipDirectory,
    at: Result<Option<Timestamp>, FieldError>,
) -> Result<(String, Zip, Option<Timestamp>), Vec<FieldError>> {
    let product = match query.product_type.as_deref() {
        None | Some("") => Err(FieldError::new("product_type", "required", "must be given")),
        Some(name) => known_product(name, settings),
    };
    let zip = match query.zip_code.as_deref() {
        None | Some("") => Err(FieldError::new("zip_code", "required", "must be given")),
        Some(text) => {
            Zip::parse(text).map_err(|e| FieldError::new("zip_code", "invalid", e.to_string())).and_then(|zip| {
                match zips.get(zip) {
                    Some(_) => Ok(zip),
                    None => Err(FieldError::new("zip_code", "unknown", "is not in the list of US ZIP codes")),
                }
            })
        }
    };
    match (product, zip, at) {
        (Ok(product), Ok(zip), Ok(at)) => Ok((product, zip, at)),
        (product, zip, at) => Err([product.err(), zip.err(), at.err()].into_iter().flatten().collect()),
    }
}

/// The canonical name of a product.
fn known_product(name: &str, settings: &Settings) -> Result<String, FieldError> {
    settings.product_name(name).map(ToString::to_string).ok_or_else(|| {
        let known: Vec<&str> = settings.products.values().map(|p| p.name.as_str()).take(MAX_NAMES).collect();
        let message = match known.as_slice() {
            [] => "is unknown: no products were set up at that moment".to_owned(),
            known => format!("must be one of: {}", known.join(", ")),
        };
        FieldError::new("product_type", "unknown", message)
    })
}

/// Product names that an error lists at most.
const MAX_NAMES: usize = 100;

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use leadway_domain::LeadId;
    use leadway_domain::settings::{Change, SettingsChange};
    use leadway_eventlog::{MemoryLog, NewRecord, SettingsHandle};
    use leadway_tables::schema::{UnroutedRow, unrouted_shard};
    use leadway_tables::{MemoryTables, TableRow};
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::decide::tests::{at, put_products, put_rule, put_workspace, rule_id};

    const MONDAY: &str = "2024-11-25T12:00:00Z";
    const WEDNESDAY: &str = "2024-11-27T12:00:00Z";

    async fn router() -> axum::Router {
        world().await.0
    }

    /// A rule to `a` on Monday, and one that beats it, to `b`, on Wednesday.
    async fn world() -> (axum::Router, ApiDeps) {
        let log = MemoryLog::new(1);
        let record = |time: &str, change: Change| {
            NewRecord::of(&SettingsChange::new(&Settings::default(), "test", at(time), change), at(time))
        };
        let changes = [
            record(MONDAY, put_products()),
            record(MONDAY, put_workspace("a")),
            record(MONDAY, put_workspace("b")),
            record(MONDAY, put_rule(1, "a", "Solar", "902*", 5)),
            record(WEDNESDAY, put_rule(2, "b", "Solar", "90210", 1)),
        ];
        log.append(changes.into()).await.unwrap();
        let log: Arc<dyn EventLog> = Arc::new(log);
        let zips = ZipDirectory::builtin();
        let settings = SettingsHandle::follow(log.clone()).await.unwrap();
        let matcher = Matcher::follow(settings, zips.clone());
        let tables = MemoryTables::default();
        // Three leads for HVAC wait in New York for want of a rule, one for want of a slot.
        for (n, code) in ["no_rule", "no_rule", "no_rule", "no_free_slot"].into_iter().enumerate() {
            let lead = LeadId(4096 + n as u64);
            let mut row = UnroutedRow::new(unrouted_shard(lead), lead);
            (row.decision, row.service_type, row.code) = (Some(1), Some("HVAC".into()), Some(code.into()));
            row.customer_zip = Zip::parse("10001").ok();
            tables.write(vec![row.upsert()], &[]).await.unwrap();
        }
        let deps = ApiDeps { matcher, zips, log, tables: Arc::new(tables), clock: Clock::manual(at(WEDNESDAY)) };
        (api(deps.clone()).into(), deps)
    }

    async fn text(uri: &str) -> String {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let body = router().await.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn lists_the_gaps_where_most_leads_were_lost_first() {
        let uri = "/api/routing/coverage/gaps";
        let (status, _, page) = get(&format!("{uri}?limit=1")).await;
        let first = serde_json::json!({"product_type": "HVAC", "zip_code": "10001", "state": "NY", "leads_lost": 3});
        assert_eq!((status, &page["items"], &page["leads_lost"]), (200, &serde_json::json!([first]), &Value::from(3)));

        let (_, _, all) = get(&format!("{uri}?product_type=solar&state=ca&limit=500")).await;
        let zips = all["zips"].as_u64().unwrap() as usize;
        let (mut found, mut cursor) = (Vec::new(), String::new());
        for _ in 0..zips {
            let (_, _, page) = get(&format!("{uri}?product_type=solar&state=ca&limit=400{cursor}")).await;
            found.extend(
                page["items"].as_array().unwrap().iter().map(|gap| gap["zip_code"].as_str().unwrap().to_owned()),
            );
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found.len(), zips);
        assert!(found.is_sorted() && !found.iter().any(|zip| zip.starts_with("902")), "each once, covered ones never");
        let csv = text(&format!("{uri}?product_type=solar&state=ca&format=csv")).await;
        assert_eq!(csv.lines().count(), zips + 1);
        assert!(csv.starts_with("product_type,zip_code,state,leads_lost\nSolar,"), "{}", &csv[..80]);

        for wrong in ["state=XX", "format=xml", "limit=0", "cursor=x", "product_type=Boats", "zip=1"] {
            assert_eq!(get(&format!("{uri}?{wrong}")).await.0, 422, "{wrong}");
        }
    }

    #[tokio::test]
    async fn gaps_are_found_once_for_all_who_ask_until_settings_or_time_go_on() {
        let (router, deps) = world().await;
        let lost = async || {
            let request = Request::get("/api/routing/coverage/gaps?limit=1").body(Body::empty()).unwrap();
            let body = router.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
            serde_json::from_slice::<Value>(&body).unwrap()["leads_lost"].as_u64().unwrap()
        };
        let one_more = async |n: u64| {
            let lead = LeadId(n);
            let mut row = UnroutedRow::new(unrouted_shard(lead), lead);
            (row.decision, row.service_type, row.code) = (Some(1), Some("HVAC".into()), Some("no_rule".into()));
            row.customer_zip = Zip::parse("10002").ok();
            deps.tables.write(vec![row.upsert()], &[]).await.unwrap();
        };
        assert_eq!(lost().await, 3);
        one_more(9_000).await;
        assert_eq!(lost().await, 3, "as found a moment ago");
        deps.clock.advance_to(at("2024-11-27T12:00:10Z"));
        assert_eq!(lost().await, 4, "the time is over");
        let change =
            SettingsChange::new(&Settings::default(), "test", at(WEDNESDAY), put_rule(3, "a", "HVAC", "10001", 1));
        deps.log.append(vec![NewRecord::of(&change, at(WEDNESDAY))]).await.unwrap();
        while deps.matcher.load().settings_version.0 < 6 {
            tokio::task::yield_now().await;
        }
        assert_eq!(lost().await, 1, "the settings are others");
    }

    #[tokio::test]
    async fn the_csv_of_gaps_comes_in_parts_and_has_them_all() {
        let (router, _) = world().await;
        let request = Request::get("/api/routing/coverage/gaps?format=csv").body(Body::empty()).unwrap();
        let mut body = router.clone().oneshot(request).await.unwrap().into_body();
        let (mut text, mut largest) = (String::new(), 0);
        while let Some(frame) = body.frame().await {
            let part = frame.unwrap().into_data().unwrap();
            largest = largest.max(part.len());
            text.push_str(std::str::from_utf8(&part).unwrap());
        }
        assert!(largest < 64 << 10, "{largest} bytes at once of {}", text.len());
        let request = Request::get("/api/routing/coverage/gaps?limit=1").body(Body::empty()).unwrap();
        let page = router.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        let page: Value = serde_json::from_slice(&page).unwrap();
        assert_eq!(text.lines().count() as u64, page["zips"].as_u64().unwrap() + 1);
        let unlike: std::collections::BTreeSet<&str> = text.lines().collect();
        assert_eq!(unlike.len(), text.lines().count(), "each once");
    }

    async fn get(uri: &str) -> (u16, String, Value) {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let response = router().await.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let media_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, media_type, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn explains_by_the_settings_of_now_and_of_then() {
        let (status, _, now) = get("/api/routing/explain?product_type=solar&zip_code=90210").await;
        assert_eq!((status, &now["winner"]["workspace_id"]), (200, &Value::from("b")), "{now}");
        assert_eq!(now["others"][0]["rule_id"], Value::from(rule_id(1).to_string()));
        assert_eq!(now["others"][0]["why_not"][0], "lower priority than the winner");

        let tuesday = "/api/routing/explain?product_type=Solar&zip_code=90210&at=2024-11-26T00:00:00Z";
        let (status, _, then) = get(tuesday).await;
        assert_eq!((status, &then["winner"]["workspace_id"]), (200, &Value::from("a")), "{then}");
        assert_eq!(
            (&then["at"], then["others"].as_array().map(Vec::len)),
            (&Value::from("2024-11-26T00:00:00Z"), Some(0))
        );
    }

    #[tokio::test]
    async fn names_every_field_that_is_wrong() {
        let (status, media_type, problem) =
            get("/api/routing/explain?product_type=Boats&zip_code=00000&at=2030-01-01T00:00:00Z").await;
        assert_eq!((status, media_type.as_str()), (422, PROBLEM_JSON));
        let errors = problem["errors"].as_array().unwrap();
        let named: Vec<_> = errors.iter().map(|e| (e["field"].as_str(), e["code"].as_str())).collect();
        let expected = [("product_type", "unknown"), ("zip_code", "unknown"), ("at", "invalid")];
        assert_eq!(named, expected.map(|(field, code)| (Some(field), Some(code))));
        assert!(errors[0]["message"].as_str().unwrap().contains("Heat Pump, HVAC, Solar"), "{problem}");

        let (status, _, problem) = get("/api/routing/explain?zip_code=abc").await;
        let codes: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|e| e["code"].clone()).collect();
        assert_eq!((status, codes), (422, vec!["required".into(), "invalid".into()]));
        assert_eq!(get("/api/routing/explain?zip_code=1&zip_code=2").await.0, 422);
    }

    #[tokio::test]
    async fn tells_the_coverage() {
        let (status, _, coverage) = get("/api/routing/coverage").await;
        let products = coverage["products"].as_array().unwrap();
        let solar = products.iter().find(|p| p["product_type"] == "Solar").unwrap();
        assert_eq!((status, &solar["overlaps"]["sample"][0]["zip_code"]), (200, &Value::from("90210")));
        assert_eq!(solar["workspaces"][0]["workspace_id"], "a");
    }

    #[tokio::test]
    async fn tells_the_coverage_of_one_product_and_refuses_what_it_does_not_know() {
        let (status, _, one) = get("/api/routing/coverage?product_type=solar").await;
        let names: Vec<_> = one["products"].as_array().unwrap().iter().map(|p| p["product_type"].clone()).collect();
        assert_eq!((status, names), (200, vec![Value::from("Solar")]), "{one}");
        for uri in [
            "/api/routing/coverage?product_type=Boats",
            "/api/routing/coverage?product=Solar",
            "/api/routing/explain?product_type=Solar&zip_code=90210&zip=90210",
            "/api/routing/explain?product_type=Solar&product_type=HVAC&zip_code=90210",
        ] {
            assert_eq!(get(uri).await.0, 422, "{uri}");
        }
        let before = "/api/routing/explain?product_type=Solar&zip_code=90210&at=2020-01-01T00:00:00Z";
        let (_, _, problem) = get(before).await;
        assert!(problem["errors"][0]["message"].as_str().unwrap().contains("no products were set up"), "{problem}");
    }
}
