//! The stage over the log and the tables in memory, with faults.

mod world;

use std::time::Duration;

use leadway_domain::Zip;
use leadway_domain::lead::Lead;
use leadway_domain::record::{LeadAction, LeadRecord};
use leadway_eventlog::{Fault, LogError, NewRecord, SettingsHandle};
use parking_lot::Mutex;

use super::*;
use crate::decide::tests::{NOW, at, dated, lead, put_rule, workspace_id};
use world::{DATE, World, dates_of, nth, outcomes};

#[tokio::test(start_paused = true)]
async fn each_lead_with_a_date_is_decided_once_and_one_without_waits() {
    let world = World::new(4).await;
    let router = world.start().await;
    let routed = world.receive(nth(1)).await;
    let unrouted = world.receive(Lead { product_type: "HVAC".into(), ..nth(2) }).await;
    world.receive(Lead { appointment_date: None, ..nth(3) }).await;
    let outcomes = outcomes(&world.decisions_of(2).await);
    assert_eq!(outcomes[&routed], ["routed west"]);
    assert_eq!(outcomes[&unrouted], ["unrouted no_rule"]);
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_rule_decides_the_next_lead() {
    let world = World::new(1).await;
    let settings = SettingsHandle::follow(Arc::new(world.log.clone())).await.unwrap();
    let router = world.start().await;
    let before = world.receive(nth(1)).await;
    world.decisions_of(1).await;
    let change = world.change(put_rule(2, "east", "Solar", "90210", 1)).await;
    settings.wait_for(change).await.unwrap();
    let after = world.receive(nth(2)).await;
    let outcomes = outcomes(&world.decisions_of(2).await);
    assert_eq!((&*outcomes[&before], &*outcomes[&after]), (&["routed west".into()][..], &["routed east".into()][..]));
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_landed_before_the_crash_is_not_repeated() {
    let world = World::new(2).await;
    let ids = world.receive_all((0..40).map(nth).collect()).await;
    world.log.set_faults(|| Fault::LandAndClose);
    let router = world.start().await;
    let error = router.task.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Log(LogError::Closed)), "{error}");
    world.log.clear_faults();
    let router = world.start().await;
    let outcomes = outcomes(&world.decisions_of(40).await);
    assert!(ids.iter().all(|id| outcomes[id] == ["routed west"]));
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_refuses_for_a_while_gets_the_same_decisions_later() {
    let world = World::new(1).await;
    let ids = world.receive_all((0..5).map(nth).collect()).await;
    let mut refusals = 6;
    world.log.set_faults(move || {
        refusals -= 1;
        if refusals >= 0 { Fault::Refuse } else { Fault::None }
    });
    let router = world.start().await;
    let outcomes = outcomes(&world.decisions_of(5).await);
    assert!(ids.iter().all(|id| outcomes[id] == ["routed west"]));
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_lead_gets_one_decision_whatever_fails_and_however_often_it_restarts() {
    for seed in 0..40 {
        let world = World::new(3).await;
        let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        let ids = world.receive_all((0..60).map(nth).collect()).await;
        let dice = random.clone();
        world.log.set_faults(move || match dice.lock().u8(..10) {
            0..3 => Fault::LandAndClose,
            3..6 => Fault::Refuse,
            _ => Fault::None,
        });
        for _ in 0..8 {
            let router = world.start_with(Options { batch_records: 3, ..Options::default() }).await;
            let pause = Duration::from_millis(random.lock().u64(..60));
            tokio::time::sleep(pause).await;
            router.task.abort();
        }
        world.log.clear_faults();
        let router = world.start().await;
        let outcomes = outcomes(&world.decisions_of(60).await);
        assert!(ids.iter().all(|id| outcomes[id] == ["routed west"]), "seed {seed}: {outcomes:?}");
        router.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_router_that_was_taken_over_decides_nothing_more() {
    let world = World::new(1).await;
    let first = world.start().await;
    world.receive(nth(1)).await;
    world.decisions_of(1).await;
    let second = world.start().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.receive(nth(2)).await;
    world.decisions_of(2).await;
    let error = first.task.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Log(LogError::Fenced { .. })), "{error}");
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_later_lead_of_one_submission_is_a_duplicate_also_after_a_restart() {
    let world = World::new(1).await;
    let router = world.start().await;
    let first = world.receive(nth(1)).await;
    let second = world.receive(nth(1)).await;
    let decided = outcomes(&world.decisions_of(2).await);
    assert_eq!(
        (decided[&first].as_slice(), &decided[&second]),
        (&["routed west".to_owned()][..], &vec![format!("duplicate {first}")])
    );
    router.stop().await;

    let router = world.start().await;
    let third = world.receive(nth(1)).await;
    let much_later = Lead { received_at: at("2024-11-27T12:30:00Z"), ..nth(1) };
    let fourth = world.receive(much_later).await;
    let decided = outcomes(&world.decisions_of(4).await);
    assert_eq!(decided[&third], [format!("duplicate {first}")]);
    assert_eq!(decided[&fourth], ["routed west"], "beyond the window it is a new submission");
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_lead_becomes_an_appointment_and_a_second_schedule_is_refused() {
    let world = World::new(4).await;
    world.start_scoring();
    let router = world.start().await;
    let id = world.receive(lead()).await;
    let schedule = || LeadAction::Schedule { appointment_date: Some(at(DATE)) };
    let first = world.command(id, schedule()).await;
    let second = world.command(id, schedule()).await;
    let decisions = world.decisions_of(2).await;
    let decided = outcomes(&decisions);
    assert_eq!(decided[&id], ["routed west"]);
    assert!(decided[&second][0].contains("already has an appointment"), "{decided:?}");
    let routed = decisions.iter().find_map(|d| match d {
        AppointmentRecord::Routed(a) => Some((a.command_id, a.decision, a.appointment_date)),
        _ => None,
    });
    assert_eq!(routed, Some((Some(first), 1, at(DATE))));

    let third = world.command(id, LeadAction::Retry).await;
    let decided = outcomes(&world.decisions_of(3).await);
    assert!(decided[&third][0].contains("already has an appointment"), "out of the tables: {decided:?}");
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_command_asked_again_under_one_name_is_carried_out_once() {
    let world = World::new(4).await;
    world.start_scoring();
    let id = world.receive(lead()).await;
    let schedule = || LeadAction::Schedule { appointment_date: Some(at(DATE)) };
    // In one batch, and in a later one.
    let first = world.named_command(id, schedule(), Some("one")).await;
    world.named_command(id, schedule(), Some("one")).await;
    let router = world.start().await;
    assert_eq!(outcomes(&world.decisions_of(1).await)[&id], ["routed west"]);
    world.named_command(id, schedule(), Some("one")).await;
    let other = world.named_command(id, schedule(), Some("other")).await;
    let decisions = world.decisions_of(2).await;
    assert!(outcomes(&decisions)[&other][0].contains("already has an appointment"), "{decisions:?}");
    let by: Vec<_> = decisions
        .iter()
        .filter_map(|d| if let AppointmentRecord::Routed(a) = d { a.command_id } else { None })
        .collect();
    assert_eq!(by, [first]);
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn commands_of_one_batch_see_what_the_others_did() {
    let world = World::new(1).await;
    world.start_scoring();
    let id = world.receive(Lead { product_type: "HVAC".into(), ..lead() }).await;
    let schedule = world.command(id, LeadAction::Schedule { appointment_date: Some(at(DATE)) }).await;
    let retry = world.command(id, LeadAction::Retry).await;
    world.command(id, LeadAction::Assign { workspace_id: workspace_id("east") }).await;
    let late = world.command(id, LeadAction::Assign { workspace_id: workspace_id("west") }).await;
    let router = world.start().await;
    let decisions = world.decisions_of(4).await;
    let decided = outcomes(&decisions);
    let mut of_lead = decided[&id].clone();
    of_lead.sort();
    assert_eq!(of_lead, ["routed east", "unrouted no_rule", "unrouted no_rule"]);
    assert!(decided[&late][0].contains("already has an appointment"));
    let unrouted: Vec<_> = decisions
        .iter()
        .filter_map(|d| match d {
            AppointmentRecord::Unrouted(u) => Some((u.decision, u.command_id)),
            _ => None,
        })
        .collect();
    assert_eq!(unrouted, [(1, Some(schedule)), (2, Some(retry))]);
    let routed = decisions.iter().find_map(|d| match d {
        AppointmentRecord::Routed(a) => Some((a.decision, a.appointment_date)),
        _ => None,
    });
    assert_eq!(routed, Some((3, at(DATE))), "the date of the earlier schedule is kept");
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unrouted_lead_is_routed_by_a_retry_once_a_rule_takes_it() {
    let world = World::new(4).await;
    world.start_scoring();
    let router = world.start().await;
    let id = world.receive(Lead { product_type: "HVAC".into(), ..dated(DATE) }).await;
    world.decisions_of(1).await;
    world.change(put_rule(2, "east", "HVAC", "CA", 1)).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.command(id, LeadAction::Retry).await;
    let decisions = world.decisions_of(2).await;
    let routed = decisions.iter().find_map(|d| match d {
        AppointmentRecord::Routed(a) => Some((a.workspace_id.as_str(), a.decision, a.appointment_date)),
        _ => None,
    });
    assert_eq!(routed, Some(("east", 2, at(DATE))));
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lead_that_is_to_get_the_next_free_slot_keeps_that_wish_through_a_retry() {
    let world = World::new(1).await;
    world.start_scoring();
    let router = world.start().await;
    let id = world.receive(Lead { product_type: "HVAC".into(), ..dated(DATE) }).await;
    world.command(id, LeadAction::Schedule { appointment_date: None }).await;
    world.decisions_of(2).await;
    world.change(put_rule(2, "east", "HVAC", "CA", 1)).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.command(id, LeadAction::Retry).await;
    assert_eq!(dates_of(&world.decisions_of(3).await), [at("2024-11-27T17:00:00Z")]);
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn commands_about_what_is_no_lead_are_refused() {
    let world = World::new(1).await;
    world.start_scoring();
    let router = world.start().await;
    let id = world.receive(nth(1)).await;
    let duplicate = world.receive(nth(1)).await;
    let first_command = world.command(LeadId(id.0 + (1 << 30)), LeadAction::Retry).await;
    let cases = [(first_command, "does not exist"), (LeadId(0), "does not exist"), (duplicate, "same submission")];
    for (n, (about, part)) in cases.into_iter().enumerate() {
        let command = world.command(about, LeadAction::Retry).await;
        let decided = outcomes(&world.decisions_of(4 + n).await);
        assert!(decided[&command][0].contains(part), "{part}: {decided:?}");
    }
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn leads_scheduled_by_themselves_take_one_slot_each_also_after_a_restart() {
    let world = World::new(1).await;
    world.start_scoring();
    let automatic = |n| Lead { appointment_date: None, auto_schedule: true, ..nth(n) };
    let taken_by_hand = at("2024-11-27T17:20:00Z");
    let with_date = Lead { appointment_date: Some(taken_by_hand), ..nth(1) };
    world.receive_all(vec![with_date, automatic(2), automatic(3)]).await;
    let router = world.start().await;
    let dates = dates_of(&world.decisions_of(3).await);
    assert_eq!(dates, [taken_by_hand, at("2024-11-27T18:00:00Z"), at("2024-11-27T19:00:00Z")]);
    router.stop().await;

    let router = world.start().await;
    world.receive(Lead { test: true, ..automatic(4) }).await;
    world.receive(automatic(5)).await;
    let dates = dates_of(&world.decisions_of(5).await);
    let next = at("2024-11-27T20:00:00Z");
    assert_eq!(dates.get(3..), Some(&[next, next][..]), "a test takes nobody's time");
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_passed_over() {
    let world = World::new(1).await;
    let router = world.start().await;
    let mut broken = NewRecord::of(&LeadRecord::Received(Arc::new(nth(1))), at(NOW));
    broken.data = b"{\"v\":99}".to_vec().into();
    let good = NewRecord::of(&LeadRecord::Received(Arc::new(nth(2))), at(NOW));
    let (_, id) = world.append(vec![broken, good]).await;
    assert_eq!(outcomes(&world.decisions_of(1).await)[&id], ["routed west"]);
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn it_stops_while_it_waits_for_the_tables_and_decides_the_command_next_time() {
    let world = World::new(1).await;
    let router = world.start().await;
    world.receive(nth(1)).await;
    world.decisions_of(1).await;
    let id = world.receive(lead()).await;
    world.command(id, LeadAction::Schedule { appointment_date: Some(at(DATE)) }).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.decisions().await.len(), 1, "nobody applies the decisions to the tables");
    router.stop().await;

    world.start_scoring();
    let router = world.start().await;
    assert_eq!(outcomes(&world.decisions_of(2).await)[&id], ["routed west"]);
    router.stop().await;
}

/// Leads of every fate, and the commands about them, all decided.
async fn decided_world(partitions: u32) -> (World, usize) {
    let world = World::new(partitions).await;
    world.start_scoring();
    let router = world.start().await;
    let mut leads: Vec<Lead> = (1..20).map(nth).collect();
    leads.extend((20..30).map(|n| Lead { appointment_date: None, ..nth(n) }));
    leads.extend((30..40).map(|n| Lead { zip_code: Zip::parse("10001").unwrap(), ..nth(n) }));
    leads.extend((1..4).map(nth));
    let ids = world.receive_all(leads).await;
    world.decisions_of(19 + 10 + 3).await;
    world.change(put_rule(2, "east", "Solar", "100*", 5)).await;
    for (n, id) in ids.iter().enumerate() {
        let action = match n {
            20..25 => LeadAction::Schedule { appointment_date: None },
            0..3 | 30..35 => LeadAction::Retry,
            _ => continue,
        };
        world.command_of(*id, &nth(n as u64 + 1), action, None).await;
    }
    let count = 19 + 10 + 3 + 5 + 5 + 3;
    world.decisions_of(count).await;
    router.stop().await;
    (world, count)
}

/// A router that is given leads which are decided already passes them over, and decides those that come after.
async fn passes_over(moved: &World, count: usize) {
    let router = moved.start().await;
    let new = moved.receive_all((50..60).map(nth).chain([nth(1)]).collect()).await;
    let outcomes = outcomes(&moved.decisions_of(count + new.len()).await);
    assert!(new[..10].iter().all(|id| outcomes[id] == ["routed west"]), "{outcomes:#?}");
    assert!(outcomes[&new[10]][0].starts_with("duplicate"), "what was passed over is still remembered");
    router.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_decided_again_wherever_the_log_says_that_the_router_stands() {
    for partitions in [1, 3] {
        let (world, count) = decided_world(partitions).await;
        for offset in [0, 1, 3, 7] {
            let moved = world.with_progress_at(offset).await;
            moved.score().await;
            moved.start_scoring();
            passes_over(&moved, count).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_decided_again_where_the_tables_do_not_show_it_yet() {
    for partitions in [1, 3] {
        let (world, count) = decided_world(partitions).await;
        for offset in [0, 3, 7] {
            let moved = world.with_progress_at(offset).await;
            let router = moved.start().await;
            let id = moved.receive(nth(50)).await;
            assert_eq!(outcomes(&moved.decisions_of(count + 1).await)[&id], ["routed west"]);
            router.stop().await;
        }
    }
}
