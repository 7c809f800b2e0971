//! A node with its front, and requests to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use leadway_domain::lead::Lead;
use leadway_domain::record::{LeadRecord, Payload, QuarantineRecord, QuarantinedLead, Topic};
use leadway_domain::secret::KeyHash;
use leadway_domain::settings::{
    Change, DEFAULT_PRODUCTS, Entity, Product, Provider, RateLimit, Settings, SettingsChange,
};
use leadway_domain::{Addressing, Clock, LeadId, Money, Offset, Partition, ProviderId, ZipDirectory};
use leadway_eventlog::{EventLog, NewRecord, ReadLimit, SettingsHandle};
use leadway_ingest::{Ingest, Options};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::log::GatedLog;

/// The key of provider `a`.
pub(crate) const KEY: &str = "lwp_a";
/// A lead with no mistake.
pub(crate) const LEAD: &str = r#"{"first_name":"Ana","phone":"(213) 555-0123","zip":"90210","product":"solar panels"}"#;

pub(crate) struct Node {
    pub(crate) log: GatedLog,
    pub(crate) clock: Clock,
    pub(crate) ingest: Ingest,
    settings: SettingsHandle,
    stop: CancellationToken,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn lead_id(&self) -> LeadId {
        LeadId(self.body["lead_id"].as_u64().unwrap_or_else(|| panic!("no lead id in {}", self.body)))
    }

    /// Status codes of a refusal are told twice, and its media type is fixed.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, kind: &str) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("urn:leadway:problem:{kind}"));
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
    }
}

pub(crate) fn start_of_time() -> leadway_domain::Timestamp {
    "2024-01-15T10:30:00Z".parse().unwrap()
}

pub(crate) fn provider(id: &str) -> Provider {
    Provider {
        id: ProviderId::new(id).unwrap(),
        name: format!("Provider {id}"),
        cost_per_lead: Money::from_cents(7_500),
        is_active: true,
        key_hash: KeyHash::of(&format!("lwp_{id}")),
        mapping: Default::default(),
        auto_schedule: false,
        rate_limit: None,
        posting: Default::default(),
        credentials: Default::default(),
        created_at: start_of_time(),
        updated_at: start_of_time(),
    }
}

impl Node {
    /// A node with providers `a` and `b`, ready.
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        Self::with_log(GatedLog::new(), options).await
    }

    /// The same on a log that holds nothing.
    pub(crate) async fn with_log(log: GatedLog, options: Options) -> Self {
        let clock = Clock::manual(start_of_time());
        let node = Self::join(log, clock, options).await;
        let products = DEFAULT_PRODUCTS.iter().map(|(name, synonyms)| Product {
            name: (*name).into(),
            synonyms: synonyms.iter().map(|s| (*s).into()).collect(),
            auto_schedule: false,
        });
        let providers = ["a", "b"].map(|id| Entity::Provider(provider(id)));
        node.put(products.map(Entity::Product).chain(providers)).await;
        node
    }

    /// A further node on the same log.
    pub(crate) async fn join(log: GatedLog, clock: Clock, options: Options) -> Self {
        let node = Self::idle(log, clock, options).await;
        let (ingest, stop) = (node.ingest.clone(), node.stop.clone());
        tokio::spawn(async move { ingest.follow(stop).await.unwrap() });
        while !node.ingest.is_ready() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        node
    }

    /// A node that has not loaded its window.
    pub(crate) async fn idle(log: GatedLog, clock: Clock, options: Options) -> Self {
        let shared: Arc<dyn EventLog> = Arc::new(log.clone());
        let settings = SettingsHandle::follow(Arc::clone(&shared)).await.unwrap();
        let zips = ZipDirectory::builtin();
        let ingest = Ingest::new(shared, settings.clone(), zips, clock.clone(), Addressing::default(), options);
        Self { log, clock, ingest, settings, stop: CancellationToken::new() }
    }

    pub(crate) async fn put(&self, entities: impl IntoIterator<Item = Entity>) {
        let change = Change::Batch(entities.into_iter().map(Change::Put).collect());
        let change = SettingsChange::new(&Settings::default(), "test", self.clock.now(), change);
        let addresses = self.log.memory.append(vec![NewRecord::of(&change, self.clock.now())]).await.unwrap();
        self.settings.wait_for(addresses[0].offset).await.unwrap();
    }

    pub(crate) async fn limit(&self, id: &str, per_second: u32, burst: Option<u32>) {
        let limited = Provider { rate_limit: Some(RateLimit { per_second, burst }), ..provider(id) };
        self.put([Entity::Provider(limited)]).await;
    }

    pub(crate) fn advance(&self, seconds: i64) {
        let now = self.clock.now().as_second() + seconds;
        self.clock.advance_to(leadway_domain::Timestamp::from_second(now).unwrap());
    }

    /// Lets the follower see all that is in the log. Only where time is paused.
    pub(crate) async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Posts with the headers given.
    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::new(body.into())).unwrap()).await
    }

    /// Posts JSON to the webhook of provider `a`, with its key.
    pub(crate) async fn webhook(&self, body: impl Into<Bytes>) -> Answer {
        self.post("/webhook/provider-a", &[("x-api-key", KEY), ("content-type", "application/json")], body).await
    }

    pub(crate) async fn send<B: hyper::body::Body<Data = Bytes>>(&self, request: Request<B>) -> Answer {
        let (head, body) = self.ingest.handle(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{e}: {bytes:?}"));
        Answer { status: head.status, headers: head.headers, body }
    }

    async fn records<P: Payload>(&self, topic: Topic) -> Vec<(LeadId, P)> {
        let mut found = Vec::new();
        for partition in (0..self.log.partitions(topic)).map(Partition) {
            for record in self.log.read(topic, partition, Offset(0), ReadLimit::default()).await.unwrap() {
                let id = Addressing::default().id(partition, record.address.offset);
                found.push((id, record.decode().unwrap()));
            }
        }
        found
    }

    /// The leads in the log.
    pub(crate) async fn leads(&self) -> Vec<(LeadId, Lead)> {
        let records = self.records(Topic::Leads).await.into_iter();
        records
            .map(|(id, record)| match record {
                LeadRecord::Received(lead) => (id, Arc::unwrap_or_clone(lead)),
                LeadRecord::Command(_) => panic!("ingest writes no commands"),
            })
            .collect()
    }

    /// The refused leads in the log.
    pub(crate) async fn quarantine(&self) -> Vec<QuarantinedLead> {
        let records = self.records(Topic::Quarantine).await.into_iter();
        records
            .map(|(_, record)| match record {
                QuarantineRecord::Added(lead) => *lead,
                QuarantineRecord::Ended(_) => panic!("ingest ends no quarantine"),
            })
            .collect()
    }
}
