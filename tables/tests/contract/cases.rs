//! The contract, a case per promise.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition, Timestamp};
use leadway_tables::{Applied, Key, Range, TableRow, Tables, TablesError, Value, Write, get, key, scan};
use uuid::Uuid;

use super::declarations::{MomentRow, NoteRow, PairRow};

/// When a waiter has surely been forgotten.
const GIVE_UP: Duration = Duration::from_secs(30);

pub(crate) fn note(owner: &str, title: &str, number: i64) -> NoteRow {
    NoteRow::new(owner.into(), title.into(), number)
}

pub(crate) fn counted(owner: &str, title: &str, number: i64, count: i64) -> NoteRow {
    NoteRow { count: Some(count), ..note(owner, title, number) }
}

pub(crate) fn at(topic: Topic, partition: u32, next: u64) -> Applied {
    Applied { topic, partition: Partition(partition), next: Offset(next) }
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn moment(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap()
}

async fn put(tables: &dyn Tables, rows: &[impl TableRow]) {
    tables.write(rows.iter().map(TableRow::upsert).collect(), &[]).await.unwrap();
}

async fn note_of(tables: &dyn Tables, owner: &str, title: &str, number: i64) -> Option<NoteRow> {
    get(tables, &key![owner.to_owned(), title.to_owned(), number]).await.unwrap()
}

async fn notes(tables: &dyn Tables, owner: &str, range: Range) -> Vec<(String, i64)> {
    let rows: Vec<NoteRow> = scan(tables, &[text(owner)], range).await.unwrap();
    rows.into_iter().map(|row| (row.title, row.number)).collect()
}

async fn numbers(tables: &dyn Tables, range: Range) -> Vec<i64> {
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

pub(crate) async fn integers_scan_by_value(tables: &dyn Tables) {
    let sorted = [i64::MIN, -1_000, -256, -255, -1, 0, 1, 127, 128, 256, i64::MAX];
    let rows: Vec<_> = sorted.iter().rev().map(|n| note("a", "t", *n)).collect();
    put(tables, &rows).await;
    assert_eq!(numbers(tables, Range::first(99)).await, sorted);
}

pub(crate) async fn timestamps_scan_by_value(tables: &dyn Tables) {
    let sorted = [-62_000_000_000_000_000, -1_000_001, -1, 0, 1, 1_700_000_000_000_000];
    let row = |micros: &i64| MomentRow::new(-5, moment(*micros), false, Uuid::nil());
    put(tables, &sorted.iter().rev().map(row).collect::<Vec<_>>()).await;
    let rows: Vec<MomentRow> = scan(tables, &[Value::Int(-5)], Range::first(99)).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.at.as_microsecond()).collect::<Vec<_>>(), sorted);
}

pub(crate) async fn texts_scan_by_bytes(tables: &dyn Tables) {
    let sorted = ["", "\0", "\0\0", "\0a", "\u{1}", "A", "a", "a\0", "a\0b", "a\u{1}", "ab", "b", "é", "日", "🏠"];
    let rows: Vec<_> = sorted.iter().rev().map(|title| note("a", title, 0)).collect();
    put(tables, &rows).await;
    let titles: Vec<_> = notes(tables, "a", Range::first(99)).await.into_iter().map(|(title, _)| title).collect();
    assert_eq!(titles, sorted);
}

pub(crate) async fn uuids_and_booleans_scan_by_bytes(tables: &dyn Tables) {
    let ids = [0, 1, 0xFF, 1 << 64, u128::MAX].map(Uuid::from_u128);
    let sorted: Vec<_> = [false, true].into_iter().flat_map(|flag| ids.map(|id| (flag, id))).collect();
    let row = |(flag, id): &(bool, Uuid)| MomentRow::new(0, moment(0), *flag, *id);
    put(tables, &sorted.iter().rev().map(row).collect::<Vec<_>>()).await;
    let rows: Vec<MomentRow> = scan(tables, &[Value::Int(0)], Range::first(99)).await.unwrap();
    assert_eq!(rows.iter().map(|row| (row.flag, row.id)).collect::<Vec<_>>(), sorted);
}

pub(crate) async fn later_columns_of_a_key_decide_among_equal_ones(tables: &dyn Tables) {
    put(tables, &[note("a", "ab", -1), note("a", "a", 2), note("a", "a", -2), note("a", "b", -3)]).await;
    let expected = [("a", -2), ("a", 2), ("ab", -1), ("b", -3)].map(|(title, n)| (title.to_owned(), n));
    assert_eq!(notes(tables, "a", Range::first(9)).await, expected);
}

pub(crate) async fn a_scan_keeps_to_its_bounds_direction_and_limit(tables: &dyn Tables) {
    put(tables, &(-3..=3).map(|n| note("a", "t", n)).collect::<Vec<_>>()).await;
    let bound = |n: i64| -> Key { key!["t".to_owned(), n] };
    let cases = [
        (Range::first(0), vec![]),
        (Range::first(2), vec![-3, -2]),
        (Range::last(2), vec![3, 2]),
        (Range::first(9).from(bound(2)), vec![2, 3]),
        (Range::first(9).before(bound(-1)), vec![-3, -2]),
        (Range::first(9).from(bound(-1)).before(bound(1)), vec![-1, 0]),
        (Range::last(9).from(bound(-1)).before(bound(1)), vec![0, -1]),
        (Range::last(1).before(bound(1)), vec![0]),
        (Range::first(1).from(bound(-1)), vec![-1]),
        (Range::first(9).from(bound(1)).before(bound(1)), vec![]),
        (Range::last(9).from(bound(2)).before(bound(1)), vec![]),
        (Range::first(9).from(bound(4)), vec![]),
    ];
    for (range, expected) in cases {
        assert_eq!(numbers(tables, range.clone()).await, expected, "{range:?}");
    }
}

pub(crate) async fn bounds_may_be_beginnings_of_keys(tables: &dyn Tables) {
    let rows = [("a", i64::MIN), ("a", i64::MAX), ("ab", 0), ("b", i64::MIN), ("b", 5)];
    put(tables, &rows.map(|(title, n)| note("a", title, n))).await;
    let rows = rows.map(|(title, n)| (title.to_owned(), n));
    assert_eq!(notes(tables, "a", Range::first(9).from(vec![text("ab")])).await, rows[2..]);
    assert_eq!(notes(tables, "a", Range::first(9).from(vec![text("aa")])).await, rows[2..]);
    assert_eq!(notes(tables, "a", Range::first(9).before(vec![text("ab")])).await, rows[..2]);
    assert_eq!(notes(tables, "a", Range::last(1).before(vec![text("b")])).await, rows[2..3]);
    assert_eq!(notes(tables, "a", Range::first(9).from(vec![]).before(vec![])).await, []);
    assert_eq!(notes(tables, "a", Range::first(9).from(vec![])).await, rows);
}

pub(crate) async fn a_scan_of_more_rows_than_are_read_inline_is_the_same(tables: &dyn Tables) {
    put(tables, &(0..600).map(|n| note("a", "t", n)).collect::<Vec<_>>()).await;
    assert_eq!(numbers(tables, Range::first(1_000)).await, (0..600).collect::<Vec<_>>());
    assert_eq!(numbers(tables, Range::last(500)).await, (100..600).rev().collect::<Vec<_>>());
}

pub(crate) async fn a_partition_does_not_see_its_neighbours(tables: &dyn Tables) {
    let owners = ["", "\0", "a", "a\0", "a\u{1}", "ab", "b"];
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
    let positions = [at(Topic::Leads, 0, 5), at(Topic::Leads, 300, 1), at(Topic::Deliveries, 0, u64::MAX)];
    tables.write(vec![], &positions).await.unwrap();
    assert_eq!(applied(tables, Topic::Leads, 0).await, 5);
    assert_eq!(applied(tables, Topic::Leads, 300).await, 1);
    assert_eq!(applied(tables, Topic::Deliveries, 0).await, u64::MAX);
    assert_eq!(applied(tables, Topic::Leads, 1).await, 0);
    tables.write(vec![], &[at(Topic::Leads, 0, 6)]).await.unwrap();
    assert_eq!(applied(tables, Topic::Leads, 0).await, 6);
}

pub(crate) async fn a_batch_that_was_applied_is_refused_and_changes_nothing(tables: &dyn Tables) {
    let batch = |n| vec![counted("a", "t", 0, n).upsert(), note("a", "t", n).upsert()];
    tables.write(batch(1), &[at(Topic::Leads, 0, 7)]).await.unwrap();
    let before = tables.dump().await.unwrap();
    for next in [7, 6, 1, 0] {
        let refused = tables.write(batch(2), &[at(Topic::Leads, 0, next)]).await;
        assert!(matches!(refused, Err(TablesError::Stale(_))), "{next}: {refused:?}");
    }
    let refused = tables.write(batch(2), &[at(Topic::Leads, 1, 0)]).await;
    assert!(matches!(refused, Err(TablesError::Stale(_))), "a position of nothing: {refused:?}");
    assert_eq!(tables.dump().await.unwrap(), before);
    assert_eq!(applied(tables, Topic::Leads, 0).await, 7);
}

pub(crate) async fn one_stale_position_refuses_the_whole_batch(tables: &dyn Tables) {
    tables.write(vec![], &[at(Topic::Leads, 1, 3)]).await.unwrap();
    let positions = [at(Topic::Leads, 0, 9), at(Topic::Leads, 1, 3)];
    assert!(tables.write(vec![note("a", "t", 0).upsert()], &positions).await.is_err());
    assert_eq!(applied(tables, Topic::Leads, 0).await, 0);
    assert_eq!(tables.dump().await.unwrap(), []);
}

pub(crate) async fn a_waiter_wakes_when_its_position_is_applied(tables: &dyn Tables) {
    let mut waiting = pin!(tables.wait_applied(Topic::Appointments, Partition(2), Offset(5)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    tables.write(vec![], &[at(Topic::Appointments, 2, 4), at(Topic::Leads, 2, 9)]).await.unwrap();
    assert!(waiting.as_mut().poll(&mut context).is_pending(), "one short of it");
    let write = async {
        tokio::task::yield_now().await;
        tables.write(vec![], &[at(Topic::Appointments, 2, 5)]).await.unwrap();
    };
    let (woken, ()) = tokio::join!(tokio::time::timeout(GIVE_UP, waiting), write);
    woken.expect("it wakes").unwrap();
    let mut reached = pin!(tables.wait_applied(Topic::Appointments, Partition(2), Offset(5)));
    assert!(matches!(reached.as_mut().poll(&mut context), Poll::Ready(Ok(()))), "nothing to wait for");
}

pub(crate) async fn compare_and_set_sets_only_what_was_expected(tables: &dyn Tables) {
    let set = |expected: Option<NoteRow>, new: NoteRow| async move {
        tables.compare_and_set(NoteRow::TABLE, expected.map(|row| row.to_row()), new.to_row()).await.unwrap()
    };
    let (one, two, three) = (counted("a", "t", 0, 1), counted("a", "t", 0, 2), counted("a", "t", 0, 3));
    assert!(!set(Some(one.clone()), two.clone()).await, "nothing stands there");
    assert_eq!(note_of(tables, "a", "t", 0).await, None);
    assert!(set(None, one.clone()).await);
    assert!(!set(None, two.clone()).await, "something stands there");
    assert!(!set(Some(three.clone()), two.clone()).await, "something else stands there");
    assert_eq!(note_of(tables, "a", "t", 0).await, Some(one.clone()));
    assert!(set(Some(one), two.clone()).await);
    assert_eq!(note_of(tables, "a", "t", 0).await, Some(two));
}

pub(crate) async fn compare_and_set_replaces_the_whole_row(tables: &dyn Tables) {
    let named = NoteRow { text: Some("x".into()), ..counted("a", "t", 0, 1) };
    put(tables, std::slice::from_ref(&named)).await;
    let bare = counted("a", "t", 0, 2);
    assert!(tables.compare_and_set(NoteRow::TABLE, Some(named.to_row()), bare.to_row()).await.unwrap());
    assert_eq!(note_of(tables, "a", "t", 0).await, Some(bare));
}

pub(crate) async fn what_does_not_fit_is_refused_before_anything_is_touched(tables: &dyn Tables) {
    let upsert = |change: fn(&mut Vec<Option<Value>>)| {
        let mut row = note("a", "t", 1).to_row();
        change(&mut row);
        Write::Upsert { table: NoteRow::TABLE, row }
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
        let refused = tables.write(batch, &[at(Topic::Leads, 0, 1)]).await;
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
    let fits = 511 - 1 - 2 - 200 - 2;
    put(tables, &[pair(fits)]).await;
    assert_eq!(tables.dump().await.unwrap().len(), 1);
    let refused = tables.write(vec![pair(fits + 1).upsert()], &[]).await;
    assert!(matches!(refused, Err(TablesError::Mismatch { table: "pairs", .. })), "{refused:?}");
}

pub(crate) async fn clear_removes_rows_and_positions(tables: &dyn Tables) {
    tables.write(vec![note("a", "t", 0).upsert()], &[at(Topic::Leads, 0, 5)]).await.unwrap();
    tables.clear().await.unwrap();
    assert_eq!(tables.dump().await.unwrap(), []);
    assert_eq!(applied(tables, Topic::Leads, 0).await, 0);
    tables.write(vec![note("a", "t", 1).upsert()], &[at(Topic::Leads, 0, 1)]).await.unwrap();
    assert_eq!(numbers(tables, Range::first(9)).await, [1]);
    assert_eq!(applied(tables, Topic::Leads, 0).await, 1);
}

pub(crate) async fn a_dump_has_every_row_by_table_and_key(tables: &dyn Tables) {
    put(tables, &[PairRow::new("x".into(), "y".into())]).await;
    put(tables, &[note("b", "t", -1), note("ab", "t", 2), note("ab", "t", -2)]).await;
    tables.write(vec![], &[at(Topic::Leads, 0, 5)]).await.unwrap();
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

pub(crate) async fn writers_side_by_side_lose_nothing(tables: &dyn Tables) {
    let increment = || async {
        let mut stood = None;
        loop {
            let next = counted("a", "t", 0, stood.as_ref().map_or(1, |row: &NoteRow| row.count.unwrap() + 1));
            let expected = stood.map(|row| row.to_row());
            if tables.compare_and_set(NoteRow::TABLE, expected, next.to_row()).await.unwrap() {
                return;
            }
            stood = note_of(tables, "a", "t", 0).await;
        }
    };
    let fives = || async {
        for _ in 0..5 {
            increment().await;
        }
    };
    tokio::join!(fives(), fives(), fives(), fives());
    assert_eq!(note_of(tables, "a", "t", 0).await.unwrap().count, Some(20));
}
