//! A portal to call, and rows to find.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use leadway_domain::record::Topic;
use leadway_domain::seal::Keyring;
use leadway_domain::settings::Settings;
use leadway_domain::{
    Addressing, Clock, ContactId, LeadId, Offset, Partition, Phone, ProviderId, Timestamp, ZipDirectory,
};
use leadway_eventlog::{
    Address, EventLog, LogError, MemoryLog, NewRecord, Position, ReadLimit, Record, SettingsHandle, Stage,
};
use leadway_portal::{Deps, Options, Random, api, first_start};
use leadway_router::{ApiDeps, Matcher};
use leadway_tables::schema::{AppointmentRow, ContactRow, LeadDayRow, LeadRow, bucket, day};
use leadway_tables::{MemoryTables, TableRow, Tables, Write};
use serde_json::Value;
use tower::ServiceExt;

pub(crate) const ADMIN_KEY: &str = "lwk_the-admin-key-of-the-tests";
pub(crate) const PARTITIONS: u32 = 3;

pub(crate) struct World {
    pub(crate) log: MemoryLog,
    pub(crate) tables: MemoryTables,
    pub(crate) settings: SettingsHandle,
    pub(crate) clock: Clock,
    pub(crate) addressing: Addressing,
    pub(crate) app: Router,
}

/// A log that takes its time before it appends, as a disk does.
pub(crate) struct SlowLog(pub(crate) MemoryLog);

#[async_trait]
impl EventLog for SlowLog {
    fn partitions(&self, topic: Topic) -> u32 {
        self.0.partitions(topic)
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Address>, LogError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.0.append(records).await
    }

    async fn read(&self, topic: Topic, p: Partition, from: Offset, limit: ReadLimit) -> Result<Vec<Record>, LogError> {
        self.0.read(topic, p, from, limit).await
    }

    async fn end(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        self.0.end(topic, partition).await
    }

    fn seen(&self, topic: Topic, partition: Partition) -> Offset {
        self.0.seen(topic, partition)
    }

    async fn wait(&self, positions: &[Position]) -> Result<(), LogError> {
        self.0.wait(positions).await
    }

    async fn stage(&self, name: &'static str, input: Topic, tracked: &[Topic]) -> Result<Box<dyn Stage>, LogError> {
        self.0.stage(name, input, tracked).await
    }
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The `(field, code)` of every error, sorted.
    pub(crate) fn errors(&self) -> Vec<(String, String)> {
        let json = self.json();
        let text = |v: &Value| v.as_str().unwrap().to_owned();
        let errors = json["errors"].as_array().unwrap_or_else(|| panic!("no errors: {json}"));
        let mut errors: Vec<_> = errors.iter().map(|e| (text(&e["field"]), text(&e["code"]))).collect();
        errors.sort();
        errors
    }

    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }
}

/// The seal keys of the node under test.
pub(crate) fn ring() -> Keyring {
    Keyring::parse(&"01".repeat(32)).unwrap()
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let log = MemoryLog::new(PARTITIONS);
        Self::over(log.clone(), Arc::new(log), options).await
    }

    /// A portal that reaches `log` by way of `shared`.
    pub(crate) async fn over(log: MemoryLog, shared: Arc<dyn EventLog>, options: Options) -> Self {
        let tables = MemoryTables::default();
        Self::made_of(log, shared, tables.clone(), Arc::new(tables), options).await
    }

    /// A portal that reaches `log` and `tables` by way of others.
    pub(crate) async fn made_of(
        log: MemoryLog,
        shared: Arc<dyn EventLog>,
        tables: MemoryTables,
        shared_tables: Arc<dyn Tables>,
        options: Options,
    ) -> Self {
        let settings = SettingsHandle::follow_with(shared.clone(), ring()).await.unwrap();
        let clock = Clock::manual(at("2024-01-15T10:30:00Z"));
        let (random, addressing) = (Random::seeded(7), Addressing::default());
        let given = Some(ADMIN_KEY.to_owned());
        let first = first_start(shared.clone(), settings.clone(), clock.clone(), &random, given).await.unwrap();
        assert_eq!(first.new_admin_key, None);
        let zips = ZipDirectory::builtin();
        let routing = leadway_router::api(ApiDeps {
            matcher: Matcher::follow(settings.clone(), zips.clone()),
            zips: zips.clone(),
            log: shared.clone(),
            tables: shared_tables.clone(),
            clock: clock.clone(),
        });
        let deps = Deps {
            log: shared,
            tables: shared_tables,
            settings: settings.clone(),
            zips,
            clock: clock.clone(),
            addressing,
            random,
            writes: Default::default(),
        };
        let app = api(deps, routing, options);
        Self { log, tables, settings, clock, addressing, app }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        let body = body.map(|json| ("application/json", json.to_string()));
        self.call_as(ADMIN_KEY, method, path, body.as_ref().map(|(kind, text)| (*kind, text.as_str()))).await
    }

    pub(crate) async fn call_as(&self, key: &str, method: &str, path: &str, body: Option<(&str, &str)>) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        if let Some((kind, _)) = body {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let body = body.map_or_else(Body::empty, |(_, text)| Body::from(text.to_owned()));
        self.send(request.body(body).unwrap()).await
    }

    /// A read whose answer nobody has read yet.
    pub(crate) async fn open(&self, key: &str, path: &str) -> axum::response::Response {
        let request = Request::builder().uri(path).header(header::AUTHORIZATION, format!("Bearer {key}"));
        self.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, Some(body)).await
    }

    /// The provider, workspace and rule of the issue.
    pub(crate) async fn furnish(&self) {
        self.post("/api/providers", provider()).await.expect(201);
        self.post("/api/workspaces", workspace()).await.expect(201);
        self.post("/api/routing-rules", rule()).await.expect(201);
    }

    pub(crate) fn present(&self) -> Arc<Settings> {
        self.settings.load()
    }

    pub(crate) async fn write(&self, rows: Vec<Write>) {
        self.tables.write(rows, &[]).await.unwrap();
    }

    /// Fills the log so that it has given the ids up to this offset in every partition.
    pub(crate) async fn grow_log(&self, offsets: u64) {
        let mut records = Vec::new();
        for partition in 0..PARTITIONS {
            for _ in self.log.end(Topic::Leads, Partition(partition)).await.unwrap().0..offsets {
                records.push(NewRecord {
                    topic: Topic::Leads,
                    partition: Some(Partition(partition)),
                    key: "".into(),
                    kind: "lead.received".into(),
                    id: uuid::Uuid::nil(),
                    time: self.clock.now(),
                    data: "{}".into(),
                    decoded: Default::default(),
                });
            }
        }
        self.log.append(records).await.unwrap();
    }

    pub(crate) fn lead_id(&self, partition: u32, offset: u64) -> LeadId {
        self.addressing.id(Partition(partition), Offset(offset))
    }

    /// A lead of the tests, with its day.
    pub(crate) fn lead(&self, id: LeadId, received_at: Timestamp) -> (LeadRow, Vec<Write>) {
        let (partition, _) = self.addressing.address(id).unwrap();
        let phone = Phone::parse("2135550123").unwrap();
        let provider = ProviderId::new("a").unwrap();
        let mut row = LeadRow::new(bucket(self.addressing, id).unwrap(), id);
        row.contact_id = Some(ContactId::derive(phone, &provider));
        row.phone = Some(phone);
        row.provider_id = Some(provider);
        row.product_type = Some("Solar".into());
        row.zip_code = Some("90210".parse_zip());
        row.received_at = Some(received_at);
        let mut of_day = LeadDayRow::new(day(received_at), partition);
        of_day.first_lead_id = Some(id);
        of_day.last_lead_id = Some(id);
        (row.clone(), vec![row.upsert(), of_day.upsert()])
    }

    /// Writes a lead that is the only one of its contact.
    pub(crate) async fn write_only_lead(&self, id: LeadId, received_at: Timestamp) {
        let (lead, mut rows) = self.lead(id, received_at);
        let mut contact = ContactRow::new(lead.contact_id.unwrap());
        contact.last_lead_id = Some(id);
        rows.push(contact.upsert());
        self.write(rows).await;
    }

    /// The routed appointment of a lead.
    pub(crate) fn appointment(&self, id: LeadId, workspace: &str, received_at: Timestamp) -> AppointmentRow {
        let mut row = AppointmentRow::new(bucket(self.addressing, id).unwrap(), id);
        row.decision = Some(1);
        row.routing_status = Some("routed".into());
        row.workspace_id = Some(serde_json::from_value(workspace.into()).unwrap());
        row.provider_id = Some(ProviderId::new("a").unwrap());
        row.service_type = Some("Solar".into());
        row.customer_zip = Some("90210".parse_zip());
        row.received_at = Some(received_at);
        row.matched_at = Some(received_at);
        row
    }

    /// Every item of a list, page by page; asserts that the pages end.
    pub(crate) async fn all_pages(&self, path: &str, limit: usize) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        for _ in 0..1_000 {
            let sign = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{sign}limit={limit}{cursor}")).await.expect(200).json();
            let found = page["items"].as_array().unwrap();
            assert!(found.len() <= limit, "{path}: {} items of {limit}", found.len());
            items.extend(found.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
        panic!("{path}: the pages do not end");
    }
}

pub(crate) trait ParseZip {
    fn parse_zip(&self) -> leadway_domain::Zip;
}

impl ParseZip for str {
    fn parse_zip(&self) -> leadway_domain::Zip {
        leadway_domain::Zip::parse(self).unwrap()
    }
}

// The bodies of the issue, to the letter.

pub(crate) fn provider() -> Value {
    serde_json::from_str(r#"{"id":"a","name":"Provider A","cost_per_lead":75}"#).unwrap()
}

pub(crate) fn workspace() -> Value {
    let text = r#"{"id":"solar_west_coast","name":"Solar West Coast Team",
        "outbound_webhook_url":"https://solar-client.com/webhooks/appts","webhook_active":true,
        "business_type":"Solar Installation","payment_rate":150}"#;
    serde_json::from_str(text).unwrap()
}

pub(crate) fn rule() -> Value {
    let text = r#"{"workspace_id":"solar_west_coast","product_types":["Solar"],"zip_codes":["90210","902*"],"priority":1,"is_active":true}"#;
    serde_json::from_str(text).unwrap()
}
