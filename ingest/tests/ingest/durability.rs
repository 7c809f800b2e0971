//! Failing logs, concurrent posts, peers and restarts.

use std::pin::pin;
use std::sync::Arc;

use futures::future::join_all;
use leadway_domain::Clock;
use leadway_eventlog::Fault;
use leadway_ingest::Options;
use tokio_util::sync::CancellationToken;

use crate::log::GatedLog;
use crate::node::{LEAD, Node, start_of_time};

#[tokio::test(start_paused = true)]
async fn when_the_log_refuses_nothing_is_answered_2xx_and_a_retry_is_new() {
    let node = Node::start().await;
    node.log.memory.set_faults(|| Fault::Refuse);
    for body in [LEAD, r#"{"phone":"1"}"#] {
        let answer = node.webhook(body).await;
        answer.assert_problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), Some("2"));
    }
    assert!(!node.ingest.is_ready(), "leads had better go elsewhere for a while");
    assert!(!node.ingest.is_ready(), "leads had better go elsewhere for a while");
    node.log.memory.clear_faults();
    assert_eq!(node.webhook(LEAD).await.status, 202);
    assert_eq!(node.leads().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_landed_without_the_senders_knowing_is_a_duplicate_when_it_comes_again() {
    let node = Node::start().await;
    node.log.memory.set_faults(|| Fault::LandAndClose);
    node.webhook(LEAD).await.assert_problem(503, "unavailable");
    node.log.memory.clear_faults();
    node.settle().await;
    let again = node.webhook(LEAD).await;
    assert_eq!(again.body["status"], "duplicate");
    let leads = node.leads().await;
    assert_eq!((leads.len(), leads[0].0), (1, again.lead_id()));
}

#[tokio::test]
async fn of_identical_posts_at_the_same_moment_one_is_accepted() {
    let node = Node::start().await;
    node.log.shut();
    let (answers, ()) = tokio::join!(join_all((0..20).map(|_| node.webhook(LEAD))), async {
        node.log.arrivals(1).await;
        node.log.open();
    });
    let leads = node.leads().await;
    assert_eq!(leads.len(), 1);
    assert_eq!(answers.iter().filter(|a| a.status == 202).count(), 1);
    assert!(answers.iter().all(|a| a.lead_id() == leads[0].0));
}

#[tokio::test]
async fn who_waits_for_a_post_that_fails_takes_over() {
    let node = Node::start().await;
    let mut first = true;
    node.log.memory.set_faults(move || if std::mem::take(&mut first) { Fault::Refuse } else { Fault::None });
    node.log.shut();
    let (answers, ()) = tokio::join!(join_all((0..3).map(|_| node.webhook(LEAD))), async {
        node.log.arrivals(1).await;
        node.log.open();
    });
    let mut statuses: Vec<_> = answers.iter().map(|a| a.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 202, 503]);
    assert_eq!(node.leads().await.len(), 1);
}

#[tokio::test]
async fn no_2xx_before_the_lead_is_durable_for_the_first_nor_for_its_duplicates() {
    let node = Node::start().await;
    node.log.shut();
    let (mut first, mut again) = (pin!(node.webhook(LEAD)), pin!(node.webhook(LEAD)));
    for _ in 0..10 {
        assert!(futures::poll!(first.as_mut()).is_pending() && futures::poll!(again.as_mut()).is_pending());
    }
    node.log.open();
    assert_eq!(first.await.status, 202);
    assert_eq!(again.await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_that_share_leads_in_any_order_end_with_each_lead_once() {
    let node = Arc::new(Node::start().await);
    let names: Vec<String> = (0..50).map(|n| LEAD.replace("Ana", &format!("Ana {n}"))).collect();
    let posts = (0..40).map(|turn| {
        let mut batch = names.clone();
        batch.rotate_left(turn * 7 % 50);
        if turn % 2 == 0 {
            batch.reverse();
        }
        let (node, body) = (Arc::clone(&node), format!("[{}]", batch.join(",")));
        tokio::spawn(async move { node.webhook(body).await })
    });
    for answer in join_all(posts).await {
        let results = answer.unwrap().body["results"].take();
        assert!(results.as_array().unwrap().iter().all(|r| r["lead_id"].is_u64()), "{results}");
    }
    assert_eq!(node.leads().await.len(), 50);
}

#[tokio::test]
async fn a_sender_that_hangs_up_does_not_undo_its_lead() {
    let node = Node::start().await;
    node.log.shut();
    tokio::select! {
        biased;
        _ = node.webhook(LEAD) => panic!("the log is shut"),
        () = node.log.arrivals(1) => {}
    }
    let (again, ()) = tokio::join!(node.webhook(LEAD), async { node.log.open() });
    assert_eq!(again.body["status"], "duplicate", "the retry waits for the write that is still under way");
    assert_eq!(node.leads().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_accepted_is_a_duplicate_here() {
    let node = Node::start().await;
    let peer = Node::join(node.log.clone(), node.clock.clone(), Options::default()).await;
    let first = peer.webhook(LEAD).await;
    node.settle().await;
    let again = node.webhook(LEAD).await;
    assert_eq!((again.status.as_u16(), again.lead_id()), (200, first.lead_id()));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_remembers_the_window_and_no_more() {
    let node = Node::start().await;
    let early = LEAD.replace("Ana", "Eva");
    assert_eq!(node.webhook(early.clone()).await.status, 202);
    node.advance(86_000);
    let first = node.webhook(LEAD).await;
    node.advance(500);
    node.stop();
    let restarted = Node::join(node.log.clone(), node.clock.clone(), Options::default()).await;
    assert_eq!(restarted.webhook(LEAD).await.lead_id(), first.lead_id());
    assert_eq!(restarted.webhook(early).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn following_ends_when_it_is_told_to() {
    let node = Node::idle(GatedLog::new(), Clock::manual(start_of_time()), Options::default()).await;
    let (ingest, stop) = (node.ingest.clone(), CancellationToken::new());
    let following = tokio::spawn({
        let stop = stop.clone();
        async move { ingest.follow(stop).await }
    });
    node.settle().await;
    assert!(node.ingest.is_ready() && !following.is_finished());
    stop.cancel();
    assert!(following.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_ends_following_but_not_the_taking_of_leads() {
    let node = Node::start().await;
    assert_eq!(node.webhook(LEAD).await.status, 202);
    node.stop();
    node.log.fail_reads();
    let error = node.ingest.follow(CancellationToken::new()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(node.webhook(LEAD).await.status, 200);
    assert_eq!(node.webhook(LEAD.replace("Ana", "Eva")).await.status, 202);
}
