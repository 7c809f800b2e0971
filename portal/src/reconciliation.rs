//! Deliveries against billing events: there must be one event for each delivery that is no test, and no other.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use axum::Json;
use axum::extract::State;
use leadway_domain::problem::Problem;
use leadway_domain::record::Topic;
use leadway_domain::{LeadId, Money, Partition, Timestamp, WorkspaceId};
use leadway_tables::schema::{BillingEventRow, DeliveryRow};
use leadway_tables::{Range, TableRow, Value, key, scan};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::billed_workspaces;
use crate::problem::Answer;
use crate::query::Params;
use crate::span::{Span, SpanRequest};
use crate::state::{Portal, Shared};

/// Days that are compared when the caller does not say.
const DEFAULT_DAYS: i64 = 30;
/// Rows of one scan.
const CHUNK: usize = 5_000;
/// Most differences that are listed one by one.
const LISTED: usize = 1_000;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(reconciliation))
}

/// What is wrong about one appointment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum DifferenceKind {
    /// Delivered, but not billed.
    MissingEvent,
    /// Billed, but not delivered.
    EventWithoutDelivery,
    /// Billed another amount than was agreed.
    AmountDiffers,
    /// A test was billed.
    TestBilled,
}

/// One appointment whose delivery and billing do not agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Difference {
    #[schema(value_type = u64)]
    appointment_id: LeadId,
    #[schema(value_type = String)]
    workspace_id: WorkspaceId,
    kind: DifferenceKind,
    /// The rate agreed, if it was delivered.
    #[schema(value_type = Option<f64>)]
    delivered_amount: Option<Money>,
    /// The amount billed, if it was.
    #[schema(value_type = Option<f64>)]
    billed_amount: Option<Money>,
}

/// One workspace's deliveries and billing events.
#[derive(Debug, Serialize, ToSchema)]
struct WorkspaceReconciliation {
    #[schema(value_type = String, example = "solar_west_coast")]
    workspace_id: WorkspaceId,
    /// Deliveries that are no tests.
    deliveries: u64,
    /// What they are worth, in dollars.
    #[schema(value_type = f64, example = 150)]
    delivered_amount: Money,
    billing_events: u64,
    /// What they sum to, in dollars.
    #[schema(value_type = f64, example = 150)]
    billed_amount: Money,
    /// How many appointments differ.
    differences: u64,
}

/// The comparison of a span.
#[derive(Debug, Serialize, ToSchema)]
struct ReconciliationReport {
    from: Timestamp,
    to: Timestamp,
    /// Whether deliveries and billing events agree everywhere.
    balanced: bool,
    /// Workspaces with deliveries or billing events in the span.
    workspaces: Vec<WorkspaceReconciliation>,
    /// What does not agree, one by one; the first 1,000.
    differences: Vec<Difference>,
    /// How many differences there are in all.
    differences_total: u64,
}

/// Compares deliveries with billing events per workspace (the last 30 days by default). There must be no differences. It
/// waits first until the tables show everything that the log held when it was asked, so that none comes from lag.
#[utoipa::path(get, path = "/api/billing/reconciliation", tag = "Billing", params(SpanRequest),
    responses((status = 200, body = ReconciliationReport)))]
async fn reconciliation(
    State(portal): State<Shared>,
    Params(request): Params<SpanRequest>,
) -> Answer<Json<ReconciliationReport>> {
    let span = request.resolve(portal.clock.now(), DEFAULT_DAYS)?;
    catch_up(&portal).await?;
    let mut tally = Tally::default();
    for workspace in billed_workspaces(&portal, &span).await? {
        let mut sums = Sums::default();
        // Reads of an embedded store never wait: others get their turn between workspaces.
        tokio::task::yield_now().await;
        for day in span.days() {
            let partition = key![workspace, day];
            let deliveries = all(&portal, &partition, |row: &DeliveryRow| row.appointment_id).await?;
            let events = all(&portal, &partition, |row: &BillingEventRow| row.appointment_id).await?;
            let pairs = pair(deliveries, events);
            for (id, pair) in pairs.into_iter().filter(|(_, pair)| pair.is_within(&span)) {
                sums.add(&pair);
                tally.differences.extend(pair.difference(id, &workspace));
            }
            tally.cut();
        }
        let differences = std::mem::take(&mut tally.of_workspace);
        tally.workspaces.extend(sums.report(workspace, differences));
    }
    Ok(Json(ReconciliationReport {
        from: span.from,
        to: span.to,
        balanced: tally.total == 0,
        workspaces: tally.workspaces,
        differences: tally.listed,
        differences_total: tally.total,
    }))
}

/// Waits until the tables show every delivery outcome that the log holds now.
async fn catch_up(portal: &Portal) -> Answer<()> {
    let wait = async {
        for partition in (0..portal.log.partitions(Topic::Deliveries)).map(Partition) {
            let end = portal.log.end(Topic::Deliveries, partition).await?;
            if end.0 > 0 {
                portal.tables.wait_applied(Topic::Deliveries, partition, end).await?;
            }
        }
        Ok(())
    };
    let late = "The tables are behind the log; a comparison now would show differences that are none. Try again.";
    tokio::time::timeout(portal.catch_up_timeout() * 10, wait)
        .await
        .unwrap_or_else(|_| Err(Problem::unavailable(late, 10).into()))
}

/// Every row of one partition, whose clustering key is the appointment's id.
async fn all<R: TableRow>(portal: &Portal, partition: &[Value], id: impl Fn(&R) -> LeadId) -> Answer<Vec<R>> {
    let mut all = Vec::new();
    let mut range = Range::first(CHUNK);
    loop {
        let rows: Vec<R> = scan(&*portal.tables, partition, range).await?;
        let last = rows.last().map(&id).filter(|_| rows.len() == CHUNK);
        all.extend(rows);
        let Some(LeadId(last)) = last else { return Ok(all) };
        range = Range::first(CHUNK).from(key![LeadId(last + 1)]);
    }
}

/// What is known about one appointment.
#[derive(Default)]
struct Pair {
    delivery: Option<DeliveryRow>,
    event: Option<BillingEventRow>,
}

fn pair(deliveries: Vec<DeliveryRow>, events: Vec<BillingEventRow>) -> BTreeMap<LeadId, Pair> {
    let mut pairs: BTreeMap<LeadId, Pair> = deliveries
        .into_iter()
        .map(|delivery| (delivery.appointment_id, Pair { delivery: Some(delivery), event: None }))
        .collect();
    for event in events {
        match pairs.entry(event.appointment_id) {
            Entry::Occupied(mut pair) => pair.get_mut().event = Some(event),
            Entry::Vacant(slot) => drop(slot.insert(Pair { delivery: None, event: Some(event) })),
        }
    }
    pairs
}

impl Pair {
    fn is_within(&self, span: &Span) -> bool {
        let delivered_at = self.delivery.as_ref().and_then(|d| d.delivered_at);
        let billed_at = self.event.as_ref().and_then(|e| e.delivered_at);
        delivered_at.or(billed_at).is_none_or(|at| span.contains(at))
    }

    /// The delivery, if it is one that must be billed.
    fn billable(&self) -> Option<&DeliveryRow> {
        self.delivery.as_ref().filter(|d| d.test != Some(true))
    }

    fn difference(&self, appointment_id: LeadId, workspace: &WorkspaceId) -> Option<Difference> {
        let kind = match (&self.delivery, &self.event) {
            (Some(delivery), Some(_)) if delivery.test == Some(true) => DifferenceKind::TestBilled,
            (Some(delivery), Some(event)) if delivery.price != event.amount => DifferenceKind::AmountDiffers,
            (None, Some(_)) => DifferenceKind::EventWithoutDelivery,
            (Some(_), None) if self.billable().is_some() => DifferenceKind::MissingEvent,
            _ => return None,
        };
        Some(Difference {
            appointment_id,
            workspace_id: workspace.clone(),
            kind,
            delivered_amount: self.delivery.as_ref().and_then(|d| d.price),
            billed_amount: self.event.as_ref().and_then(|e| e.amount),
        })
    }
}

#[derive(Default)]
struct Sums {
    deliveries: u64,
    delivered: Money,
    events: u64,
    billed: Money,
}

impl Sums {
    fn add(&mut self, pair: &Pair) {
        if let Some(delivery) = pair.billable() {
            self.deliveries += 1;
            self.delivered += delivery.price.unwrap_or_default();
        }
        if let Some(event) = &pair.event {
            self.events += 1;
            self.billed += event.amount.unwrap_or_default();
        }
    }

    fn report(self, workspace_id: WorkspaceId, differences: u64) -> Option<WorkspaceReconciliation> {
        (self.deliveries + self.events > 0).then_some(WorkspaceReconciliation {
            workspace_id,
            deliveries: self.deliveries,
            delivered_amount: self.delivered,
            billing_events: self.events,
            billed_amount: self.billed,
            differences,
        })
    }
}

#[derive(Default)]
struct Tally {
    workspaces: Vec<WorkspaceReconciliation>,
    /// Found since the last cut.
    differences: Vec<Difference>,
    listed: Vec<Difference>,
    of_workspace: u64,
    total: u64,
}

impl Tally {
    /// Counts what was found and keeps as much of it as is listed.
    fn cut(&mut self) {
        let found = self.differences.len() as u64;
        self.of_workspace += found;
        self.total += found;
        let room = LISTED - self.listed.len();
        self.listed.extend(self.differences.drain(..).take(room));
    }
}
