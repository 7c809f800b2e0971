//! Rules in bulk: import, checked whole before any of it is applied, and export.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, header};
use leadway_domain::problem::{FieldError, Problem};
use leadway_domain::settings::{Change, Entity, EntityKind, Rule, Settings};
use leadway_domain::{RuleId, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::openapi::schema::Object;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::auth::Actor;
use crate::change::Decided;
use crate::fields::{Fields, is_json, media_type, reason, unsupported};
use crate::problem::{Answer, Refusal};
use crate::query::{FromQuery, Params, Query};
use crate::retry_rules::retry_for_rules;
use crate::rule_check::{IdField, PatternChecks, RuleDraft, RuleIds, RuleInput};
use crate::rules::{RuleView, check_count};
use crate::rules_csv::{self, ImportRow};
use crate::shapes::choice;
use crate::state::{Portal, Shared};

/// Most errors that one answer lists.
const MAX_ERRORS: usize = 1_000;

pub(crate) fn routes(limit_bytes: usize) -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(import).layer(DefaultBodyLimit::max(limit_bytes))).routes(routes!(export))
}

/// How rules are imported.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct ImportParams {
    /// Whether the rules sent replace all that there are; otherwise they are added to them.
    #[param(value_type = Option<bool>)]
    replace: bool,
}

impl FromQuery for ImportParams {
    fn read(query: &mut Query) -> Self {
        Self { replace: query.parsed("replace", "must be true or false").unwrap_or(false) }
    }
}

/// What an import did.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"created": 2, "updated": 1, "deleted": 0, "rules": 3}))]
struct ImportSummary {
    /// Rules that were not there before.
    created: usize,
    /// Rules that were there under the id sent.
    updated: usize,
    /// Rules that were not sent, when all were replaced.
    deleted: usize,
    /// How many rules there are now.
    rules: usize,
}

/// Takes many rules at once, as a JSON array of rules or as CSV with the columns
/// `id,workspace_id,product_types,zip_codes,priority,is_active,notes` (lists separated by `|`; ZIPs also by spaces).
/// Everything is checked first: if any row is wrong, all errors are told with their row numbers and nothing is applied;
/// otherwise all of it is one change. A row with an `id` replaces the rule of that id.
#[utoipa::path(post, path = "/api/routing-rules/import", operation_id = "import_rules", tag = "Routing rules", params(ImportParams),
    request_body(content((Vec<RuleInput> = "application/json"), (String = "text/csv"))),
    responses((status = 200, body = ImportSummary)))]
async fn import(
    State(portal): State<Shared>,
    Actor(actor): Actor,
    Params(params): Params<ImportParams>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Answer<Json<ImportSummary>> {
    let body = body?;
    let format = Format::of(&headers)?;
    let (zips, max_rows) = (portal.zips.clone(), portal.options.max_rules);
    // Reading megabytes and expanding thousands of patterns is no work for the runtime's own threads.
    let read = tokio::task::spawn_blocking(move || {
        let rows = match format {
            Format::Csv => rules_csv::read(&body, max_rows).map_err(|e| Problem::validation(vec![e]))?,
            Format::Json => read_json(&body, max_rows)?,
        };
        let mut patterns = PatternChecks::default();
        for pattern in rows.iter().filter_map(|r| r.draft.as_ref().ok()?.zip_codes.as_ref()).flatten() {
            // Remembered: the check within the writer's turn finds them all.
            let _ = patterns.check(pattern.trim(), &zips);
        }
        Ok::<_, Problem>((rows, patterns))
    });
    let (rows, mut patterns) = read.await.map_err(|_| Problem::bad_request("The rules cannot be read."))??;
    let random = portal.random.bytes()?;
    let decide = |settings: &Settings, now| {
        let plan = Plan::check(&portal, settings, rows, &mut patterns, now, random)?;
        plan.decide(&portal, settings, params.replace)
    };
    let (summary, rules) = portal.writer.change(&actor, decide).await?;
    retry_for_rules(&portal, &actor, &rules);
    Ok(Json(summary))
}

/// The form of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

impl Format {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match media_type(headers).as_deref() {
            Some("text/csv") => Ok(Self::Csv),
            None => Ok(Self::Json),
            Some(sent) if is_json(sent) => Ok(Self::Json),
            Some(_) => Err(unsupported("Send the rules with Content-Type: application/json or text/csv.")),
        }
    }
}

/// A JSON array of rules; each element is read for itself, so that every wrong one is told.
fn read_json(bytes: &[u8], max_rows: usize) -> Result<Vec<ImportRow>, Problem> {
    let rows: Vec<Box<RawValue>> = serde_json::from_slice(bytes).map_err(|e| {
        let place = format!("line {}, column {}", e.line(), e.column());
        Problem::bad_request(format!("The body must be a JSON array of rules, or text/csv: {} at {place}.", reason(&e)))
    })?;
    if rows.len() > max_rows {
        return Err(Problem::validation(vec![rules_csv::too_many_rows(max_rows)]));
    }
    let read = |raw: &RawValue| Ok(RuleDraft::read(Fields::parse(raw.get().as_bytes())?, IdField::MayName));
    let error = |problem: Problem| FieldError::new("row", "invalid", problem.detail);
    let numbered = rows.iter().enumerate();
    Ok(numbered.map(|(i, raw)| ImportRow { number: i + 1, draft: read(raw).map_err(error) }).collect())
}

/// The rules of an import that has nothing wrong with it.
struct Plan {
    rules: Vec<Rule>,
}

impl Plan {
    fn check(
        portal: &Portal,
        settings: &Settings,
        rows: Vec<ImportRow>,
        patterns: &mut PatternChecks,
        now: Timestamp,
        random: [u8; 32],
    ) -> Result<Self, Problem> {
        let mut errors = Errors::default();
        let mut ids = RuleIds::after(settings, now, random);
        let mut named = BTreeSet::new();
        let mut checked = Vec::with_capacity(rows.len());
        for ImportRow { number, draft } in rows {
            let mut wrong = Vec::new();
            match draft {
                Err(error) => wrong.push(error),
                Ok(draft) => {
                    let id = draft.id.as_deref().map(|text| ids.take(text, now)).transpose();
                    if let Ok(Some(id)) = &id
                        && !named.insert(*id)
                    {
                        wrong.push(FieldError::new("id", "duplicate", "stands in an earlier row too"));
                    }
                    match (id, draft.check(settings, &portal.zips, patterns)) {
                        (Ok(id), Ok(rule)) => checked.push((id, rule)),
                        (id, rule) => {
                            wrong.extend(id.err());
                            wrong.extend(rule.err().unwrap_or_default());
                        }
                    }
                }
            }
            errors.add(number, wrong);
        }
        errors.check()?;
        let rule = |(id, rule): (Option<RuleId>, crate::rule_check::CheckedRule)| {
            let id = id.unwrap_or_else(|| ids.make());
            let created_at = settings.rules.get(&id).map_or(now, |present| present.created_at);
            rule.into_rule(id, created_at, now)
        };
        Ok(Self { rules: checked.into_iter().map(rule).collect() })
    }

    fn decide(
        self,
        portal: &Portal,
        settings: &Settings,
        replace: bool,
    ) -> Result<Decided<(ImportSummary, Vec<Rule>)>, Problem> {
        let sent: BTreeSet<RuleId> = self.rules.iter().map(|r| r.id).collect();
        let updated = sent.iter().filter(|id| settings.rules.contains_key(*id)).count();
        let created = sent.len() - updated;
        let gone: Vec<RuleId> =
            if replace { settings.rules.keys().filter(|id| !sent.contains(id)).copied().collect() } else { Vec::new() };
        let rules = settings.rules.len() + created - gone.len();
        check_count(portal, rules)?;
        let deletes = gone.iter().map(|id| Change::Delete { kind: EntityKind::Rule, id: id.to_string() });
        let puts = self.rules.iter().map(|rule| Change::Put(Entity::Rule(rule.clone())));
        let change = Change::Batch(deletes.chain(puts).collect());
        let summary = ImportSummary { created, updated, deleted: gone.len(), rules };
        Ok(Decided::new(change, (summary, self.rules)))
    }
}

/// What is wrong with an import: all is counted, the first is told.
#[derive(Default)]
struct Errors {
    told: Vec<FieldError>,
    found: usize,
}

impl Errors {
    fn add(&mut self, row: usize, errors: Vec<FieldError>) {
        self.found += errors.len();
        let room = MAX_ERRORS - self.told.len();
        let of_row = |e: FieldError| FieldError { field: format!("rows[{row}].{}", e.field), ..e };
        self.told.extend(errors.into_iter().take(room).map(of_row));
    }

    fn check(self) -> Result<(), Problem> {
        if self.found == 0 {
            return Ok(());
        }
        let mut problem = Problem::validation(Vec::new()).with_errors(self.told);
        problem.detail = match self.found {
            1 => "1 error; nothing was imported. Correct the row and send all of it again.".to_owned(),
            found @ 0..=MAX_ERRORS => {
                format!("{found} errors; nothing was imported. Correct the rows and send all of it again.")
            }
            found => format!("{found} errors, of which the first {MAX_ERRORS} are listed; nothing was imported."),
        };
        Err(problem)
    }
}

fn formats() -> Object {
    choice(&["json", "csv"], "Media type of the answer; JSON by default.")
}

/// How rules are exported.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportParams {
    #[param(rename = "format", schema_with = formats, required = false)]
    csv: bool,
}

impl FromQuery for ExportParams {
    fn read(query: &mut Query) -> Self {
        let csv = query.with("format", |text| match text {
            "csv" => Ok(true),
            "json" => Ok(false),
            _ => Err("must be csv or json".into()),
        });
        Self { csv: csv.unwrap_or(false) }
    }
}

/// Every rule, older first, in a form that the import takes back.
#[utoipa::path(get, path = "/api/routing-rules/export", operation_id = "export_rules", tag = "Routing rules", params(ExportParams),
    responses((status = 200, content((Vec<RuleView> = "application/json"), (String = "text/csv")))))]
async fn export(State(portal): State<Shared>, Params(params): Params<ExportParams>) -> Answer<Response> {
    let settings = portal.settings.load();
    let rules = settings.rules.values().map(|rule| &**rule);
    if !params.csv {
        return Ok(Json(rules.map(RuleView::of).collect::<Vec<_>>()).into_response());
    }
    let text = rules_csv::write(rules).map_err(|error| {
        tracing::error!(%error, "rules cannot be written as CSV");
        Refusal(Problem::unavailable("The rules cannot be written as CSV; take format=json.", 60))
    })?;
    let disposition = "attachment; filename=\"routing-rules.csv\"";
    Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8"), (header::CONTENT_DISPOSITION, disposition)], text)
        .into_response())
}
