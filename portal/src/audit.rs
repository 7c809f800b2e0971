//! Who changed which setting, when, from what to what.

use axum::Json;
use axum::extract::State;
use leadway_domain::{Offset, Timestamp};
use leadway_tables::schema::SettingsChangeRow;
use leadway_tables::{Json as JsonCell, Range, key, scan};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::Object;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::leads::one_of;
use crate::page::{Page, PageRequest};
use crate::problem::Answer;
use crate::query::{FromQuery, Params, Query};
use crate::shapes::choice;
use crate::state::Shared;

/// Fields that hold secrets or their hashes: never shown, whoever reads.
const SECRETS: [&str; 2] = ["key_hash", "signing_secrets"];

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(list))
}

/// One change of one setting.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "offset": 7, "part": 0, "at": "2024-01-15T10:30:00Z", "actor": "admin", "entity": "workspace",
    "entity_id": "solar_west_coast", "before": {"payment_rate": 150}, "after": {"payment_rate": 160},
}))]
struct ChangeView {
    /// Where the record stands in the topic `settings`.
    #[schema(value_type = u64)]
    offset: Offset,
    /// Which single change of the record: an import is one record of many.
    part: i64,
    at: Option<Timestamp>,
    /// Name of the account, or `system`.
    actor: Option<String>,
    /// provider, workspace, rule, product or account.
    entity: Option<String>,
    entity_id: Option<String>,
    /// What stood there; `null` where nothing did. Secrets are left out.
    #[schema(value_type = Option<Object>)]
    before: Value,
    /// What stands there now; `null` when it was deleted.
    #[schema(value_type = Option<Object>)]
    after: Value,
}

impl ChangeView {
    fn of(row: SettingsChangeRow) -> Self {
        Self {
            offset: row.log_offset,
            part: row.part,
            at: row.at,
            actor: row.actor,
            entity: row.entity,
            entity_id: row.entity_id,
            before: row.before.map(|JsonCell(v)| without_secrets(v)).unwrap_or_default(),
            after: row.after.map(|JsonCell(v)| without_secrets(v)).unwrap_or_default(),
        }
    }
}

fn without_secrets(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, _)| !SECRETS.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name, without_secrets(value))).collect())
        }
        other => other,
    }
}

/// What has settings.
const ENTITIES: [&str; 5] = ["provider", "workspace", "rule", "product", "account"];

fn entities() -> Object {
    choice(&ENTITIES, "Only changes of this kind.")
}

/// Which changes are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct ChangeFilter {
    #[param(schema_with = entities)]
    entity: Option<String>,
    /// Only changes of this one.
    entity_id: Option<String>,
    /// Only changes by this account.
    actor: Option<String>,
    #[param(ignore)]
    page: PageRequest,
}

impl FromQuery for ChangeFilter {
    fn read(query: &mut Query) -> Self {
        Self {
            entity: one_of(query, "entity", &ENTITIES),
            entity_id: query.text("entity_id"),
            actor: query.text("actor"),
            page: PageRequest::read(query),
        }
    }
}

impl ChangeFilter {
    fn matches(&self, row: &SettingsChangeRow) -> bool {
        let fits = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        fits(&self.entity, &row.entity) && fits(&self.entity_id, &row.entity_id) && fits(&self.actor, &row.actor)
    }
}

/// Where the next page starts.
#[derive(Serialize, Deserialize)]
struct ChangePosition {
    offset: Offset,
    part: i64,
}

/// Changes of settings, newest first: who, when, before and after. A page looks at a bounded number of rows.
#[utoipa::path(get, path = "/api/settings/changes", operation_id = "list_settings_changes", tag = "Settings", params(ChangeFilter, PageRequest),
    responses((status = 200, body = Page<ChangeView>)))]
async fn list(State(portal): State<Shared>, Params(filter): Params<ChangeFilter>) -> Answer<Json<Page<ChangeView>>> {
    let scan_limit = portal.options.page_scan_rows.max(filter.page.limit);
    let mut range = Range::last(scan_limit);
    range.before = filter.page.position()?.map(|p: ChangePosition| key![p.offset, p.part]);
    let rows: Vec<SettingsChangeRow> = scan(&*portal.tables, &key![0_i64], range).await?;
    let found = rows.len();
    let mut items = Vec::new();
    let mut last = None;
    let mut passed = 0;
    for row in rows {
        passed += 1;
        last = Some(ChangePosition { offset: row.log_offset, part: row.part });
        if filter.matches(&row) {
            items.push(ChangeView::of(row));
        }
        if items.len() == filter.page.limit {
            break;
        }
    }
    let more = passed < found || found == scan_limit;
    let next = last.filter(|_| more);
    Ok(Json(Page::new(items, next)))
}
