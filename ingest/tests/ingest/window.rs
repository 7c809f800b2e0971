//! How the submission window is kept: from the log, from what the node did itself, and from its notes.

use leadway_ingest::Options;
use tempfile::TempDir;

use crate::log::GatedLog;
use crate::node::{LEAD, Node};

fn lead(n: usize) -> String {
    LEAD.replace("Ana", &format!("Ana {n}"))
}

fn noting(folder: &TempDir) -> Options {
    Options { notes: Some(folder.path().join("window")), ..Options::default() }
}

#[tokio::test(start_paused = true)]
async fn what_a_node_appended_itself_it_does_not_read_and_its_peers_do() {
    let node = Node::start().await;
    for n in 0..20 {
        assert_eq!(node.webhook(lead(n)).await.status, 202);
    }
    node.settle().await;
    assert_eq!(node.log.leads_read(), 0);
    let peer = Node::join(node.log.clone(), node.clock.clone(), Options::default()).await;
    assert!(node.log.leads_read() >= 20);
    assert_eq!(peer.webhook(lead(20)).await.status, 202);
    assert_eq!(node.webhook(lead(21)).await.status, 202);
    node.settle().await;
    assert_eq!(node.log.leads_read(), 2, "each reads the other's one");
    assert_eq!(node.webhook(lead(20)).await.status, 200);
    assert_eq!(peer.webhook(lead(21)).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_reads_only_what_it_had_not_noted() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::with(noting(&folder)).await;
    let peer = Node::join(node.log.clone(), node.clock.clone(), Options::default()).await;
    let mut firsts = Vec::new();
    for n in 0..10 {
        let poster = if n % 2 == 0 { &node } else { &peer };
        firsts.push(poster.webhook(lead(n)).await.lead_id());
    }
    node.settle().await;
    node.settle().await;
    node.stop();
    firsts.push(peer.webhook(lead(10)).await.lead_id());
    peer.settle().await;
    peer.stop();
    node.log.leads_read();
    for _ in 0..2 {
        let restarted = Node::join(node.log.clone(), node.clock.clone(), noting(&folder)).await;
        assert!(node.log.leads_read() <= 1, "what is noted is not read");
        for (n, first) in firsts.iter().enumerate() {
            let again = restarted.webhook(lead(n)).await;
            assert_eq!((again.status.as_u16(), again.lead_id()), (200, *first), "{n}");
        }
        restarted.stop();
    }
}

/// A log that was put back from a backup, or begun anew beside what was left of the old one.
#[tokio::test(start_paused = true)]
async fn notes_of_more_than_the_log_has_are_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::with(noting(&folder)).await;
    assert_eq!(node.webhook(LEAD).await.status, 202);
    node.settle().await;
    node.settle().await;
    node.stop();
    for _ in 0..2 {
        let other = Node::with_log(GatedLog::new(), noting(&folder)).await;
        assert_eq!(other.webhook(LEAD).await.status, 202);
        other.stop();
    }
}

/// On a shared log nodes of one machine may be given one data folder.
#[tokio::test(start_paused = true)]
async fn of_two_nodes_with_one_folder_the_first_keeps_its_notes_there() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::with(noting(&folder)).await;
    let peer = Node::join(node.log.clone(), node.clock.clone(), noting(&folder)).await;
    let mut firsts = Vec::new();
    for n in 0..10 {
        let poster = if n % 2 == 0 { &node } else { &peer };
        firsts.push(poster.webhook(lead(n)).await.lead_id());
    }
    node.settle().await;
    node.settle().await;
    node.stop();
    peer.stop();
    node.log.leads_read();
    let restarted = Node::join(node.log.clone(), node.clock.clone(), noting(&folder)).await;
    assert!(node.log.leads_read() <= 1, "the notes of the first are whole");
    for (n, first) in firsts.iter().enumerate() {
        let again = restarted.webhook(lead(n)).await;
        assert_eq!((again.status.as_u16(), again.lead_id()), (200, *first), "{n}");
    }
}
