//! Leads as providers post them, and what leadway makes of them. Number `n` is always the same lead.

use std::sync::Arc;
use std::time::Duration;

use leadway_domain::intake::Intake;
use leadway_domain::lead::Lead;
use leadway_domain::problem::FieldError;
use leadway_domain::record::{Appointment, DeliveryRecord, LeadRecord, Outcome, PostedAs, RoutingMethod};
use leadway_domain::secret::KeyHash;
use leadway_domain::settings::{
    Change, DEFAULT_PRODUCTS, Entity, Product, Provider, Settings, SettingsChange, SigningSecret, Workspace,
};
use leadway_domain::{LeadId, Money, ProviderId, RuleId, Timestamp, WorkspaceId, ZipDirectory};
use leadway_eventlog::{EventLog, MemoryLog, NewRecord};
use url::form_urlencoded::Serializer;
use uuid::Uuid;

use crate::PARTITIONS;

/// The key of every provider.
pub(crate) const KEY: &str = "lwp_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const PROVIDERS: u64 = 20;
const WORKSPACES: u64 = 100;
const ZIPS: &[&str] = &["90210", "10001", "60614", "07302", "92101"];

/// Everything that intake depends on.
pub(crate) struct Sample {
    settings: Settings,
    zips: Arc<ZipDirectory>,
}

impl Sample {
    pub(crate) fn new() -> Self {
        let mut settings = Settings::default();
        settings.apply(&all_settings(1));
        Self { settings, zips: ZipDirectory::builtin() }
    }

    /// How lead `n` is read.
    pub(crate) fn intake(&self, n: u64) -> Intake<'_> {
        Intake {
            provider: self.settings.providers.get(&provider_id(n)).unwrap(),
            settings: &self.settings,
            zips: &self.zips,
            posted_as: PostedAs::Lead,
            idempotency: None,
            max_bytes: 64 << 10,
            now: arrival(n),
        }
    }

    /// Reads a lead in JSON.
    pub(crate) fn read(&self, n: u64, mut json: Vec<u8>) -> Result<Lead, Vec<FieldError>> {
        let raw = simd_json::to_borrowed_value(&mut json).unwrap();
        self.intake(n).normalise(&raw).map(|taken| taken.lead)
    }

    pub(crate) fn lead(&self, n: u64) -> Lead {
        self.read(n, json(n).into_bytes()).unwrap()
    }

    /// The lead's record in the log.
    pub(crate) fn received(&self, n: u64) -> NewRecord {
        NewRecord::of(&LeadRecord::Received(Arc::new(self.lead(n))), arrival(n))
    }
}

/// The lead of the README, with a telephone, a product, a place and a time of its own.
pub(crate) fn json(n: u64) -> String {
    let Said { phone, product, zip, date } = said(n);
    format!(
        r#"{{
  "first_name":"John","last_name":"Customer","phone":"{phone}","email":"john@example.com",
  "product_type":"{product}","zip_code":"{zip}","estimated_value":25000,
  "notes":"Interested in 10kW solar system","appointment_date":"{date}"}}"#
    )
}

/// The same lead as a form.
pub(crate) fn form(n: u64) -> String {
    let Said { phone, product, zip, date } = said(n);
    let mut form = Serializer::new(String::new());
    form.append_pair("first_name", "John").append_pair("last_name", "Customer");
    form.append_pair("phone", &phone).append_pair("email", "john@example.com");
    form.append_pair("product_type", product).append_pair("zip_code", zip);
    form.append_pair("estimated_value", "25000").append_pair("notes", "Interested in 10kW solar system");
    form.append_pair("appointment_date", &date).finish()
}

/// What one lead says otherwise than another.
struct Said {
    phone: String,
    product: &'static str,
    zip: &'static str,
    date: String,
}

fn said(n: u64) -> Said {
    let (area, exchange, line) = (212 + n / 800_000 % 50, 220 + n / 10_000 % 80, n % 10_000);
    let (name, synonyms) = pick(DEFAULT_PRODUCTS, n);
    Said {
        phone: format!("({area}) {exchange}-{line:04}"),
        product: synonyms.first().copied().unwrap_or(name),
        zip: pick(ZIPS, n),
        date: format!("2026-12-{:02}T{:02}:00", 1 + n / 10 % 28, 8 + n % 10),
    }
}

fn pick<T: Copy>(from: &[T], n: u64) -> T {
    from.get(n as usize % from.len()).copied().unwrap()
}

/// Ten thousand leads a second.
fn arrival(n: u64) -> Timestamp {
    start() + Duration::from_micros(100 * n)
}

fn start() -> Timestamp {
    Timestamp::from_second(1_764_590_400).unwrap()
}

pub(crate) fn provider_id(n: u64) -> ProviderId {
    ProviderId::new(&format!("provider_{}", n % PROVIDERS)).unwrap()
}

pub(crate) fn workspace_id(n: u64) -> WorkspaceId {
    WorkspaceId::new(&format!("workspace_{}", n % WORKSPACES)).unwrap()
}

/// A log in memory that holds nothing but settings, in which workspaces have so many secrets.
pub(crate) async fn log_with_settings(secrets: u8) -> MemoryLog {
    let log = MemoryLog::new(PARTITIONS);
    log.append(vec![settings_change(all_settings(secrets))]).await.unwrap();
    log
}

/// The record of a change of settings.
pub(crate) fn settings_change(change: Change) -> NewRecord {
    NewRecord::of(&SettingsChange::new(&Settings::default(), "bench", start(), change), start())
}

fn all_settings(secrets: u8) -> Change {
    let products = DEFAULT_PRODUCTS.iter().map(|(name, synonyms)| {
        let synonyms = synonyms.iter().map(|s| (*s).to_owned()).collect();
        Entity::Product(Product { name: (*name).to_owned(), synonyms, auto_schedule: false })
    });
    let providers = (0..PROVIDERS).map(|n| Entity::Provider(provider(n)));
    let workspaces = (0..WORKSPACES).map(|n| Entity::Workspace(workspace(n, secrets)));
    Change::Batch(products.chain(providers).chain(workspaces).map(Change::Put).collect())
}

pub(crate) fn provider(n: u64) -> Provider {
    Provider {
        id: provider_id(n),
        name: format!("Provider {n}"),
        cost_per_lead: Money::from_cents(7_500),
        is_active: true,
        // Whoever has a key is one provider: the first.
        key_hash: if n == 0 { KeyHash::of(KEY) } else { KeyHash::of(&format!("{KEY}{n}")) },
        mapping: Default::default(),
        auto_schedule: false,
        rate_limit: None,
        posting: Default::default(),
        credentials: Default::default(),
        created_at: start(),
        updated_at: start(),
    }
}

fn workspace(n: u64, secrets: u8) -> Workspace {
    let secret = SigningSecret { secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into(), valid_until: None };
    Workspace {
        id: workspace_id(n),
        name: format!("Workspace {n}"),
        outbound_webhook_url: Some(format!("https://workspace-{n}.example.com/appointments").parse().unwrap()),
        test_webhook_url: None,
        webhook_active: true,
        paused: false,
        past_dates: None,
        business_type: "Solar Installation".to_owned(),
        payment_rate: Money::from_cents(15_000),
        signing_secrets: vec![secret; secrets.into()],
        webhook_credentials: Default::default(),
        ignore_answer_body: false,
        phone_format: Default::default(),
        rate_limit: None,
        max_concurrency: None,
        opening_hours: Default::default(),
        created_at: start(),
        updated_at: start(),
    }
}

/// What the router makes of a lead that has this id, two milliseconds after its arrival.
pub(crate) fn appointment(id: LeadId, workspace_id: WorkspaceId, lead: Lead) -> Appointment {
    Appointment {
        v: 1,
        appointment_id: id,
        decision: 1,
        command_id: None,
        contact_id: lead.contact_id,
        customer_name: lead.customer_name(),
        provider_id: lead.provider_id,
        workspace_id,
        rule_id: Some(RuleId(Uuid::from_u128(0x0193_8000_0000_7000_8000_0000_0000_0001))),
        routing_method: RoutingMethod::Auto,
        customer_phone: lead.phone,
        customer_email: lead.email,
        service_type: lead.product_type,
        customer_zip: lead.zip_code,
        appointment_date: lead.appointment_date.unwrap(),
        estimated_value: lead.estimated_value,
        notes: lead.notes,
        price: Money::from_cents(15_000),
        cost: lead.cost,
        test: false,
        received_at: lead.received_at,
        matched_at: lead.received_at + Duration::from_millis(2),
    }
}

/// What became of attempt number `attempts`, three milliseconds after the routing.
pub(crate) fn attempted(a: &Appointment, attempts: u32, outcome: Outcome) -> DeliveryRecord {
    let delivered = outcome == Outcome::Delivered;
    DeliveryRecord {
        v: 1,
        appointment_id: a.appointment_id,
        workspace_id: a.workspace_id.clone(),
        provider_id: a.provider_id.clone(),
        service_type: a.service_type.clone(),
        price: a.price,
        cost: a.cost,
        test: false,
        received_at: a.received_at,
        matched_at: a.matched_at,
        attempts,
        at: a.matched_at + Duration::from_millis(3),
        latency_us: 1_500,
        status: Some(if delivered { 200 } else { 503 }),
        response: Some(if delivered { r#"{"status": "received"}"# } else { "busy" }.to_owned()),
        error: (!delivered).then(|| "the client answered 503".to_owned()),
        previous_due_at: None,
        outcome,
    }
}
