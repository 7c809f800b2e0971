use std::collections::BTreeMap;
use std::sync::Arc;

use leadway_domain::{ContactId, LeadId, Money, Timestamp, WorkspaceId};
use leadway_eventlog::MemoryLog;
use leadway_tables::schema::{
    AppointmentRow, BillingEventRow, ContactRow, DailyRow, DeliveryRow, LeadRow, OpenDeliveryRow, UnroutedRow,
};
use leadway_tables::{Day, MemoryTables};

use super::{apply, dump, history, positions, read, rows};
use crate::options::Options;
use crate::rebuild::rebuild;

const SEEDS: u64 = 100;

/// Small enough for the quarantine's limits to bite.
fn options() -> Options {
    Options { quarantine_max_per_provider: 5, quarantine_max_age_days: 1, ..Options::default() }
}

async fn rebuilt(log: &MemoryLog) -> MemoryTables {
    let tables = MemoryTables::default();
    rebuild(Arc::new(log.clone()), Arc::new(tables.clone()), Default::default(), options()).await.unwrap();
    tables
}

/// Applies the log in batches of random sizes from random partitions; every write fails with a chance of `faults`
/// in 256.
async fn scattered(log: &MemoryLog, seed: u64, faults: u8) -> MemoryTables {
    let tables = MemoryTables::default();
    let mut chance = fastrand::Rng::with_seed(!seed);
    tables.set_faults(move || chance.u8(..) < faults);
    let mut rng = fastrand::Rng::with_seed(seed);
    loop {
        let mut all = positions(log, &tables).await;
        rng.shuffle(&mut all);
        let (mut records, mut applied) = (Vec::new(), Vec::new());
        let most = rng.usize(1..4);
        for position in all {
            if applied.len() < most
                && let Some((part, to)) = read(log, position, rng.usize(1..30)).await
            {
                records.extend(part);
                applied.push(to);
            }
        }
        if applied.is_empty() {
            return tables;
        }
        // A failed batch is forgotten; another one, cut otherwise, takes its place.
        let _ = apply(&tables, &options(), &records, &applied).await;
    }
}

#[tokio::test]
async fn tables_do_not_depend_on_batches_interleaving_or_failed_writes() {
    for seed in 0..SEEDS {
        let history = history::random(seed, 25).await;
        let expected = dump(&rebuilt(&history.log).await);
        assert!(expected.len() > 25);
        for (n, faults) in [(1, 0), (2, 0), (3, 100)] {
            let found = dump(&scattered(&history.log, seed * 10 + n, faults).await);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "seed {seed}, order {n}");
            }
            assert_eq!(found.len(), expected.len(), "seed {seed}, order {n}");
        }
    }
}

#[tokio::test]
async fn every_delivered_appointment_is_billed_once_at_its_price() {
    for seed in 0..SEEDS {
        let history = history::random(seed, 25).await;
        let tables = scattered(&history.log, seed, 40).await;
        let bills = rows::<BillingEventRow>(&tables);
        let billed: BTreeMap<LeadId, Money> = bills.iter().map(|b| (b.appointment_id, b.amount.unwrap())).collect();
        assert_eq!(bills.len(), billed.len(), "seed {seed}: billed twice");
        assert_eq!(billed, history.meaning.billed, "seed {seed}");
    }
}

#[tokio::test]
async fn from_a_contact_a_chain_leads_to_each_of_its_leads() {
    for seed in 0..SEEDS {
        let tables = scattered(&history::random(seed, 25).await.log, seed, 40).await;
        let mut leads: BTreeMap<ContactId, Vec<LeadId>> = BTreeMap::new();
        let mut before: BTreeMap<LeadId, Option<LeadId>> = BTreeMap::new();
        for lead in rows::<LeadRow>(&tables).into_iter().filter(|lead| lead.received_at.is_some()) {
            leads.entry(lead.contact_id.unwrap()).or_default().push(lead.lead_id);
            before.insert(lead.lead_id, lead.previous_lead_id);
        }
        let contacts = rows::<ContactRow>(&tables);
        assert_eq!(contacts.len(), leads.len(), "seed {seed}");
        for contact in contacts {
            let chain = std::iter::successors(contact.last_lead_id, |id| before[id]);
            let mut chain: Vec<LeadId> = chain.take(before.len()).collect();
            chain.reverse();
            assert_eq!(chain.len() as i64, contact.leads.unwrap(), "seed {seed}");
            assert_eq!(Some(&chain), leads.get(&contact.contact_id), "seed {seed}");
        }
    }
}

#[tokio::test]
async fn deliveries_and_bills_reconcile_per_workspace_and_day() {
    for seed in 0..SEEDS {
        let history = history::random(seed, 25).await;
        let tables = scattered(&history.log, seed, 40).await;
        let mut delivered: BTreeMap<(WorkspaceId, Day), (i64, Money)> = BTreeMap::new();
        for row in rows::<DeliveryRow>(&tables).into_iter().filter(|d| d.test == Some(false)) {
            let sum = delivered.entry((row.workspace_id, row.day)).or_default();
            *sum = (sum.0 + 1, sum.1 + row.price.unwrap());
        }
        let mut billed: BTreeMap<(WorkspaceId, Day), (i64, Money)> = BTreeMap::new();
        for row in rows::<BillingEventRow>(&tables) {
            let sum = billed.entry((row.workspace_id, row.day)).or_default();
            *sum = (sum.0 + 1, sum.1 + row.amount.unwrap());
        }
        let mut counted: BTreeMap<(WorkspaceId, Day), (i64, Money)> = BTreeMap::new();
        for row in rows::<DailyRow>(&tables).into_iter().filter(|d| d.delivered.is_some()) {
            let sum = counted.entry((WorkspaceId::new(&row.workspace).unwrap(), row.day)).or_default();
            *sum = (sum.0 + row.delivered.unwrap(), sum.1 + row.revenue.unwrap());
        }
        assert_eq!((&delivered, &counted), (&billed, &billed), "seed {seed}");
    }
}

#[tokio::test]
async fn daily_sums_are_what_happened_and_what_the_rows_say() {
    for seed in 0..SEEDS {
        let history = history::random(seed, 25).await;
        let (tables, meaning) = (scattered(&history.log, seed, 40).await, history.meaning);
        let daily = rows::<DailyRow>(&tables);
        let sum = |of: fn(&DailyRow) -> Option<i64>| daily.iter().filter_map(of).sum::<i64>();
        assert_eq!(sum(|d| d.leads), meaning.leads, "seed {seed}");
        assert_eq!(daily.iter().filter_map(|d| d.lead_cost).sum::<Money>(), meaning.lead_cost, "seed {seed}");
        assert_eq!(sum(|d| d.appointments), meaning.appointments, "seed {seed}");
        assert_eq!(sum(|d| d.unrouted), meaning.first_unrouted, "seed {seed}");
        assert_eq!(sum(|d| d.attempts), meaning.attempts, "seed {seed}");
        assert_eq!(sum(|d| d.given_up), meaning.given_up, "seed {seed}");
        assert_eq!(sum(|d| d.delivered), meaning.billed.len() as i64, "seed {seed}");
        assert_eq!(sum(|d| d.accepted_attempts), sum(|d| d.delivered), "seed {seed}");

        let leads = rows::<LeadRow>(&tables);
        let counted = leads.iter().filter(|l| l.test == Some(false) && l.duplicate_of.is_none());
        let cost: Money = counted.clone().filter_map(|l| l.cost).sum();
        assert_eq!((counted.count() as i64, cost), (meaning.leads, meaning.lead_cost), "seed {seed}");
        let appointments = rows::<AppointmentRow>(&tables);
        let attempts = appointments.iter().filter(|a| a.test == Some(false)).filter_map(|a| a.forward_attempts);
        assert_eq!(attempts.sum::<i64>(), meaning.attempts, "seed {seed}");
    }
}

#[tokio::test]
async fn what_waits_at_the_end_is_what_the_log_left_open() {
    for seed in 0..SEEDS {
        let history = history::random(seed, 25).await;
        let tables = scattered(&history.log, seed, 40).await;
        let unrouted = rows::<UnroutedRow>(&tables).into_iter().map(|u| u.lead_id).collect();
        assert_eq!(history.meaning.unrouted, unrouted, "seed {seed}");
        let open: Vec<(LeadId, Timestamp)> =
            rows::<OpenDeliveryRow>(&tables).into_iter().map(|o| (o.appointment_id, o.due_at)).collect();
        let mut open_by_id = open.clone();
        open_by_id.sort();
        assert_eq!(history.meaning.open.into_iter().collect::<Vec<_>>(), open_by_id, "seed {seed}");
    }
}
