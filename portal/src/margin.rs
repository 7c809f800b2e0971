//! What remains of revenue when providers are paid.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use leadway_domain::{Money, Timestamp};
use leadway_tables::schema::DailyRow;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::daily::{Dimension, Group, GroupBy, grouped};
use crate::problem::Answer;
use crate::query::{FromQuery, Params, Query};
use crate::span::SpanRequest;
use crate::state::Shared;

/// Days that are shown when the caller does not say.
const DEFAULT_DAYS: i64 = 30;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(margin))
}

/// Money of one group, in dollars.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
struct MarginRow {
    #[serde(flatten)]
    group: Group,
    /// Billed to workspaces.
    #[schema(value_type = f64, example = 150)]
    revenue: Money,
    /// Paid to providers.
    #[schema(value_type = f64, example = 75)]
    provider_cost: Money,
    /// revenue − provider_cost.
    #[schema(value_type = f64, example = 75)]
    margin: Money,
}

/// The margin of a span.
#[derive(Debug, Serialize, ToSchema)]
struct MarginReport {
    /// The span that the rows are of: what was asked for, in whole quarters of an hour.
    from: Timestamp,
    /// Not in it any more.
    to: Timestamp,
    /// The time zone of its days.
    time_zone: String,
    /// One row per group.
    rows: Vec<MarginRow>,
    /// The sum of the rows, the same whatever is grouped by.
    total: MarginRow,
}

#[derive(Default)]
struct Sums {
    revenue: Money,
    lead_cost: Money,
    delivered_cost: Money,
}

impl Sums {
    fn add(&mut self, row: &DailyRow) {
        self.revenue += row.revenue.unwrap_or_default();
        self.lead_cost += row.lead_cost.unwrap_or_default();
        self.delivered_cost += row.delivered_cost.unwrap_or_default();
    }
}

fn row(group: Group, revenue: Money, provider_cost: Money) -> MarginRow {
    MarginRow { group, revenue, provider_cost, margin: revenue - provider_cost }
}

/// Cost is what providers are paid for every accepted lead.
fn by_lead(groups: BTreeMap<Group, Sums>) -> Vec<MarginRow> {
    groups.into_iter().map(|(group, sums)| row(group, sums.revenue, sums.lead_cost)).collect()
}

/// A workspace bears the cost of the leads that were delivered to it; the cost of all others stands in the row of no
/// workspace, so that the rows sum to the same total as in every other grouping.
fn by_workspace(groups: BTreeMap<Group, Sums>) -> Vec<MarginRow> {
    let mut rows = Vec::new();
    let mut nobodys = BTreeMap::<Group, Sums>::new();
    for (group, sums) in groups {
        let rest = nobodys.entry(Group { workspace_id: Some(String::new()), ..group.clone() }).or_default();
        rest.lead_cost += sums.lead_cost;
        rest.delivered_cost += sums.delivered_cost;
        match group.workspace_id.as_deref() {
            Some("") => rest.revenue += sums.revenue,
            _ => rows.push(row(group, sums.revenue, sums.delivered_cost)),
        }
    }
    rows.extend(nobodys.into_iter().map(|(group, s)| row(group, s.revenue, s.lead_cost - s.delivered_cost)));
    rows.sort_by(|a, b| a.group.cmp(&b.group));
    rows
}

/// Which margin is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct MarginQuery {
    /// One or several of provider, workspace, product, day, with commas: `provider,day`.
    #[param(value_type = Option<String>, pattern = "^(provider|workspace|product|day)(,(provider|workspace|product|day))*$")]
    group_by: GroupBy,
    #[param(ignore)]
    span: SpanRequest,
}

impl FromQuery for MarginQuery {
    fn read(query: &mut Query) -> Self {
        let allowed = [
            ("provider", Dimension::Provider),
            ("workspace", Dimension::Workspace),
            ("product", Dimension::Product),
            ("day", Dimension::Day),
        ];
        Self { group_by: GroupBy::read(query, &allowed), span: SpanRequest::read(query) }
    }
}

/// Revenue − provider cost of a span (the last 30 days by default), per provider, workspace, product or day; exact to the
/// cent.
///
/// Revenue counts at the delivery, with the rate agreed when the appointment was routed. Cost counts every accepted
/// lead at its provider's `cost_per_lead` of the moment it arrived, then, delivered or not. Grouped by
/// workspace, each workspace bears the cost of the leads delivered to it, at the delivery, and the rest stands in
/// the row whose `workspace_id` is empty; so `total` is the same in every grouping.
#[utoipa::path(get, path = "/api/billing/margin", operation_id = "get_margin", tag = "Billing", params(MarginQuery, SpanRequest),
    responses((status = 200, body = MarginReport)))]
async fn margin(State(portal): State<Shared>, Params(query): Params<MarginQuery>) -> Answer<Json<MarginReport>> {
    let span = query.span.resolve(portal.clock.now(), DEFAULT_DAYS)?.in_quarters();
    let groups =
        grouped(&portal, &span, &query.span.zone, &query.group_by, |sums: &mut Sums, row| sums.add(row)).await?;
    let rows = if query.group_by.has(Dimension::Workspace) { by_workspace(groups) } else { by_lead(groups) };
    let revenue = rows.iter().map(|r| r.revenue).sum();
    let cost = rows.iter().map(|r| r.provider_cost).sum();
    let total = row(Group::default(), revenue, cost);
    let time_zone = query.span.zone_name();
    Ok(Json(MarginReport { from: span.from, to: span.to, time_zone, rows, total }))
}
