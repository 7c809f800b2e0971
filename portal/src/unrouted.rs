//! Leads that match nothing and wait.

use axum::Json;
use axum::extract::State;
use leadway_domain::{LeadId, Timestamp, Zip};
use leadway_tables::schema::{UNROUTED_SHARDS, UnroutedRow};
use leadway_tables::{Range, key, scan};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::leads::zip_param;
use crate::page::{Page, PageRequest};
use crate::problem::Answer;
use crate::query::{FromQuery, Params, Query};
use crate::state::{Shared, product_filter};

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(list))
}

/// A lead without a workspace.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "lead_id": 4096, "service_type": "Solar", "customer_zip": "90210", "code": "no_rule",
    "reason": "no rule covers Solar in 90210", "decided_at": "2024-01-15T10:30:00Z",
}))]
struct UnroutedView {
    #[schema(value_type = u64)]
    lead_id: LeadId,
    /// Canonical product name.
    service_type: Option<String>,
    #[schema(value_type = Option<String>)]
    customer_zip: Option<Zip>,
    /// Why, for programs: `no_rule`, `no_free_slot`, `workspace_missing`, …
    code: Option<String>,
    /// Why, for people.
    reason: Option<String>,
    /// When it was last decided.
    decided_at: Option<Timestamp>,
}

impl UnroutedView {
    fn of(row: UnroutedRow) -> Self {
        Self {
            lead_id: row.lead_id,
            service_type: row.service_type,
            customer_zip: row.customer_zip,
            code: row.code,
            reason: row.reason,
            decided_at: row.decided_at,
        }
    }
}

/// Which unrouted leads are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct UnroutedFilter {
    /// Only those for this product (name or synonym).
    product_type: Option<String>,
    /// Only those in this ZIP.
    #[param(value_type = Option<String>, pattern = "^ *([0-9]{3,5}|[0-9]{8,9}|[0-9]{3,5} *[- ][- ]*[0-9]{4})([.]0)? *$")]
    zip_code: Option<Zip>,
    #[param(ignore)]
    page: PageRequest,
}

impl FromQuery for UnroutedFilter {
    fn read(query: &mut Query) -> Self {
        Self {
            product_type: query.text("product_type"),
            zip_code: zip_param(query, "zip_code"),
            page: PageRequest::read(query),
        }
    }
}

/// Unrouted leads, highest ids first, each with the reason. A page looks at a bounded number of rows.
#[utoipa::path(get, path = "/api/unrouted", operation_id = "list_unrouted", tag = "Appointments", params(UnroutedFilter, PageRequest),
    responses((status = 200, body = Page<UnroutedView>)))]
async fn list(
    State(portal): State<Shared>,
    Params(filter): Params<UnroutedFilter>,
) -> Answer<Json<Page<UnroutedView>>> {
    let product = product_filter(&portal.settings.load(), "product_type", filter.product_type.as_deref())?;
    let before: Option<LeadId> = filter.page.position()?;
    let limit = filter.page.limit;
    let chunk = limit + 1;
    let (mut rows, mut horizon) = (Vec::<UnroutedRow>::new(), None::<LeadId>);
    for shard in 0..UNROUTED_SHARDS as i64 {
        let mut range = Range::last(chunk);
        range.before = before.map(|before| key![before]);
        let found: Vec<UnroutedRow> = scan(&*portal.tables, &key![shard], range).await?;
        if let Some(last) = found.last().filter(|_| found.len() == chunk) {
            // This shard may have more below; what others have below it would come out of order.
            horizon = horizon.max(Some(last.lead_id));
        }
        rows.extend(found);
    }
    rows.retain(|row| horizon.is_none_or(|horizon| row.lead_id >= horizon));
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.lead_id));
    let (mut items, mut next) = (Vec::new(), horizon);
    for (index, row) in rows.iter().enumerate() {
        let wanted = product.as_ref().is_none_or(|p| row.service_type.as_ref() == Some(p))
            && filter.zip_code.is_none_or(|z| row.customer_zip == Some(z));
        if wanted {
            items.push(UnroutedView::of(row.clone()));
        }
        if items.len() == limit {
            let more = horizon.is_some() || index + 1 < rows.len();
            next = more.then_some(row.lead_id);
            break;
        }
    }
    Ok(Json(Page::new(items, next)))
}
