//! What the parts of the pipeline cost one by one, each taken the way that production takes it: a lead from its request
//! to its record, a webhook from its appointment to its outcome, every table, scoring, and the log's group commit.
//!
//! `cargo bench -p leadway-benches --bench parts`; behind `--`, the name of a group takes that one alone and `--quick`
//! gives a first look. Matching has its own bench.
#![allow(clippy::unwrap_used, reason = "a part that fails cannot be measured")]

mod at_once;
mod commit;
mod dispatch;
mod history;
mod intake;
mod recorder;
mod sample;
mod scoring;
mod tables;

use std::time::Duration;

use criterion::Criterion;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many partitions a log has, as in the defaults.
const PARTITIONS: u32 = 12;
/// How much one write or commit holds: what comes alone, a busy moment's and a flood's.
const BATCHES: [usize; 3] = [1, 64, 1_000];

fn main() {
    let (warm_up, measuring) = (Duration::from_millis(500), Duration::from_secs(2));
    let criterion = Criterion::default().sample_size(20).warm_up_time(warm_up).measurement_time(measuring);
    let mut criterion = criterion.configure_from_args();
    intake::bench(&mut criterion);
    dispatch::bench(&mut criterion);
    tables::bench(&mut criterion);
    scoring::bench(&mut criterion);
    commit::bench(&mut criterion);
    criterion.final_summary();
}

/// One thread does everything but what blocks: the time of a step is then the work that it takes.
fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A folder on the disk of the build, not in `/tmp`: that may be memory, where nothing is ever synced.
fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}
