//! A writer dies between any two steps, or sleeps there and wakes.

use super::*;

/// How far a writer comes before it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    PutDown,
    Claimed,
    SomeRows(usize),
    AllRows,
}

const STOPS: [Stop; 6] =
    [Stop::PutDown, Stop::Claimed, Stop::SomeRows(1), Stop::SomeRows(2), Stop::SomeRows(3), Stop::AllRows];

async fn write_until(tables: &ScyllaTables, n: u64, stop: Stop) -> Batch {
    let (batch, before) = begun(tables, n, "first").await;
    tables.writer.put_down(&batch).await.unwrap();
    if stop == Stop::PutDown {
        return batch;
    }
    assert!(tables.writer.claim(&batch, &before).await.unwrap());
    match stop {
        Stop::PutDown | Stop::Claimed => {}
        Stop::SomeRows(part) => put_some(tables, &batch, part).await,
        Stop::AllRows => tables.writer.put_rows(&batch).await.unwrap(),
    }
    batch
}

#[tokio::test]
async fn the_next_writer_completes_what_a_dead_one_left_and_counts_nothing_twice() {
    for stop in STOPS {
        for done in [0, 3] {
            let options = options().await;
            let first = node(&options).await;
            for _ in 0..done {
                apply_next(&first, "first").await;
            }
            write_until(&first, done, stop).await;
            drop(first);
            let second = node(&options).await;
            assert_eq!(applied(&second).await, done, "{stop:?}: what is not complete is not told");
            let refused = apply_next(&second, "second").await;
            assert_eq!(refused, usize::from(stop != Stop::PutDown), "{stop:?}");
            let total = done + 1 + u64::from(stop != Stop::PutDown);
            assert_eq!(applied(&second).await, total, "{stop:?}");
            assert_eq!(found(&second).await, expected(total), "{stop:?} after {done}");
        }
    }
}

#[tokio::test]
async fn a_writer_that_wakes_after_others_went_on_changes_nothing() {
    for stop in STOPS {
        let options = options().await;
        // Its clock is ahead: what it writes later is stamped no later for that.
        let sleeper = node_at(&options, clock(2_000_000_000)).await;
        apply_next(&sleeper, "first").await;
        let batch = write_until(&sleeper, 1, stop).await;
        let second = node_at(&options, clock(1_000_000_000)).await;
        for _ in 0..4 {
            apply_next(&second, "second").await;
        }
        let total = applied(&second).await;
        let rows = second.dump().await.unwrap();
        assert_eq!(found(&second).await, expected(total), "{stop:?}");

        if stop == Stop::PutDown {
            let before = sleeper.writer.stand(&positions(1)).await;
            assert!(matches!(before, Err(TablesError::Stale(_))) || before.is_ok(), "{before:?}");
            let claimed = sleeper.writer.claim(&batch, &Default::default()).await.unwrap();
            assert!(!claimed, "others took these positions");
        } else {
            sleeper.writer.put_rows(&batch).await.unwrap();
            sleeper.writer.complete(&batch).await.unwrap();
        }
        assert_eq!((second.dump().await.unwrap(), applied(&second).await), (rows, total), "{stop:?}");
        apply_next(&sleeper, "first").await;
        assert_eq!(found(&sleeper).await, expected(total + 1), "{stop:?}: it goes on where the others stand");
    }
}

#[tokio::test]
async fn timestamps_grow_along_the_chain_though_clocks_differ() {
    let options = options().await;
    let ahead = node_at(&options, clock(2_000_000_000)).await;
    let behind = node_at(&options, clock(1_000_000_000)).await;
    for n in 1..=6 {
        apply_next(if n % 2 == 0 { &behind } else { &ahead }, "either").await;
        assert_eq!(found(&behind).await, expected(n), "after batch {n}");
    }
}

#[tokio::test]
async fn two_that_complete_the_same_batch_make_the_same_of_it() {
    let options = options().await;
    let first = node(&options).await;
    apply_next(&first, "first").await;
    let batch = write_until(&first, 1, Stop::SomeRows(2)).await;
    let (second, third) = (node(&options).await, node(&options).await);
    let finish =
        async |node: &ScyllaTables| matches!(node.writer.stand(&positions(1)).await, Err(TablesError::Stale(_)));
    let own = async {
        first.writer.put_rows(&batch).await.unwrap();
        first.writer.complete(&batch).await.unwrap();
    };
    let (two, three, ()) = tokio::join!(finish(&second), finish(&third), own);
    assert!(two && three);
    assert_eq!(found(&third).await, expected(2));
}

#[tokio::test]
async fn a_batch_whose_contents_are_gone_is_told_with_the_way_out() {
    let options = options().await;
    let first = node(&options).await;
    let batch = write_until(&first, 0, Stop::SomeRows(1)).await;
    first.client.truncate(&options.keyspace, "log_batches").await.unwrap();
    let second = node(&options).await;
    let writes = folded(&second, 0, "second").await.unwrap();
    let error = second.write(writes, &positions(0)).await.unwrap_err().to_string();
    assert!(error.contains(&batch.id.to_string()) && error.contains("leadway rebuild"), "{error}");
}

#[tokio::test]
async fn a_batch_larger_than_a_chunk_is_completed_whole() {
    let options = options().await;
    let first = node(&options).await;
    let large = |n| StepRow { writer: Some("x".repeat(90_000)), ..StepRow::new(0, n) };
    let batch = |tables: &ScyllaTables| {
        let changes = super::changes(&(0..10).map(|n| large(n).upsert()).collect::<Vec<_>>()).unwrap();
        tables.writer.batch(changes, &positions(0), &Default::default())
    };
    let batch = batch(&first);
    first.writer.put_down(&batch).await.unwrap();
    assert!(first.writer.claim(&batch, &Default::default()).await.unwrap());
    let second = node(&options).await;
    assert!(second.write(vec![], &positions(0)).await.is_err());
    let rows = second.dump().await.unwrap();
    assert_eq!(rows, (0..10).map(|n| ("steps".to_owned(), large(n).to_row())).collect::<Vec<_>>());
}

/// Dropping the future is a death at that moment: what was sent may still arrive, even later than what others write.
#[tokio::test]
async fn writes_that_are_given_up_at_any_moment_count_once_or_not_at_all() {
    let options = options().await;
    let nodes = [node(&options).await, node(&options).await];
    let mut given_up = 0;
    for round in 0..60 {
        let (first, second) = (&nodes[round % 2], &nodes[(round + 1) % 2]);
        let n = applied(first).await;
        let writes = folded(first, n, "first").await.unwrap();
        let moment = std::time::Duration::from_micros(300 * round as u64);
        match tokio::time::timeout(moment, first.write(writes, &positions(n))).await {
            Ok(written) => assert!(matches!(written, Ok(()) | Err(TablesError::Stale(_))), "{written:?}"),
            Err(_) => given_up += 1,
        }
        apply_next(second, "second").await;
        let total = applied(second).await;
        assert!((n + 1..=n + 2).contains(&total), "{n} became {total}");
        assert_eq!(found(second).await, expected(total), "given up after {moment:?}");
    }
    assert!(given_up > 20, "too few were given up to show anything: {given_up}");
}
