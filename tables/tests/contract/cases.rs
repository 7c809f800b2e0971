//! The contract, a case per promise.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use leadway_domain::record::Topic;
use leadway_domain::{LeadId, Money, Offset, Partition, Timestamp};
use leadway_tables::{Applied, Day, LogOfTables, Range, TableRow, Tables, TablesError, Value, Write, get, key, scan};
use uuid::Uuid;

pub(crate) use super::scans::*;

use super::declarations::{DecisionRow, MomentRow, NoteRow, PairRow, StoryRow, WaitingRow};

/// When a waiter has surely been forgotten.
const GIVE_UP: Duration = Duration::from_secs(30);

pub(crate) fn note(owner: &str, title: &str, number: i64) -> NoteRow {
    NoteRow::new(owner.into(), title.into(), number)
}

pub(crate) fn counted(owner: &str, title: &str, number: i64, count: i64) -> NoteRow {
    NoteRow { count: Some(count), ..note(owner, title, number) }
}

pub(crate) fn at(topic: Topic, partition: u32, from: u64, next: u64) -> Applied {
    Applied { topic, partition: Partition(partition), from: Offset(from), next: Offset(next) }
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.into())
}

pub(crate) fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap()
}

pub(crate) async fn put(tables: &dyn Tables, rows: &[impl TableRow]) {
    tables.write(rows.iter().map(TableRow::upsert).collect(), &[]).await.unwrap();
}

async fn note_of(tables: &dyn Tables, owner: &str, title: &str, number: i64) -> Option<NoteRow> {
    get(tables, &key![owner.to_owned(), title.to_owned(), number]).await.unwrap()
}

pub(crate) async fn notes(tables: &dyn Tables, owner: &str, range: Range) -> Vec<(String, i64)> {
    let rows: Vec<NoteRow> = scan(tables, &[text(owner)], range).await.unwrap();
    rows.into_iter().map(|row| (row.title, row.number)).collect()
}

pub(crate) async fn numbers(tables: &dyn Tables, range: Range) -> Vec<i64> {
    notes(tables, "a", range).await.into_iter().map(|(_, number)| number).collect()
}

async fn applied(tables: &dyn Tables, topic: Topic, partition: u32) -> u64 {
    tables.applied(topic, Partition(partition)).await.unwrap().0
}

pub(crate) async fn an_upsert_sets_the_cells_it_has_and_leaves_the_others(tables: &dyn Tables) {
    let first = NoteRow { text: Some("one".into()), count: Some(1), ..note("a", "t", 0) };
    put(tables, &[first]).await;
    put(tables, &[NoteRow { count: Some(-2), at: Some(moment(-1)), ..note("a", "t", 0) }]).await;
    let expected = NoteRow { text: Some("one".into()), count: Some(-2), at: Some(moment(-1)), ..note("a", "t", 0) };
    assert_eq!(note_of(tables, "a", "t", 0).await, Some(expected));
}

pub(crate) async fn a_row_of_nothing_but_its_key_is_a_row(tables: &dyn Tables) {
    put(tables, &[note("a", "t", 0)]).await;
    put(tables, &[PairRow::new("x".into(), "y".into())]).await;
    assert_eq!(note_of(tables, "a", "t", 0).await, Some(note("a", "t", 0)));
    let pair: Option<PairRow> = get(tables, &[text("x"), text("y")]).await.unwrap();
    assert_eq!(pair, Some(PairRow::new("x".into(), "y".into())));
    let none: Option<PairRow> = get(tables, &[text("y"), text("x")]).await.unwrap();
    assert_eq!(none, None);
}

pub(crate) async fn a_delete_removes_one_row_and_may_find_none(tables: &dyn Tables) {
    put(tables, &[note("a", "t", 1), note("a", "t", 2)]).await;
    let delete = || NoteRow::delete(key!["a".to_owned(), "t".to_owned(), 1i64]);
    tables.write(vec![delete()], &[]).await.unwrap();
    tables.write(vec![delete()], &[]).await.unwrap();
    assert_eq!(numbers(tables, Range::first(9)).await, [2]);
}

pub(crate) async fn changes_of_one_batch_are_applied_in_order(tables: &dyn Tables) {
    let delete = || NoteRow::delete(key!["a".to_owned(), "t".to_owned(), 1i64]);
    let named = || NoteRow { text: Some("kept?".into()), ..note("a", "t", 1) }.upsert();
    let counted = |n| counted("a", "t", 1, n).upsert();
    let write = |writes: Vec<Write>| async move {
        tables.write(writes, &[]).await.unwrap();
        note_of(tables, "a", "t", 1).await.map(|row| (row.text, row.count))
    };
    let kept = Some("kept?".to_owned());
    assert_eq!(write(vec![counted(1), named(), counted(2)]).await, Some((kept.clone(), Some(2))));
    assert_eq!(write(vec![counted(3)]).await, Some((kept, Some(3))));
    assert_eq!(write(vec![named(), delete(), counted(4)]).await, Some((None, Some(4))));
    assert_eq!(write(vec![counted(5), delete()]).await, None);
}

pub(crate) async fn many_rows_are_read_in_the_order_of_their_keys(tables: &dyn Tables) {
    put(tables, &(0..100).map(|n| counted("a", "t", n, n)).collect::<Vec<_>>()).await;
    put(tables, &[PairRow::new("x".into(), "y".into())]).await;
    let mut keys: Vec<_> =
        (0..200).rev().map(|n| (NoteRow::TABLE, key!["a".to_owned(), "t".to_owned(), n as i64])).collect();
    keys.push((PairRow::TABLE, key!["x".to_owned(), "y".to_owned()]));
    let rows = tables.get_all(keys).await.unwrap();
    let counts: Vec<_> = rows.iter().take(200).map(|row| row.as_ref().map(|row| row[4].clone())).collect();
    let expected: Vec<_> = (0..200).rev().map(|n| (n < 100).then_some(Some(Value::Int(n)))).collect();
    assert_eq!(counts, expected);
    assert_eq!(rows[200], Some(PairRow::new("x".into(), "y".into()).to_row()));
    assert!(tables.get_all(vec![(NoteRow::TABLE, key![1i64])]).await.is_err());
}

pub(crate) async fn a_partition_does_not_see_its_neighbours(tables: &dyn Tables) {
    let owners = ["\u{1}", "\0", "a", "a\0", "a\u{1}", "ab", "b"];
    for (n, owner) in (0..).zip(owners) {
        put(tables, &[note(owner, "x", n), note(owner, "", n)]).await;
    }
    for (n, owner) in (0..).zip(owners) {
        let expected = [(String::new(), n), ("x".to_owned(), n)];
        assert_eq!(notes(tables, owner, Range::first(99)).await, expected, "{owner:?}");
    }
    put(tables, &[PairRow::new("a".into(), "bc".into()), PairRow::new("ab".into(), "c".into())]).await;
    let rows: Vec<PairRow> = scan(tables, &[text("a"), text("bc")], Range::first(9)).await.unwrap();
    assert_eq!(rows, [PairRow::new("a".into(), "bc".into())]);
}

pub(crate) async fn tables_do_not_see_each_other(tables: &dyn Tables) {
    put(tables, &[note("a", "", 0)]).await;
    put(tables, &[PairRow::new("a".into(), String::new())]).await;
    tables.write(vec![PairRow::delete(key!["a".to_owned(), String::new()])], &[]).await.unwrap();
    assert_eq!(numbers(tables, Range::last(9)).await, [0]);
}

pub(crate) async fn a_batch_carries_its_positions(tables: &dyn Tables) {
    assert_eq!(applied(tables, Topic::Leads, 0).await, 0);
    let largest = i64::MAX as u64;
    let positions = [at(Topic::Leads, 0, 0, 5), at(Topic::Leads, 300, 0, 1), at(Topic::Deliveries, 0, 0, largest)];
    tables.write(vec![], &positions).await.unwrap();
    assert_eq!(applied(tables, Topic::Leads, 0).await, 5);
    assert_eq!(applied(tables, Topic::Leads, 300).await, 1);
    assert_eq!(applied(tables, Topic::Deliveries, 0).await, largest);
    assert_eq!(applied(tables, Topic::Leads, 1).await, 0);
    tables.write(vec![], &[at(Topic::Leads, 0, 5, 6)]).await.unwrap();
    assert_eq!(applied(tables, Topic::Leads, 0).await, 6);
}

pub(crate) async fn a_batch_that_was_applied_is_refused_and_changes_nothing(tables: &dyn Tables) {
    let batch = |n| vec![counted("a", "t", 0, n).upsert(), note("a", "t", n).upsert()];
    tables.write(batch(1), &[at(Topic::Leads, 0, 0, 7)]).await.unwrap();
    let before = tables.dump().await.unwrap();
    for (from, next) in [(0, 7), (0, 8), (6, 8), (8, 9)] {
        let refused = tables.write(batch(2), &[at(Topic::Leads, 0, from, next)]).await;
        assert!(matches!(refused, Err(TablesError::Stale(_))), "{from} to {next}: {refused:?}");
    }
    let refused = tables.write(batch(2), &[at(Topic::Leads, 1, 1, 2)]).await;
    assert!(matches!(refused, Err(TablesError::Stale(_))), "nothing was applied: {refused:?}");
    assert_eq!(tables.dump().await.unwrap(), before);
    assert_eq!(applied(tables, Topic::Leads, 0).await, 7);
}

pub(crate) async fn one_stale_position_refuses_the_whole_batch(tables: &dyn Tables) {
    tables.write(vec![], &[at(Topic::Leads, 1, 0, 3)]).await.unwrap();
    let positions = [at(Topic::Leads, 0, 0, 9), at(Topic::Leads, 1, 0, 3)];
    assert!(tables.write(vec![note("a", "t", 0).upsert()], &positions).await.is_err());
    assert_eq!(applied(tables, Topic::Leads, 0).await, 0);
    assert_eq!(tables.dump().await.unwrap(), []);
}

pub(crate) async fn a_waiter_wakes_when_its_position_is_applied(tables: &dyn Tables) {
    let mut waiting = pin!(tables.wait_applied(Topic::Appointments, Partition(2), Offset(5)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    tables.write(vec![], &[at(Topic::Appointments, 2, 0, 4), at(Topic::Leads, 2, 0, 9)]).await.unwrap();
    assert!(waiting.as_mut().poll(&mut context).is_pending(), "one short of it");
    let write = async {
        tokio::task::yield_now().await;
        tables.write(vec![], &[at(Topic::Appointments, 2, 4, 5)]).await.unwrap();
    };
    let (woken, ()) = tokio::join!(tokio::time::timeout(GIVE_UP, waiting), write);
    woken.expect("it wakes").unwrap();
    let mut reached = pin!(tables.wait_applied(Topic::Appointments, Partition(2), Offset(5)));
    assert!(matches!(reached.as_mut().poll(&mut context), Poll::Ready(Ok(()))), "nothing to wait for");
}

pub(crate) async fn a_writer_is_told_that_somebody_waits_for_as_long_as_somebody_does(tables: &dyn Tables) {
    let mut context = Context::from_waker(Waker::noop());
    tables.wait_applied(Topic::Leads, Partition(0), Offset(0)).await.unwrap();
    let mut told = pin!(tables.awaited());
    assert!(told.as_mut().poll(&mut context).is_pending(), "nobody waits for what is applied");
    {
        let mut waiting = pin!(tables.wait_applied(Topic::Leads, Partition(0), Offset(1)));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        assert!(told.as_mut().poll(&mut context).is_ready());
        assert!(pin!(tables.awaited()).poll(&mut context).is_ready());
    }
    assert!(pin!(tables.awaited()).poll(&mut context).is_pending(), "nobody waits any more");
}

pub(crate) async fn what_does_not_fit_is_refused_before_anything_is_touched(tables: &dyn Tables) {
    let upsert = |change: fn(&mut Vec<Option<Value>>)| {
        let mut row = note("a", "t", 1).to_row();
        change(&mut row);
        Write::upsert(NoteRow::TABLE, &row)
    };
    let wrong = [
        upsert(|row| row[1] = None),
        upsert(|row| row[2] = Some(Value::Timestamp(1))),
        upsert(|row| row[4] = Some(Value::Bool(true))),
        upsert(|row| drop(row.pop())),
        upsert(|row| row.push(None)),
        NoteRow::delete(vec![text("a"), text("t")]),
        NoteRow::delete(vec![text("a"), text("t"), text("1")]),
    ];
    for write in wrong {
        let batch = vec![note("a", "t", 0).upsert(), write.clone()];
        let refused = tables.write(batch, &[at(Topic::Leads, 0, 0, 1)]).await;
        assert!(matches!(refused, Err(TablesError::Mismatch { table: "notes", .. })), "{write:?}: {refused:?}");
    }
    assert!(tables.get(NoteRow::TABLE, &[text("a")]).await.is_err());
    assert!(tables.scan(NoteRow::TABLE, &[], Range::first(1)).await.is_err(), "no partition");
    assert!(tables.scan(PairRow::TABLE, &[text("a")], Range::first(1)).await.is_err(), "half a partition key");
    let too_long = Range::first(1).from(vec![text("t"), Value::Int(0), Value::Int(0)]);
    assert!(tables.scan(NoteRow::TABLE, &[text("a")], too_long).await.is_err());
    let wrong_kind = Range::first(1).before(vec![Value::Int(0)]);
    assert!(tables.scan(NoteRow::TABLE, &[text("a")], wrong_kind).await.is_err());
    assert_eq!(tables.dump().await.unwrap(), []);
    assert_eq!(applied(tables, Topic::Leads, 0).await, 0);
}

pub(crate) async fn a_key_may_be_as_long_as_the_store_takes_and_no_longer(tables: &dyn Tables) {
    let pair = |left: usize| PairRow::new("x".repeat(left), "\0".repeat(100));
    let fits = 509 - 2 - 200 - 2;
    put(tables, &[pair(fits)]).await;
    assert_eq!(tables.dump().await.unwrap().len(), 1);
    let refused = tables.write(vec![pair(fits + 1).upsert()], &[]).await;
    assert!(matches!(refused, Err(TablesError::Mismatch { table: "pairs", .. })), "{refused:?}");
    // The number and the lead take two bytes each, and the text's end too.
    let longest = |owner: usize| StoryRow::new("x".repeat(owner), LeadId(1), 1);
    put(tables, &[longest(503)]).await;
    let rows: Vec<StoryRow> = scan(tables, &[text(&"x".repeat(503))], Range::first(9)).await.unwrap();
    assert_eq!(rows, [longest(503)]);
    assert!(tables.write(vec![longest(504).upsert()], &[]).await.is_err());
}

pub(crate) async fn clear_removes_rows_and_positions(tables: &dyn Tables) {
    tables.write(vec![note("a", "t", 0).upsert()], &[at(Topic::Leads, 0, 0, 5)]).await.unwrap();
    tables.clear().await.unwrap();
    assert_eq!(tables.dump().await.unwrap(), []);
    assert_eq!(applied(tables, Topic::Leads, 0).await, 0);
    tables.write(vec![note("a", "t", 1).upsert()], &[at(Topic::Leads, 0, 0, 1)]).await.unwrap();
    assert_eq!(numbers(tables, Range::first(9)).await, [1]);
    assert_eq!(applied(tables, Topic::Leads, 0).await, 1);
}

pub(crate) async fn a_dump_has_every_row_by_table_and_key(tables: &dyn Tables) {
    put(tables, &[PairRow::new("x".into(), "y".into())]).await;
    put(tables, &[note("b", "t", -1), note("ab", "t", 2), note("ab", "t", -2)]).await;
    tables.write(vec![], &[at(Topic::Leads, 0, 0, 5)]).await.unwrap();
    let note = |owner, n| ("notes".to_owned(), note(owner, "t", n).to_row());
    let pair = ("pairs".to_owned(), PairRow::new("x".into(), "y".into()).to_row());
    assert_eq!(tables.dump().await.unwrap(), [note("ab", -2), note("ab", 2), note("b", -1), pair]);
}

pub(crate) async fn a_large_cell_is_kept(tables: &dyn Tables) {
    let large = "日x\0".repeat(200_000);
    put(tables, &[NoteRow { text: Some(large.clone()), ..note("a", "t", 0) }]).await;
    put(tables, &[counted("a", "t", 0, 1)]).await;
    let stored = note_of(tables, "a", "t", 0).await.unwrap();
    assert!(stored.text == Some(large) && stored.count == Some(1));
}

pub(crate) async fn of_writers_that_race_one_applies_each_position(tables: &dyn Tables) {
    let writer = |name: &'static str| async move {
        let mut won = 0;
        for n in 0..10 {
            let row = NoteRow { text: Some(name.into()), ..counted("a", "t", n, n) };
            match tables.write(vec![row.upsert()], &[at(Topic::Leads, 0, n as u64, n as u64 + 1)]).await {
                Ok(()) => won += 1,
                Err(TablesError::Stale(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        won
    };
    let (a, b, c) = tokio::join!(writer("a"), writer("b"), writer("c"));
    assert_eq!(a + b + c, 10);
    assert_eq!(applied(tables, Topic::Leads, 0).await, 10);
    assert_eq!(numbers(tables, Range::first(99)).await, (0..10).collect::<Vec<_>>());
}

fn decided(version: i64, status: Option<&str>) -> DecisionRow {
    DecisionRow { version: Some(version), status: status.map(str::to_owned), ..DecisionRow::new("a".into(), 1) }
}

pub(crate) async fn of_two_versions_the_higher_stays_whichever_comes_first(tables: &dyn Tables) {
    let later = DecisionRow { day: Some(Day::from_number(9)), ..decided(2, None) };
    let earlier = DecisionRow { amount: Some(Money::from_cents(5)), ..decided(1, Some("one")) };
    let expected = DecisionRow { amount: Some(Money::from_cents(5)), ..later.clone() };
    for swapped in [false, true] {
        for one_batch in [false, true] {
            tables.clear().await.unwrap();
            let mut order = [earlier.clone(), later.clone()];
            if swapped {
                order.reverse();
            }
            match one_batch {
                true => put(tables, &order).await,
                false => {
                    for row in order {
                        put(tables, &[row]).await;
                    }
                }
            }
            let stored: Option<DecisionRow> = get(tables, &key!["a".to_owned(), 1i64]).await.unwrap();
            assert_eq!(stored, Some(expected.clone()), "swapped: {swapped}, in one batch: {one_batch}");
        }
    }
}

pub(crate) async fn a_delete_removes_the_versions_up_to_its_own(tables: &dyn Tables) {
    let waiting = |version| WaitingRow { version: Some(version), ..WaitingRow::new("a".into(), 1) };
    let delete = |version| WaitingRow::delete_version(key!["a".to_owned(), 1i64], version);
    let stored = || async { get::<WaitingRow>(tables, &key!["a".to_owned(), 1i64]).await.unwrap() };
    put(tables, &[waiting(2)]).await;
    tables.write(vec![delete(1)], &[]).await.unwrap();
    assert_eq!(stored().await, Some(waiting(2)));
    tables.write(vec![delete(3)], &[]).await.unwrap();
    assert_eq!(stored().await, None);
    put(tables, &[waiting(4)]).await;
    assert_eq!(stored().await, Some(waiting(4)));
    tables.write(vec![waiting(5).upsert(), delete(6), waiting(5).upsert()], &[]).await.unwrap();
    assert_eq!(stored().await, None, "in one batch the order does not count");
}

pub(crate) async fn versions_that_do_not_fit_are_refused(tables: &dyn Tables) {
    let key = || key!["a".to_owned(), 1i64];
    let wrong = [
        DecisionRow { status: Some("x".into()), ..DecisionRow::new("a".into(), 1) }.upsert(),
        decided(0, None).upsert(),
        DecisionRow::delete(key()),
        DecisionRow::delete_version(key(), 1),
        WaitingRow::delete(key()),
        WaitingRow::delete_version(key(), 0),
        NoteRow::delete_version(key!["a".to_owned(), "t".to_owned(), 1i64], 1),
    ];
    for write in wrong {
        let refused = tables.write(vec![write.clone()], &[]).await;
        assert!(matches!(refused, Err(TablesError::Mismatch { .. })), "{write:?}: {refused:?}");
    }
    assert_eq!(tables.dump().await.unwrap(), []);
}

pub(crate) async fn positions_that_make_no_sense_are_refused(tables: &dyn Tables) {
    let wrong = [
        vec![at(Topic::Leads, 0, 0, 0)],
        vec![at(Topic::Leads, 0, 3, 2)],
        vec![at(Topic::Leads, 0, 0, u64::MAX)],
        vec![at(Topic::Leads, 0, 0, 1), at(Topic::Leads, 0, 1, 2)],
    ];
    for positions in wrong {
        let refused = tables.write(vec![note("a", "t", 0).upsert()], &positions).await;
        assert!(matches!(refused, Err(TablesError::Mismatch { .. })), "{positions:?}: {refused:?}");
    }
    assert!(
        tables.write(vec![NoteRow::new(String::new(), "t".into(), 0).upsert()], &[]).await.is_err(),
        "no partition"
    );
    assert_eq!(tables.dump().await.unwrap(), []);
}

pub(crate) async fn every_kind_of_cell_comes_back_as_it_was(tables: &dyn Tables) {
    let cents = [0, 1, -1, 99, 100, 12_345, -9_007_199_254_740_991, i64::MAX, i64::MIN];
    for (n, cents) in (0..).zip(cents) {
        let row = DecisionRow { amount: Some(Money::from_cents(cents)), ..DecisionRow::new("money".into(), n) };
        put(tables, std::slice::from_ref(&row)).await;
        let stored: Option<DecisionRow> = get(tables, &key!["money".to_owned(), n]).await.unwrap();
        assert_eq!(stored, Some(row));
    }
    for (n, day) in (0..).zip([0, 1, -1, 20_000, -700_000, i32::MAX, i32::MIN]) {
        let day = Day::from_number(day);
        let row = DecisionRow { version: Some(1), day: Some(day), ..DecisionRow::new("day".into(), n) };
        put(tables, std::slice::from_ref(&row)).await;
        let stored: Option<DecisionRow> = get(tables, &key!["day".to_owned(), n]).await.unwrap();
        assert_eq!(stored, Some(row));
    }
    let row =
        MomentRow { done: Some(true), other: Some(Uuid::max()), ..MomentRow::new(1, moment(-1), true, Uuid::nil()) };
    put(tables, std::slice::from_ref(&row)).await;
    let rows: Vec<MomentRow> = scan(tables, &[Value::Int(1)], Range::first(9)).await.unwrap();
    assert_eq!(rows, [row]);
}

pub(crate) async fn what_is_told_to_be_applied_is_found_whole(tables: &dyn Tables) {
    const BATCHES: u64 = 12;
    let row = |number: i64, count| counted(&format!("owner {}", number % 40), "t", number, count);
    let write = async {
        for n in 0..BATCHES {
            let rows = (0..80).map(|number| row(number, n as i64).upsert()).collect();
            tables.write(rows, &[at(Topic::Leads, 0, n, n + 1)]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let read = async {
        for n in 0..BATCHES {
            tables.wait_applied(Topic::Leads, Partition(0), Offset(n + 1)).await.unwrap();
            let keys = (0..80).map(|n| (NoteRow::TABLE, key![format!("owner {}", n % 40), "t".to_owned(), n as i64]));
            let rows = tables.get_all(keys.collect()).await.unwrap();
            let whole = rows.iter().all(|row| row.as_ref().is_some_and(|row| row[4] >= Some(Value::Int(n as i64))));
            assert!(whole, "batch {n} is told and not all there");
        }
    };
    tokio::join!(write, read);
}

pub(crate) async fn which_log_they_are_made_of_is_claimed_once_and_outlives_their_emptying(tables: &dyn Tables) {
    let log = |id| LogOfTables::unsettled(Uuid::from_u128(id));
    assert_eq!(tables.log().await.unwrap(), None);
    let claims = futures::future::join_all([1, 2, 3].map(async |id| tables.claim(&log(id)).await.unwrap())).await;
    let stored = tables.log().await.unwrap().expect("it was claimed");
    assert!(claims.iter().all(|told| *told == stored), "all who claim it are told the same: {claims:?}");
    let mut settled = LogOfTables { settled: true, ..log(9) };
    settled.holders.insert("leadway.leads".into(), "AbC".into());
    settled.accept_begin(Topic::Leads, Partition(1), Offset(70));
    tables.set_log(&settled).await.unwrap();
    let next = Offset(5);
    tables
        .write(vec![], &[Applied { topic: Topic::Leads, partition: Partition(1), from: Offset(0), next }])
        .await
        .unwrap();
    assert_eq!(tables.positions().await.unwrap(), [(Topic::Leads, Partition(1), next)]);
    tables.clear().await.unwrap();
    assert_eq!(tables.positions().await.unwrap(), []);
    assert_eq!(tables.log().await.unwrap(), Some(settled.clone()));
    assert_eq!(tables.claim(&log(4)).await.unwrap(), settled);
    assert_eq!(
        (settled.begin(Topic::Leads, Partition(1)), settled.begin(Topic::Leads, Partition(0))),
        (Offset(70), Offset(0))
    );
}
