//! The whole pipeline on in-memory providers, with simulated time and seeded faults: one to three nodes that share the
//! log and the tables, die between any two steps, join, leave, and stand still until others have taken over and then go
//! on; writes that fail or are not answered, clients that fail, hang and refuse. After each history the invariants of
//! ARCHITECTURE.md are checked. A failure prints its seed: `SIM_SEED=<seed> cargo test --test simulation` repeats it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod business;
mod clients;
mod faulty;
mod ice;
mod invariants;
mod node;
mod posters;
mod world;

use invariants::Totals;
use world::World;

/// How many histories; `SIM_SEEDS` asks for more.
fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match number("SIM_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SIM_SEEDS").unwrap_or(300)).collect(),
    }
}

/// Names the seed when a history panics.
struct Announce(u64);

impl Drop for Announce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("FAILING SEED: {}", self.0);
        }
    }
}

/// One history, from its seed.
fn history(seed: u64) -> Totals {
    let announce = Announce(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    // The pauses between the restarts of a stage.
    fastrand::seed(seed);
    let totals = runtime.block_on(async {
        let mut world = World::new(seed);
        world.live().await;
        world.settle().await;
        invariants::check(&world).await
    });
    drop(announce);
    totals
}

/// The histories of these seeds, side by side: each is a world of its own.
fn histories(seeds: Vec<u64>) -> Totals {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = seeds.len().div_ceil(threads).max(1);
    let tell = |seeds: &[u64]| {
        let mut totals = Totals::default();
        seeds.iter().for_each(|seed| totals += history(*seed));
        totals
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = seeds.chunks(share).map(|seeds| scope.spawn(move || tell(seeds))).collect();
        let mut totals = Totals::default();
        for thread in running {
            totals += thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        totals
    })
}

#[test]
fn whatever_fails_the_invariants_hold() {
    let totals = histories(seeds());
    println!("{totals:?}");
    // Histories in which nothing happens would prove nothing.
    if totals.histories > 100 {
        assert!(
            totals.shared > totals.histories / 2 && totals.left > 0 && totals.frozen > totals.histories,
            "{totals:?}"
        );
        assert!(totals.expelled > totals.histories / 2 && totals.lost_answers > totals.histories, "{totals:?}");
        assert!(totals.duplicates > 0 && totals.attempts > totals.delivered + totals.retries, "{totals:?}");
        assert!(totals.crashes > totals.histories && totals.refused_writes > totals.histories, "{totals:?}");
        assert!(totals.delivered > 10 * totals.histories && totals.retries > totals.histories, "{totals:?}");
        assert!(totals.given_up > 0 && totals.unrouted > 0 && totals.repeated_posts > totals.histories, "{totals:?}");
    }
}
