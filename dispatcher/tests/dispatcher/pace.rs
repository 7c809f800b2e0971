//! How much goes to a client at once, and how outcomes gather.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leadway_dispatcher::{Answer, Options};
use leadway_domain::record::Outcome;
use leadway_domain::settings::RateLimit;
use leadway_eventlog::Fault;
use tokio::time::{Instant, sleep};

use crate::world::{World, ok};
use crate::{SECOND, delivered};

/// Counts what is written to the log from now on.
fn writes(world: &World) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    world.log.set_faults(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Fault::None
    });
    count
}

#[tokio::test(start_paused = true)]
async fn outcomes_that_end_together_are_committed_together() {
    let mut world = World::new(Options::default()).await;
    world.workspace("solar", |_| {}).await;
    let mut answered = 0;
    world.script("solar", move |_| {
        answered += 1;
        (Duration::from_millis(answered % 40), ok())
    });
    let node = world.start();
    sleep(SECOND).await;
    let written = writes(&world);
    let ids = world.route("solar", 40).await;
    assert_eq!(delivered(&world.ended(40).await), ids);
    node.stop().await;
    let written = written.load(Ordering::SeqCst);
    assert!((2..=8).contains(&written), "{written} writes in 40 ms, one of them the routing");
}

#[tokio::test(start_paused = true)]
async fn a_burst_for_a_quick_client_stays_in_memory() {
    let mut world = World::new(Options::default()).await;
    world.workspace("solar", |_| {}).await;
    let node = world.start();
    let ids = world.route("solar", 8_000).await;
    let outcomes = world.ended(8_000).await;
    node.stop().await;
    assert_eq!(delivered(&outcomes), ids);
    assert_eq!(outcomes.len(), 8_000, "none was put on disk");
}

#[tokio::test(start_paused = true)]
async fn what_a_paced_client_left_on_disk_comes_back_at_its_rate() {
    let options = Options { max_wait_seconds: 1, ..Options::default() };
    let mut world = World::new(options).await;
    world.workspace("paced", |w| w.rate_limit = Some(RateLimit { per_second: 100, burst: Some(10) })).await;
    let node = world.start();
    let ids = world.route("paced", 3_000).await;
    let began = Instant::now();
    let outcomes = world.ended(3_000).await;
    node.stop().await;
    assert_eq!(delivered(&outcomes), ids);
    assert!(began.elapsed() < 33 * SECOND, "the rate is used: {:?}", began.elapsed());
    assert_eq!(world.requests_to("paced").len(), 3_000, "each is posted once");
    let held = outcomes.iter().filter(|r| matches!(r.outcome, Outcome::Held { .. })).count();
    assert!((2_000..=3_000).contains(&held), "each is put on disk once at most: {held}");
}

#[tokio::test(start_paused = true)]
async fn attempts_go_on_while_outcomes_are_committed_but_not_for_long() {
    let mut world = World::new(Options { max_in_flight_per_workspace: 10, ..Options::default() }).await;
    world.workspace("solar", |_| {}).await;
    world.script("solar", |_| (Duration::from_millis(100), ok()));
    let node = world.start();
    sleep(SECOND).await;
    let ids = world.route("solar", 1_000).await;
    world.log.set_faults(|| Fault::Refuse);
    sleep(2 * SECOND).await;
    let soon = world.requests_to("solar").len();
    assert!(soon > 100, "{soon} in two seconds");
    sleep(3 * SECOND).await;
    let stopped = world.requests_to("solar").len();
    sleep(20 * SECOND).await;
    assert_eq!(world.requests_to("solar").len(), stopped, "another may have been given the partition");
    world.log.clear_faults();
    assert_eq!(delivered(&world.ended(1_000).await), ids);
    node.stop().await;
    assert_eq!(world.requests_to("solar").len(), 1_000, "each is posted once");
}

/// Lets a client answer its first request with 503 and `Retry-After`, and take all others.
fn busy_at_first(world: &World, workspace: &str, retry_after: &'static str) {
    let mut first = true;
    world.script(workspace, move |_| {
        let busy = Answer { status: 503, retry_after: Some(retry_after.to_owned()), ..Answer::default() };
        (Duration::ZERO, if std::mem::take(&mut first) { Ok(busy) } else { ok() })
    });
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_for_a_pause_is_left_alone_with_everything() {
    for (asked, pause) in [("20", 20), ("600", 600), ("Mon, 15 Jan 2024 10:40:00 GMT", 599)] {
        let mut world = World::new(Options::default()).await;
        for id in ["busy", "other"] {
            world.workspace(id, |_| {}).await;
        }
        busy_at_first(&world, "busy", asked);
        let node = world.start();
        world.route("busy", 1).await;
        sleep(SECOND).await;
        world.route("busy", 30).await;
        world.route("other", 1).await;
        sleep(SECOND).await;
        assert_eq!(world.requests_to("other").len(), 1, "the others are not held up");
        world.ended(32).await;
        node.stop().await;
        let requests = world.requests_to("busy");
        assert_eq!(requests.len(), 32);
        let waited = requests[1].at - requests[0].at;
        assert!((pause..pause + 10).contains(&waited.as_secs()), "{asked}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_workspace_ends_the_pause_that_its_client_asked_for() {
    let mut world = World::new(Options::default()).await;
    world.workspace("busy", |_| {}).await;
    busy_at_first(&world, "busy", "86400");
    let node = world.start();
    world.route("busy", 1).await;
    sleep(SECOND).await;
    world.route("busy", 3).await;
    sleep(200 * SECOND).await;
    assert_eq!(world.requests_to("busy").len(), 1);
    world.workspace("busy", |w| w.name = "entered anew".into()).await;
    sleep(SECOND).await;
    assert_eq!(world.requests_to("busy").len(), 4, "the first waits for its own time, as it was told");
    node.stop().await;
}
