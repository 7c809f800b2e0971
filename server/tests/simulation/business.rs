//! The settings of the simulated business: a provider, and three clients of which one is reliable.

use leadway_domain::secret::KeyHash;
use leadway_domain::settings::{
    Change, Entity, Product, Provider, RateLimit, Rule, Settings, SettingsChange, SigningSecret, Workspace,
};
use leadway_domain::{Money, ProviderId, RuleId, Timestamp, WorkspaceId};

pub(crate) const PROVIDER_KEY: &str = "lwp_simulation";

/// The clients and what they buy.
const CLIENTS: [(&str, &str); 3] = [("good", "Solar"), ("flaky", "HVAC"), ("dead", "Kitchen")];

/// The change that opens it. `limits` are the clients' rate limits, in the order good, flaky, dead.
pub(crate) fn opening(now: Timestamp, limits: [Option<RateLimit>; 3]) -> SettingsChange {
    let product =
        |name: &str, auto_schedule| Entity::Product(Product { name: name.into(), synonyms: vec![], auto_schedule });
    let mut entities = vec![product("Solar", false), product("HVAC", true), product("Kitchen", false)];
    entities.push(Entity::Provider(Provider {
        id: ProviderId::new("a").unwrap(),
        name: "A".into(),
        cost_per_lead: Money::from_cents(3_333),
        is_active: true,
        key_hash: KeyHash::of(PROVIDER_KEY),
        mapping: Default::default(),
        auto_schedule: false,
        rate_limit: None,
        posting: Default::default(),
        credentials: Default::default(),
        created_at: now,
        updated_at: now,
    }));
    for (n, ((id, product), limit)) in CLIENTS.into_iter().zip(limits).enumerate() {
        entities.push(Entity::Workspace(workspace(id, 10_001 + n as i64, limit, now)));
        entities.push(Entity::Rule(Rule {
            id: RuleId(uuid::Uuid::from_u128(n as u128 + 1)),
            workspace_id: WorkspaceId::new(id).unwrap(),
            product_types: vec![product.into()],
            zip_codes: vec!["CA".into()],
            priority: 1,
            is_active: true,
            external_id: None,
            notes: String::new(),
            created_at: now,
            updated_at: now,
        }));
    }
    let change = Change::Batch(entities.into_iter().map(Change::Put).collect());
    SettingsChange::new(&Settings::default(), "system", now, change)
}

fn workspace(id: &str, price: i64, rate_limit: Option<RateLimit>, now: Timestamp) -> Workspace {
    Workspace {
        id: WorkspaceId::new(id).unwrap(),
        name: id.into(),
        outbound_webhook_url: Some(format!("http://{id}.example.com/hook").parse().unwrap()),
        test_webhook_url: None,
        webhook_active: true,
        paused: false,
        past_dates: None,
        business_type: String::new(),
        payment_rate: Money::from_cents(price),
        signing_secrets: vec![SigningSecret { secret: "whsec_c2VjcmV0".into(), valid_until: None }],
        webhook_credentials: Default::default(),
        ignore_answer_body: false,
        phone_format: Default::default(),
        rate_limit,
        max_concurrency: None,
        opening_hours: Default::default(),
        created_at: now,
        updated_at: now,
    }
}
