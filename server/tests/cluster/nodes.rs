//! Nodes that join, leave, die and stand still.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::json;
use std::sync::Arc;

use crate::e2e::{Client, Reply, http_client, sample_lead};
use crate::load::{Load, Operator, balances, eventually, take};
use crate::process::Process;
use crate::servers::servers;

/// The nodes of a small installation: two of each stage, and one portal.
pub(crate) struct Nodes {
    pub(crate) portal: Process,
    pub(crate) ingest: Vec<Process>,
    pub(crate) routers: Vec<Process>,
    pub(crate) dispatchers: Vec<Process>,
    environment: Vec<(String, String)>,
}

impl Nodes {
    pub(crate) async fn start(environment: Vec<(String, String)>) -> Self {
        let portal = Process::start("portal", &environment).await;
        let two =
            async |stages| vec![Process::start(stages, &environment).await, Process::start(stages, &environment).await];
        let (ingest, routers, dispatchers) = tokio::join!(two("ingest"), two("router,scoring"), two("dispatcher"));
        Self { portal, ingest, routers, dispatchers, environment }
    }

    pub(crate) fn bases(&self) -> Vec<String> {
        self.ingest.iter().map(|p| p.base.clone()).collect()
    }

    /// No node ended of itself.
    pub(crate) fn all_run(&mut self) {
        let nodes = [&mut self.portal].into_iter().chain(&mut self.ingest).chain(&mut self.routers);
        assert!(nodes.chain(&mut self.dispatchers).all(Process::is_running), "no node needs to be started again");
    }
}

/// Kills the first of these nodes; another takes its place.
async fn replace(nodes: &mut Vec<Process>, environment: &[(String, String)]) {
    let killed = nodes.remove(0);
    let stages = killed.another(environment);
    // The dead one is not missed before its successor is there.
    let successor = stages.await;
    killed.kill();
    nodes.push(successor);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_leave_die_and_stand_still_while_leads_flow() {
    let servers = servers().await;
    let mut random = fastrand::Rng::with_seed(7);
    let client = Client::start(move |_| if random.u32(0..20) == 0 { Reply::status(503) } else { Reply::ok() }).await;
    let mut nodes = Nodes::start(servers.environment("churn")).await;
    let operator = Operator::of(&nodes.portal.base);
    let key = operator.furnish(&client, None).await;
    let load = Load::start(nodes.bases(), &key, 4, Duration::from_millis(10));
    load.flows(100).await;

    // Dies, and the others go on without it before another one comes.
    nodes.dispatchers.remove(0).kill();
    nodes.routers.remove(0).kill();
    load.flows(300).await;
    let environment = nodes.environment.clone();
    nodes.routers.push(Process::start("router,scoring", &environment).await);
    nodes.dispatchers.push(Process::start("dispatcher", &environment).await);
    load.flows(200).await;

    // Stands still until others have its work, and goes on as if nothing had happened.
    nodes.routers[0].pause();
    nodes.dispatchers[0].pause();
    tokio::time::sleep(Duration::from_secs(12)).await;
    nodes.routers[0].resume();
    nodes.dispatchers[0].resume();
    load.flows(200).await;

    // Leaves in good order, and a third joins.
    nodes.routers.remove(0).stop().await;
    nodes.dispatchers.push(Process::start("dispatcher", &environment).await);
    nodes.routers.push(Process::start("router,scoring", &environment).await);
    replace(&mut nodes.dispatchers, &environment).await;
    let gone = nodes.ingest.remove(0);
    load.set_bases(nodes.bases());
    gone.stop().await;
    load.flows(200).await;

    let acknowledged = load.end().await;
    println!("{} leads acknowledged", acknowledged.len());
    balances(&operator, &client, &acknowledged).await;
    nodes.all_run();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_lead_posted_to_two_nodes_at_once_is_one_lead() {
    let servers = servers().await;
    let client = Client::willing().await;
    let nodes = Nodes::start(servers.environment("twice")).await;
    let operator = Operator::of(&nodes.portal.base);
    let key = operator.furnish(&client, None).await;
    let http = http_client(Duration::from_secs(10));
    let post = async |base: &str, n: u32| {
        let lead = sample_lead(n);
        eventually("the lead to be taken", async || take(&http, base, &key, &lead).await).await
    };
    let bases = nodes.bases();
    post(&bases[0], 999).await;
    post(&bases[1], 999).await;
    let mut ids = BTreeSet::new();
    for n in 0..40 {
        let both = join_all(bases.iter().map(|base| post(base, n))).await;
        ids.extend(both);
    }
    println!("40 leads posted twice at once got {} ids", ids.len());
    let acknowledged = ids.into_iter().enumerate().map(|(n, id)| (n as u32, id)).collect();
    eventually("40 leads and the first to be delivered", async || {
        let delivered: BTreeSet<u64> =
            client.received().iter().map(|r| r.body["appointment_id"].as_u64().unwrap()).collect();
        if delivered.len() >= 41 { Ok(()) } else { Err(format!("{} of 41", delivered.len())) }
    })
    .await;
    balances(&operator, &client, &acknowledged).await;
    // A delivery may come again, but as itself: the same id and the same content.
    let received = client.received();
    let deliveries: BTreeSet<_> =
        received.iter().map(|r| (r.headers["webhook-id"].to_str().unwrap(), r.body.to_string())).collect();
    println!("{} deliveries of 41 came again", received.len() - deliveries.len());
    assert_eq!(deliveries.len(), 41, "no client got a lead as two deliveries");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_on_one_portal_holds_on_every_node_and_is_read_back_at_once() {
    let servers = servers().await;
    let client = Client::willing().await;
    let nodes = Nodes::start(servers.environment("settings")).await;
    let operator = Operator::of(&nodes.portal.base);
    let key = operator.furnish(&client, None).await;
    let http = http_client(Duration::from_secs(10));
    let mut fastest = Duration::MAX;
    for round in 0..10 {
        let name = format!("provider {round}");
        let changed =
            operator.call("PATCH", "/api/providers/a", Some(json!({"name": name, "is_active": round % 2 == 1}))).await;
        assert_eq!(changed.0, 200, "{}", changed.1);
        let started = Instant::now();
        assert_eq!(operator.get("/api/providers/a").await["name"], json!(name), "a caller reads its own writes");
        for base in nodes.bases() {
            eventually("the change to be in force", async || {
                let taken = take(&http, &base, &key, &sample_lead(round)).await;
                match (&taken, round % 2 == 1) {
                    (Ok(_), true) => Ok(()),
                    (Err(told), false) if told.starts_with("403") => Ok(()),
                    _ => Err(format!("{taken:?}")),
                }
            })
            .await;
        }
        fastest = fastest.min(started.elapsed());
    }
    println!("a change was in force on both ingest nodes after {fastest:?} at best");
    // A machine may be busy at one moment or another, but not at all of them.
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    // What people ask of a lead is decided by one node, kept in the tables by another, and read back here at once.
    for n in 100..105 {
        let mut lead = sample_lead(n);
        lead.as_object_mut().unwrap().remove("appointment_date");
        let base = &nodes.ingest[0].base;
        let id = eventually("the lead to be taken", async || take(&http, base, &key, &lead).await).await;
        let date = json!({"appointment_date": "2030-06-03T17:00:00Z"});
        eventually("the lead to be in the tables, or to be answered otherwise", async || {
            let path = format!("/api/leads/{id}/schedule");
            match operator.call("POST", &path, Some(date.clone())).await {
                (503, body) => Err(body.to_string()),
                (status, body) => {
                    assert_eq!(status, 200, "{body}");
                    Ok(())
                }
            }
        })
        .await;
        let appointment = operator.get(&format!("/api/appointments/{id}")).await;
        assert_eq!(appointment["routing_status"], "routed", "{appointment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_holds_while_dispatchers_come_and_go() {
    const RATE: usize = 50;
    let servers = servers().await;
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let client = {
        let arrivals = arrivals.clone();
        Client::start(move |_| {
            arrivals.lock().push(Instant::now());
            Reply::ok()
        })
        .await
    };
    let mut nodes = Nodes::start(servers.environment("rate")).await;
    let operator = Operator::of(&nodes.portal.base);
    let key = operator.furnish(&client, Some(json!({"per_second": RATE, "burst": RATE}))).await;
    let load = Load::start(nodes.bases(), &key, 2, Duration::from_millis(60));
    load.flows(100).await;
    let environment = nodes.environment.clone();
    replace(&mut nodes.dispatchers, &environment).await;
    load.flows(100).await;
    nodes.dispatchers[0].pause();
    tokio::time::sleep(Duration::from_secs(12)).await;
    nodes.dispatchers[0].resume();
    load.flows(100).await;
    nodes.dispatchers.push(Process::start("dispatcher", &environment).await);
    load.flows(100).await;
    let acknowledged = load.end().await;
    balances(&operator, &client, &acknowledged).await;

    let arrivals = arrivals.lock().clone();
    for (first, start) in arrivals.iter().enumerate() {
        let within = arrivals[first..].iter().take_while(|at| **at - *start < Duration::from_secs(2)).count();
        // The burst, two seconds at the rate, and what is under way at the edges of the window.
        assert!(within <= RATE + 2 * RATE + RATE / 2, "{within} webhooks in two seconds");
    }
}
