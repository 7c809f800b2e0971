//! How much goes to a client at once, and how outcomes gather.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leadway_dispatcher::Options;
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
