//! Rules in bulk: import, checked whole before any of it is applied, and export.

use std::collections::{BTreeSet, HashMap};

use axum::Json;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
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
use crate::problem::Answer;
use crate::query::{FromQuery, Params, Query};
use crate::retry_rules::retry_for_rules;
use crate::rule_check::{CheckedRule, IdField, PatternChecks, RuleDraft, RuleIds, RuleInput, taken};
use crate::rules::{RuleView, check_count};
use crate::rules_csv;
use crate::rules_export;
use crate::rules_report::{ImportRow, ImportRows, Place, Report, RowError};
use crate::shapes::choice;
use crate::state::{Portal, Shared};

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
    /// Whether the answer tells what the import would do, and nothing is done.
    #[param(value_type = Option<bool>)]
    dry_run: bool,
    /// Whether the good rows are taken and the wrong ones reported; otherwise one wrong row refuses all. It cannot be
    /// combined with `replace`.
    #[param(value_type = Option<bool>)]
    lenient: bool,
}

impl FromQuery for ImportParams {
    fn read(query: &mut Query) -> Self {
        let mut flag = |name| query.parsed(name, "must be true or false").unwrap_or(false);
        let (replace, dry_run) = (flag("replace"), flag("dry_run"));
        let lenient = query.with("lenient", |text| match text {
            "true" if replace => {
                Err("cannot be combined with replace: rules whose rows are wrong would be deleted".into())
            }
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false".into()),
        });
        Self { replace, dry_run, lenient: lenient.unwrap_or(false) }
    }
}

/// What an import did.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({"created": 2, "updated": 1, "unchanged": 40, "deleted": 0, "rules": 43}))]
struct ImportSummary {
    /// Rules that were not there before.
    created: usize,
    /// Rules that were there, under the id or external id sent, and are other now.
    updated: usize,
    /// Rules that were there and are as they were sent.
    unchanged: usize,
    /// Rules that were not sent, when all were replaced.
    deleted: usize,
    /// How many rules there are now.
    rules: usize,
    /// `true` when nothing was done in fact.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    dry_run: bool,
    #[serde(flatten)]
    rejected: Option<Rejected>,
}

/// The rows that a lenient import did not take.
#[derive(Serialize, ToSchema)]
struct Rejected {
    /// How many rows.
    rejected: usize,
    /// What is wrong with them: the first thousand errors.
    errors: Vec<RowError>,
}

/// Takes many rules at once, as a JSON array of rules or as CSV with the columns
/// `id,workspace_id,product_types,zip_codes,priority,is_active,notes,external_id` (lists separated by `|`; ZIPs also by
/// spaces). Everything is checked first: if any row is wrong, all errors are told with their rows, lines and columns and
/// nothing is applied, or with `lenient` only the good rows are; all of it is one change. A row with an `id` replaces the
/// rule of that id, else one with an `external_id` the rule of that external id: so the same import twice changes nothing
/// the second time.
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
        for pattern in rows.rows.iter().filter_map(|r| r.draft.as_ref().ok()?.zip_codes.as_ref()).flatten() {
            // Remembered: the check within the writer's turn finds them all.
            let _ = patterns.check(pattern.trim(), &zips);
        }
        Ok::<_, Problem>((rows, patterns))
    });
    let (rows, mut patterns) = read.await.map_err(|_| Problem::bad_request("The rules cannot be read."))??;
    let random = portal.random.bytes()?;
    let decide = |settings: &Settings, now| {
        let plan = Plan::check(&portal, settings, rows, &mut patterns, now, random)?;
        plan.decide(&portal, settings, &params)
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
fn read_json(bytes: &[u8], max_rows: usize) -> Result<ImportRows, Problem> {
    let rows: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|e| {
        let place = format!("line {}, column {}", e.line(), e.column());
        Problem::bad_request(format!("The body must be a JSON array of rules, or text/csv: {} at {place}.", reason(&e)))
    })?;
    if rows.len() > max_rows {
        return Err(Problem::validation(vec![rules_csv::too_many_rows(max_rows)]));
    }
    let read = |raw: &RawValue| Ok(RuleDraft::read(Fields::parse(raw.get().as_bytes())?, IdField::MayName));
    let error = |problem: Problem| FieldError::new("row", "invalid", problem.detail);
    let mut lines = Lines::new(bytes);
    let numbered = rows.into_iter().enumerate().map(|(index, raw)| {
        let (line, column) = lines.place(raw.get());
        ImportRow { number: index + 1, line, column, draft: read(raw).map_err(error) }
    });
    Ok(ImportRows { rows: numbered.collect(), columns: Vec::new() })
}

/// Finds the lines on which parts of a text begin, in their order.
struct Lines<'t> {
    text: &'t [u8],
    /// How far lines are counted.
    at: usize,
    line: usize,
    line_begins: usize,
}

impl<'t> Lines<'t> {
    fn new(text: &'t [u8]) -> Self {
        Self { text, at: 0, line: 1, line_begins: 0 }
    }

    /// Line and column, from 1, of a part of the text that is not before the last one asked for.
    fn place(&mut self, part: &str) -> (usize, usize) {
        let begins = (part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        for (index, _) in self.text.iter().enumerate().take(begins).skip(self.at).filter(|(_, byte)| **byte == b'\n') {
            self.line += 1;
            self.line_begins = index + 1;
        }
        self.at = begins.max(self.at);
        (self.line, begins - self.line_begins.min(begins) + 1)
    }
}

/// What an import comes to.
struct Plan {
    /// As they are to be.
    rules: Vec<Rule>,
    report: Report,
}

impl Plan {
    fn check(
        portal: &Portal,
        settings: &Settings,
        import: ImportRows,
        patterns: &mut PatternChecks,
        now: Timestamp,
        random: [u8; 32],
    ) -> Result<Self, Problem> {
        let mut report = Report::new(import.columns);
        let mut ids = RuleIds::after(settings, now, random);
        let mut names = Names::of(settings);
        let mut checked = Vec::with_capacity(import.rows.len());
        for ImportRow { number, line, column, draft } in import.rows {
            let place = Place { row: number, line, column };
            let named = |draft: RuleDraft| {
                let id = draft.id.as_deref().map(|text| ids.take(text, now)).transpose();
                match (id, draft.check(settings, &portal.zips, patterns)) {
                    (Ok(id), Ok(rule)) => names.claim(id, &rule).map(|id| (id, rule)),
                    (id, rule) => Err(id.err().into_iter().chain(rule.err().unwrap_or_default()).collect()),
                }
            };
            match draft.map_err(|error| vec![error]).and_then(named) {
                Ok(rule) => checked.push(rule),
                Err(wrong) => report.add(place, wrong),
            }
        }
        let rule = |(id, rule): (Option<RuleId>, CheckedRule)| {
            let id = id.unwrap_or_else(|| ids.make());
            let Some(present) = settings.rules.get(&id) else { return rule.into_rule(id, now, now) };
            let mut rule = rule.into_rule(id, present.created_at, present.updated_at);
            // A row that does not say what the rule is called elsewhere leaves it its name.
            rule.external_id = rule.external_id.or_else(|| present.external_id.clone());
            if rule != **present {
                rule.updated_at = now;
            }
            rule
        };
        Ok(Self { rules: checked.into_iter().map(rule).collect(), report })
    }

    /// The change, and the rules in it.
    fn decide(
        self,
        portal: &Portal,
        settings: &Settings,
        params: &ImportParams,
    ) -> Result<Decided<(ImportSummary, Vec<Rule>)>, Problem> {
        let Self { rules: sent, report } = self;
        if !params.lenient {
            report.check()?;
        }
        let ids: BTreeSet<RuleId> = sent.iter().map(|r| r.id).collect();
        let gone = settings.rules.keys().filter(|id| params.replace && !ids.contains(id)).copied();
        let gone: Vec<RuleId> = gone.collect();
        let there = ids.iter().filter(|id| settings.rules.contains_key(*id)).count();
        let (count, created) = (ids.len(), ids.len() - there);
        let rules = settings.rules.len() + created - gone.len();
        check_count(portal, rules)?;
        let is_new = |rule: &Rule| settings.rules.get(&rule.id).is_none_or(|present| **present != *rule);
        let mut changed: Vec<Rule> = sent.into_iter().filter(is_new).collect();
        let summary = ImportSummary {
            created,
            updated: changed.len() - created,
            unchanged: count - changed.len(),
            deleted: gone.len(),
            rules,
            dry_run: params.dry_run,
            rejected: params.lenient.then_some(Rejected { rejected: report.rejected, errors: report.told }),
        };
        if params.dry_run {
            changed.clear();
            return Ok(Decided::new(Change::Batch(Vec::new()), (summary, changed)));
        }
        let deletes = gone.iter().map(|id| Change::Delete { kind: EntityKind::Rule, id: id.to_string() });
        let puts = changed.iter().map(|rule| Change::Put(Entity::Rule(rule.clone())));
        let change = Change::Batch(deletes.chain(puts).collect());
        Ok(Decided::new(change, (summary, changed)))
    }
}

/// Which rules the rows of an import are, by their ids and external ids.
struct Names<'s> {
    by_external_id: HashMap<&'s str, RuleId>,
    ids: BTreeSet<RuleId>,
    external_ids: BTreeSet<String>,
}

impl<'s> Names<'s> {
    fn of(settings: &'s Settings) -> Self {
        let named = settings.rules.iter().filter_map(|(id, rule)| Some((rule.external_id.as_deref()?, *id)));
        Self { by_external_id: named.collect(), ids: BTreeSet::new(), external_ids: BTreeSet::new() }
    }

    /// The id of the rule that a row replaces; `None` for a new one. No two rows may be the same rule.
    fn claim(&mut self, id: Option<RuleId>, rule: &CheckedRule) -> Result<Option<RuleId>, Vec<FieldError>> {
        let earlier = |field: &str| Err(vec![FieldError::new(field, "duplicate", "stands in an earlier row too")]);
        let known = rule.external_id().and_then(|external_id| self.by_external_id.get(external_id)).copied();
        if let (Some(id), Some(known)) = (id, known)
            && id != known
        {
            return Err(vec![taken(known)]);
        }
        if rule.external_id().is_some_and(|external_id| self.external_ids.contains(external_id)) {
            return earlier("external_id");
        }
        let id = id.or(known);
        if id.is_some_and(|id| !self.ids.insert(id)) {
            return earlier("id");
        }
        self.external_ids.extend(rule.external_id().map(str::to_owned));
        Ok(id)
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
    Ok(rules_export::answer(portal.settings.load(), params.csv))
}
