//! Appointments against billing events: there must be one event for each appointment that its client took and that is no
//! test, and no other.
//!
//! The two sides come by different ways. Which appointments a workspace has, at which rate and whether as tests, the
//! router said (topic `appointments`); billing events are made of the outcomes alone (topic `deliveries`), which repeat
//! the rate. So a decision that got lost, an outcome that names another workspace or rate, an event that was written
//! twice, late or not at all all show. What does not show is an outcome that the log never got: neither side knows it.
//! Reading the log itself instead would take minutes for a month, since it has no index by time.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use leadway_domain::problem::{FieldError, Problem};
use leadway_domain::record::Topic;
use leadway_domain::{LeadId, Money, Timestamp, WorkspaceId};
use leadway_tables::schema::{AppointmentByWorkspaceRow, AppointmentRow, BillingEventRow, DeliveryRow};
use leadway_tables::{Day, Range, TableRow, Value, get, key, scan};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::billing::{billed_workspaces, workspace_param};
use crate::leads::appointment_rows;
use crate::positions::{PositionAhead, positions_ahead};
use crate::problem::Answer;
use crate::query::{FromQuery, Params, Query};
use crate::span::{Span, SpanRequest};
use crate::state::{Portal, Shared};

/// Days that are compared when the caller does not say.
const DEFAULT_DAYS: i64 = 30;
/// Most days, summed over workspaces, that one call compares.
const MAX_COMPARED: usize = 200_000;
/// Most rows that one call looks at: some ten seconds' work of the embedded tables.
const MAX_ROWS: usize = 3_000_000;
/// How many days before the span appointments are routed that are looked for by their day of routing; the retries of a
/// delivery end after about a week. Later deliveries are found by what they left.
const WAITS_DAYS: i32 = 10;
/// Rows of one scan.
const CHUNK: usize = 5_000;
/// Appointments that are looked up together.
const LOOKS_AT_ONCE: usize = 500;
/// Most differences that are listed one by one.
const LISTED: usize = 1_000;

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::default().routes(routes!(reconciliation))
}

/// What is wrong about one appointment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum DifferenceKind {
    /// The client took the appointment, but no event bills it.
    MissingEvent,
    /// An event bills an appointment that this workspace did not take then.
    EventWithoutDelivery,
    /// The event bills another amount than was agreed when the appointment was routed.
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
    /// Appointments taken that are no tests.
    deliveries: u64,
    /// What they are worth at the rates agreed, in dollars.
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
    /// Whether deliveries and billing events agree everywhere, and the tables hold nothing that the log lacks.
    balanced: bool,
    /// Partitions of the log of which the tables hold more than there is: the log is not theirs, or has lost records.
    positions_ahead: Vec<PositionAhead>,
    /// Workspaces with deliveries or billing events in the span.
    workspaces: Vec<WorkspaceReconciliation>,
    /// What does not agree, one by one; the first 1,000.
    differences: Vec<Difference>,
    /// How many differences there are in all.
    differences_total: u64,
}

/// What is to be compared.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct ReconciliationFilter {
    /// Only this workspace.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    workspace_id: Option<WorkspaceId>,
    #[param(ignore)]
    span: SpanRequest,
}

impl FromQuery for ReconciliationFilter {
    fn read(query: &mut Query) -> Self {
        Self { workspace_id: workspace_param(query), span: SpanRequest::read(query) }
    }
}

/// Compares the appointments that clients took with the billing events, per workspace (the last 30 days by default). What
/// was taken, at which agreed rate and whether as a test is read from the appointments; what was billed, from the events.
/// There must be no differences, and no partition of the log that the tables are ahead of. It waits first until the tables show everything that the log held when it was asked, so
/// that none comes from lag. A call compares a bounded number of rows: 422 says when to ask for fewer days.
#[utoipa::path(get, path = "/api/billing/reconciliation", operation_id = "get_reconciliation", tag = "Billing", params(ReconciliationFilter, SpanRequest),
    responses((status = 200, body = ReconciliationReport)))]
async fn reconciliation(
    State(portal): State<Shared>,
    Params(filter): Params<ReconciliationFilter>,
) -> Answer<Json<ReconciliationReport>> {
    let span = filter.span.resolve(portal.clock.now(), DEFAULT_DAYS)?;
    portal.catch_up(&[Topic::Appointments, Topic::Deliveries]).await?;
    let positions_ahead = positions_ahead(&portal).await?;
    let workspaces = match filter.workspace_id {
        Some(workspace) => BTreeSet::from([workspace]),
        None => billed_workspaces(&portal, &span).await?,
    };
    check_amount(workspaces.len(), span.days().count())?;
    let (mut tally, mut looks) = (Tally::default(), Looks(MAX_ROWS));
    for workspace in workspaces {
        let mut sums = Sums::default();
        for (id, pair) in open_pairs(&portal, &workspace, &span, &mut looks, &mut sums).await? {
            sums.add(&pair);
            tally.add(pair.difference(id, &workspace));
        }
        let differences = std::mem::take(&mut tally.of_workspace);
        tally.workspaces.extend(sums.report(workspace, differences));
    }
    Ok(Json(ReconciliationReport {
        from: span.from,
        to: span.to,
        balanced: tally.total == 0 && positions_ahead.is_empty(),
        positions_ahead,
        workspaces: tally.workspaces,
        differences: tally.listed,
        differences_total: tally.total,
    }))
}

/// Refuses a comparison that would keep its caller waiting, and the store busy, for minutes.
fn check_amount(workspaces: usize, days: usize) -> Result<(), Problem> {
    if workspaces.saturating_mul(days) <= MAX_COMPARED {
        return Ok(());
    }
    let message = format!(
        "{days} days of {workspaces} workspaces are more than one call compares ({MAX_COMPARED} in all); ask for fewer \
         days, or for one workspace_id"
    );
    Err(Problem::validation(vec![FieldError::new("from", "too_many", message)]))
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
    /// That the client took it within the span, as the appointment itself says.
    delivery: Option<Taken>,
    /// The billing event within the span.
    event: Option<Billed>,
}

/// An appointment that its workspace took.
struct Taken {
    /// When it took it.
    day: Day,
    /// The rate agreed when it was routed.
    price: Option<Money>,
    test: bool,
}

impl Taken {
    fn of(row: AppointmentRow, workspace: &WorkspaceId, span: &Span) -> Option<Self> {
        let here = row.workspace_id.as_ref() == Some(workspace) && row.forward_status.as_deref() == Some("success");
        let at = row.forwarded_at.filter(|at| here && span.contains(*at))?;
        Some(Self { day: Day::of(at), price: row.price, test: row.test == Some(true) })
    }
}

/// What an event bills.
struct Billed(Option<Money>);

/// The looks that one comparison may still take.
struct Looks(usize);

impl Looks {
    fn take(&mut self, rows: usize) -> Result<(), Problem> {
        self.0 = self.0.checked_sub(rows).ok_or_else(|| {
            let message = format!(
                "holds more than the {MAX_ROWS} rows that one call compares; ask for fewer days, or for one workspace_id"
            );
            Problem::validation(vec![FieldError::new("from", "too_many", message)])
        })?;
        Ok(())
    }
}

/// What one workspace took or was billed for within the span and that does not agree. What agrees is summed and forgotten day
/// by day, so that a call holds about a day's rows, however long the span.
async fn open_pairs(
    portal: &Portal,
    workspace: &WorkspaceId,
    span: &Span,
    looks: &mut Looks,
    sums: &mut Sums,
) -> Answer<BTreeMap<LeadId, Pair>> {
    let mut pairs = BTreeMap::<LeadId, Pair>::new();
    for day in span.first_day().plus(-WAITS_DAYS).through(span.last_day()) {
        let partition = key![workspace.clone(), day];
        let routed = all(portal, &partition, |row: &AppointmentByWorkspaceRow| row.appointment_id).await?;
        looks.take(routed.len())?;
        let ids: Vec<LeadId> = routed.iter().map(|row| row.appointment_id).collect();
        add_taken(&mut pairs, portal, &ids, workspace, span, day).await?;
        if day < span.first_day() {
            continue;
        }
        let delivered = all(portal, &partition, |row: &DeliveryRow| row.appointment_id).await?;
        let events = all(portal, &partition, |row: &BillingEventRow| row.appointment_id).await?;
        looks.take(delivered.len() + events.len())?;
        let billed = events.into_iter().filter(|event| event.delivered_at.is_none_or(|at| span.contains(at)));
        let billed: Vec<BillingEventRow> = billed.collect();
        // What was routed before the days above is found by what says that it was taken or billed since.
        let left = delivered.iter().map(|row| row.appointment_id).chain(billed.iter().map(|row| row.appointment_id));
        let ids: BTreeSet<LeadId> = left.filter(|id| !pairs.contains_key(id)).collect();
        add_taken(&mut pairs, portal, &Vec::from_iter(ids), workspace, span, day).await?;
        for event in billed {
            pairs.entry(event.appointment_id).or_default().event = Some(Billed(event.amount));
        }
        pairs.retain(|_, pair| {
            let agrees = pair.event.is_some() && pair.difference_kind().is_none();
            if agrees {
                sums.add(pair);
            }
            !agrees
        });
    }
    Ok(pairs)
}

/// Adds those of the appointments that the workspace took within the span. Those of a day before `today` may have been found
/// to agree, and are not added again.
async fn add_taken(
    pairs: &mut BTreeMap<LeadId, Pair>,
    portal: &Portal,
    ids: &[LeadId],
    workspace: &WorkspaceId,
    span: &Span,
    today: Day,
) -> Answer<()> {
    for ids in ids.chunks(LOOKS_AT_ONCE) {
        for row in appointment_rows(portal, ids).await? {
            let id = row.appointment_id;
            let Some(taken) = Taken::of(row, workspace, span) else { continue };
            let was_compared = taken.day < today && !pairs.contains_key(&id);
            if was_compared && agrees(portal, workspace, id, &taken).await? {
                continue;
            }
            pairs.entry(id).or_default().delivery = Some(taken);
        }
        // Reads of an embedded store never wait: others get their turn.
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Whether the event of an appointment that was taken bills what was agreed.
async fn agrees(portal: &Portal, workspace: &WorkspaceId, id: LeadId, taken: &Taken) -> Answer<bool> {
    let event: Option<BillingEventRow> = get(&*portal.tables, &key![workspace.clone(), taken.day, id]).await?;
    Ok(event.is_some_and(|event| !taken.test && event.amount == taken.price))
}

impl Pair {
    /// The delivery, if it is one that must be billed.
    fn billable(&self) -> Option<&Taken> {
        self.delivery.as_ref().filter(|d| !d.test)
    }

    fn difference_kind(&self) -> Option<DifferenceKind> {
        match (&self.delivery, &self.event) {
            (Some(delivery), Some(_)) if delivery.test => Some(DifferenceKind::TestBilled),
            (Some(delivery), Some(Billed(amount))) if delivery.price != *amount => Some(DifferenceKind::AmountDiffers),
            (None, Some(_)) => Some(DifferenceKind::EventWithoutDelivery),
            (Some(_), None) if self.billable().is_some() => Some(DifferenceKind::MissingEvent),
            _ => None,
        }
    }

    fn difference(&self, appointment_id: LeadId, workspace: &WorkspaceId) -> Option<Difference> {
        let kind = self.difference_kind()?;
        Some(Difference {
            appointment_id,
            workspace_id: workspace.clone(),
            kind,
            delivered_amount: self.delivery.as_ref().and_then(|d| d.price),
            billed_amount: self.event.as_ref().and_then(|Billed(amount)| *amount),
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
        if let Some(Billed(amount)) = &pair.event {
            self.events += 1;
            self.billed += amount.unwrap_or_default();
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
    listed: Vec<Difference>,
    of_workspace: u64,
    total: u64,
}

impl Tally {
    /// Counts a difference, and keeps it if there is room in the list.
    fn add(&mut self, difference: Option<Difference>) {
        let Some(difference) = difference else { return };
        self.of_workspace += 1;
        self.total += 1;
        if self.listed.len() < LISTED {
            self.listed.push(difference);
        }
    }
}
