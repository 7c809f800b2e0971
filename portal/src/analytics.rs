//! Performance in figures.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use leadway_domain::histogram::LatencyHistogram;
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
    OpenApiRouter::default().routes(routes!(performance))
}

/// Percentiles of a latency, in milliseconds: the upper bound of a bucket, at most 25 % too high.
#[derive(Debug, Serialize, ToSchema)]
struct Percentiles {
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl Percentiles {
    fn of(histogram: &LatencyHistogram) -> Self {
        let ms = |d: Duration| d.as_micros() as f64 / 1_000.0;
        let at = |q| histogram.quantile(q).map(ms);
        Self { p50_ms: at(0.50), p95_ms: at(0.95), p99_ms: at(0.99) }
    }
}

/// The sums of one group.
#[derive(Debug, Serialize, ToSchema)]
struct PerformanceRow {
    #[serde(flatten)]
    group: Group,
    /// Leads accepted, tests and duplicates left out, on the day of arrival.
    leads: i64,
    /// Appointments routed, on the day of routing.
    appointments: i64,
    /// Leads whose first decision found no workspace, on the day of that decision.
    unrouted: i64,
    /// Appointments that the client took.
    delivered: i64,
    /// Appointments whose delivery failed for good.
    given_up: i64,
    /// Delivery attempts made.
    attempts: i64,
    /// appointments / leads; `null` without leads, as for a workspace: leads belong to none before they are routed.
    lead_to_appointment_rate: Option<f64>,
    /// delivered / appointments.
    delivery_rate: Option<f64>,
    /// Attempts answered with 2xx / attempts.
    acceptance_rate: Option<f64>,
    /// What was billed, in dollars.
    #[schema(value_type = f64, example = 150)]
    revenue: Money,
    /// From the lead's arrival to the routing decision.
    routing_latency: Percentiles,
    /// From the routing decision to the client's 2xx.
    delivery_latency: Percentiles,
}

#[derive(Default)]
struct Sums {
    leads: i64,
    appointments: i64,
    unrouted: i64,
    delivered: i64,
    given_up: i64,
    attempts: i64,
    accepted: i64,
    revenue: Money,
    routing: LatencyHistogram,
    delivery: LatencyHistogram,
}

impl Sums {
    fn add(&mut self, row: &DailyRow) {
        self.leads += row.leads.unwrap_or(0);
        self.appointments += row.appointments.unwrap_or(0);
        self.unrouted += row.unrouted.unwrap_or(0);
        self.delivered += row.delivered.unwrap_or(0);
        self.given_up += row.given_up.unwrap_or(0);
        self.attempts += row.attempts.unwrap_or(0);
        self.accepted += row.accepted_attempts.unwrap_or(0);
        self.revenue += row.revenue.unwrap_or_default();
        if let Some(latency) = &row.routing_latency {
            self.routing.merge(&latency.0);
        }
        if let Some(latency) = &row.delivery_latency {
            self.delivery.merge(&latency.0);
        }
    }

    fn row(self, group: Group) -> PerformanceRow {
        PerformanceRow {
            group,
            leads: self.leads,
            appointments: self.appointments,
            unrouted: self.unrouted,
            delivered: self.delivered,
            given_up: self.given_up,
            attempts: self.attempts,
            lead_to_appointment_rate: rate(self.appointments, self.leads),
            delivery_rate: rate(self.delivered, self.appointments),
            acceptance_rate: rate(self.accepted, self.attempts),
            revenue: self.revenue,
            routing_latency: Percentiles::of(&self.routing),
            delivery_latency: Percentiles::of(&self.delivery),
        }
    }
}

/// A share with four decimals; `None` of nothing.
fn rate(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 10_000.0).round() / 10_000.0)
}

/// The figures of a span.
#[derive(Debug, Serialize, ToSchema)]
struct PerformanceReport {
    /// The span that the rows are of: what was asked for, in whole quarters of an hour.
    from: Timestamp,
    /// Not in it any more.
    to: Timestamp,
    /// The time zone of its days.
    time_zone: String,
    /// One row per group; without `group_by`, one row for all.
    rows: Vec<PerformanceRow>,
}

/// Which figures are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct PerformanceQuery {
    /// One or several of workspace, provider, product, day, with commas: `workspace,day`.
    #[param(value_type = Option<String>, pattern = "^(workspace|provider|product|day)(,(workspace|provider|product|day))*$")]
    group_by: GroupBy,
    #[param(ignore)]
    span: SpanRequest,
}

impl FromQuery for PerformanceQuery {
    fn read(query: &mut Query) -> Self {
        let allowed = [
            ("workspace", Dimension::Workspace),
            ("provider", Dimension::Provider),
            ("product", Dimension::Product),
            ("day", Dimension::Day),
        ];
        Self { group_by: GroupBy::read(query, &allowed), span: SpanRequest::read(query) }
    }
}

/// Leads, appointments, rates and latencies of a span (the last 30 days by default), per group.
///
/// Each figure counts when it happened: a lead that arrives on Monday and is routed on Tuesday is Monday's lead and
/// Tuesday's appointment.
///
/// - **leads**: accepted; tests and duplicates do not count.
/// - **appointments**: routed to a workspace. **unrouted**: decisions that found none; a retry counts again.
/// - **lead_to_appointment_rate** = appointments / leads.
/// - **delivered**: the client answered 2xx. **given_up**: the retry schedule ended without that.
/// - **delivery_rate** = delivered / appointments; deliveries under way lower it.
/// - **acceptance_rate** = attempts answered with 2xx / attempts.
/// - **revenue**: the sum of billing events.
/// - **routing_latency**: from arrival to decision. **delivery_latency**: from decision to the client's 2xx, retries
///   included. Percentiles come from histograms whose buckets grow by a quarter.
#[utoipa::path(get, path = "/api/analytics/performance", operation_id = "get_performance", tag = "Analytics", params(PerformanceQuery, SpanRequest),
    responses((status = 200, body = PerformanceReport)))]
async fn performance(
    State(portal): State<Shared>,
    Params(query): Params<PerformanceQuery>,
) -> Answer<Json<PerformanceReport>> {
    let span = query.span.resolve(portal.clock.now(), DEFAULT_DAYS)?.in_quarters();
    let groups =
        grouped(&portal, &span, &query.span.zone, &query.group_by, |sums: &mut Sums, row| sums.add(row)).await?;
    let rows = groups.into_iter().map(|(group, sums)| sums.row(group)).collect();
    let time_zone = query.span.zone_name();
    Ok(Json(PerformanceReport { from: span.from, to: span.to, time_zone, rows }))
}
