//! One simulated history: a small business, leads, lives of a node that end in crashes, and a last life that is left alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use leadway_dispatcher::{Answer, Dispatcher, SendError, Transport, WebhookRequest};
use leadway_domain::record::{LeadAction, LeadCommand, LeadRecord, Topic};
use leadway_domain::secret::KeyHash;
use leadway_domain::settings::{
    Change, Entity, Product, Provider, Rule, Settings, SettingsChange, SigningSecret, Workspace,
};
use leadway_domain::{
    Addressing, Clock, LeadId, Money, Partition, ProviderId, RuleId, Timestamp, WorkspaceId, ZipDirectory,
};
use leadway_eventlog::{EventLog, MemoryLog, NewRecord, ReadLimit, Record, SettingsHandle};
use leadway_ingest::Ingest;
use leadway_router::Matcher;
use leadway_scoring::Scoring;
use leadway_server::supervise::keep_running;
use leadway_tables::MemoryTables;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::faulty::{FaultyLog, FaultyTables, Trouble};

const PROVIDER_KEY: &str = "lwp_simulation";

/// What a poster was answered: the lead's id, by the lead's own number.
pub(crate) type Acknowledged = Arc<Mutex<BTreeMap<u32, LeadId>>>;

pub(crate) struct World {
    pub(crate) log: MemoryLog,
    pub(crate) tables: MemoryTables,
    pub(crate) trouble: Trouble,
    pub(crate) clients: Arc<Clients>,
    pub(crate) acknowledged: Acknowledged,
    pub(crate) repeated_posts: u64,
    pub(crate) crashes: u64,
    pub(crate) addressing: Addressing,
    random: fastrand::Rng,
    clock: Clock,
    present: watch::Sender<Option<Life>>,
    tasks: JoinSet<()>,
}

/// One life of the node, as those outside see it.
#[derive(Clone)]
struct Life {
    ingest: Ingest,
    ended: CancellationToken,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let start: Timestamp = "2024-01-15T10:30:00Z".parse().unwrap();
        let began = tokio::time::Instant::now();
        let clock = Clock::from_fn(move || start + jiff::SignedDuration::try_from(began.elapsed()).unwrap());
        let trouble = Trouble::new(random.fork());
        Self {
            log: MemoryLog::new(random.u32(1..4)),
            tables: MemoryTables::default(),
            clients: Arc::new(Clients {
                random: Mutex::new(random.fork()),
                trouble: trouble.clone(),
                taken: Mutex::default(),
            }),
            trouble,
            acknowledged: Arc::default(),
            repeated_posts: 0,
            crashes: 0,
            addressing: Addressing::default(),
            random,
            clock,
            present: watch::channel(None).0,
            tasks: JoinSet::new(),
        }
    }

    /// Leads are posted while the node dies and comes back.
    pub(crate) async fn live(&mut self) {
        self.open_business().await;
        let mut posters = JoinSet::new();
        let leads = self.random.u32(10..40);
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
        for _ in 0..self.random.u32(2..7) {
            self.start().await;
            let life = Duration::from_micros(self.random.u64(1_000..1_500_000));
            tokio::time::sleep(life).await;
            self.command().await;
            self.crash().await;
        }
        // The last life is one without trouble.
        self.trouble.end();
        self.start().await;
        while let Some(poster) = posters.join_next().await {
            poster.unwrap();
        }
        self.command_all().await;
    }

    /// Waits until nothing is left to be done.
    pub(crate) async fn settle(&mut self) {
        for _ in 0..2_000 {
            tokio::time::sleep(Duration::from_secs(30)).await;
            if self.is_settled().await {
                return;
            }
        }
        panic!("the history does not come to rest");
    }

    async fn is_settled(&self) -> bool {
        use leadway_tables::schema::OpenDeliveryRow;
        let tables = leadway_tables::Tables::dump(&self.tables).await.unwrap();
        let rows = |name: &str| tables.iter().filter(|(table, _)| table == name).count();
        let mut applied = true;
        for topic in Topic::ALL {
            for partition in (0..self.log.partitions(topic)).map(Partition) {
                let end = self.log.end(topic, partition).await.unwrap();
                applied &= leadway_tables::Tables::applied(&self.tables, topic, partition).await.unwrap() >= end;
            }
        }
        let decided = rows("appointments") >= self.acknowledged.lock().len();
        let commanded =
            rows("commands") >= self.records(Topic::Leads).await.iter().filter(|r| r.kind != "lead.received").count();
        applied && decided && commanded && rows(OpenDeliveryRow::TABLE.name) == 0
    }

    /// Every record of a topic, partition by partition.
    pub(crate) async fn records(&self, topic: Topic) -> Vec<Record> {
        let mut all = Vec::new();
        for partition in (0..self.log.partitions(topic)).map(Partition) {
            let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
            all.extend(self.log.read(topic, partition, Default::default(), limit).await.unwrap());
        }
        all
    }

    async fn start(&mut self) {
        let ended = CancellationToken::new();
        let log: Arc<dyn EventLog> = Arc::new(FaultyLog { inner: self.log.clone(), trouble: self.trouble.clone() });
        let tables = Arc::new(FaultyTables { inner: self.tables.clone(), trouble: self.trouble.clone() });
        let settings = SettingsHandle::follow(log.clone()).await.unwrap();
        let zips = ZipDirectory::builtin();
        let matcher = Matcher::follow(settings.clone(), zips.clone());
        let (clock, addressing) = (self.clock.clone(), self.addressing);

        let ingest =
            Ingest::new(log.clone(), settings.clone(), zips.clone(), clock.clone(), addressing, Default::default());
        let (follower, token) = (ingest.clone(), ended.clone());
        self.tasks.spawn(keep_running("ingest", Default::default(), ended.clone(), move || {
            let (follower, token) = (follower.clone(), token.clone());
            async move { follower.follow(token).await }
        }));
        let (l, t, token) = (log.clone(), tables.clone(), ended.clone());
        self.tasks.spawn(keep_running("scoring", Default::default(), ended.clone(), move || {
            Scoring::new(l.clone(), t.clone(), addressing, Default::default()).run(token.clone())
        }));
        let deps = leadway_router::Deps {
            log: log.clone(),
            tables: tables.clone(),
            matcher,
            zips,
            clock: clock.clone(),
            addressing,
        };
        let token = ended.clone();
        self.tasks.spawn(keep_running("router", Default::default(), ended.clone(), move || {
            leadway_router::Router::new(deps.clone(), Default::default()).run(token.clone())
        }));
        let options = leadway_dispatcher::Options {
            first_retry_ms: 1_000,
            retry_factor: 2.0,
            max_retry_seconds: 60,
            max_attempts: 6,
            circuit_failures: 4,
            circuit_pause_seconds: 30,
            ..Default::default()
        };
        let (clients, seed, token) = (self.clients.clone(), self.random.u64(..), ended.clone());
        self.tasks.spawn(keep_running("dispatcher", Default::default(), ended.clone(), move || {
            let (log, tables, clients): (_, _, Arc<dyn Transport>) = (log.clone(), tables.clone(), clients.clone());
            Dispatcher::new(log, tables, settings.clone(), clock.clone(), clients, seed, options.clone())
                .run(token.clone())
        }));
        self.present.send_replace(Some(Life { ingest, ended }));
    }

    /// Everything that the node was doing ends where it is; what it had not written is lost.
    async fn crash(&mut self) {
        self.crashes += 1;
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        if let Some(life) = self.present.send_replace(None) {
            life.ended.cancel();
        }
    }

    async fn open_business(&mut self) {
        let now = self.clock.now();
        let mut entities = vec![
            Entity::Product(Product { name: "Solar".into(), synonyms: vec![], auto_schedule: false }),
            Entity::Product(Product { name: "HVAC".into(), synonyms: vec![], auto_schedule: true }),
            Entity::Product(Product { name: "Kitchen".into(), synonyms: vec![], auto_schedule: false }),
            Entity::Provider(Provider {
                id: ProviderId::new("a").unwrap(),
                name: "A".into(),
                cost_per_lead: Money::from_cents(3_333),
                is_active: true,
                key_hash: KeyHash::of(PROVIDER_KEY),
                mapping: Default::default(),
                auto_schedule: false,
                rate_limit: None,
                created_at: now,
                updated_at: now,
            }),
        ];
        for (n, (id, product)) in [("good", "Solar"), ("flaky", "HVAC"), ("dead", "Kitchen")].into_iter().enumerate() {
            entities.push(Entity::Workspace(workspace(id, 10_001 + n as i64, now)));
            entities.push(Entity::Rule(Rule {
                id: RuleId(uuid::Uuid::from_u128(n as u128 + 1)),
                workspace_id: WorkspaceId::new(id).unwrap(),
                product_types: vec![product.into()],
                zip_codes: vec!["CA".into()],
                priority: 1,
                is_active: true,
                notes: String::new(),
                created_at: now,
                updated_at: now,
            }));
        }
        let change = Change::Batch(entities.into_iter().map(Change::Put).collect());
        let change = SettingsChange::new(&Settings::default(), "system", now, change);
        self.log.append(vec![NewRecord::of(&change, now)]).await.unwrap();
    }

    /// Asks something about a lead that is already acknowledged.
    async fn command(&mut self) {
        let known: Vec<(u32, LeadId)> = self.acknowledged.lock().iter().map(|(n, id)| (*n, *id)).collect();
        if let Some((n, lead_id)) = self.random.choice(known) {
            let action = match self.random.u32(0..3) {
                0 => LeadAction::Retry,
                1 => LeadAction::Assign { workspace_id: WorkspaceId::new("good").unwrap() },
                _ => LeadAction::Schedule { appointment_date: Some(self.clock.now()) },
            };
            self.ask(n, lead_id, action).await;
        }
    }

    /// Gives every lead without a date one, twice: the second must be refused.
    async fn command_all(&mut self) {
        let known: Vec<(u32, LeadId)> = self.acknowledged.lock().iter().map(|(n, id)| (*n, *id)).collect();
        for (n, lead_id) in known.into_iter().filter(|(n, _)| lead(*n).get("appointment_date").is_none()) {
            for _ in 0..2 {
                self.ask(n, lead_id, LeadAction::Schedule { appointment_date: Some(self.clock.now()) }).await;
            }
        }
    }

    async fn ask(&self, n: u32, lead_id: LeadId, action: LeadAction) {
        let at = self.clock.now();
        let (partition, _) = self.addressing.address(lead_id).unwrap();
        let lead_key = format!("+1213555{n:04}/a");
        let command = LeadRecord::Command(LeadCommand { v: 1, lead_id, lead_key, actor: "admin".into(), at, action });
        self.log.append(vec![NewRecord::of(&command, at).in_partition(partition)]).await.unwrap();
    }
}

fn workspace(id: &str, rate: i64, now: Timestamp) -> Workspace {
    Workspace {
        id: WorkspaceId::new(id).unwrap(),
        name: id.into(),
        outbound_webhook_url: Some(format!("http://{id}.example.com/hook").parse().unwrap()),
        test_webhook_url: None,
        webhook_active: true,
        business_type: String::new(),
        payment_rate: Money::from_cents(rate),
        signing_secrets: vec![SigningSecret { secret: "whsec_c2VjcmV0".into(), valid_until: None }],
        phone_format: Default::default(),
        rate_limit: None,
        max_concurrency: None,
        opening_hours: Default::default(),
        created_at: now,
        updated_at: now,
    }
}

/// The lead of this number: of every kind there is.
fn lead(n: u32) -> Value {
    let product = ["Solar", "HVAC", "Kitchen"][n as usize % 3];
    let zip = if n % 7 == 6 { "10001" } else { "90210" };
    let mut lead = json!({
        "phone": format!("213555{n:04}"), "zip_code": zip, "product_type": product, "external_id": format!("x-{n}"),
    });
    if n % 5 != 4 {
        lead["appointment_date"] = json!("2024-02-01T14:00:00Z");
    }
    if n % 11 == 10 {
        lead["test"] = json!(true);
    }
    lead
}

/// Posts one lead until it is acknowledged, and then again.
struct Poster {
    n: u32,
    repeats: u32,
    random: fastrand::Rng,
    present: watch::Receiver<Option<Life>>,
    acknowledged: Acknowledged,
}

impl Poster {
    async fn run(mut self) {
        let mut left = self.repeats;
        while left > 0 {
            tokio::time::sleep(Duration::from_micros(self.random.u64(0..2_000_000))).await;
            let Some(life) = self.present.borrow_and_update().clone() else { continue };
            let request = http::Request::post("/webhook/provider-a")
                .header("x-api-key", PROVIDER_KEY)
                .header("content-type", "application/json")
                .body(Full::new(Bytes::from(lead(self.n).to_string())))
                .unwrap();
            let Some(answer) = life.ended.run_until_cancelled(life.ingest.handle(request)).await else { continue };
            let status = answer.status().as_u16();
            let body: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
            match status {
                200 | 202 => {
                    let id = LeadId(body["lead_id"].as_u64().unwrap());
                    let first = *self.acknowledged.lock().entry(self.n).or_insert(id);
                    assert_eq!(first, id, "the same submission has one id");
                    left -= 1;
                }
                503 => {}
                other => panic!("{other}: {body}"),
            }
        }
    }
}

/// The client systems.
pub(crate) struct Clients {
    random: Mutex<fastrand::Rng>,
    trouble: Trouble,
    /// How often each appointment was answered with 2xx.
    pub(crate) taken: Mutex<BTreeMap<u64, u32>>,
}

#[async_trait]
impl Transport for Clients {
    async fn send(&self, request: WebhookRequest) -> Result<Answer, SendError> {
        let (delay, dice) = {
            let mut random = self.random.lock();
            (random.u64(100..200_000), random.u32(0..100))
        };
        tokio::time::sleep(Duration::from_micros(delay)).await;
        let answer = |status| Ok(Answer { status, retry_after: None, body: Bytes::from_static(b"{}") });
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        match (body["workspace_id"].as_str().unwrap(), dice) {
            ("dead", _) => Err(SendError::Connect("refused".into())),
            ("flaky", 0..20) => answer(500),
            ("flaky", 20..30) => {
                tokio::time::sleep(Duration::from_secs(15)).await;
                Err(SendError::Timeout)
            }
            _ => {
                *self.taken.lock().entry(body["appointment_id"].as_u64().unwrap()).or_default() += 1;
                // The answer may be lost on its way when the node dies now.
                self.trouble.moment().await;
                answer(200)
            }
        }
    }
}
