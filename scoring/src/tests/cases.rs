use std::sync::Arc;

use leadway_domain::record::{AppointmentRecord, CommandRefused, HeldReason, LeadAction, LeadRecord, Outcome, Topic};
use leadway_domain::settings::{Account, Change, Entity, Role, Settings, SettingsChange, SigningSecret, Workspace};
use leadway_domain::{LeadId, Money, Offset, Partition};
use leadway_eventlog::NewRecord;
use leadway_tables::schema::{
    AppointmentByWorkspaceRow, AppointmentEventRow, AppointmentRow, BillingEventRow, CommandRow, ContactByDayRow,
    ContactRow, DailyRow, DeliveryRow, LeadDayRow, LeadRow, OpenDeliveryRow, SettingsChangeRow, SlotRow, UnroutedRow,
    day,
};
use uuid::Uuid;

use super::fixtures::*;
use super::{Bench, dump};

fn received(lead: leadway_domain::lead::Lead) -> NewRecord {
    let time = lead.received_at;
    NewRecord::of(&LeadRecord::Received(Arc::new(lead)), time)
}

fn routed(a: &leadway_domain::record::Appointment) -> NewRecord {
    NewRecord::of(&AppointmentRecord::Routed(Arc::new(a.clone())), a.matched_at)
}

fn not_routed(u: &leadway_domain::record::Unrouted) -> NewRecord {
    NewRecord::of(&AppointmentRecord::Unrouted(Box::new(u.clone())), u.decided_at)
}

#[tokio::test]
async fn a_lead_makes_its_rows() {
    let bench = Bench::new();
    bench.tell(vec![received(lead(0)).in_partition(Partition(1))]).await;
    let stored: LeadRow = bench.row();
    assert_eq!((stored.lead_id, stored.external_id.as_deref()), (id(1, 0), Some("x-1")));
    assert_eq!((stored.cost, stored.duplicate_of), (Some(Money::from_cents(7_550)), None));
    assert_eq!((stored.previous_lead_id, bench.row::<ContactRow>().last_lead_id), (None, Some(id(1, 0))));
    let days: LeadDayRow = bench.row();
    assert_eq!((days.day, days.first_lead_id, days.last_lead_id), (day(minute(0)), Some(id(1, 0)), Some(id(1, 0))));
    let daily: DailyRow = bench.row();
    assert_eq!((daily.workspace.as_str(), daily.topic.as_str(), daily.log_partition.0), ("", "leads", 1));
    assert_eq!((daily.leads, daily.lead_cost), (Some(1), Some(Money::from_cents(7_550))));
    let [event] = &bench.history(id(1, 0)).await[..] else { panic!("one event") };
    assert_eq!((event.appointment_id, event.event_type.as_deref()), (id(1, 0), Some("lead.received")));
    assert_eq!((event.happened_at(), event.topic.as_str()), (minute(0), "leads"));
    assert_eq!((event.log_partition, event.log_offset), (Partition(1), Offset(0)));
    let data = &event.event_data.as_ref().unwrap().0;
    assert_eq!((data["product_type"].as_str(), data["test"].as_bool()), (Some("Solar"), Some(false)));
    let told = data.to_string();
    assert!(!told.contains("555") && !told.contains("Ann") && !told.contains("example.com"), "{told}");
}

#[tokio::test]
async fn a_day_spans_its_leads_of_one_partition() {
    let bench = Bench::new();
    let there = |n: i64, partition| received(lead(n)).in_partition(Partition(partition));
    bench.tell(vec![there(0, 0), there(1, 0)]).await;
    bench.tell(vec![there(2, 0), there(3, 1), there(24 * 60, 0)]).await;
    let spans: Vec<_> = bench
        .rows::<LeadDayRow>()
        .into_iter()
        .map(|d| {
            (
                d.day.number() - day(minute(0)).number(),
                d.log_partition.0,
                d.first_lead_id.unwrap(),
                d.last_lead_id.unwrap(),
            )
        })
        .collect();
    assert_eq!(spans, [(0, 0, id(0, 0), id(0, 2)), (0, 1, id(1, 0), id(1, 0)), (1, 0, id(0, 3), id(0, 3))]);
}

#[tokio::test]
async fn a_contact_keeps_its_first_day_and_what_was_last_said() {
    let bench = Bench::new();
    bench.tell(vec![received(lead(0))]).await;
    let mut later = lead(2_000);
    (later.first_name, later.email) = ("Anna".into(), None);
    bench.tell(vec![received(later)]).await;
    let contact: ContactRow = bench.row();
    assert_eq!((contact.first_name.as_deref(), contact.email.as_deref()), (Some("Anna"), Some("ann@example.com")));
    assert_eq!(contact.leads, Some(2));
    assert_eq!((contact.created_at, contact.updated_at), (Some(minute(0)), Some(minute(2_000))));
    let before: Vec<_> =
        bench.rows::<LeadRow>().into_iter().map(|lead| (lead.lead_id, lead.previous_lead_id)).collect();
    let (first, last) = (id(0, 0), id(0, 1));
    assert_eq!((before, contact.last_lead_id), (vec![(first, None), (last, Some(first))], Some(last)));
    assert_eq!(bench.row::<ContactByDayRow>().created_at, minute(0));
}

#[tokio::test]
async fn a_command_is_told_with_its_actor_and_answered_once_decided() {
    let bench = Bench::new();
    let ask = |action| LeadRecord::Command(command(id(0, 0), &lead(0), action, 5));
    let asked = [
        LeadAction::Schedule { appointment_date: Some(minute(90)) },
        LeadAction::Assign { workspace_id: workspace("west") },
        LeadAction::Retry,
    ];
    bench.tell(asked.map(|a| record(&ask(a), 5).in_partition(Partition(0))).into()).await;
    let told: Vec<_> = bench.rows::<AppointmentEventRow>().into_iter().map(|e| e.event_data.unwrap().0).collect();
    let expected = [
        serde_json::json!({ "command_id": id(0, 0), "actor": "ops", "appointment_date": minute(90) }),
        serde_json::json!({ "command_id": id(0, 1), "actor": "ops", "workspace_id": "west" }),
        serde_json::json!({ "command_id": id(0, 2), "actor": "ops" }),
    ];
    assert_eq!(told, expected);
    assert!(bench.rows::<CommandRow>().is_empty(), "nothing is decided yet");

    let mut by_command = appointment(id(0, 7), 5);
    by_command.command_id = Some(id(0, 0));
    let mut nothing = unrouted(id(0, 8), 5);
    nothing.command_id = Some(id(0, 1));
    let refusal = AppointmentRecord::Refused(CommandRefused {
        v: 1,
        command_id: id(0, 2),
        lead_id: id(0, 9),
        reason: "It has an appointment already.".into(),
        decided_at: minute(6),
    });
    bench.tell(vec![routed(&by_command), not_routed(&nothing), record(&refusal, 6)]).await;
    let answers = bench.rows::<CommandRow>();
    let said: Vec<_> =
        answers.iter().map(|a| (a.status.as_deref().unwrap(), a.reason.as_deref().unwrap(), a.lead_id)).collect();
    assert_eq!(
        said,
        [
            ("routed", "", Some(id(0, 7))),
            ("unrouted", "No rule takes Solar in 90210.", Some(id(0, 8))),
            ("refused", "It has an appointment already.", Some(id(0, 9))),
        ]
    );
    let waited = bench.rows::<DailyRow>().iter().any(|d| d.routing_latency.is_some());
    assert!(!waited, "how long people took is no latency of routing");
}

#[tokio::test]
async fn a_routed_lead_is_found_by_workspace_and_takes_its_slot() {
    let bench = Bench::new();
    let mut second = appointment(id(0, 1), 0);
    second.test = true;
    bench.tell(vec![routed(&appointment(id(0, 0), 0)), routed(&second)]).await;
    let listed: Vec<LeadId> = bench.rows::<AppointmentByWorkspaceRow>().iter().map(|r| r.appointment_id).collect();
    assert_eq!(listed, [id(0, 0), id(0, 1)]);
    let slot: SlotRow = bench.row();
    assert_eq!((slot.starts_at, slot.taken), (minute(3_000), Some(1)), "a test takes no slot");
    let daily: DailyRow = bench.row();
    assert_eq!((daily.workspace.as_str(), daily.appointments), ("west", Some(1)), "a test counts nowhere");
    assert_eq!(daily.routing_latency.unwrap().0.count(), 1);
    let row = &bench.rows::<AppointmentRow>()[0];
    assert_eq!(row.routing_status.as_deref(), Some("routed"));
    assert_eq!((row.forward_status.as_deref(), row.price), (None, Some(Money::from_cents(15_025))));
}

#[tokio::test]
async fn the_later_decision_stands_whichever_arrives_first() {
    let first = unrouted(id(0, 0), 0);
    let mut second = appointment(id(0, 0), 0);
    (second.decision, second.rule_id) = (2, None);
    let mut dumps = Vec::new();
    for swapped in [false, true] {
        let bench = Bench::new();
        let (old, new) = (not_routed(&first).in_partition(Partition(0)), routed(&second).in_partition(Partition(1)));
        let order = if swapped { [new, old] } else { [old, new] };
        for (n, record) in order.into_iter().enumerate() {
            bench.tell(vec![record]).await;
            let waiting = bench.rows::<UnroutedRow>().len();
            assert_eq!(waiting, usize::from(n == 0 && !swapped), "swapped: {swapped}, after record {n}");
        }
        let row: AppointmentRow = bench.row();
        assert_eq!((row.decision, row.routing_status.as_deref()), (Some(2), Some("routed")));
        assert_eq!((row.unrouted_code.as_deref(), row.unrouted_reason.as_deref()), (Some(""), Some("")));
        let told = bench.history(id(0, 0)).await;
        let decisions: Vec<_> = told.iter().map(|e| e.event_data.as_ref().unwrap().0["decision"].as_u64()).collect();
        assert_eq!(decisions, [Some(1), Some(2)], "both are history");
        dumps.push(dump(&bench.tables));
    }
    assert_eq!(dumps[0], dumps[1]);
}

#[tokio::test]
async fn a_wish_for_the_next_free_slot_ends_an_earlier_date_until_there_is_a_new_one() {
    let bench = Bench::new();
    let decided = |decision, date: Option<i64>| {
        let mut unrouted = unrouted(id(0, 0), 0);
        (unrouted.decision, unrouted.appointment_date) = (decision, date.map(minute));
        not_routed(&unrouted).in_partition(Partition(0))
    };
    for (decision, date, stored) in
        [(1, Some(50), (Some(50), false)), (2, None, (None, true)), (3, Some(60), (Some(60), false))]
    {
        bench.tell(vec![decided(decision, date)]).await;
        let row: AppointmentRow = bench.row();
        let (date, next_free_slot) = stored;
        assert_eq!((row.appointment_date, row.next_free_slot), (date.map(minute), Some(next_free_slot)), "{decision}");
    }
    bench.tell(vec![decided(4, None)]).await;
    let mut last = appointment(id(0, 0), 0);
    last.decision = 5;
    bench.tell(vec![routed(&last).in_partition(Partition(1))]).await;
    let row: AppointmentRow = bench.row();
    assert_eq!((row.appointment_date, row.next_free_slot), (Some(last.appointment_date), Some(false)));
}

#[tokio::test]
async fn what_was_decided_again_counts_once_whether_in_one_batch_or_in_many() {
    let (first, second, third) = (id(0, 0), id(0, 1), id(0, 2));
    let decisions = |minutes| {
        let mut again = appointment(first, minutes);
        again.workspace_id = workspace(if minutes > 10 { "elsewhere" } else { "west" });
        let lead = lead(0);
        vec![
            routed(&again),
            routed(&appointment(second, minutes)),
            not_routed(&unrouted(third, minutes)),
            record(&AppointmentRecord::Duplicate(duplicate(id(0, 3), first, &lead, minutes)), minutes),
        ]
    };
    let leads = || (0..4).map(|_| received(lead(0))).collect::<Vec<_>>();
    let (one, many) = (Bench::new(), Bench::new());
    one.tell(leads().into_iter().chain(decisions(2)).chain(decisions(2)).chain(decisions(20)).collect()).await;
    many.tell(leads()).await;
    for minutes in [2, 2, 20] {
        many.tell(decisions(minutes)).await;
    }
    for bench in [one, many] {
        let sums = bench.rows::<DailyRow>();
        let sum = |of: fn(&DailyRow) -> Option<i64>| sums.iter().filter_map(of).sum::<i64>();
        assert_eq!(sum(|row| row.appointments), 2, "{sums:#?}");
        assert_eq!(sum(|row| row.unrouted), 1, "{sums:#?}");
        assert_eq!(sum(|row| row.leads), 3, "{sums:#?}");
        let taken = bench.rows::<SlotRow>().iter().filter_map(|row| row.taken).sum::<i64>();
        assert_eq!(taken, 2);
        assert_eq!(bench.rows::<AppointmentByWorkspaceRow>().len(), 2, "each stays where it was routed first");
    }
}

#[tokio::test]
async fn a_duplicate_counts_for_nothing_in_the_sum() {
    let bench = Bench::new();
    let (first, second) = (lead(0), lead(1));
    let found = AppointmentRecord::Duplicate(duplicate(id(0, 1), id(0, 0), &second, 2));
    let (first, second) = (received(first).in_partition(Partition(0)), received(second).in_partition(Partition(0)));
    bench.tell(vec![first, second, record(&found, 2)]).await;
    let daily = bench.rows::<DailyRow>();
    assert_eq!(daily.len(), 2, "one row per topic");
    assert_eq!(daily.iter().filter_map(|d| d.leads).sum::<i64>(), 1);
    assert_eq!(daily.iter().filter_map(|d| d.lead_cost).sum::<Money>(), Money::from_cents(7_550));
    let marked: Vec<_> = bench.rows::<LeadRow>().iter().map(|l| l.duplicate_of).collect();
    assert_eq!(marked, [None, Some(id(0, 0))]);
}

#[tokio::test]
async fn retries_lead_to_one_delivery_and_one_bill() {
    let bench = Bench::new();
    let a = appointment(id(0, 0), 0);
    let retry = Outcome::Retry { due_at: minute(10), appointment: Arc::new(a.clone()) };
    bench.tell(vec![routed(&a), record(&delivery(&a, 1, retry, 2), 2)]).await;
    let open: OpenDeliveryRow = bench.row();
    assert_eq!((open.due_at, open.attempts, open.appointment.unwrap().0), (minute(10), Some(1), a.clone()));
    let row: AppointmentRow = bench.row();
    assert_eq!((row.forward_status.as_deref(), row.next_attempt_at), (Some("pending"), Some(minute(10))));
    assert_eq!((row.forward_error.as_deref(), row.forward_http_status), (Some("answered 500"), Some(500)));

    let mut done = delivery(&a, 2, Outcome::Delivered, 11);
    done.previous_due_at = Some(minute(10));
    bench.tell(vec![record(&done, 11)]).await;
    assert!(bench.rows::<OpenDeliveryRow>().is_empty());
    let row: AppointmentRow = bench.row();
    assert_eq!((row.forward_status.as_deref(), row.forwarded_at), (Some("success"), Some(minute(11))));
    assert_eq!((row.forward_attempts, row.forward_error.as_deref()), (Some(2), Some("")));
    assert_eq!(row.forward_response.as_deref(), Some("thanks"));
    let bill: BillingEventRow = bench.row();
    assert_eq!((bill.amount, bill.delivered_at), (Some(a.price), Some(minute(11))));
    assert_eq!(bench.row::<DeliveryRow>().attempts, Some(2));
    let daily = bench.rows::<DailyRow>().into_iter().find(|d| d.topic == "deliveries").unwrap();
    assert_eq!((daily.attempts, daily.accepted_attempts, daily.delivered), (Some(2), Some(1), Some(1)));
    assert_eq!((daily.revenue, daily.delivered_cost), (Some(a.price), Some(a.cost)));
    assert_eq!(daily.delivery_latency.unwrap().0.count(), 1);
}

#[tokio::test]
async fn whatever_follows_a_delivery_bills_nothing_and_opens_nothing() {
    let a = appointment(id(0, 0), 0);
    let again = |outcome| delivery(&a, 1, outcome, 2_000);
    let retry = Outcome::Retry { due_at: minute(3_000), appointment: Arc::new(a.clone()) };
    for late in [again(Outcome::Delivered), again(retry), again(Outcome::GivenUp)] {
        let bench = Bench::new();
        // A day apart: the key of a second bill would differ.
        bench.tell(vec![routed(&a), record(&delivery(&a, 1, Outcome::Delivered, 2), 2)]).await;
        bench.tell(vec![record(&late, 2_000)]).await;
        assert_eq!(bench.row::<BillingEventRow>().delivered_at, Some(minute(2)), "{late:?}");
        assert_eq!(bench.row::<DeliveryRow>().delivered_at, Some(minute(2)), "{late:?}");
        assert!(bench.rows::<OpenDeliveryRow>().is_empty(), "{late:?}");
        let row: AppointmentRow = bench.row();
        assert_eq!((row.forward_status.as_deref(), row.forwarded_at), (Some("success"), Some(minute(2))), "{late:?}");
        let sum = |of: fn(&DailyRow) -> Option<i64>| bench.rows().iter().filter_map(of).sum::<i64>();
        assert_eq!((sum(|d| d.delivered), sum(|d| d.accepted_attempts), sum(|d| d.given_up)), (1, 1, 0), "{late:?}");
        let told = bench.history(id(0, 0)).await;
        let kinds: Vec<&str> = told.iter().filter_map(|e| e.event_type.as_deref()).collect();
        assert_eq!(kinds[..2], ["appointment.routed", "delivery.delivered"], "{late:?}");
        assert_eq!((kinds.len(), told[2].happened_at()), (3, minute(2_000)), "{late:?}");
    }
}

#[tokio::test]
async fn a_lead_that_is_taken_at_once_needs_no_rows_for_its_history() {
    let a = appointment(id(0, 0), 0);
    let first = |attempts| {
        let mut done = delivery(&a, attempts, Outcome::Delivered, 2);
        (done.status, done.response, done.latency_us) = (Some(200), Some("thanks".into()), 1_234);
        record(&done, 2)
    };
    let bench = Bench::new();
    bench.tell(vec![received(lead(0)).in_partition(Partition(0)), routed(&a), first(1)]).await;
    assert!(bench.rows::<AppointmentEventRow>().is_empty());
    let told = bench.history(id(0, 0)).await;
    let places: Vec<_> = told.iter().map(|e| (e.topic.as_str(), e.log_offset.0)).collect();
    assert_eq!(places, [("leads", 0), ("appointments", 0), ("deliveries", 0)]);
    let data: Vec<_> = told.iter().map(|e| &e.event_data.as_ref().unwrap().0).collect();
    let routing = serde_json::json!({
        "decision": 1, "workspace_id": "west", "rule_id": a.rule_id, "routing_method": "auto",
        "appointment_date": a.appointment_date, "price": a.price,
    });
    let taking = serde_json::json!({
        "workspace_id": "west", "attempts": 1, "status": 200, "response": "thanks", "latency_us": 1_234,
    });
    assert_eq!((data[1], data[2]), (&routing, &taking));

    // After another attempt the columns may hold what an earlier answer said.
    let bench = Bench::new();
    let retry = Outcome::Retry { due_at: minute(2), appointment: Arc::new(a.clone()) };
    let mut failed = delivery(&a, 1, retry, 1);
    failed.error = None;
    bench.tell(vec![routed(&a), record(&failed, 1), first(2)]).await;
    assert_eq!(bench.rows::<AppointmentEventRow>().len(), 2);
    let told = bench.history(id(0, 0)).await;
    let attempts: Vec<_> = told.iter().map(|e| e.event_data.as_ref().unwrap().0["attempts"].as_u64()).collect();
    assert_eq!(attempts, [None, Some(1), Some(2)]);
}

#[tokio::test]
async fn a_test_is_delivered_and_never_billed() {
    let bench = Bench::new();
    let mut a = appointment(id(0, 0), 0);
    a.test = true;
    bench.tell(vec![routed(&a), record(&delivery(&a, 1, Outcome::Delivered, 2), 2)]).await;
    assert_eq!(bench.row::<DeliveryRow>().test, Some(true));
    assert!(bench.rows::<BillingEventRow>().is_empty() && bench.rows::<DailyRow>().is_empty());
}

#[tokio::test]
async fn a_held_delivery_waits_without_an_attempt_and_may_be_held_again() {
    let bench = Bench::new();
    let a = appointment(id(0, 0), 0);
    let held = |due, reason| Outcome::Held { due_at: minute(due), reason, appointment: Arc::new(a.clone()) };
    bench.tell(vec![record(&delivery(&a, 0, held(5, HeldReason::QueueFull), 5), 5)]).await;
    assert!(bench.rows::<DailyRow>().is_empty(), "no attempt was made");
    let mut again = delivery(&a, 0, held(5, HeldReason::WebhookInactive), 6);
    again.previous_due_at = Some(minute(5));
    bench.tell(vec![record(&again, 6)]).await;
    assert_eq!(bench.row::<OpenDeliveryRow>().due_at, minute(5), "the row it ends and the row it makes are the same");
    let row: AppointmentRow = bench.row();
    assert_eq!(
        (row.forward_status.as_deref(), row.held_reason.as_deref()),
        (Some("pending"), Some("webhook_inactive"))
    );

    let mut last = delivery(&a, 1, Outcome::GivenUp, 7);
    last.previous_due_at = Some(minute(5));
    bench.tell(vec![record(&last, 7)]).await;
    assert!(bench.rows::<OpenDeliveryRow>().is_empty());
    let row: AppointmentRow = bench.row();
    assert_eq!((row.forward_status.as_deref(), row.held_reason.as_deref()), (Some("failed"), Some("")));
    let daily: DailyRow = bench.row();
    assert_eq!((daily.attempts, daily.given_up, daily.delivered), (Some(1), Some(1), None));
}

#[tokio::test]
async fn a_long_answer_is_cut_in_the_history_at_a_character() {
    let bench = Bench::new();
    let a = appointment(id(0, 0), 0);
    let mut done = delivery(&a, 1, Outcome::Delivered, 2);
    done.response = Some("é".repeat(2_000) + "x");
    done.response.as_mut().unwrap().insert(0, 'x');
    bench.tell(vec![record(&done, 2)]).await;
    let told = bench.history(id(0, 0)).await.remove(0).event_data.unwrap().0;
    assert_eq!(told["response"].as_str().map(str::len), Some(1_023));
    assert_eq!(bench.row::<AppointmentRow>().forward_response, done.response);
}

#[tokio::test]
async fn a_batch_of_settings_is_shown_change_by_change_without_secrets() {
    let bench = Bench::new();
    let client = Workspace {
        id: workspace("west"),
        name: "West".into(),
        outbound_webhook_url: None,
        test_webhook_url: None,
        webhook_active: true,
        paused: false,
        past_dates: None,
        business_type: String::new(),
        payment_rate: Money::from_cents(15_000),
        signing_secrets: vec![SigningSecret { secret: "whsec_hidden".into(), valid_until: None }],
        webhook_credentials: Default::default(),
        ignore_answer_body: false,
        phone_format: Default::default(),
        rate_limit: None,
        max_concurrency: None,
        opening_hours: Default::default(),
        created_at: minute(0),
        updated_at: minute(0),
    };
    let key_hash = leadway_domain::secret::KeyHash::of("lwk_1");
    let hash = key_hash.plain_hex().unwrap();
    let account =
        Account { id: Uuid::from_u128(1), name: "ops".into(), key_hash, role: Role::Admin, created_at: minute(0) };
    let mut settings = Settings::default();
    let first = Change::Put(Entity::Workspace(client.clone()));
    let made = SettingsChange::new(&settings, "admin", minute(0), first.clone());
    settings.apply(&first);
    let changed = Workspace { name: "West Coast".into(), ..client };
    let both = Change::Batch(vec![
        Change::Put(Entity::Workspace(changed)),
        Change::Put(Entity::Account(account)),
        Change::Delete { kind: leadway_domain::settings::EntityKind::Workspace, id: "gone".into() },
    ]);
    let second = SettingsChange::new(&settings, "admin", minute(1), both);
    bench.tell(vec![record(&made, 0), record(&second, 1)]).await;
    let rows = bench.rows::<SettingsChangeRow>();
    let names = |r: &SettingsChangeRow| {
        let name = |j: &Option<leadway_tables::Json<serde_json::Value>>| j.as_ref().unwrap().0["name"].clone();
        (r.log_offset.0, r.part, r.entity.clone().unwrap(), name(&r.before), name(&r.after))
    };
    let null = serde_json::Value::Null;
    assert_eq!(
        rows.iter().map(names).collect::<Vec<_>>(),
        [
            (0, 0, "workspace".to_owned(), null.clone(), "West".into()),
            (1, 0, "workspace".to_owned(), "West".into(), "West Coast".into()),
            (1, 1, "account".to_owned(), null.clone(), "ops".into()),
            (1, 2, "workspace".to_owned(), null.clone(), null.clone()),
        ]
    );
    let shown = format!("{rows:?}");
    assert!(!shown.contains("hidden") && !shown.contains(&hash), "{shown}");
    let before = &rows[1].before.as_ref().unwrap().0;
    assert!(before["signing_secrets"].is_null() && before["payment_rate"] == 150, "{before}");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_passed_over_and_changes_nothing() {
    let bench = Bench::new();
    let mut newer = received(lead(0));
    newer.kind = "lead.teleported".into();
    let mut broken = routed(&appointment(id(0, 0), 0));
    broken.data = "{".into();
    // Below the first id that this log can give.
    let foreign = delivery(&appointment(LeadId(1), 0), 1, Outcome::Delivered, 2);
    let set_aside = bench.tell(vec![newer, broken, record(&foreign, 2)]).await;
    assert_eq!((set_aside, dump(&bench.tables)), (3, Vec::new()));
    assert_eq!(bench.tell(vec![received(lead(1))]).await, 0, "what follows is applied");
    let applied = super::positions(&bench.log, &bench.tables).await;
    assert_eq!(applied.iter().filter(|p| p.topic == Topic::Leads).map(|p| p.next.0).sum::<u64>(), 2);
}
