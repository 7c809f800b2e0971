//! What must hold after every history.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use leadway_domain::record::{AppointmentRecord, DeliveryRecord, LeadRecord, Outcome, Payload, Topic};
use leadway_domain::{LeadId, Money};
use leadway_eventlog::Record;
use leadway_tables::schema::{BillingEventRow, UnroutedRow};
use leadway_tables::{MemoryTables, TableRow, Tables};

use crate::clients::Attempt;
use crate::world::World;

/// What happened, over all histories.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) histories: u64,
    /// Of more than one node.
    pub(crate) shared: u64,
    pub(crate) crashes: u64,
    pub(crate) left: u64,
    pub(crate) frozen: u64,
    pub(crate) expelled: u64,
    pub(crate) refused_writes: u64,
    pub(crate) lost_answers: u64,
    pub(crate) duplicates: u64,
    pub(crate) attempts: u64,
    pub(crate) taken_again: u64,
    pub(crate) repeated_posts: u64,
    pub(crate) delivered: u64,
    pub(crate) retries: u64,
    pub(crate) given_up: u64,
    pub(crate) unrouted: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.histories += other.histories;
        self.shared += other.shared;
        self.crashes += other.crashes;
        self.left += other.left;
        self.frozen += other.frozen;
        self.expelled += other.expelled;
        self.refused_writes += other.refused_writes;
        self.lost_answers += other.lost_answers;
        self.duplicates += other.duplicates;
        self.attempts += other.attempts;
        self.taken_again += other.taken_again;
        self.repeated_posts += other.repeated_posts;
        self.delivered += other.delivered;
        self.retries += other.retries;
        self.given_up += other.given_up;
        self.unrouted += other.unrouted;
    }
}

fn read<P: Payload>(records: &[Record]) -> Vec<(Record, P)> {
    records.iter().map(|r| (r.clone(), r.decode::<P>().unwrap())).collect()
}

/// Checks the invariants; panics at the first that does not hold.
pub(crate) async fn check(world: &World) -> Totals {
    let mut totals = Totals {
        histories: 1,
        shared: u64::from(world.most > 1),
        crashes: world.fates.crashes,
        left: world.fates.left,
        frozen: world.fates.frozen,
        expelled: world.fates.expelled,
        refused_writes: world.site.trouble.refused.load(Ordering::SeqCst),
        lost_answers: world.site.trouble.lost_answers.load(Ordering::SeqCst),
        repeated_posts: world.repeated_posts,
        ..Totals::default()
    };
    let leads = accepted_leads(world).await;
    one_lead_of_each(world, &mut totals).await;
    let routed = decisions(world, &leads, &mut totals).await;
    let delivered = outcomes(world, &routed, &mut totals).await;
    billing(world, &delivered).await;
    webhooks(world, &mut totals);
    rate_limits(world);
    rebuilt_tables_are_equal(world).await;
    totals
}

/// 1: what was acknowledged is in the log, once.
async fn accepted_leads(world: &World) -> BTreeMap<LeadId, bool> {
    let mut by_external = BTreeMap::new();
    let mut leads = BTreeMap::new();
    for (record, lead) in read::<LeadRecord>(&world.records(Topic::Leads).await) {
        if let LeadRecord::Received(lead) = lead {
            let id = world.site.addressing.id(record.address.partition, record.address.offset);
            by_external.entry(lead.external_id.clone().unwrap()).or_insert_with(Vec::new).push(id);
            leads.insert(id, lead.appointment_date.is_some() || lead.auto_schedule);
        }
    }
    for (n, ids) in world.acknowledged.lock().iter() {
        let found =
            by_external.get(&format!("x-{n}")).unwrap_or_else(|| panic!("lead {n} was acknowledged and is lost"));
        assert!(
            ids.iter().all(|id| found.contains(id)),
            "lead {n} was acknowledged as {ids:?} and stands as {found:?}"
        );
    }
    leads
}

/// 2: however often a lead was taken, and by whichever nodes, it is one lead; all others are duplicates of it.
async fn one_lead_of_each(world: &World, totals: &mut Totals) {
    let mut duplicates = BTreeMap::new();
    for (_, record) in read::<AppointmentRecord>(&world.records(Topic::Appointments).await) {
        if let AppointmentRecord::Duplicate(d) = record {
            duplicates.insert(d.lead_id, d.first_lead_id);
        }
    }
    let mut first = BTreeMap::new();
    for (record, lead) in read::<LeadRecord>(&world.records(Topic::Leads).await) {
        if let LeadRecord::Received(lead) = lead {
            let id = world.site.addressing.id(record.address.partition, record.address.offset);
            let expected = *first.entry(lead.external_id.clone().unwrap()).or_insert(id);
            let found = duplicates.get(&id).copied().unwrap_or(id);
            assert_eq!(found, expected, "lead {id} is the lead {expected} once more");
        }
    }
    totals.duplicates += duplicates.len() as u64;
}

/// 2: each lead that wants one has one decision, and at most one appointment.
async fn decisions(
    world: &World,
    leads: &BTreeMap<LeadId, bool>,
    totals: &mut Totals,
) -> BTreeMap<LeadId, (Money, bool)> {
    let mut routed = BTreeMap::new();
    let mut unrouted: BTreeMap<LeadId, Vec<u32>> = BTreeMap::new();
    let mut duplicates = BTreeSet::new();
    for (_, record) in read::<AppointmentRecord>(&world.records(Topic::Appointments).await) {
        match record {
            AppointmentRecord::Routed(a) => {
                let twice = routed.insert(a.appointment_id, (a.price, a.test));
                assert!(twice.is_none(), "lead {} has two appointments", a.appointment_id);
            }
            AppointmentRecord::Unrouted(u) => unrouted.entry(u.lead_id).or_default().push(u.decision),
            AppointmentRecord::Duplicate(d) => {
                assert!(duplicates.insert(d.lead_id) && leads.contains_key(&d.first_lead_id), "{d:?}");
            }
            AppointmentRecord::Refused(_) => {}
        }
    }
    for (lead, decisions) in &mut unrouted {
        decisions.sort_unstable();
        let expected: Vec<u32> = (1..=decisions.len() as u32).collect();
        assert_eq!(*decisions, expected, "lead {lead}: decisions are numbered one by one");
    }
    totals.unrouted += unrouted.len() as u64;
    let waiting: BTreeSet<LeadId> = unrouted.keys().filter(|lead| !routed.contains_key(lead)).copied().collect();
    let tables = world.site.tables.inner.dump().await.unwrap();
    let held = tables.iter().filter(|(table, _)| table == UnroutedRow::TABLE.name);
    let held: BTreeSet<LeadId> = held.map(|(_, row)| UnroutedRow::from_row(row).unwrap().lead_id).collect();
    assert_eq!(held, waiting, "held is what no decision has routed");
    for (lead, decided_at_receipt) in leads {
        let decided = routed.contains_key(lead) || unrouted.contains_key(lead) || duplicates.contains(lead);
        assert!(decided || !decided_at_receipt, "lead {lead} has no decision");
        assert!(!(duplicates.contains(lead) && routed.contains_key(lead)), "lead {lead} is a duplicate and was routed");
    }
    routed
}

/// 2, 5: each appointment ends once, and what is recorded as delivered was taken by the client.
async fn outcomes(world: &World, routed: &BTreeMap<LeadId, (Money, bool)>, totals: &mut Totals) -> BTreeSet<LeadId> {
    let (mut delivered, mut given_up) = (BTreeSet::new(), BTreeSet::new());
    for (_, record) in read::<DeliveryRecord>(&world.records(Topic::Deliveries).await) {
        let id = record.appointment_id;
        match record.outcome {
            Outcome::Delivered => assert!(delivered.insert(id), "appointment {id} was delivered twice"),
            Outcome::GivenUp => assert!(given_up.insert(id), "appointment {id} was given up twice"),
            Outcome::Retry { .. } => totals.retries += 1,
            Outcome::Held { .. } => {}
        }
    }
    assert!(delivered.is_disjoint(&given_up), "delivered and given up");
    let ended: BTreeSet<LeadId> = delivered.union(&given_up).copied().collect();
    assert_eq!(ended, routed.keys().copied().collect(), "every appointment ends, and nothing else does");
    let taken = world.site.clients.taken.lock();
    for id in &delivered {
        assert!(taken.contains_key(&id.0), "appointment {id} is recorded as delivered and no client took it");
    }
    totals.delivered += delivered.len() as u64;
    totals.given_up += given_up.len() as u64;
    delivered.into_iter().filter(|id| routed.get(id).is_some_and(|(_, test)| !test)).collect()
}

/// 2, 6: one billing event for each delivered appointment, of the amount agreed.
async fn billing(world: &World, delivered: &BTreeSet<LeadId>) {
    let mut billed = BTreeMap::new();
    for (table, row) in world.site.tables.inner.dump().await.unwrap() {
        if table == BillingEventRow::TABLE.name {
            let event = BillingEventRow::from_row(&row).unwrap();
            let twice = billed.insert(event.appointment_id, event.amount.unwrap());
            assert!(twice.is_none(), "appointment {} was billed twice", event.appointment_id);
        }
    }
    assert_eq!(billed.keys().copied().collect::<BTreeSet<_>>(), *delivered, "billed is what was delivered");
    for (_, record) in read::<AppointmentRecord>(&world.records(Topic::Appointments).await) {
        if let AppointmentRecord::Routed(a) = record {
            assert!(billed.get(&a.appointment_id).is_none_or(|amount| *amount == a.price), "{}", a.appointment_id);
        }
    }
}

/// 5: a client may get an appointment again, but with the same id.
fn webhooks(world: &World, totals: &mut Totals) {
    let attempts = world.site.clients.attempts.lock();
    let mut ids = BTreeMap::new();
    for attempt in attempts.iter() {
        let id = ids.entry(attempt.appointment).or_insert(&attempt.webhook_id);
        assert_eq!(*id, &attempt.webhook_id, "appointment {} has two webhook-ids", attempt.appointment);
    }
    let different: BTreeSet<&String> = ids.values().copied().collect();
    assert_eq!(different.len(), ids.len(), "two appointments have the same webhook-id");
    totals.attempts += attempts.len() as u64;
    totals.taken_again += world.site.clients.taken.lock().values().map(|n| u64::from(n - 1)).sum::<u64>();
}

/// So long a dispatcher may take to hear that a partition was given to another one: it commits, and hears after that.
const HEARING: Duration = Duration::from_millis(100);

/// All dispatchers together send a workspace at most its burst and what its rate gives in any span of time. Attempts
/// count when they are sent: those that were under way when a node stood still may reach the client later, and are all
/// that a node sends for a partition that it lost.
fn rate_limits(world: &World) {
    let attempts = world.site.clients.attempts.lock();
    for (workspace, limit) in &world.limits {
        let sent: Vec<_> = attempts.iter().filter(|a| a.workspace == *workspace).collect();
        for (n, from) in sent.iter().enumerate() {
            for (count, to) in (1..).zip(&sent[n..]) {
                let span = to.at - from.at;
                let rated = (span + HEARING).as_secs_f64() * f64::from(limit.per_second);
                let most = f64::from(limit.burst.unwrap_or(limit.per_second)) + rated;
                assert!(
                    f64::from(count) <= most,
                    "{count} in {span:?}, {limit:?}: {}",
                    told(&sent[n..][..count as usize])
                );
            }
        }
    }
}

/// Who sent what when.
fn told(attempts: &[&Attempt]) -> String {
    let lines = attempts.iter().map(|a| format!("\n{:?} node {} appointment {}", a.at, a.node, a.appointment));
    lines.collect()
}

/// 4: the log alone gives the same tables, byte for byte.
async fn rebuilt_tables_are_equal(world: &World) {
    let rebuilt = MemoryTables::default();
    let (log, tables) = (Arc::new(world.site.log.clone()), Arc::new(rebuilt.clone()));
    leadway_scoring::rebuild(log, tables, world.site.addressing, Default::default()).await.unwrap();
    let (kept, again) = (world.site.tables.inner.dump().await.unwrap(), rebuilt.dump().await.unwrap());
    for (a, b) in kept.iter().zip(&again) {
        assert_eq!(a, b, "the rebuilt row differs");
    }
    assert_eq!(kept.len(), again.len());
}
