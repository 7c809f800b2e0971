//! Tables of cases; and the settings and leads that the other modules' tests use.

use std::collections::BTreeMap;

use leadway_domain::hours::OpeningHours;
use leadway_domain::lead::SubmissionKey;
use leadway_domain::settings::{Change, Entity, PastDates, Product, Rule};
use leadway_domain::{ContactId, Money, Offset, Phone, ProviderId, Zip};
use uuid::Uuid;

use super::*;
use crate::matcher::Routing;
use crate::slots::Taken;
use crate::writer::IndexWriter;

mod past_dates;

pub(crate) const NOW: &str = "2024-11-27T12:00:00Z";

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn rule_id(n: u128) -> RuleId {
    RuleId(Uuid::from_u128(n))
}

pub(crate) fn workspace_id(name: &str) -> WorkspaceId {
    WorkspaceId::new(name).unwrap()
}

/// Open every day from 9 to 17.
pub(crate) fn workspace(name: &str) -> Workspace {
    let day = || vec![("09:00".to_owned(), "17:00".to_owned())];
    let names = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let days: BTreeMap<_, _> = names.into_iter().map(|d| (d.to_owned(), day())).collect();
    Workspace {
        id: workspace_id(name),
        name: name.to_owned(),
        outbound_webhook_url: None,
        test_webhook_url: None,
        webhook_active: true,
        paused: false,
        past_dates: None,
        business_type: String::new(),
        payment_rate: Money::from_cents(15_050),
        signing_secrets: Vec::new(),
        webhook_credentials: Default::default(),
        ignore_answer_body: false,
        phone_format: Default::default(),
        rate_limit: None,
        max_concurrency: None,
        opening_hours: OpeningHours { days, ..OpeningHours::default() },
        created_at: at(NOW),
        updated_at: at(NOW),
    }
}

pub(crate) fn rule(n: u128, workspace: &str, product: &str, zips: &str, priority: i32) -> Rule {
    Rule {
        id: rule_id(n),
        workspace_id: workspace_id(workspace),
        product_types: vec![product.to_owned()],
        zip_codes: zips.split(',').map(str::to_owned).collect(),
        priority,
        is_active: true,
        external_id: None,
        notes: String::new(),
        created_at: at(NOW),
        updated_at: at(NOW),
    }
}

pub(crate) fn put_workspace(name: &str) -> Change {
    Change::Put(Entity::Workspace(workspace(name)))
}

pub(crate) fn put_rule(n: u128, workspace: &str, product: &str, zips: &str, priority: i32) -> Change {
    Change::Put(Entity::Rule(rule(n, workspace, product, zips, priority)))
}

pub(crate) fn put_products() -> Change {
    let product = |name: &str| {
        Change::Put(Entity::Product(Product { name: name.to_owned(), synonyms: Vec::new(), auto_schedule: false }))
    };
    Change::Batch(["Solar", "HVAC", "Heat Pump"].map(product).into())
}

/// A Solar lead of Los Angeles, without a date.
pub(crate) fn lead() -> Lead {
    let provider_id = ProviderId::new("a").unwrap();
    let phone = Phone::parse("2135550123").unwrap();
    Lead {
        v: 1,
        contact_id: ContactId::derive(phone, &provider_id),
        provider_id,
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
        phone,
        email: None,
        product_type: "Solar".into(),
        zip_code: Zip::parse("90210").unwrap(),
        state: "CA".into(),
        estimated_value: Some(Money::from_cents(2_500_000)),
        interest_level: None,
        notes: "south roof".into(),
        appointment_date: None,
        external_id: None,
        extra: Default::default(),
        test: false,
        auto_schedule: false,
        cost: Money::from_cents(7_500),
        submission: SubmissionKey(1),
        also: None,
        received_at: at("2024-11-27T11:59:59Z"),
    }
}

pub(crate) fn dated(date: &str) -> Lead {
    Lead { appointment_date: Some(at(date)), ..lead() }
}

/// Settings with three products, and the list of ZIPs.
pub(crate) struct Fixture {
    pub(crate) settings: Settings,
    pub(crate) zips: Arc<ZipDirectory>,
    slots: Occupancy,
}

impl Fixture {
    pub(crate) fn new(workspaces: &[&str]) -> Self {
        let mut settings = Settings::default();
        settings.apply(&put_products());
        workspaces.iter().for_each(|name| settings.apply(&put_workspace(name)));
        Self { settings, zips: ZipDirectory::builtin(), slots: Occupancy::new(10) }
    }

    pub(crate) fn rule(&mut self, n: u128, workspace: &str, product: &str, zips: &str, priority: i32) {
        self.settings.apply(&put_rule(n, workspace, product, zips, priority));
    }

    pub(crate) fn paused(&mut self, name: &str) {
        self.settings.apply(&Change::Put(Entity::Workspace(Workspace { paused: true, ..workspace(name) })));
    }

    pub(crate) fn inactive_rule(&mut self, n: u128, workspace: &str, product: &str, zips: &str, priority: i32) {
        let rule = Rule { is_active: false, ..rule(n, workspace, product, zips, priority) };
        self.settings.apply(&Change::Put(Entity::Rule(rule)));
    }

    pub(crate) fn routing(&self) -> Routing {
        let index = IndexWriter::new(self.zips.clone()).advance(&self.settings);
        Routing { settings: Arc::new(self.settings.clone()), index, settings_version: Offset(0) }
    }

    fn with_scene<T>(&self, ask: impl FnOnce(Scene<'_>) -> T) -> T {
        let routing = self.routing();
        ask(Scene {
            settings: &routing.settings,
            index: &routing.index,
            zips: &self.zips,
            slots: &self.slots,
            now: at(NOW),
        })
    }

    fn receive(&self, lead: &Lead) -> Result<Option<AppointmentRecord>, NeedsSlots> {
        self.with_scene(|scene| scene.receive(LeadId(5000), lead, None))
    }

    fn command(&self, action: LeadAction, subject: Option<(&Lead, Standing)>) -> AppointmentRecord {
        let command = LeadCommand {
            v: 1,
            lead_id: LeadId(5000),
            lead_key: lead().log_key(),
            actor: "test".into(),
            at: at(NOW),
            action,
            asked_as: None,
        };
        let subject = subject.map(|(lead, standing)| Subject { lead: Arc::new(lead.clone()), standing });
        self.with_scene(|scene| scene.command(LeadId(9000), &command, subject.as_ref())).unwrap()
    }
}

pub(crate) fn routed_to(workspace: &str, date: Timestamp) -> AppointmentRecord {
    let mut fixture = Fixture::new(&[]);
    let takes_any = Workspace { past_dates: Some(PastDates::Take), ..self::workspace(workspace) };
    fixture.settings.apply(&Change::Put(Entity::Workspace(takes_any)));
    fixture.rule(1, workspace, "Solar", "90210", 1);
    fixture.receive(&Lead { appointment_date: Some(date), ..lead() }).unwrap().unwrap()
}

fn routed(record: AppointmentRecord) -> Appointment {
    match record {
        AppointmentRecord::Routed(appointment) => Appointment::clone(&appointment),
        other => panic!("not routed: {other:?}"),
    }
}

fn unrouted(record: AppointmentRecord) -> Unrouted {
    match record {
        AppointmentRecord::Unrouted(unrouted) => *unrouted,
        other => panic!("not unrouted: {other:?}"),
    }
}

fn refusal(record: AppointmentRecord) -> String {
    match record {
        AppointmentRecord::Refused(refused) => {
            assert_eq!((refused.command_id, refused.lead_id), (LeadId(9000), LeadId(5000)));
            refused.reason
        }
        other => panic!("not refused: {other:?}"),
    }
}

const DATE: &str = "2024-12-01T18:30:00Z";
const OTHER_DATE: &str = "2024-12-05T18:00:00Z";
/// The first slot from NOW: nine in the morning in Los Angeles on the same day.
const FIRST_SLOT: &str = "2024-11-27T17:00:00Z";

#[test]
fn a_lead_with_a_date_is_routed_with_the_rate_of_the_moment() {
    let mut fixture = Fixture::new(&["west"]);
    fixture.rule(1, "west", "Solar", "902*", 1);
    let appointment = routed(fixture.receive(&dated(DATE)).unwrap().unwrap());
    assert_eq!(appointment.workspace_id, workspace_id("west"));
    assert_eq!((appointment.rule_id, appointment.routing_method), (Some(rule_id(1)), RoutingMethod::Auto));
    assert_eq!((appointment.appointment_id, appointment.decision, appointment.command_id), (LeadId(5000), 1, None));
    assert_eq!(appointment.price, Money::from_cents(15_050));
    assert_eq!((appointment.cost, appointment.appointment_date), (Money::from_cents(7_500), at(DATE)));
    assert_eq!((appointment.customer_name.as_str(), appointment.notes.as_str()), ("Ada Lovelace", "south roof"));
    assert_eq!((appointment.received_at, appointment.matched_at), (lead().received_at, at(NOW)));
}

#[test]
fn a_lead_without_a_date_waits() {
    let mut fixture = Fixture::new(&["west"]);
    fixture.rule(1, "west", "Solar", "902*", 1);
    assert_eq!(fixture.receive(&lead()), Ok(None));
}

#[test]
fn a_lead_to_be_scheduled_by_itself_gets_the_next_free_slot_of_the_matching_workspace() {
    let mut fixture = Fixture::new(&["west"]);
    fixture.rule(1, "west", "Solar", "902*", 1);
    let automatic = Lead { auto_schedule: true, ..lead() };
    assert_eq!(fixture.receive(&automatic), Err(NeedsSlots(workspace_id("west"))), "its slots are not loaded");
    fixture.slots.load(workspace_id("west"), [(at(FIRST_SLOT), 1)].into());
    let appointment = routed(fixture.receive(&automatic).unwrap().unwrap());
    assert_eq!(appointment.appointment_date, at("2024-11-27T18:00:00Z"), "the first slot is taken");
}

#[test]
fn what_matches_nothing_says_so_and_the_way_out() {
    let mut fixture = Fixture::new(&["west"]);
    fixture.rule(1, "west", "Solar", "10001", 1);
    fixture.rule(2, "gone", "Solar", "90210", 1);
    let unrouted = unrouted(fixture.receive(&dated(DATE)).unwrap().unwrap());
    assert_eq!((unrouted.reason.code.as_str(), unrouted.appointment_date), ("no_rule", Some(at(DATE))));
    for part in ["Solar", "90210", "/api/routing/explain", "/api/unrouted/retry"] {
        assert!(unrouted.reason.message.contains(part), "{part}: {}", unrouted.reason.message);
    }
}

#[test]
fn a_workspace_without_a_free_slot_leaves_the_lead_unrouted() {
    let mut fixture = Fixture::new(&[]);
    let mut closed = workspace("closed");
    closed.opening_hours.days.clear();
    fixture.settings.apply(&Change::Put(Entity::Workspace(closed)));
    fixture.rule(1, "closed", "Solar", "90210", 1);
    fixture.slots.load(workspace_id("closed"), Taken::new());
    let unrouted = unrouted(fixture.receive(&Lead { auto_schedule: true, ..lead() }).unwrap().unwrap());
    assert_eq!((unrouted.reason.code.as_str(), unrouted.appointment_date), ("no_free_slot", None));

    let assign = LeadAction::Assign { workspace_id: workspace_id("closed") };
    let reason = refusal(fixture.command(assign, Some((&lead(), Standing::Waiting))));
    assert!(reason.contains("no free slot"), "an assignment is refused and changes nothing: {reason}");
}

#[test]
fn a_rule_whose_workspace_left_the_settings_does_not_route() {
    let mut fixture = Fixture::new(&["west"]);
    fixture.rule(1, "west", "Solar", "90210", 1);
    let index = fixture.routing().index;
    fixture
        .settings
        .apply(&Change::Delete { kind: leadway_domain::settings::EntityKind::Workspace, id: "west".into() });
    let scene =
        Scene { settings: &fixture.settings, index: &index, zips: &fixture.zips, slots: &fixture.slots, now: at(NOW) };
    let record = scene.receive(LeadId(5000), &dated(DATE), None).unwrap().unwrap();
    assert_eq!(unrouted(record).reason.code, "workspace_missing");
}

#[test]
fn a_duplicate_gets_no_decision_of_its_own_with_or_without_a_date() {
    let mut fixture = Fixture::new(&["west"]);
    fixture.rule(1, "west", "Solar", "90210", 1);
    for lead in [lead(), dated(DATE)] {
        let record = fixture.with_scene(|scene| scene.receive(LeadId(5000), &lead, Some(LeadId(4999))));
        let Ok(Some(AppointmentRecord::Duplicate(duplicate))) = record else { panic!("{record:?}") };
        assert_eq!((duplicate.lead_id, duplicate.first_lead_id), (LeadId(5000), LeadId(4999)));
        assert_eq!((duplicate.cost, duplicate.received_at), (lead.cost, lead.received_at));
    }
}

#[test]
fn a_schedule_gives_the_date_asked_for_or_the_next_free_slot() {
    let mut fixture = Fixture::new(&["west"]);
    fixture.rule(1, "west", "Solar", "90210", 1);
    fixture.slots.load(workspace_id("west"), Taken::new());
    for (date, expected) in [(Some(at(DATE)), DATE), (None, FIRST_SLOT)] {
        let action = LeadAction::Schedule { appointment_date: date };
        let appointment = routed(fixture.command(action, Some((&lead(), Standing::Waiting))));
        assert_eq!(appointment.appointment_date, at(expected));
        assert_eq!((appointment.decision, appointment.command_id), (1, Some(LeadId(9000))));
    }
}

#[test]
fn deciding_again_counts_up_and_keeps_what_was_asked_for_last() {
    let mut fixture = Fixture::new(&["west", "east"]);
    fixture.rule(1, "west", "Solar", "90210", 1);
    fixture.slots.load(workspace_id("west"), Taken::new());
    fixture.slots.load(workspace_id("east"), Taken::new());
    let unrouted_with = |date: Option<&str>| Standing::Unrouted { decision: 3, appointment_date: date.map(at) };
    let assign = || LeadAction::Assign { workspace_id: workspace_id("east") };
    let cases = [
        (LeadAction::Retry, lead(), unrouted_with(Some(OTHER_DATE)), OTHER_DATE),
        (LeadAction::Retry, dated(DATE), unrouted_with(Some(OTHER_DATE)), OTHER_DATE),
        (LeadAction::Retry, dated(DATE), unrouted_with(None), FIRST_SLOT),
        (LeadAction::Retry, lead(), unrouted_with(None), FIRST_SLOT),
        (assign(), lead(), unrouted_with(Some(OTHER_DATE)), OTHER_DATE),
        (assign(), lead(), unrouted_with(None), FIRST_SLOT),
        (assign(), dated(DATE), unrouted_with(None), FIRST_SLOT),
        (LeadAction::Schedule { appointment_date: Some(at(OTHER_DATE)) }, dated(DATE), unrouted_with(None), OTHER_DATE),
    ];
    for (action, lead, standing, expected) in cases {
        let name = format!("{action:?} {standing:?}");
        let appointment = routed(fixture.command(action, Some((&lead, standing))));
        assert_eq!((appointment.decision, appointment.appointment_date), (4, at(expected)), "{name}");
    }
}

#[test]
fn a_date_that_passed_while_the_lead_waited_is_not_routed_again() {
    let mut fixture = Fixture::new(&["west"]);
    fixture.rule(1, "west", "Solar", "90210", 1);
    let (received, now) = ("2024-11-20T12:00:00Z", NOW);
    let lead = |date: &str| Lead { received_at: at(received), ..dated(date) };
    let unrouted_for = |date: &str| Standing::Unrouted { decision: 1, appointment_date: Some(at(date)) };
    let assign = || LeadAction::Assign { workspace_id: workspace_id("west") };
    let schedule = |date: &str| LeadAction::Schedule { appointment_date: Some(at(date)) };
    let message = |date: &str| {
        format!("the date asked for, {date}, is over; give the lead a new one with POST /api/leads/5000/schedule")
    };
    for passed in ["2024-11-20T12:00:01Z", now, received, "2024-11-19T12:00:00Z"] {
        let (lead, standing) = (lead(passed), unrouted_for(passed));
        let retried = unrouted(fixture.command(LeadAction::Retry, Some((&lead, standing.clone()))));
        assert_eq!((retried.reason.code.as_str(), retried.reason.message), ("date_passed", message(passed)));
        assert_eq!((retried.decision, retried.appointment_date), (2, Some(at(passed))));
        assert_eq!(refusal(fixture.command(assign(), Some((&lead, standing.clone())))), message(passed));
        let appointment = routed(fixture.command(schedule(DATE), Some((&lead, standing))));
        assert_eq!(appointment.appointment_date, at(DATE), "the way out");
    }
    let ahead = "2024-11-27T12:00:01Z";
    for action in [LeadAction::Retry, assign()] {
        let appointment = routed(fixture.command(action, Some((&lead(ahead), unrouted_for(ahead)))));
        assert_eq!(appointment.appointment_date, at(ahead));
    }
    let late = unrouted(fixture.receive(&lead("2024-11-21T12:00:00Z")).unwrap().unwrap());
    assert_eq!(late.reason.code, "date_passed", "the router was down while the date passed");
}

#[test]
fn an_assignment_is_manual_and_needs_no_rule() {
    let mut fixture = Fixture::new(&["west"]);
    fixture.slots.load(workspace_id("west"), Taken::new());
    let assign = || LeadAction::Assign { workspace_id: workspace_id("west") };
    let appointment = routed(fixture.command(assign(), Some((&dated(DATE), Standing::Waiting))));
    assert_eq!((appointment.routing_method, appointment.rule_id), (RoutingMethod::Manual, None));
    assert_eq!((appointment.appointment_date, appointment.price), (at(DATE), Money::from_cents(15_050)));
    let appointment = routed(fixture.command(assign(), Some((&lead(), Standing::Waiting))));
    assert_eq!(appointment.appointment_date, at(FIRST_SLOT), "without a date: the next free slot");
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    let mut fixture = Fixture::new(&["west"]);
    fixture.rule(1, "west", "Solar", "90210", 1);
    let schedule = || LeadAction::Schedule { appointment_date: Some(at(DATE)) };
    let assign = |name: &str| LeadAction::Assign { workspace_id: workspace_id(name) };
    let lead = lead();
    let duplicate = Standing::Duplicate { first: LeadId(4096) };
    let cases = [
        (schedule(), None, "does not exist"),
        (schedule(), Some(Standing::Routed), "already has an appointment"),
        (LeadAction::Retry, Some(Standing::Routed), "already has an appointment"),
        (assign("west"), Some(Standing::Routed), "already has an appointment"),
        (schedule(), Some(duplicate), "same submission as lead 4096"),
        (LeadAction::Retry, Some(Standing::Waiting), "/api/leads/5000/schedule"),
        (assign("nobody"), Some(Standing::Waiting), "workspace nobody does not exist"),
    ];
    for (action, standing, part) in cases {
        let reason = refusal(fixture.command(action, standing.map(|s| (&lead, s))));
        assert!(reason.contains(part), "{part:?} in {reason:?}");
    }
}
