//! Random histories: what the other components could have written, and what must come of it.

use std::sync::Arc;

use std::collections::{BTreeMap, BTreeSet};

use leadway_domain::lead::Lead;
use leadway_domain::record::{
    Appointment, AppointmentRecord, CommandRefused, HeldReason, LeadAction, LeadRecord, Outcome, Payload,
};
use leadway_domain::settings::{Change, Entity, Product, SettingsChange};
use leadway_domain::{Addressing, ContactId, LeadId, Money, Phone, Timestamp};
use leadway_eventlog::{Address, EventLog, MemoryLog, NewRecord};

use super::fixtures::*;

/// A log and, told apart from any fold, what it means.
pub(super) struct History {
    pub(super) log: MemoryLog,
    pub(super) meaning: Meaning,
}

/// Sums over everything but tests, and what is open at the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) leads: i64,
    pub(super) lead_cost: Money,
    pub(super) appointments: i64,
    pub(super) first_unrouted: i64,
    pub(super) attempts: i64,
    pub(super) given_up: i64,
    /// What each delivered appointment costs its workspace.
    pub(super) billed: BTreeMap<LeadId, Money>,
    /// Unrouted at the end, tests included.
    pub(super) unrouted: BTreeSet<LeadId>,
    /// Waiting for an attempt at the end, tests included.
    pub(super) open: BTreeMap<LeadId, Timestamp>,
}

/// Where a lead stands in its story.
enum Next {
    Arrive,
    Decide { decision: u32, command: Option<LeadId> },
    Ask { decision: u32 },
    Deliver { attempts: u32, due: Option<Timestamp>, appointment: Arc<Appointment> },
}

struct Story {
    next: Next,
    id: LeadId,
    lead: Lead,
}

struct Writer {
    log: MemoryLog,
    rng: fastrand::Rng,
    minutes: i64,
    meaning: Meaning,
    arrived: Vec<LeadId>,
}

/// Stories of `leads` leads told at once, with quarantine and settings between them, in three partitions.
pub(super) async fn random(seed: u64, leads: usize) -> History {
    let log = MemoryLog::new(3);
    let rng = fastrand::Rng::with_seed(seed);
    let mut writer = Writer { log, rng, minutes: 0, meaning: Meaning::default(), arrived: Vec::new() };
    let mut stories: Vec<Story> =
        (0..leads).map(|_| Story { next: Next::Arrive, id: LeadId(0), lead: lead(0) }).collect();
    while !stories.is_empty() {
        writer.minutes += writer.rng.i64(0..40);
        if writer.rng.u8(..) < 60 {
            writer.aside().await;
        }
        let chosen = writer.rng.usize(..stories.len());
        let mut story = stories.swap_remove(chosen);
        if let Some(next) = writer.tell(&mut story).await {
            story.next = next;
            stories.push(story);
        }
    }
    History { log: writer.log, meaning: writer.meaning }
}

impl Writer {
    async fn write(&self, payload: &impl Payload) -> Address {
        self.log.append(vec![NewRecord::of(payload, minute(self.minutes))]).await.unwrap()[0]
    }

    fn once_in(&mut self, n: u32) -> bool {
        self.rng.u32(..n) == 0
    }

    /// The next record of a lead; `None` when its story ends.
    async fn tell(&mut self, story: &mut Story) -> Option<Next> {
        match &story.next {
            Next::Arrive => self.arrive(story).await,
            Next::Decide { decision, command } => {
                let (decision, command) = (*decision, *command);
                self.decide(story, decision, command).await
            }
            Next::Ask { decision } => {
                let decision = *decision;
                self.ask(story, decision).await
            }
            Next::Deliver { attempts, due, appointment } => {
                let (attempts, due, appointment) = (*attempts, *due, appointment.clone());
                self.deliver(attempts, due, appointment).await
            }
        }
    }

    async fn arrive(&mut self, story: &mut Story) -> Option<Next> {
        let lead = &mut story.lead;
        lead.phone = Phone::from_digits(2_135_550_100 + self.rng.u64(..6)).unwrap();
        lead.provider_id = provider(["a", "b"][self.rng.usize(..2)]);
        lead.contact_id = ContactId::derive(lead.phone, &lead.provider_id);
        lead.product_type = ["Solar", "HVAC"][self.rng.usize(..2)].into();
        lead.first_name = ["Ann", "Bob", ""][self.rng.usize(..3)].into();
        lead.email = self.rng.bool().then(|| format!("{}@example.com", self.rng.u8(..)));
        lead.cost = Money::from_cents(self.rng.i64(0..10_000));
        lead.test = self.once_in(5);
        lead.received_at = minute(self.minutes);
        let record = LeadRecord::Received(Arc::new(story.lead.clone()));
        let address = self.write(&record).await;
        story.id = Addressing::default().id(address.partition, address.offset);
        self.arrived.push(story.id);
        if !story.lead.test {
            self.meaning.leads += 1;
            self.meaning.lead_cost += story.lead.cost;
        }
        let next =
            if self.once_in(3) { Next::Ask { decision: 1 } } else { Next::Decide { decision: 1, command: None } };
        Some(next)
    }

    async fn ask(&mut self, story: &Story, decision: u32) -> Option<Next> {
        let action = match self.rng.u8(..3) {
            0 => LeadAction::Retry,
            1 => LeadAction::Schedule { appointment_date: Some(minute(self.minutes + 999)) },
            _ => LeadAction::Assign { workspace_id: workspace("w1") },
        };
        let asked = command(story.id, &story.lead, action, self.minutes);
        let address = self.write(&LeadRecord::Command(asked)).await;
        let command_id = Addressing::default().id(address.partition, address.offset);
        if self.once_in(4) {
            let refusal = CommandRefused {
                v: 1,
                command_id,
                lead_id: story.id,
                reason: "No.".into(),
                decided_at: minute(self.minutes),
            };
            self.write(&AppointmentRecord::Refused(refusal)).await;
            return self.rng.bool().then_some(Next::Ask { decision });
        }
        Some(Next::Decide { decision, command: Some(command_id) })
    }

    async fn decide(&mut self, story: &Story, decision: u32, command: Option<LeadId>) -> Option<Next> {
        if decision == 1 && command.is_none() && self.once_in(6) {
            return self.find_duplicate(story).await;
        }
        if self.once_in(3) {
            return self.leave_unrouted(story, decision, command).await;
        }
        let mut a = appointment(story.id, 0);
        let lead = &story.lead;
        (a.decision, a.command_id, a.contact_id) = (decision, command, lead.contact_id);
        (a.provider_id, a.service_type, a.customer_phone) =
            (lead.provider_id.clone(), lead.product_type.clone(), lead.phone);
        (a.cost, a.test, a.received_at, a.matched_at) = (lead.cost, lead.test, lead.received_at, minute(self.minutes));
        a.workspace_id = workspace(["w1", "w2", "w3"][self.rng.usize(..3)]);
        a.rule_id = self.rng.bool().then_some(a.rule_id).flatten();
        a.appointment_date = minute(10_000 + 60 * self.rng.i64(0..5));
        a.price = Money::from_cents(self.rng.i64(0..30_000));
        self.write(&AppointmentRecord::Routed(Arc::new(a.clone()))).await;
        self.meaning.unrouted.remove(&story.id);
        self.meaning.appointments += i64::from(!a.test);
        Some(Next::Deliver { attempts: 0, due: None, appointment: Arc::new(a) })
    }

    async fn find_duplicate(&mut self, story: &Story) -> Option<Next> {
        let first = self.arrived[0];
        let found = duplicate(story.id, first, &story.lead, self.minutes);
        self.write(&AppointmentRecord::Duplicate(found)).await;
        if !story.lead.test {
            self.meaning.leads -= 1;
            self.meaning.lead_cost = self.meaning.lead_cost - story.lead.cost;
        }
        None
    }

    async fn leave_unrouted(&mut self, story: &Story, decision: u32, command: Option<LeadId>) -> Option<Next> {
        let mut u = unrouted(story.id, 0);
        let lead = &story.lead;
        (u.decision, u.command_id, u.contact_id) = (decision, command, lead.contact_id);
        (u.provider_id, u.service_type, u.test) = (lead.provider_id.clone(), lead.product_type.clone(), lead.test);
        (u.received_at, u.decided_at) = (lead.received_at, minute(self.minutes));
        u.reason.code = format!("reason-{decision}");
        u.appointment_date = self.rng.bool().then_some(minute(decision.into()));
        self.write(&AppointmentRecord::Unrouted(Box::new(u))).await;
        self.meaning.unrouted.insert(story.id);
        self.meaning.first_unrouted += i64::from(!lead.test && decision == 1);
        self.rng.bool().then_some(Next::Ask { decision: decision + 1 })
    }

    async fn deliver(&mut self, made: u32, due: Option<Timestamp>, a: Arc<Appointment>) -> Option<Next> {
        let later = minute(self.minutes + self.rng.i64(0..90));
        let id = a.appointment_id;
        let (attempts, outcome) = match self.rng.u8(..8) {
            0..3 => (made + 1, Outcome::Delivered),
            3..5 => (made + 1, Outcome::Retry { due_at: later, appointment: a.clone() }),
            5 => (made + self.rng.u32(..2), Outcome::GivenUp),
            _ => (made, Outcome::Held { due_at: later, reason: HeldReason::CircuitOpen, appointment: a.clone() }),
        };
        let mut told = delivery(&a, attempts, outcome, self.minutes);
        told.previous_due_at = due;
        self.write(&told).await;
        self.meaning.attempts += i64::from(!a.test) * i64::from(attempts - made);
        self.meaning.open.remove(&id);
        match &told.outcome {
            Outcome::Delivered => {
                if !a.test {
                    self.meaning.billed.insert(id, a.price);
                }
                if self.once_in(4) {
                    // What should not happen: it must not be billed again.
                    self.minutes += 24 * 60;
                    self.write(&delivery(&a, attempts, Outcome::Delivered, self.minutes)).await;
                }
                None
            }
            Outcome::GivenUp => {
                self.meaning.given_up += i64::from(!a.test);
                None
            }
            Outcome::Retry { .. } | Outcome::Held { .. } => {
                self.meaning.open.insert(id, later);
                let goes_on = !self.once_in(8);
                goes_on.then_some(Next::Deliver { attempts, due: Some(later), appointment: a })
            }
        }
    }

    /// A record that concerns no lead.
    async fn aside(&mut self) {
        let name = ["a", "b"][self.rng.usize(..2)];
        let n = self.rng.u128(1..60);
        match self.rng.u8(..5) {
            0 => {
                let product = Product { name: format!("P{n}"), synonyms: Vec::new(), auto_schedule: false };
                let change = Change::Put(Entity::Product(product));
                let made = SettingsChange::new(&Default::default(), "ops", minute(self.minutes), change);
                self.write(&made).await;
            }
            1 => drop(self.write(&ended(name, n, self.minutes)).await),
            _ => drop(self.write(&quarantined(name, n, self.minutes)).await),
        }
    }
}
