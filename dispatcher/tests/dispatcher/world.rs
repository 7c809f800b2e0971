//! A world to run dispatchers in: log, tables, a small scoring and scripted clients, all in memory and in paused time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use leadway_dispatcher::{Answer, Dispatcher, Error, Options, SendError, Transport, WebhookRequest};
use leadway_domain::record::{Appointment, AppointmentRecord, DeliveryRecord, Outcome, RoutingMethod, Topic};
use leadway_domain::settings::{Change, Entity, SettingsChange, SigningSecret, Workspace};
use leadway_domain::{
    Addressing, Clock, ContactId, LeadId, Money, Offset, Partition, Phone, ProviderId, Timestamp, WorkspaceId, Zip,
};
use leadway_eventlog::{EventLog, MemoryLog, NewRecord, Position, ReadLimit, SettingsHandle};
use leadway_tables::schema::{AppointmentRow, OpenDeliveryRow, bucket};
use leadway_tables::{Applied, Json, MemoryTables, TableRow, Tables, key};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use url::Url;

pub(crate) const PARTITIONS: u32 = 2;

/// What a client does with one request: after a while it answers, or does not.
pub(crate) type Script = Box<dyn FnMut(&WebhookRequest) -> (Duration, Result<Answer, SendError>) + Send>;

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) request: WebhookRequest,
    pub(crate) at: Instant,
}

#[derive(Default)]
pub(crate) struct Clients {
    pub(crate) scripts: Mutex<HashMap<String, Script>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    /// Under way now and at most, per host.
    pub(crate) busy: Mutex<HashMap<String, (u32, u32)>>,
}

#[async_trait]
impl Transport for Clients {
    async fn send(&self, request: WebhookRequest) -> Result<Answer, SendError> {
        let host = request.target.url().host_str().unwrap().to_owned();
        self.seen.lock().push(Seen { request: request.clone(), at: Instant::now() });
        {
            let mut busy = self.busy.lock();
            let (now, most) = busy.entry(host.clone()).or_default();
            *now += 1;
            *most = (*most).max(*now);
        }
        let (wait, result) = match self.scripts.lock().get_mut(&host) {
            Some(script) => script(&request),
            None => (Duration::from_millis(5), ok()),
        };
        sleep(wait).await;
        self.busy.lock().entry(host).or_default().0 -= 1;
        result
    }
}

pub(crate) fn status(status: u16) -> Result<Answer, SendError> {
    Ok(Answer { status, body: Bytes::from_static(b"{\"status\":\"received\"}"), ..Answer::default() })
}

pub(crate) fn ok() -> Result<Answer, SendError> {
    status(200)
}

/// What was read of `deliveries`.
#[derive(Default)]
struct Read {
    next: [Offset; PARTITIONS as usize],
    outcomes: Vec<DeliveryRecord>,
}

/// One world: log, tables, scoring and clients outlive the dispatchers that are started in it.
pub(crate) struct World {
    pub(crate) log: MemoryLog,
    pub(crate) tables: MemoryTables,
    pub(crate) clock: Clock,
    pub(crate) clients: Arc<Clients>,
    pub(crate) settings: SettingsHandle,
    pub(crate) options: Options,
    pub(crate) next_id: u64,
    read: Mutex<Read>,
}

pub(crate) struct Node {
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), Error>>,
}

impl Node {
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl World {
    pub(crate) async fn new(options: Options) -> Self {
        let log = MemoryLog::new(PARTITIONS);
        let tables = MemoryTables::default();
        let start: Timestamp = "2024-01-15T10:30:00Z".parse().unwrap();
        let clock = Clock::manual(start);
        tokio::spawn(move_clock(clock.clone(), start));
        tokio::spawn(score(log.clone(), tables.clone()));
        let settings = SettingsHandle::follow(Arc::new(log.clone())).await.unwrap();
        Self { log, tables, clock, clients: Arc::default(), settings, options, next_id: 1, read: Mutex::default() }
    }

    pub(crate) fn start(&self) -> Node {
        let stop = CancellationToken::new();
        let dispatcher = Dispatcher::new(
            Arc::new(self.log.clone()),
            Arc::new(self.tables.clone()),
            self.settings.clone(),
            self.clock.clone(),
            self.clients.clone(),
            7,
            self.options.clone(),
        );
        Node { stop: stop.clone(), task: tokio::spawn(dispatcher.run(stop)) }
    }

    pub(crate) fn script(
        &self,
        workspace: &str,
        script: impl FnMut(&WebhookRequest) -> (Duration, Result<Answer, SendError>) + Send + 'static,
    ) {
        self.clients.scripts.lock().insert(format!("{workspace}.example.com"), Box::new(script));
    }

    pub(crate) async fn change(&self, change: Change) {
        let record = SettingsChange::new(&self.settings.load(), "test", self.clock.now(), change);
        let address = self.log.append(vec![NewRecord::of(&record, self.clock.now())]).await.unwrap()[0];
        self.settings.wait_for(address.offset).await.unwrap();
    }

    pub(crate) async fn workspace(&self, id: &str, shape: impl FnOnce(&mut Workspace)) {
        let mut workspace = Workspace {
            id: WorkspaceId::new(id).unwrap(),
            name: id.to_owned(),
            outbound_webhook_url: Some(Url::parse(&format!("https://{id}.example.com/hook")).unwrap()),
            test_webhook_url: None,
            webhook_active: true,
            paused: false,
            past_dates: None,
            business_type: String::new(),
            payment_rate: Money::from_cents(15_000),
            signing_secrets: vec![SigningSecret { secret: "whsec_bmV3".into(), valid_until: None }],
            webhook_credentials: Default::default(),
            ignore_answer_body: false,
            phone_format: Default::default(),
            rate_limit: None,
            max_concurrency: None,
            opening_hours: Default::default(),
            created_at: self.clock.now(),
            updated_at: self.clock.now(),
        };
        shape(&mut workspace);
        self.change(Change::Put(Entity::Workspace(workspace))).await;
    }

    pub(crate) async fn route(&mut self, workspace: &str, count: u64) -> Vec<LeadId> {
        self.route_shaped(workspace, count, |_| {}).await
    }

    pub(crate) async fn route_shaped(
        &mut self,
        workspace: &str,
        count: u64,
        shape: impl Fn(&mut Appointment),
    ) -> Vec<LeadId> {
        let now = self.clock.now();
        let ids: Vec<LeadId> = (self.next_id..self.next_id + count).map(LeadId).collect();
        self.next_id += count;
        let records = ids.iter().map(|id| {
            let mut appointment = appointment(*id, workspace, now);
            shape(&mut appointment);
            NewRecord::of(&AppointmentRecord::Routed(Arc::new(appointment)), now)
        });
        self.log.append(records.collect()).await.unwrap();
        ids
    }

    /// Has the log say that the dispatcher stands at `offset` of every partition of `appointments`, and at the ends of
    /// `deliveries`.
    pub(crate) async fn move_back(&mut self, offset: u64) {
        let moved = MemoryLog::new(PARTITIONS);
        let mut progress = Vec::new();
        for partition in (0..PARTITIONS).map(Partition) {
            for topic in [Topic::Appointments, Topic::Deliveries] {
                let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
                let records = self.log.read(topic, partition, Offset(0), limit).await.unwrap();
                let end = Offset(records.len() as u64);
                moved.append(records.into_iter().map(NewRecord::copy_of).collect()).await.unwrap();
                let next = if topic == Topic::Deliveries { end } else { end.min(Offset(offset)) };
                progress.push(Position { topic, partition, next });
            }
        }
        let mut stage = moved.stage("dispatcher", Topic::Appointments, &[Topic::Deliveries]).await.unwrap();
        stage.next(ReadLimit::default()).await.unwrap();
        stage.commit(&[], &progress).await.unwrap();
        self.log = moved;
    }

    /// Reads on in `deliveries`.
    async fn read_outcomes(&self) {
        for partition in (0..PARTITIONS).map(Partition) {
            let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
            let next = self.read.lock().next[partition.0 as usize];
            let records = self.log.read(Topic::Deliveries, partition, next, limit).await.unwrap();
            let mut read = self.read.lock();
            for record in records {
                let outcome = record.decode::<DeliveryRecord>().unwrap();
                assert_eq!(partition, self.log.partition_of(Topic::Appointments, outcome.workspace_id.as_str()));
                read.next[partition.0 as usize] = record.next();
                read.outcomes.push(outcome);
            }
        }
    }

    pub(crate) async fn outcomes(&self) -> Vec<DeliveryRecord> {
        self.read_outcomes().await;
        let mut all = self.read.lock().outcomes.clone();
        all.sort_by_key(|r| r.at);
        all
    }

    pub(crate) async fn count(&self, ended: impl Fn(&Outcome) -> bool) -> usize {
        self.read_outcomes().await;
        self.read.lock().outcomes.iter().filter(|r| ended(&r.outcome)).count()
    }

    pub(crate) async fn outcomes_of(&self, workspace: &str) -> Vec<DeliveryRecord> {
        self.outcomes().await.into_iter().filter(|r| r.workspace_id.as_str() == workspace).collect()
    }

    /// Waits until so many deliveries have ended, delivered or given up; fails after four days of the test's time.
    pub(crate) async fn ended(&self, count: usize) -> Vec<DeliveryRecord> {
        let deadline = Instant::now() + Duration::from_secs(4 * 86_400);
        loop {
            let ended = self.count(|outcome| matches!(outcome, Outcome::Delivered | Outcome::GivenUp)).await;
            if ended >= count {
                return self.outcomes().await;
            }
            assert!(Instant::now() < deadline, "{ended} of {count} have ended");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) fn requests_to(&self, workspace: &str) -> Vec<Seen> {
        let host = format!("{workspace}.example.com");
        self.clients.seen.lock().iter().filter(|s| s.request.target.url().host_str() == Some(&host)).cloned().collect()
    }

    pub(crate) async fn open_rows(&self, workspace: &str) -> usize {
        let range = leadway_tables::Range::first(10_000);
        self.tables
            .scan(
                OpenDeliveryRow::TABLE,
                &[leadway_tables::Cell::to_value(&WorkspaceId::new(workspace).unwrap())],
                range,
            )
            .await
            .unwrap()
            .len()
    }
}

/// The test's clock goes with the runtime's paused time.
pub(crate) async fn move_clock(clock: Clock, start: Timestamp) {
    let began = Instant::now();
    loop {
        sleep(Duration::from_millis(10)).await;
        let micros = i64::try_from(began.elapsed().as_micros()).unwrap();
        clock.advance_to(Timestamp::from_microsecond(start.as_microsecond() + micros).unwrap());
    }
}

/// Scoring, as far as the dispatcher sees it: outcomes become rows of `open_deliveries`, a little later.
pub(crate) async fn score(log: MemoryLog, tables: MemoryTables) {
    let mut positions: Vec<Position> = (0..PARTITIONS)
        .map(|p| Position { topic: Topic::Deliveries, partition: Partition(p), next: Offset(0) })
        .collect();
    loop {
        log.wait(&positions).await.unwrap();
        sleep(Duration::from_millis(30)).await;
        for position in &mut positions {
            let records =
                log.read(Topic::Deliveries, position.partition, position.next, ReadLimit::default()).await.unwrap();
            let Some(last) = records.last() else { continue };
            let mut writes = Vec::new();
            for record in records.iter().map(|r| r.decode::<DeliveryRecord>().unwrap()) {
                if let Some(bucket) = bucket(Addressing::default(), record.appointment_id) {
                    let row = AppointmentRow::new(bucket, record.appointment_id);
                    writes.push(AppointmentRow { forward_status: Some("known".into()), ..row }.upsert());
                }
                if let Some(due_at) = record.previous_due_at {
                    let key = key![record.workspace_id, due_at, record.appointment_id];
                    writes.push(OpenDeliveryRow::delete(key));
                }
                if let Outcome::Retry { due_at, appointment } | Outcome::Held { due_at, appointment, .. } =
                    record.outcome
                {
                    let mut row = OpenDeliveryRow::new(record.workspace_id, due_at, record.appointment_id);
                    row.attempts = Some(i64::from(record.attempts));
                    row.appointment = Some(Json((*appointment).clone()));
                    writes.push(row.upsert());
                }
            }
            let (partition, from, next) = (position.partition, position.next, last.next());
            let applied = Applied { topic: Topic::Deliveries, partition, from, next };
            position.next = next;
            tables.write(writes, &[applied]).await.unwrap();
        }
    }
}

pub(crate) fn appointment(id: LeadId, workspace: &str, now: Timestamp) -> Appointment {
    let phone = Phone::parse("2135550123").unwrap();
    let provider_id = ProviderId::new("a").unwrap();
    Appointment {
        v: 1,
        appointment_id: id,
        decision: 1,
        command_id: None,
        contact_id: ContactId::derive(phone, &provider_id),
        provider_id,
        workspace_id: WorkspaceId::new(workspace).unwrap(),
        rule_id: None,
        routing_method: RoutingMethod::Auto,
        customer_name: "Ann Example".into(),
        customer_phone: phone,
        customer_email: None,
        service_type: "Solar".into(),
        customer_zip: Zip::parse("90210").unwrap(),
        appointment_date: now,
        estimated_value: None,
        notes: String::new(),
        price: Money::from_cents(15_000),
        cost: Money::from_cents(7_500),
        test: false,
        received_at: now,
        matched_at: now,
    }
}
