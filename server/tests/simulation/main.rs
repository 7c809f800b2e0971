//! The whole pipeline on in-memory providers, with simulated time and seeded faults: nodes that die between any two
//! steps, writes that fail, clients that fail, hang and refuse. After each history the invariants of ARCHITECTURE.md
//! are checked. A failure prints its seed: `SIM_SEED=<seed> cargo test --test simulation` repeats it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

mod faulty;
mod invariants;
mod world;

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

#[test]
fn whatever_fails_the_invariants_hold() {
    let mut totals = invariants::Totals::default();
    for seed in seeds() {
        let announce = Announce(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        totals += runtime.block_on(async {
            let mut world = World::new(seed);
            world.live().await;
            world.settle().await;
            invariants::check(&world).await
        });
        drop(announce);
    }
    println!("{totals:?}");
    // Histories in which nothing happens would prove nothing.
    if totals.histories > 100 {
        assert!(totals.crashes > totals.histories && totals.refused_writes > totals.histories, "{totals:?}");
        assert!(totals.delivered > 10 * totals.histories && totals.retries > totals.histories, "{totals:?}");
        assert!(totals.given_up > 0 && totals.unrouted > 0 && totals.repeated_posts > totals.histories, "{totals:?}");
    }
}
