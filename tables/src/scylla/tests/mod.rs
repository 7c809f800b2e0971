//! Writers that die, sleep and race, over a real Cassandra: each step of a write is taken by itself.

// `table!` declares public rows, and those of tests are seen by nobody.
#![allow(unreachable_pub)]

mod claims;
mod crashes;
mod emptying;

use std::sync::atomic::{AtomicU64, Ordering};

use leadway_domain::record::Topic;
use leadway_domain::{Clock, Offset, Partition, Timestamp};
use leadway_servers::Cassandra;

use super::batch::Batch;
use super::rows::{changes, requests};
use super::{Options, ScyllaTables};
use crate::{Applied, Day, Row, Table, TableRow, Tables, TablesError, Write, get, key, table};

table! {
    /// A count that each batch reads and raises, as sums of a day are.
    pub struct CountRow = 1 "counts" {
        partition {
            /// Of which group.
            group: String,
        }
        clustering {}
        data {
            /// How many batches.
            batches: i64,
            /// The last batch's position.
            last: i64,
        }
    }
}

table! {
    /// A row per batch, of which every second one is removed by the batch after it and every third one comes back.
    pub struct StepRow = 2 "steps" {
        partition {
            /// Some shard.
            shard: i64,
        }
        clustering {
            /// Which batch.
            step: i64,
        }
        data {
            /// Who wrote it.
            writer: String,
            /// Only in rows that were written once.
            once: bool,
        }
    }
}

table! {
    /// What is left of decisions that found nothing.
    pub struct OpenRow = 3 "open" {
        partition {
            /// A day.
            day: Day,
        }
        clustering {
            /// Which.
            number: i64,
        }
        versioned {
            /// Which decision.
            decision: i64,
            /// Why.
            reason: String,
        }
        data {}
    }
}

const ALL: &[&Table] = &[CountRow::TABLE, StepRow::TABLE, OpenRow::TABLE];
const GROUPS: [&str; 5] = ["a", "b", "c", "d", "e"];
const PLACE: (Topic, Partition) = (Topic::Leads, Partition(0));
const OTHER: (Topic, Partition) = (Topic::Deliveries, Partition(3));

static NEXT: AtomicU64 = AtomicU64::new(1);

async fn options() -> Options {
    let server = tokio::task::spawn_blocking(leadway_servers::shared_cassandra).await.unwrap();
    options_on(server.unwrap_or_else(|error| panic!("{error}")))
}

fn options_on(server: &Cassandra) -> Options {
    let keyspace = format!("u{}", NEXT.fetch_add(1, Ordering::Relaxed));
    // Keyspaces are made at once, on a machine that does other things too.
    let start_timeout_ms = 180_000;
    Options { nodes: server.contact_point(), keyspace, replication: 1, start_timeout_ms, ..Options::default() }
}

/// A node, with its own connections and its own memory of what stands.
async fn node(options: &Options) -> ScyllaTables {
    node_at(options, Clock::system()).await
}

async fn node_at(options: &Options, clock: Clock) -> ScyllaTables {
    let seed = NEXT.fetch_add(1, Ordering::Relaxed);
    ScyllaTables::open(options.clone(), ALL, clock, seed).await.unwrap()
}

fn clock(second: i64) -> Clock {
    Clock::manual(Timestamp::from_second(second).unwrap())
}

/// The positions of batch number `n`: two of them, of which the second is `OTHER` for every third batch.
fn positions(n: u64) -> Vec<Applied> {
    let of = |(topic, partition), from, next| Applied { topic, partition, from: Offset(from), next: Offset(next) };
    let mut all = vec![of(PLACE, n * 10, n * 10 + 10)];
    if n.is_multiple_of(3) {
        all.push(of(OTHER, n / 3, n / 3 + 1));
    }
    all
}

/// What batch number `n` makes of the tables as they stand.
async fn folded(tables: &ScyllaTables, n: u64, writer: &str) -> Result<Vec<Write>, TablesError> {
    let mut writes = Vec::new();
    let number = n as i64;
    for group in GROUPS {
        let stored: Option<CountRow> = get(tables, &key![group.to_owned()]).await?;
        let mut row = stored.unwrap_or_else(|| CountRow::new(group.to_owned()));
        row.batches = Some(row.batches.unwrap_or(0) + 1);
        row.last = Some(number);
        writes.push(row.upsert());
    }
    let step = |number| StepRow { writer: Some(writer.to_owned()), ..StepRow::new(number % 2, number) };
    writes.push(StepRow { once: Some(true), ..step(number) }.upsert());
    if number > 0 && number % 2 == 0 {
        writes.push(StepRow::delete(key![(number - 1) % 2, number - 1]));
    }
    if number > 0 && number % 3 == 0 {
        // Removed and made anew: what it had besides is gone.
        writes.push(StepRow::delete(key![(number - 1) % 2, number - 1]));
        writes.push(step(number - 1).upsert());
    }
    writes.push(OpenRow { decision: Some(number + 1), ..OpenRow::new(Day::from_number(7), 1) }.upsert());
    Ok(writes)
}

/// The rows after so many batches, whoever wrote them.
fn expected(batches: u64) -> Vec<(String, Row)> {
    let last = batches as i64 - 1;
    let mut rows: Vec<(String, Row)> = Vec::new();
    for group in GROUPS {
        let row = CountRow { batches: Some(batches as i64), last: Some(last), ..CountRow::new(group.to_owned()) };
        rows.push((CountRow::TABLE.name.into(), row.to_row()));
    }
    for shard in 0..2 {
        for number in (0..=last).filter(|n| n % 2 == shard) {
            let after = number + 1;
            let (removed, again) = (after <= last && after % 2 == 0, after <= last && after % 3 == 0);
            if removed && !again {
                continue;
            }
            let row = StepRow { once: (!again).then_some(true), ..StepRow::new(shard, number) };
            rows.push((StepRow::TABLE.name.into(), row.to_row()));
        }
    }
    let open = OpenRow { decision: Some(last + 1), ..OpenRow::new(Day::from_number(7), 1) };
    rows.push((OpenRow::TABLE.name.into(), open.to_row()));
    rows
}

/// All rows, without who wrote them.
async fn found(tables: &ScyllaTables) -> Vec<(String, Row)> {
    let mut rows = tables.dump().await.unwrap();
    for (_, row) in rows.iter_mut().filter(|(name, _)| name == StepRow::TABLE.name) {
        row[2] = None;
    }
    rows
}

async fn applied(tables: &ScyllaTables) -> u64 {
    tables.applied(PLACE.0, PLACE.1).await.unwrap().0 / 10
}

/// Applies one batch as scoring does: from where the tables stand, and again from there when they stood elsewhere. Tells
/// how often it was refused.
async fn apply_next(tables: &ScyllaTables, writer: &str) -> usize {
    for refused in 0..100 {
        let n = applied(tables).await;
        let writes = folded(tables, n, writer).await.unwrap();
        match tables.write(writes, &positions(n)).await {
            Ok(()) => return refused,
            Err(TablesError::Stale(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it is refused for ever")
}

/// A batch that a writer has begun: nothing of it is written.
async fn begun(tables: &ScyllaTables, n: u64, writer: &str) -> (Batch, super::positions::Claims) {
    let changes = changes(&folded(tables, n, writer).await.unwrap()).unwrap();
    let before = tables.writer.stand(&positions(n)).await.unwrap();
    (tables.writer.batch(changes, &positions(n), &before), before)
}

/// Writes some of the batch's rows.
async fn put_some(tables: &ScyllaTables, batch: &Batch, part: usize) {
    let mut all = requests(&tables.statements, &batch.changes, batch.timestamp).unwrap();
    all.truncate(all.len() * part / 4);
    tables.client.apply_all(all).await.unwrap();
}
