//! Leads that flow, and the books that must balance in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::e2e::{Client, answer, around_today, ask_again, http_client, sample_lead};
use crate::process::KEY;

/// How long the system may take to heal before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(180);

/// The operator's calls, to one portal.
pub(crate) struct Operator {
    http: reqwest::Client,
    base: String,
    key: &'static str,
}

impl Operator {
    /// Of a node of this test.
    pub(crate) fn of(base: &str) -> Self {
        Self::with_key(base, KEY)
    }

    pub(crate) fn with_key(base: &str, key: &'static str) -> Self {
        Self { http: http_client(Duration::from_secs(30)), base: base.to_owned(), key }
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request =
            self.http.request(method.parse().unwrap(), format!("{}{path}", self.base)).bearer_auth(self.key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let (status, body) = answer(request).await;
        (status.as_u16(), body)
    }

    /// Asked again where the node cannot answer and says when to come back.
    pub(crate) async fn get(&self, path: &str) -> Value {
        eventually(path, async || {
            let (status, body) = self.call("GET", path, None).await;
            let told = status == 200 || status == 503 && body["retry_after"].is_u64();
            assert!(told, "GET {path}: {status} {body}");
            if status == 200 { Ok(body) } else { Err(body.to_string()) }
        })
        .await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.call("POST", path, Some(body)).await;
        assert!((200..300).contains(&status), "POST {path}: {status} {answer}");
        answer
    }

    /// Every item of a list that comes in pages.
    pub(crate) async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}{cursor}")).await;
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    /// Provider `a`, workspace `w` that `client` receives for, and a rule for California; returns the provider's key.
    pub(crate) async fn furnish(&self, client: &Client, rate_limit: Option<Value>) -> String {
        let provider = self.post("/api/providers", json!({"id": "a", "name": "A", "cost_per_lead": 75})).await;
        let workspace = json!({
            "id": "w", "name": "W", "outbound_webhook_url": client.url(), "webhook_active": true, "payment_rate": 150,
            "rate_limit": rate_limit,
        });
        let workspace = self.post("/api/workspaces", workspace).await;
        client.trust(workspace["signing_secret"].as_str().unwrap());
        let rule = json!({
            "workspace_id": "w", "product_types": ["Solar"], "zip_codes": ["CA"], "priority": 1, "is_active": true,
        });
        self.post("/api/routing-rules", rule).await;
        provider["key"].as_str().unwrap().to_owned()
    }
}

/// Posters that post leads one after the other, each again until it is acknowledged, to any of the ingest nodes.
pub(crate) struct Load {
    shared: Arc<Shared>,
    posters: Vec<JoinHandle<()>>,
}

struct Shared {
    /// The ingest nodes there are.
    bases: RwLock<Vec<String>>,
    /// Lead id by number, of every lead that was answered 200 or 202.
    acknowledged: Mutex<BTreeMap<u32, u64>>,
    provider_key: String,
    pause: Duration,
    stop: CancellationToken,
}

impl Load {
    /// `posters` tasks that each wait `pause` between two leads.
    pub(crate) fn start(bases: Vec<String>, provider_key: &str, posters: u32, pause: Duration) -> Self {
        let shared = Arc::new(Shared {
            bases: RwLock::new(bases),
            acknowledged: Mutex::default(),
            provider_key: provider_key.to_owned(),
            pause,
            stop: CancellationToken::new(),
        });
        let posters = (0..posters).map(|n| tokio::spawn(post(shared.clone(), n, posters))).collect();
        Self { shared, posters }
    }

    pub(crate) fn set_bases(&self, bases: Vec<String>) {
        *self.shared.bases.write() = bases;
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.shared.acknowledged.lock().len()
    }

    /// Waits until so many more leads are acknowledged: whatever was broken, leads flow.
    pub(crate) async fn flows(&self, more: usize) {
        let before = self.acknowledged();
        eventually("leads to flow", async || {
            let now = self.acknowledged() - before;
            if now >= more { Ok(()) } else { Err(format!("{now} of {more}")) }
        })
        .await;
    }

    /// Ends the load; returns the lead id of every lead by its number.
    pub(crate) async fn end(self) -> BTreeMap<u32, u64> {
        self.shared.stop.cancel();
        for poster in self.posters {
            poster.await.unwrap();
        }
        std::mem::take(&mut *self.shared.acknowledged.lock())
    }
}

async fn post(shared: Arc<Shared>, first: u32, step: u32) {
    let http = http_client(Duration::from_secs(5));
    let (mut n, mut turn) = (first, first as usize);
    while !shared.stop.is_cancelled() {
        turn += 1;
        let base = {
            let bases = shared.bases.read();
            bases[turn % bases.len()].clone()
        };
        let url = format!("{base}/webhook/provider-a");
        let posted = http.post(url).header("x-api-key", &shared.provider_key).json(&sample_lead(n)).send().await;
        let body: Option<Value> = match posted {
            Ok(answer) if answer.status().is_success() => answer.json().await.ok(),
            // A node learns of a new provider within moments.
            Ok(answer) if answer.status() == 401 => None,
            Ok(answer) => {
                let (status, told) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
                assert!(status == 503 && told, "a node that cannot take a lead says when to come back: {status}");
                None
            }
            Err(_) => None,
        };
        match body.and_then(|b| b["lead_id"].as_u64()) {
            Some(id) => {
                shared.acknowledged.lock().insert(n, id);
                n += step;
                tokio::time::sleep(shared.pause).await;
            }
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Posts a lead; its id, or why it was not taken.
pub(crate) async fn take(http: &reqwest::Client, base: &str, key: &str, lead: &Value) -> Result<u64, String> {
    let url = format!("{base}/webhook/provider-a");
    let answer = http.post(url).header("x-api-key", key).json(lead).send().await.map_err(|e| e.to_string())?;
    let status = answer.status();
    let body: Value = answer.json().await.map_err(|e| e.to_string())?;
    if status.is_success() { Ok(body["lead_id"].as_u64().unwrap()) } else { Err(format!("{status} {body}")) }
}

/// Every lead that was acknowledged is decided once, delivered and billed once, and nothing else is.
pub(crate) async fn balances(operator: &Operator, client: &Client, acknowledged: &BTreeMap<u32, u64>) {
    // A lead posted to two nodes at the same moment has two ids; one of them turns out to be the other's duplicate.
    let firsts: BTreeSet<u64> =
        eventually("every lead to be in the tables, and each submission to be one lead", async || {
            let leads = operator.all("/api/leads?limit=500").await;
            let id = |lead: &Value| lead["lead_id"].as_u64().unwrap();
            let there: BTreeSet<u64> = leads.iter().map(id).collect();
            let missing = acknowledged.values().filter(|id| !there.contains(id)).count();
            let submissions: BTreeSet<&str> = leads.iter().filter_map(|l| l["external_id"].as_str()).collect();
            let firsts: BTreeSet<u64> = leads.iter().filter(|l| l["duplicate_of"].is_null()).map(id).collect();
            match missing == 0 && submissions.len() == firsts.len() {
                true => Ok(firsts),
                false => Err(format!("{missing} missing, {} leads of {} submissions", firsts.len(), submissions.len())),
            }
        })
        .await;

    let path = format!("/api/billing/events?workspace_id=w&limit=500&{}", around_today());
    let billed = eventually("every lead to be billed", async || {
        let billed: Vec<u64> =
            operator.all(&path).await.iter().map(|b| b["appointment_id"].as_u64().unwrap()).collect();
        let missing = firsts.iter().filter(|id| !billed.contains(id)).count();
        if missing == 0 { Ok(billed) } else { Err(format!("{missing} of {} not billed", firsts.len())) }
    })
    .await;
    assert_eq!(billed.len(), firsts.len(), "one billing event for each appointment");
    assert_eq!(billed.iter().copied().collect::<BTreeSet<_>>(), firsts, "what is billed is what came");

    let received = client.received();
    assert!(received.iter().all(|r| r.verified), "every webhook is signed");
    let delivered: BTreeSet<u64> = received.iter().filter_map(|r| r.body["appointment_id"].as_u64()).collect();
    assert_eq!(firsts, delivered, "what is billed was received");
    for id in firsts.iter().step_by(firsts.len() / 50 + 1) {
        let events = operator.get(&format!("/api/appointments/{id}/events")).await;
        let count = |kind: &str| events["items"].as_array().unwrap().iter().filter(|e| e["event_type"] == kind).count();
        assert_eq!((count("appointment.routed"), count("delivery.delivered")), (1, 1), "{events}");
    }
    let reconciliation = operator.get(&format!("/api/billing/reconciliation?{}", around_today())).await;
    assert_eq!(reconciliation["differences"], json!([]), "{reconciliation}");
}

/// Asks again and again until the answer is `Ok`, as long as a system with broken parts may take to heal.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    ask_again(what, PATIENCE, Duration::from_millis(200), ask).await
}
