//! Crashes at any step.

use std::time::Duration;

use leadway_dispatcher::Options;
use leadway_domain::record::Outcome;
use leadway_eventlog::Fault;
use tokio::time::sleep;

use crate::world::{World, ok, status};
use crate::{SECOND, delivered};

/// Nodes crash at any write, landed or not; clients fail at random. In the end each appointment has exactly one
/// `delivered`, and each went to the client.
#[tokio::test(start_paused = true)]
async fn crashes_at_any_write_leave_exactly_one_delivery_each() {
    for seed in 0..12 {
        let options = Options {
            max_queued_per_workspace: 20,
            max_in_flight_per_workspace: 5,
            circuit_failures: 4,
            circuit_pause_seconds: 2,
            first_retry_ms: 2_000,
            max_retry_seconds: 20,
            max_attempts: 1_000,
            max_wait_seconds: 3,
            ..Options::default()
        };
        let mut world = World::new(options).await;
        let mut ids = Vec::new();
        let mut random = fastrand::Rng::with_seed(seed);
        for id in ["a", "b", "c"] {
            world.workspace(id, |_| {}).await;
            let mut random = random.fork();
            world.script(id, move |_| {
                let answer = if random.u8(0..10) < 4 { status(500) } else { ok() };
                (Duration::from_millis(random.u64(1..1_500)), answer)
            });
        }
        let mut faults = random.fork();
        let mut writes_left = 60;
        let mut crashes = 0;
        let mut node = world.start();
        sleep(Duration::from_millis(10)).await;
        for round in 0..2_000 {
            if round % 10 == 0 && round < 60 {
                world.log.clear_faults();
                for id in ["a", "b", "c"] {
                    ids.extend(world.route(id, 10).await);
                }
                let mut faults = faults.fork();
                world.log.set_faults(move || match faults.u8(0..10) {
                    0 if writes_left > 0 => {
                        writes_left -= 1;
                        Fault::LandAndClose
                    }
                    1 => Fault::Refuse,
                    _ => Fault::None,
                });
            }
            sleep(Duration::from_millis(100)).await;
            if node.task.is_finished() {
                crashes += 1;
                assert!(node.task.await.unwrap().is_err());
                node = world.start();
            } else if round < 100 && random.u8(0..20) == 0 {
                // Killed: nothing is drained.
                crashes += 1;
                node.task.abort();
                let _ = node.task.await;
                node = world.start();
            }
            if round > 100 && world.count(|outcome| *outcome == Outcome::Delivered).await >= ids.len() {
                break;
            }
        }
        world.log.clear_faults();
        sleep(30 * SECOND).await;
        let outcomes = world.outcomes().await;
        ids.sort();
        assert_eq!(delivered(&outcomes), ids, "seed {seed}");
        assert!(crashes > 3, "seed {seed}: {crashes} crashes");
        for id in ["a", "b", "c"] {
            assert_eq!(world.open_rows(id).await, 0, "seed {seed}, workspace {id}");
        }
        node.task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_an_outcome_is_not_sent_again_wherever_the_log_says_that_the_dispatcher_stands() {
    for offset in [0, 3, 7] {
        let mut world = World::new(Options::default()).await;
        world.next_id = 10_000;
        for id in ["a", "b", "held"] {
            world.workspace(id, |workspace| workspace.webhook_active = id != "held").await;
            world.route(id, 10).await;
        }
        let node = world.start();
        sleep(SECOND).await;
        node.stop().await;
        let sent = world.clients.seen.lock().len();
        assert_eq!((sent, world.open_rows("held").await), (20, 10));
        world.move_back(offset).await;
        let node = world.start();
        sleep(SECOND).await;
        assert_eq!(world.clients.seen.lock().len(), sent, "from offset {offset}");
        world.route("a", 1).await;
        sleep(SECOND).await;
        assert_eq!(world.clients.seen.lock().len(), sent + 1, "what is new is delivered");
        node.stop().await;
    }
}
