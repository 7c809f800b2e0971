use leadway_eventlog::NewRecord;
use leadway_tables::schema::{QuarantineCountRow, QuarantineRow};

use super::Bench;
use super::fixtures::*;
use crate::options::Options;

fn bench(most: u32, days: u32) -> Bench {
    let limits = Options { quarantine_max_per_provider: most, quarantine_max_age_days: days, ..Options::default() };
    Bench::with(limits)
}

/// Ids that are kept, which must be as many as the count says.
fn kept(bench: &Bench) -> Vec<u128> {
    let ids: Vec<u128> = bench.rows::<QuarantineRow>().iter().map(|r| r.id.as_u128()).collect();
    let counted: i64 = bench.rows::<QuarantineCountRow>().iter().filter_map(|r| r.count).sum();
    assert_eq!(counted, ids.len() as i64);
    ids
}

fn added(n: u128, minutes: i64) -> NewRecord {
    record(&quarantined("a", n, minutes), minutes)
}

#[tokio::test]
async fn the_oldest_make_room_over_many_batches_and_within_one() {
    for batch in [1, 2, 7, 100] {
        let bench = bench(40, 30);
        let all: Vec<NewRecord> = (1..=100).map(|n| added(n, n as i64)).collect();
        for part in all.chunks(batch) {
            bench.tell(part.to_vec()).await;
        }
        assert_eq!(kept(&bench), (61..=100).collect::<Vec<_>>(), "batches of {batch}");
    }
}

#[tokio::test]
async fn one_batch_may_drop_many_that_were_there_before_it() {
    let bench = bench(100, 30);
    bench.tell((1..=100).map(|n| added(n, n as i64)).collect()).await;
    bench.tell((101..=180).map(|n| added(n, n as i64)).collect()).await;
    assert_eq!(kept(&bench), (81..=180).collect::<Vec<_>>());
    bench.tell((181..=400).map(|n| added(n, n as i64)).collect()).await;
    assert_eq!(kept(&bench), (301..=400).collect::<Vec<_>>(), "more than were there");
}

#[tokio::test]
async fn age_is_judged_by_the_next_record_of_the_same_provider() {
    let day = 24 * 60;
    let bench = bench(10, 2);
    bench.tell(vec![added(1, 0), added(2, day)]).await;
    bench.tell(vec![record(&quarantined("other", 3, 9 * day), 9 * day)]).await;
    assert_eq!(kept(&bench), [1, 2, 3], "another provider's record drops nothing");
    bench.tell(vec![added(4, 2 * day)]).await;
    assert_eq!(kept(&bench), [1, 2, 4, 3], "exactly the age is not too old");
    bench.tell(vec![added(5, 2 * day + 1)]).await;
    assert_eq!(kept(&bench), [2, 4, 5, 3]);
}

#[tokio::test]
async fn an_ended_one_leaves_once_also_when_it_was_dropped_before() {
    for one_batch in [true, false] {
        let bench = bench(2, 30);
        let all = vec![
            added(1, 1),
            added(2, 2),
            added(3, 3), // drops 1
            record(&ended("a", 1, 4), 4),
            record(&ended("a", 3, 5), 5),
            record(&ended("a", 3, 6), 6),
            added(4, 7),
        ];
        if one_batch {
            bench.tell(all).await;
        } else {
            for one in all {
                bench.tell(vec![one]).await;
            }
        }
        assert_eq!(kept(&bench), [2, 4], "in one batch: {one_batch}");
    }
}
