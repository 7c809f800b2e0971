//! Who changed which setting, when, from what to what.

use axum::Json;
use axum::extract::State;
use leadway_domain::settings::{EntityKind, visible_part};
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

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(list))
}

/// One change of one setting.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "id": "7-0", "offset": 7, "part": 0, "at": "2024-01-15T10:30:00Z", "actor": "admin", "action": "changed", "entity": "workspace",
    "entity_id": "solar_west_coast", "before": {"payment_rate": 150}, "after": {"payment_rate": 160},
}))]
struct ChangeView {
    /// Its offset and part: what `POST /api/settings/changes/{id}/revert` takes back.
    #[schema(example = "7-0")]
    id: String,
    /// Where the record stands in the topic `settings`.
    #[schema(value_type = u64)]
    offset: Offset,
    /// Which single change of the record: an import is one record of many.
    part: i64,
    at: Option<Timestamp>,
    /// Name of the account, or `system`.
    actor: Option<String>,
    /// `created`, `changed`, `deleted`, `key_rotated`, `secret_rotated`; `discarded` of a refused lead.
    action: String,
    /// provider, workspace, rule, product or account; vault (the key that secrets are sealed with), quarantine (a refused
    /// lead).
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
        // Rows of earlier versions hold more than people may see.
        let kind = row.entity.as_deref().and_then(EntityKind::named);
        let shown = |cell: Option<JsonCell<Value>>| {
            let value = kind.zip(cell).map(|(kind, JsonCell(value))| visible_part(kind, &value));
            value.unwrap_or_default()
        };
        let (before, after) = (shown(row.before), shown(row.after));
        Self {
            id: format!("{}-{}", row.log_offset.0, row.part),
            offset: row.log_offset,
            part: row.part,
            at: row.at,
            actor: row.actor,
            action: action(kind, &before, &after).to_owned(),
            entity: row.entity,
            entity_id: row.entity_id,
            before,
            after,
        }
    }
}

/// What was done, by what changed.
fn action(kind: Option<EntityKind>, before: &Value, after: &Value) -> &'static str {
    let differs = |pointer: &str| before.pointer(pointer) != after.pointer(pointer);
    match kind {
        Some(EntityKind::Quarantine) => "discarded",
        _ if after.is_null() => "deleted",
        _ if before.is_null() => "created",
        Some(EntityKind::Provider) if differs("/credentials/changed_at") && !differs("/credentials/signing") => {
            "key_rotated"
        }
        Some(EntityKind::Workspace) if differs("/webhook_credentials/changed_at") => "secret_rotated",
        _ => "changed",
    }
}

/// What has settings.
const ENTITIES: [&str; 7] = ["provider", "workspace", "rule", "product", "account", "vault", "quarantine"];

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
    let (mut items, mut room) = (Vec::new(), filter.page.room());
    let mut last = None;
    let mut passed = 0;
    for row in rows {
        passed += 1;
        last = Some(ChangePosition { offset: row.log_offset, part: row.part });
        if !filter.matches(&row) {
            continue;
        }
        let view = ChangeView::of(row);
        let is_full = room.is_full_with(&view);
        items.push(view);
        if is_full {
            break;
        }
    }
    let more = passed < found || found == scan_limit;
    let next = last.filter(|_| more);
    Ok(Json(Page::new(items, next)))
}
