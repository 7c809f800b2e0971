//! Emptying the tables, also when that is cut off.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn an_emptying_that_was_cut_off_is_done_when_the_tables_are_opened() {
    let options = options().await;
    let first = node(&options).await;
    apply_next(&first, "first").await;
    first.client.rows(&first.positions.mark_clearing()).await.unwrap();
    first.client.truncate(&options.keyspace, "counts").await.unwrap();
    let second = node(&options).await;
    assert_eq!((second.dump().await.unwrap(), applied(&second).await), (vec![], 0));
    apply_next(&second, "second").await;
    assert_eq!(found(&second).await, expected(1));
}

#[tokio::test]
async fn a_start_waits_for_a_database_that_sleeps() {
    let start = || Cassandra::start().unwrap_or_else(|error| panic!("{error}"));
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    let options = Options { request_timeout_ms: 1_000, ..options_on(&server) };
    let tables = node(&options).await;
    server.pause().unwrap();
    let refused = tables.get(CountRow::TABLE, &key!["a".to_owned()]).await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    let waking = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        server.resume().unwrap();
    };
    let (waited, ()) = tokio::join!(tables.finish_emptying(&options), waking);
    waited.unwrap();
}

#[tokio::test]
async fn nobody_writes_while_the_tables_are_being_emptied() {
    let options = options().await;
    let (first, second) = (node(&options).await, node(&options).await);
    first.client.rows(&first.positions.mark_clearing()).await.unwrap();
    let refused = second.write(vec![], &positions(0)).await.unwrap_err();
    assert!(refused.is_transient() && refused.to_string().contains("being emptied"), "{refused}");
}

#[tokio::test]
async fn a_node_that_knew_the_old_claims_goes_on_after_another_has_emptied_the_tables() {
    let options = options().await;
    let (first, second) = (node(&options).await, node(&options).await);
    for _ in 0..3 {
        apply_next(&first, "first").await;
    }
    second.clear().await.unwrap();
    for n in 1..=4 {
        apply_next(if n == 1 { &second } else { &first }, "either").await;
        assert_eq!(found(&second).await, expected(n));
    }
}
