//! The real process, killed with -9 at random moments under load and started again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};

use crate::support::{Client, Reply, answer, around_today, eventually, http_client, sample_lead};

pub(crate) const KEY: &str = "lwk_key_of_the_crash_test";
const POSTERS: u32 = 8;

/// How often the process is killed; `CRASH_ROUNDS` asks for more.
fn rounds() -> u32 {
    std::env::var("CRASH_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(20)
}

pub(crate) struct Process(Child, String);

impl Process {
    /// Starts the binary on the folder; returns when it says where it listens.
    pub(crate) fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_leadway"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("LEADWAY_ADMIN_KEY", KEY)
            .env("LEADWAY_DISPATCHER__ALLOW_PRIVATE_TARGETS", "true")
            .env("LEADWAY_DISPATCHER__FIRST_RETRY_MS", "20")
            .env("LEADWAY_EMBEDDED__LOG__PARTITIONS", "3")
            .env("LEADWAY_EMBEDDED__LOG__SEGMENT_BYTES", "1048576")
            .env("LEADWAY_LOGGING__FILTER", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let base = lines.find_map(|l| l.ok()?.split_once("http://").map(|(_, a)| format!("http://{a}")));
        Self(child, base.expect("the process says where it listens"))
    }

    pub(crate) fn base(&self) -> &str {
        &self.1
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    fn kill(mut self) {
        self.0.kill().unwrap(); // SIGKILL
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything the posters share.
struct Shared {
    base: RwLock<String>,
    /// Lead id by external id, of every lead that was answered 200 or 202.
    acknowledged: Mutex<BTreeMap<u32, u64>>,
    stop: tokio_util::sync::CancellationToken,
}

/// Posts leads one after the other; each is posted again until it is acknowledged.
async fn poster(shared: Arc<Shared>, provider_key: String, first: u32) {
    let http = http_client(Duration::from_secs(5));
    let mut n = first;
    while !shared.stop.is_cancelled() {
        let url = format!("{}/webhook/provider-a", shared.base.read());
        let posted = http.post(url).header("x-api-key", &provider_key).json(&sample_lead(n)).send().await;
        let body: Option<Value> = match posted {
            Ok(answer) if answer.status().is_success() => answer.json().await.ok(),
            Ok(answer) => {
                assert_eq!(answer.status().as_u16(), 503, "only a node that cannot serve refuses");
                None
            }
            Err(_) => None,
        };
        match body.and_then(|b| b["lead_id"].as_u64()) {
            Some(id) => {
                shared.acknowledged.lock().insert(n, id);
                n += POSTERS;
            }
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_loses_nothing_and_doubles_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let client = {
        let mut random = random.fork();
        Client::start(move |_| if random.u32(0..20) == 0 { Reply::status(503) } else { Reply::ok() }).await
    };
    let mut process = Process::start(folder.path());
    let http = http_client(Duration::from_secs(20));
    let api = |base: String, method: &'static str, path: String, body: Option<Value>| {
        let mut request = http.request(method.parse().unwrap(), format!("{base}{path}")).bearer_auth(KEY);
        if let Some(body) = body {
            request = request.json(&body);
        }
        async move {
            let (status, body) = answer(request).await;
            assert!(status.is_success(), "{path}: {status} {body}");
            body
        }
    };
    let base = process.1.clone();
    let provider = json!({"id": "a", "name": "A", "cost_per_lead": 75});
    let provider = api(base.clone(), "POST", "/api/providers".into(), Some(provider)).await;
    let workspace = json!({"id": "w", "name": "W", "outbound_webhook_url": client.url(), "webhook_active": true, "payment_rate": 150});
    api(base.clone(), "POST", "/api/workspaces".into(), Some(workspace)).await;
    let rule =
        json!({"workspace_id": "w", "product_types": ["Solar"], "zip_codes": ["CA"], "priority": 1, "is_active": true});
    api(base.clone(), "POST", "/api/routing-rules".into(), Some(rule)).await;

    let shared = Arc::new(Shared {
        base: RwLock::new(base),
        acknowledged: Mutex::default(),
        stop: tokio_util::sync::CancellationToken::new(),
    });
    let key = provider["key"].as_str().unwrap().to_owned();
    let posters: Vec<_> = (0..POSTERS).map(|n| tokio::spawn(poster(shared.clone(), key.clone(), n))).collect();
    for _ in 0..rounds() {
        tokio::time::sleep(Duration::from_millis(random.u64(20..600))).await;
        process.kill();
        process = Process::start(folder.path());
        *shared.base.write() = process.1.clone();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    shared.stop.cancel();
    for poster in posters {
        poster.await.unwrap();
    }

    let base = process.1.clone();
    let acknowledged = shared.acknowledged.lock().clone();
    assert!(acknowledged.len() > 50, "the load was real: {}", acknowledged.len());
    let ids: BTreeSet<u64> = acknowledged.values().copied().collect();
    assert_eq!(ids.len(), acknowledged.len(), "each lead has an id of its own");
    let billed = eventually("every acknowledged lead to be billed", async || {
        let billed = all(&http, &base, &format!("/api/billing/events?workspace_id=w&{}", around_today())).await;
        let billed: Vec<u64> = billed.iter().map(|b| b["appointment_id"].as_u64().unwrap()).collect();
        let missing = ids.iter().filter(|id| !billed.contains(id)).count();
        if missing == 0 { Ok(billed) } else { Err(format!("{missing} of {} not billed", ids.len())) }
    })
    .await;
    let distinct: BTreeSet<u64> = billed.iter().copied().collect();
    assert_eq!(distinct.len(), billed.len(), "one billing event for each appointment");

    // What was posted again after a crash is the same lead: its own id is unique in the log.
    let leads = all(&http, &base, "/api/leads?limit=500").await;
    let external: BTreeSet<&str> = leads.iter().map(|l| l["external_id"].as_str().unwrap()).collect();
    assert_eq!(external.len(), leads.len(), "no submission became two leads");
    assert_eq!(distinct, leads.iter().map(|l| l["lead_id"].as_u64().unwrap()).collect(), "every lead is billed once");

    let delivered: BTreeSet<u64> = client.received().iter().filter_map(|r| r.body["appointment_id"].as_u64()).collect();
    assert_eq!(distinct, delivered, "what is billed was received");
    for id in distinct.iter().step_by(distinct.len() / 50 + 1) {
        let events = api(base.clone(), "GET", format!("/api/appointments/{id}/events"), None).await;
        let count = |kind: &str| events["items"].as_array().unwrap().iter().filter(|e| e["event_type"] == kind).count();
        assert_eq!((count("appointment.routed"), count("delivery.delivered")), (1, 1), "{events}");
    }
    let reconciliation = api(base, "GET", format!("/api/billing/reconciliation?{}", around_today()), None).await;
    assert_eq!(reconciliation["differences"], json!([]), "{reconciliation}");
    println!("{} leads acknowledged over {} kills", acknowledged.len(), rounds());
}

/// Every item of a list that comes in pages.
async fn all(http: &reqwest::Client, base: &str, path: &str) -> Vec<Value> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let (status, page) = answer(http.get(format!("{base}{path}{cursor}")).bearer_auth(KEY)).await;
        assert!(status.is_success(), "{path}: {page}");
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}
