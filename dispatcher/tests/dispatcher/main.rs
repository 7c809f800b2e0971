//! The dispatcher over a log and tables in memory, with scripted clients, moved time and a scoring small enough to read.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // a test may

mod answers;
mod crashes;
mod http;
mod pace;
mod world;
use std::time::Duration;

use base64::Engine;
use leadway_dispatcher::{Answer, Error, Options, SendError};
use leadway_domain::record::{DeliveryRecord, HeldReason, Outcome};
use leadway_domain::settings::{Change, EntityKind, RateLimit, SigningSecret};
use leadway_domain::{LeadId, Money, Timestamp};
use leadway_eventlog::{Fault, LogError};
use tokio::time::{Instant, sleep};
use url::Url;

use crate::world::{World, ok, status};

fn delivered(outcomes: &[DeliveryRecord]) -> Vec<LeadId> {
    let mut ids: Vec<LeadId> =
        outcomes.iter().filter(|r| r.outcome == Outcome::Delivered).map(|r| r.appointment_id).collect();
    ids.sort();
    ids
}

fn kinds(outcomes: &[DeliveryRecord]) -> Vec<&'static str> {
    outcomes.iter().map(leadway_domain::record::Payload::kind).collect()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn an_appointment_is_posted_once_and_recorded() {
    let mut world = World::new(Options::default()).await;
    world.workspace("solar", |_| {}).await;
    let node = world.start();
    let ids = world.route("solar", 3).await;
    let outcomes = world.ended(3).await;
    node.stop().await;
    assert_eq!(delivered(&outcomes), ids);
    let record = &outcomes[0];
    assert_eq!((record.attempts, record.status, record.error.as_deref()), (1, Some(200), None));
    assert_eq!(record.response.as_deref(), Some("{\"status\":\"received\"}"));
    assert_eq!(record.price, Money::from_cents(15_000));
    let requests = world.requests_to("solar");
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0].request.id, format!("appt_{}", ids[0]));
    // What ended is not posted again by the next node.
    let node = world.start();
    sleep(5 * SECOND).await;
    node.stop().await;
    assert_eq!(world.requests_to("solar").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_later_and_later_with_one_id() {
    let mut world = World::new(Options { circuit_failures: 0, ..Options::default() }).await;
    world.workspace("solar", |_| {}).await;
    let mut answers = [500, 404, 302, 503, 200].into_iter();
    world.script("solar", move |_| (Duration::from_millis(5), status(answers.next().unwrap())));
    let node = world.start();
    world.route("solar", 1).await;
    let outcomes = world.ended(1).await;
    node.stop().await;
    assert_eq!(
        kinds(&outcomes),
        ["delivery.retry", "delivery.retry", "delivery.retry", "delivery.retry", "delivery.delivered"]
    );
    assert_eq!(outcomes.iter().map(|r| r.attempts).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let requests = world.requests_to("solar");
    assert!(requests.iter().all(|s| s.request.id == "appt_1"));
    for (pair, requests) in outcomes.windows(2).zip(requests.windows(2)) {
        let Outcome::Retry { due_at, .. } = pair[0].outcome else { panic!("{:?}", pair[0]) };
        assert_eq!(pair[1].previous_due_at, Some(due_at));
        assert!(due_at <= pair[1].at, "not before it is due");
        assert!(requests[0].request.timestamp <= requests[1].request.timestamp);
    }
    sleep(SECOND).await;
    assert_eq!(world.open_rows("solar").await, 0);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_for() {
    let mut world = World::new(Options::default()).await;
    world.workspace("solar", |_| {}).await;
    let mut first = true;
    world.script("solar", move |_| {
        let retry_after = std::mem::take(&mut first).then(|| "3600".to_owned());
        let status = if retry_after.is_some() { 429 } else { 204 };
        (Duration::ZERO, Ok(Answer { status, retry_after, ..Answer::default() }))
    });
    let node = world.start();
    world.route("solar", 1).await;
    world.ended(1).await;
    node.stop().await;
    let requests = world.requests_to("solar");
    let waited = requests[1].at - requests[0].at;
    assert!(waited >= 3_600 * SECOND && waited < 3_610 * SECOND, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn it_is_given_up_when_the_schedule_ends() {
    let mut world = World::new(Options { max_attempts: 3, ..Options::default() }).await;
    for (id, answer) in [("broken", Err(SendError::Timeout)), ("gone", status(410))] {
        world.workspace(id, |_| {}).await;
        world.script(id, move |_| (Duration::ZERO, answer.clone()));
        world.route(id, 1).await;
    }
    let node = world.start();
    world.ended(2).await;
    node.stop().await;
    let broken = world.outcomes_of("broken").await;
    assert_eq!(kinds(&broken), ["delivery.retry", "delivery.retry", "delivery.given_up"]);
    assert_eq!((broken[2].attempts, broken[2].error.as_deref()), (3, Some("no answer in time")));
    assert_eq!(kinds(&world.outcomes_of("gone").await).len(), 3, "410 is a failure like any other");
}

#[tokio::test(start_paused = true)]
async fn an_inactive_webhook_holds_and_goes_on_when_it_is_active() {
    let mut world = World::new(Options::default()).await;
    world.workspace("solar", |w| w.webhook_active = false).await;
    let node = world.start();
    let ids = world.route("solar", 5).await;
    sleep(600 * SECOND).await;
    let held = world.outcomes_of("solar").await;
    assert_eq!(held.len(), 5, "each is held once, not again and again");
    assert!(held.iter().all(|r| matches!(r.outcome, Outcome::Held { reason: HeldReason::WebhookInactive, .. })));
    assert!(world.requests_to("solar").is_empty());
    world.workspace("solar", |_| {}).await;
    let outcomes = world.ended(5).await;
    assert_eq!(delivered(&outcomes), ids);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn tests_go_to_the_test_url_or_nowhere_and_deleted_workspaces_get_nothing() {
    let mut world = World::new(Options::default()).await;
    world.workspace("with", |w| w.test_webhook_url = Some(Url::parse("https://sandbox.example.com/").unwrap())).await;
    world.workspace("without", |_| {}).await;
    world.workspace("deleted", |w| w.webhook_active = false).await;
    let node = world.start();
    world.route_shaped("with", 1, |a| a.test = true).await;
    world.route_shaped("without", 1, |a| a.test = true).await;
    world.route("deleted", 1).await;
    sleep(5 * SECOND).await;
    node.stop().await;
    // Deleted while no node runs: the next one learns of it from the settings' history.
    world.change(Change::Delete { kind: EntityKind::Workspace, id: "deleted".into() }).await;
    let node = world.start();
    world.route("deleted", 1).await;
    world.ended(4).await;
    node.stop().await;
    assert_eq!((world.requests_to("with").len(), world.requests_to("sandbox").len()), (0, 1));
    assert!(world.requests_to("without").is_empty() && world.requests_to("deleted").is_empty());
    let without = world.outcomes_of("without").await;
    assert_eq!(kinds(&without), ["delivery.given_up"]);
    assert!(without[0].error.as_deref().unwrap().contains("test_webhook_url"));
    let mut deleted = kinds(&world.outcomes_of("deleted").await);
    deleted.sort_unstable();
    assert_eq!(deleted, ["delivery.given_up", "delivery.given_up", "delivery.held"]);
}

#[tokio::test(start_paused = true)]
async fn slow_clients_do_not_delay_the_others() {
    let options = Options { max_in_flight: 8, max_in_flight_per_workspace: 4, max_queued: 40, ..Options::default() };
    let mut world = World::new(options).await;
    let slow = ["slow1", "slow2", "slow3", "slow4"];
    for id in slow {
        world.workspace(id, |_| {}).await;
        world.script(id, |_| (15 * SECOND, Err(SendError::Timeout)));
    }
    world.workspace("quick", |_| {}).await;
    let node = world.start();
    for id in slow {
        world.route(id, 60).await;
    }
    sleep(2 * SECOND).await;
    let began = Instant::now();
    world.route("quick", 10).await;
    while world.requests_to("quick").len() < 10 {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    node.stop.cancel();
    assert!(node.task.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_in_memory_waits_on_disk_and_comes_back() {
    let options = Options { max_queued_per_workspace: 10, max_in_flight_per_workspace: 2, ..Options::default() };
    let mut world = World::new(options).await;
    world.workspace("solar", |_| {}).await;
    world.script("solar", |_| (Duration::from_millis(500), ok()));
    let node = world.start();
    let ids = world.route("solar", 200).await;
    let outcomes = world.ended(200).await;
    node.stop().await;
    assert_eq!(delivered(&outcomes), ids);
    let held = outcomes.iter().filter(|r| matches!(r.outcome, Outcome::Held { reason: HeldReason::QueueFull, .. }));
    assert!(held.count() >= 188);
    assert_eq!(world.requests_to("solar").len(), 200, "each is posted once");
    sleep(SECOND).await;
    assert_eq!(world.open_rows("solar").await, 0);
}

#[tokio::test(start_paused = true)]
async fn rate_and_concurrency_of_a_workspace_are_kept() {
    let mut world = World::new(Options { max_wait_seconds: 5, ..Options::default() }).await;
    world.workspace("paced", |w| w.rate_limit = Some(RateLimit { per_second: 10, burst: Some(1) })).await;
    world.workspace("narrow", |w| w.max_concurrency = Some(3)).await;
    world.script("narrow", |_| (Duration::from_millis(700), ok()));
    let node = world.start();
    world.route("paced", 200).await;
    world.route("narrow", 50).await;
    world.ended(250).await;
    node.stop().await;
    let paced = world.requests_to("paced");
    assert_eq!(paced.len(), 200);
    for window in paced.windows(21) {
        assert!(window[20].at - window[0].at >= Duration::from_millis(1_900), "more than 20 in two seconds");
    }
    assert!(paced[199].at - paced[0].at < 30 * SECOND, "the rate is used");
    assert_eq!(world.clients.busy.lock()["narrow.example.com"].1, 3);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_failing_is_left_alone_and_probed() {
    let mut world =
        World::new(Options { circuit_failures: 5, max_in_flight_per_workspace: 1, ..Options::default() }).await;
    world.workspace("down", |_| {}).await;
    let up_at = Instant::now() + 600 * SECOND;
    world.script("down", move |_| {
        (
            Duration::from_millis(5),
            if Instant::now() < up_at { Err(SendError::Connect("refused".into())) } else { ok() },
        )
    });
    let node = world.start();
    let ids = world.route("down", 100).await;
    let outcomes = world.ended(100).await;
    node.stop().await;
    assert_eq!(delivered(&outcomes), ids);
    let failed = world.requests_to("down").iter().filter(|s| s.at < up_at).count();
    // Five open the circuit; then one probe a minute for ten minutes.
    assert!((10..=16).contains(&failed), "{failed} attempts while it was down");
    assert!(outcomes.iter().any(|r| matches!(r.outcome, Outcome::Held { reason: HeldReason::CircuitOpen, .. })));
    let last = world.requests_to("down").last().unwrap().at;
    assert!(last - up_at < 600 * SECOND, "all follow soon when it is back: {:?}", last - up_at);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_declines_appointments_is_not_left_alone() {
    let mut world =
        World::new(Options { circuit_failures: 3, max_in_flight_per_workspace: 1, ..Options::default() }).await;
    world.workspace("choosy", |_| {}).await;
    let mut seen = std::collections::HashSet::new();
    world.script("choosy", move |request| {
        let body = match seen.insert(request.id.clone()) {
            true => &br#"{"success":false,"error":"no agent is free"}"#[..],
            false => br#"{"success":false,"error":"Duplicate lead"}"#,
        };
        let (body, retry_after) = (body.into(), Some("3600".to_owned()));
        (Duration::from_millis(5), Ok(Answer { status: 200, body, retry_after, ..Answer::default() }))
    });
    let node = world.start();
    let ids = world.route("choosy", 50).await;
    sleep(60 * SECOND).await;
    assert_eq!(world.requests_to("choosy").len(), 50, "the others do not wait, and none is repeated at once");
    let outcomes = world.ended(50).await;
    node.stop().await;
    assert_eq!(delivered(&outcomes), ids, "it knows them from the first attempts");
    assert_eq!(world.requests_to("choosy").len(), 100);
    assert!(!outcomes.iter().any(|r| matches!(r.outcome, Outcome::Held { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_client_keeps_waiting_is_given_up_in_the_end() {
    let mut world = World::new(Options { circuit_failures: 3, give_up_after_hours: 1, ..Options::default() }).await;
    world.workspace("dead", |_| {}).await;
    world.script("dead", |_| (Duration::from_millis(5), status(500)));
    let node = world.start();
    world.route("dead", 300).await;
    let outcomes = world.ended(300).await;
    node.stop().await;
    assert_eq!(outcomes.iter().filter(|r| r.outcome == Outcome::GivenUp).count(), 300);
    assert!(outcomes.last().unwrap().error.as_deref().unwrap().contains("give_up_after_hours"));
    let seconds = outcomes.last().unwrap().at.as_second() - outcomes[0].matched_at.as_second();
    assert!((3_600..4 * 3_600).contains(&seconds), "{seconds} seconds");
}

/// HMAC by its definition (RFC 2104), apart from the crate that the dispatcher signs with.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    assert!(key.len() <= 64);
    let pad = |with: u8| (0..64).map(|i| key.get(i).copied().unwrap_or(0) ^ with).collect::<Vec<u8>>();
    let inner = Sha256::digest([pad(0x36), message.to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}

#[tokio::test(start_paused = true)]
async fn while_a_secret_is_rotated_both_sign() {
    let mut world = World::new(Options::default()).await;
    let tomorrow = Timestamp::from_second(world.clock.now().as_second() + 86_400).unwrap();
    world
        .workspace("solar", |w| {
            w.signing_secrets.push(SigningSecret { secret: "whsec_b2xk".into(), valid_until: Some(tomorrow) });
        })
        .await;
    let node = world.start();
    world.route("solar", 1).await;
    world.ended(1).await;
    node.stop().await;
    let request = &world.requests_to("solar")[0].request;
    let signed = [format!("{}.{}.", request.id, request.timestamp).as_bytes(), &request.body].concat();
    let expected: Vec<String> = [b"new", b"old"]
        .map(|key| format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(hmac_sha256(key, &signed))))
        .into();
    assert_eq!(request.signature, expected.join(" "));
    assert_eq!(request.timestamp, world.outcomes().await[0].matched_at.as_second());
}

#[tokio::test(start_paused = true)]
async fn a_full_log_loses_no_outcome() {
    let mut world = World::new(Options::default()).await;
    world.workspace("solar", |_| {}).await;
    let node = world.start();
    sleep(SECOND).await;
    let ids = world.route("solar", 50).await;
    world.log.set_faults(|| Fault::Refuse);
    sleep(30 * SECOND).await;
    assert!(world.outcomes().await.is_empty());
    world.log.clear_faults();
    let outcomes = world.ended(50).await;
    node.stop().await;
    assert_eq!(delivered(&outcomes), ids);
    assert_eq!(world.requests_to("solar").len(), 50, "the outcomes waited; nothing was posted again");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_taken_over_stops() {
    let mut world = World::new(Options::default()).await;
    world.workspace("solar", |_| {}).await;
    let first = world.start();
    sleep(SECOND).await;
    let second = world.start();
    sleep(SECOND).await;
    let ids = world.route("solar", 5).await;
    let error = first.task.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Log(LogError::Fenced { .. })), "{error}");
    assert_eq!(delivered(&world.ended(5).await), ids);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn with_a_wrong_setting_it_ends_at_once_and_takes_nothing_over() {
    let mut world = World::new(Options::default()).await;
    world.workspace("solar", |_| {}).await;
    let good = world.start();
    sleep(SECOND).await;
    world.options.max_attempts = 0;
    let ended = tokio::time::timeout(60 * SECOND, world.start().task).await;
    let error = ended.expect("it has ended").unwrap().unwrap_err();
    assert!(matches!(error, Error::Setting { field: "max_attempts", .. }), "{error}");
    world.route("solar", 1).await;
    world.ended(1).await;
    good.stop().await;
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_attempts_under_way_and_leaves_the_rest() {
    let mut world = World::new(Options { max_in_flight_per_workspace: 2, ..Options::default() }).await;
    world.workspace("solar", |_| {}).await;
    world.script("solar", |_| (10 * SECOND, ok()));
    let node = world.start();
    let ids = world.route("solar", 5).await;
    sleep(SECOND).await;
    node.stop().await;
    assert_eq!(delivered(&world.outcomes().await), ids[..2]);
    let node = world.start();
    assert_eq!(delivered(&world.ended(5).await), ids);
    node.stop().await;
    assert_eq!(world.requests_to("solar").len(), 5);
}
