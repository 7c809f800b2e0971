//! One simulated history: a small business, leads, nodes that come and go while trouble lasts, and an end that is left
//! alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leadway_domain::record::{LeadAction, LeadCommand, LeadRecord, Topic};
use leadway_domain::settings::RateLimit;
use leadway_domain::{Clock, LeadId, Partition, Timestamp, WorkspaceId};
use leadway_eventlog::{EventLog, MemoryLog, NewRecord, ReadLimit, Record};
use leadway_tables::Tables;
use leadway_tables::schema::OpenDeliveryRow;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::business;
use crate::clients::Clients;
use crate::faulty::Trouble;
use crate::node::{Front, Node, SESSION, Site};
use crate::posters::{Acknowledged, Poster};

/// What happened to the nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fates {
    pub(crate) crashes: u64,
    pub(crate) left: u64,
    pub(crate) frozen: u64,
    /// Of those, for so long that others took over.
    pub(crate) expelled: u64,
}

pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) limits: BTreeMap<&'static str, RateLimit>,
    pub(crate) acknowledged: Acknowledged,
    pub(crate) repeated_posts: u64,
    pub(crate) fates: Fates,
    /// How many nodes run at most.
    pub(crate) most: usize,
    random: fastrand::Rng,
    began: (Timestamp, Instant),
    nodes: Vec<Node>,
    started: u32,
    leaving: JoinSet<()>,
    present: watch::Sender<Vec<Front>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let trouble = Trouble::new(random.fork());
        let most = random.usize(1..=3);
        let log = match most {
            1 => MemoryLog::new(random.u32(1..4)),
            _ => MemoryLog::shared(random.u32(2..6)),
        };
        let clients = Arc::new(Clients::new(random.fork(), trouble.clone()));
        let limits = ["good", "flaky", "dead"].map(|id| (id, rate_limit(&mut random)));
        Self {
            site: Site { log, tables: Default::default(), trouble, clients, addressing: Default::default() },
            limits: limits.into_iter().filter_map(|(id, limit)| Some((id, limit?))).collect(),
            acknowledged: Arc::default(),
            repeated_posts: 0,
            fates: Fates::default(),
            most,
            random,
            began: ("2024-01-15T10:30:00Z".parse().unwrap(), Instant::now()),
            nodes: Vec::new(),
            started: 0,
            leaving: JoinSet::new(),
            present: watch::channel(Vec::new()).0,
        }
    }

    /// Leads are posted while nodes come and go.
    pub(crate) async fn live(&mut self) {
        self.open_business().await;
        let mut posters = JoinSet::new();
        let leads = self.random.u32(10..40) * if self.most > 1 { 2 } else { 1 };
        for n in 0..leads {
            let repeats = self.random.u32(1..4);
            self.repeated_posts += u64::from(repeats - 1);
            let poster = Poster {
                n,
                repeats,
                random: self.random.fork(),
                present: self.present.subscribe(),
                acknowledged: self.acknowledged.clone(),
            };
            posters.spawn(poster.run());
        }
        for _ in 0..self.random.usize(2..7) * self.most {
            while self.nodes.is_empty() {
                self.start().await;
            }
            let pause = Duration::from_micros(self.random.u64(1_000..1_500_000));
            tokio::time::sleep(pause).await;
            self.command().await;
            self.incident().await;
        }
        // From now on there is no trouble, but that nodes which stand still go on.
        self.site.trouble.end();
        while self.nodes.is_empty() {
            self.start().await;
        }
        while let Some(poster) = posters.join_next().await {
            poster.unwrap();
        }
        while let Some(left) = self.leaving.join_next().await {
            left.unwrap();
        }
        self.command_all().await;
    }

    /// Something happens to a node. A lone one only dies.
    async fn incident(&mut self) {
        let dice = if self.most == 1 { 0 } else { self.random.u32(0..10) };
        let victim = self.random.usize(0..self.nodes.len());
        match dice {
            0..2 => {
                self.fates.crashes += 1;
                let node = self.nodes.swap_remove(victim);
                self.show();
                node.crash().await;
            }
            2 => {
                self.fates.left += 1;
                let node = self.nodes.swap_remove(victim);
                self.show();
                self.leaving.spawn(node.leave());
            }
            3..6 => {
                let millis = if self.random.bool() { 100..6_000 } else { 7_000..20_000 };
                let span = Duration::from_millis(self.random.u64(millis));
                self.fates.frozen += 1;
                self.fates.expelled += u64::from(span > SESSION);
                self.nodes[victim].freeze(span);
            }
            _ if self.nodes.len() < self.most => self.start().await,
            _ => {}
        }
    }

    async fn start(&mut self) {
        self.started += 1;
        let clock = self.clock();
        let node = Node::start(&self.site, self.started, clock, self.random.u64(..)).await;
        self.nodes.push(node);
        self.show();
    }

    /// A node's clock: each is a little off.
    fn clock(&mut self) -> Clock {
        let (start, began) = self.began;
        let start = start + jiff::SignedDuration::from_micros(self.random.i64(-50_000..50_000));
        Clock::from_fn(move || start + jiff::SignedDuration::try_from(began.elapsed()).unwrap())
    }

    fn now(&self) -> Timestamp {
        self.began.0 + jiff::SignedDuration::try_from(self.began.1.elapsed()).unwrap()
    }

    fn show(&self) {
        self.present.send_replace(self.nodes.iter().map(|node| node.front.clone()).collect());
    }

    /// Waits until nothing is left to be done.
    pub(crate) async fn settle(&mut self) {
        let mut left = None;
        for _ in 0..2_000 {
            tokio::time::sleep(Duration::from_secs(30)).await;
            left = self.left_to_do().await;
            if left.is_none() {
                return;
            }
        }
        panic!("the history does not come to rest: {left:?}");
    }

    /// What is still to be done, if anything.
    async fn left_to_do(&self) -> Option<String> {
        let (log, tables) = (&self.site.log, &self.site.tables.inner);
        for topic in Topic::ALL {
            for partition in (0..log.partitions(topic)).map(Partition) {
                let end = log.end(topic, partition).await.unwrap();
                let applied = tables.applied(topic, partition).await.unwrap();
                if applied < end {
                    return Some(format!("scoring: {} {partition:?} from {applied:?} to {end:?}", topic.name()));
                }
            }
        }
        let rows = tables.dump().await.unwrap();
        let rows = |name: &str| rows.iter().filter(|(table, _)| table == name).count();
        let commands = self.records(Topic::Leads).await.iter().filter(|r| r.kind != "lead.received").count();
        let open = rows(OpenDeliveryRow::TABLE.name);
        let undecided = self.acknowledged.lock().len().saturating_sub(rows("appointments"));
        let unanswered = commands.saturating_sub(rows("commands"));
        let left = open + undecided + unanswered;
        (left > 0).then(|| format!("{open} open deliveries, {undecided} leads, {unanswered} commands"))
    }

    /// Every record of a topic, partition by partition.
    pub(crate) async fn records(&self, topic: Topic) -> Vec<Record> {
        let mut all = Vec::new();
        for partition in (0..self.site.log.partitions(topic)).map(Partition) {
            let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
            all.extend(self.site.log.read(topic, partition, Default::default(), limit).await.unwrap());
        }
        all
    }

    async fn open_business(&mut self) {
        let now = self.now();
        let change = business::opening(now, ["good", "flaky", "dead"].map(|id| self.limits.get(id).copied()));
        self.site.log.append(vec![NewRecord::of(&change, now)]).await.unwrap();
    }

    fn known(&self) -> Vec<(u32, LeadId)> {
        self.acknowledged.lock().iter().flat_map(|(n, ids)| ids.iter().map(|id| (*n, *id))).collect()
    }

    /// Asks something about a lead that is already acknowledged.
    async fn command(&mut self) {
        if let Some((n, lead_id)) = self.random.choice(self.known()) {
            let action = match self.random.u32(0..3) {
                0 => LeadAction::Retry,
                1 => LeadAction::Assign { workspace_id: WorkspaceId::new("good").unwrap() },
                _ => LeadAction::Schedule { appointment_date: Some(self.now()) },
            };
            self.ask(n, lead_id, action).await;
        }
    }

    /// Gives every lead without a date one, twice: the second must be refused. Also those whose acknowledgement was lost:
    /// what the provider was told later may be the id of a duplicate of them.
    async fn command_all(&mut self) {
        for record in self.records(Topic::Leads).await {
            if let LeadRecord::Received(received) = record.decode().unwrap()
                && received.appointment_date.is_none()
            {
                let n = received.external_id.as_ref().unwrap().trim_start_matches("x-").parse().unwrap();
                let lead_id = self.site.addressing.id(record.address.partition, record.address.offset);
                for _ in 0..2 {
                    self.ask(n, lead_id, LeadAction::Schedule { appointment_date: Some(self.now()) }).await;
                }
            }
        }
    }

    async fn ask(&self, n: u32, lead_id: LeadId, action: LeadAction) {
        let at = self.now();
        let (partition, _) = self.site.addressing.address(lead_id).unwrap();
        let lead_key = format!("+1213555{n:04}/a");
        let command = LeadRecord::Command(LeadCommand {
            v: 1,
            lead_id,
            lead_key,
            actor: "admin".into(),
            at,
            action,
            asked_as: None,
        });
        self.site.log.append(vec![NewRecord::of(&command, at).in_partition(partition)]).await.unwrap();
    }
}

/// None, or so low that appointments wait for it.
fn rate_limit(random: &mut fastrand::Rng) -> Option<RateLimit> {
    let burst = [None, Some(random.u32(1..6))][random.usize(0..2)];
    (random.u32(0..4) > 0).then(|| RateLimit { per_second: random.u32(1..4), burst })
}
