//! Who gets positions that several want, and versions that two nodes write.

use super::*;

#[tokio::test]
async fn of_writers_that_race_each_batch_has_one_and_totals_are_exact() {
    let options = options().await;
    let nodes = [node(&options).await, node(&options).await, node(&options).await];
    let write = |tables: &'static str, node| {
        let node: &ScyllaTables = node;
        async move {
            let mut refused = 0;
            for _ in 0..8 {
                refused += apply_next(node, tables).await;
            }
            refused
        }
    };
    let (a, b, c) = tokio::join!(write("a", &nodes[0]), write("b", &nodes[1]), write("c", &nodes[2]));
    assert!(a + b + c > 0, "they never met: this shows nothing");
    assert_eq!(applied(&nodes[0]).await, 24);
    assert_eq!(found(&nodes[1]).await, expected(24));
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_found_to_be_made() {
    let options = options().await;
    let tables = node(&options).await;
    let (batch, before) = begun(&tables, 0, "a").await;
    tables.writer.put_down(&batch).await.unwrap();
    for time in 1..=2 {
        assert!(tables.writer.claim(&batch, &before).await.unwrap(), "asked {time} times");
    }
    let other = tables.writer.batch(Vec::new(), &positions(0), &before);
    assert!(!tables.writer.claim(&other, &before).await.unwrap());
}

#[tokio::test]
async fn one_position_that_is_taken_keeps_all_others_of_the_batch_free() {
    let options = options().await;
    let (first, second) = (node(&options).await, node(&options).await);
    // Both know that nothing is claimed; the second learns by its refused claim.
    let (batch, before) = begun(&second, 0, "second").await;
    let [_, other] = positions(0)[..] else { panic!("batch 0 has two positions") };
    first.write(vec![], &[other]).await.unwrap();
    assert!(!second.writer.claim(&batch, &before).await.unwrap());
    assert_eq!(applied(&second).await, 0);
    first.write(vec![], &positions(0)[..1]).await.unwrap();
    assert_eq!(applied(&second).await, 1);
}

#[tokio::test]
async fn of_versions_from_two_nodes_the_highest_stays_in_any_order() {
    let day = Day::from_number(1);
    let put = |version: i64| {
        let reason = (version % 2 == 1).then(|| version.to_string());
        OpenRow { decision: Some(version), reason, ..OpenRow::new(day, 1) }
    };
    let delete = |version| OpenRow::delete_version(key![day, 1i64], version);
    // Each order of three changes, from nodes in turn.
    let kept = |row: OpenRow| vec![(OpenRow::TABLE.name.to_owned(), row.to_row())];
    let cases = [
        ([put(1).upsert(), put(2).upsert(), put(3).upsert()], kept(put(3))),
        ([put(1).upsert(), put(3).upsert(), put(2).upsert()], kept(put(3))),
        ([put(1).upsert(), delete(2), put(3).upsert()], kept(put(3))),
        ([put(1).upsert(), put(2).upsert(), delete(3)], vec![]),
    ];
    for (changes, expected) in cases {
        let options = options().await;
        let nodes = [node(&options).await, node(&options).await];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            nodes[0].clear().await.unwrap();
            for (turn, index) in order.into_iter().enumerate() {
                nodes[turn % 2].write(vec![changes[index].clone()], &[]).await.unwrap();
            }
            assert_eq!(nodes[0].dump().await.unwrap(), expected, "{changes:?} in the order {order:?}");
        }
    }
}

#[tokio::test]
async fn a_waiter_sees_what_another_node_applied() {
    let options = options().await;
    let (writer, reader) = (node(&options).await, node(&options).await);
    let waiting = reader.wait_applied(PLACE.0, PLACE.1, Offset(30));
    let many = futures::future::join_all((0..20).map(|_| reader.wait_applied(PLACE.0, PLACE.1, Offset(20))));
    let write = async {
        for _ in 0..3 {
            apply_next(&writer, "a").await;
        }
    };
    let (waited, all, ()) = tokio::join!(waiting, many, write);
    waited.unwrap();
    assert!(all.into_iter().all(|one| one.is_ok()));
    assert_eq!(found(&reader).await, expected(3));
}
