//! The contract of scans, a case per promise.

use leadway_domain::{Addressing, LeadId, Offset, Partition};
use leadway_tables::{Key, Range, TableRow, Tables, Value, get, key, scan};
use uuid::Uuid;

use super::cases::{moment, note, notes, numbers, put, text};
use super::declarations::{MomentRow, StoryRow};

pub(crate) async fn integers_scan_by_value(tables: &dyn Tables) {
    let sorted = [i64::MIN, -1_000, -256, -255, -1, 0, 1, 127, 128, 256, i64::MAX];
    let rows: Vec<_> = sorted.iter().rev().map(|n| note("a", "t", *n)).collect();
    put(tables, &rows).await;
    assert_eq!(numbers(tables, Range::first(99)).await, sorted);
}

pub(crate) async fn timestamps_scan_by_value(tables: &dyn Tables) {
    let sorted = [-62_000_000_000_000, -1_001, -1, 0, 1, 1_700_000_000_000];
    let row = |millis: &i64| MomentRow::new(-5, moment(*millis), false, Uuid::nil());
    put(tables, &sorted.iter().rev().map(row).collect::<Vec<_>>()).await;
    let rows: Vec<MomentRow> = scan(tables, &[Value::Int(-5)], Range::first(99)).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.at.as_millisecond()).collect::<Vec<_>>(), sorted);
}

pub(crate) async fn texts_scan_by_bytes(tables: &dyn Tables) {
    let sorted = ["", "\0", "\0\0", "\0a", "\u{1}", "A", "a", "a\0", "a\0b", "a\u{1}", "ab", "b", "é", "日", "🏠"];
    let rows: Vec<_> = sorted.iter().rev().map(|title| note("a", title, 0)).collect();
    put(tables, &rows).await;
    let titles: Vec<_> = notes(tables, "a", Range::first(99)).await.into_iter().map(|(title, _)| title).collect();
    assert_eq!(titles, sorted);
}

pub(crate) async fn uuids_and_booleans_scan_by_bytes(tables: &dyn Tables) {
    // Of one version: between versions the order is the provider's.
    let version_7 = 7 << 76 | 2 << 62;
    let ids = [0, 1, 0xFF, 1 << 64, 0xF << 64, 0xFFFF_FFFF << 96].map(|n| Uuid::from_u128(version_7 | n));
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

pub(crate) async fn rows_of_leads_scan_by_id_whichever_partition_of_the_log_they_are_in(tables: &dyn Tables) {
    let lead = |partition, offset| Addressing::default().id(Partition(partition), Offset(offset));
    // One partition is ahead of the others, and the last has one lead only.
    let leads: Vec<LeadId> =
        (0..5).flat_map(|n| [lead(0, n), lead(1, n), lead(7, 3 * n)]).chain([lead(4_095, 2)]).collect();
    let story = |owner: &str, id: &LeadId, n| StoryRow::new(owner.into(), *id, n);
    put(
        tables,
        &leads.iter().flat_map(|id| [story("a", id, 1), story("a", id, 0), story("ab", id, 0)]).collect::<Vec<_>>(),
    )
    .await;
    let mut sorted = leads.clone();
    sorted.sort_unstable();
    let all: Vec<(LeadId, i64)> = sorted.iter().flat_map(|id| [(*id, 0), (*id, 1)]).collect();
    let scanned = async |range: Range| {
        let rows: Vec<StoryRow> = scan(tables, &[text("a")], range).await.unwrap();
        rows.iter().map(|row| (row.lead_id, row.number)).collect::<Vec<_>>()
    };
    let reversed: Vec<_> = all.iter().rev().copied().collect();
    assert_eq!(scanned(Range::first(99)).await, all);
    assert_eq!(scanned(Range::first(7)).await, all[..7]);
    assert_eq!(scanned(Range::last(99)).await, reversed);
    assert_eq!(scanned(Range::last(7)).await, reversed[..7]);
    assert_eq!(scanned(Range::first(9).from(key![sorted[4], 1i64])).await, all[9..18]);
    assert_eq!(scanned(Range::last(9).before(key![sorted[6]])).await, reversed[20..29]);
    let one = Range::first(9).from(key![sorted[3]]).before(key![LeadId(sorted[3].0 + 1)]);
    assert_eq!(scanned(one).await, all[6..8]);
    let stored: Option<StoryRow> = get(tables, &key!["a".to_owned(), sorted[9], 1i64]).await.unwrap();
    assert_eq!(stored, Some(story("a", &sorted[9], 1)));
    tables.write(vec![StoryRow::delete(key!["a".to_owned(), sorted[0], 0i64])], &[]).await.unwrap();
    assert_eq!(scanned(Range::first(99)).await, all[1..]);
    let dumped = tables.dump().await.unwrap();
    let of_a = dumped.iter().filter(|(_, row)| row.first() == Some(&Some(text("a"))));
    let dumped: Vec<_> = of_a.map(|(_, row)| row[1..3].to_vec()).collect();
    let row = |(id, n): &(LeadId, i64)| vec![Some(Value::Int(id.0 as i64)), Some(Value::Int(*n))];
    assert_eq!(dumped, all[1..].iter().map(row).collect::<Vec<_>>());
}
