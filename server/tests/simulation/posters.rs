//! The provider's side: leads that are posted until they are acknowledged, and then again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use leadway_domain::LeadId;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::business::PROVIDER_KEY;
use crate::node::Front;

/// What posters were answered: the lead's ids, by the lead's own number. One node gives one id; two that took the lead
/// at the same moment give two, of which the router makes one lead.
pub(crate) type Acknowledged = Arc<Mutex<BTreeMap<u32, BTreeSet<LeadId>>>>;

/// How long a provider waits for an answer.
const PATIENCE: Duration = Duration::from_secs(4);

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

/// Posts one lead.
pub(crate) struct Poster {
    pub(crate) n: u32,
    pub(crate) repeats: u32,
    pub(crate) random: fastrand::Rng,
    pub(crate) present: watch::Receiver<Vec<Front>>,
    pub(crate) acknowledged: Acknowledged,
}

impl Poster {
    pub(crate) async fn run(mut self) {
        let mut left = self.repeats;
        while left > 0 {
            tokio::time::sleep(Duration::from_micros(self.random.u64(0..2_000_000))).await;
            let mut fronts = self.present.borrow_and_update().clone();
            self.random.shuffle(&mut fronts);
            // Now and then to two nodes at the same moment.
            fronts.truncate(if self.random.u32(0..4) == 0 { 2 } else { 1 });
            let answers = futures::future::join_all(fronts.iter().map(|front| self.post(front))).await;
            let acknowledged: Vec<LeadId> = answers.into_iter().flatten().collect();
            if !acknowledged.is_empty() {
                left -= 1;
                self.acknowledged.lock().entry(self.n).or_default().extend(acknowledged);
            }
        }
    }

    /// The id that the lead was given, if it was acknowledged.
    async fn post(&self, front: &Front) -> Option<LeadId> {
        let request = http::Request::post("/webhook/provider-a")
            .header("x-api-key", PROVIDER_KEY)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(lead(self.n).to_string())))
            .unwrap();
        let answer = front.gone.run_until_cancelled(front.ice.run(front.ingest.handle(request)));
        let answer = tokio::time::timeout(PATIENCE, answer).await.ok()??;
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
        match status {
            200 | 202 => Some(LeadId(body["lead_id"].as_u64().unwrap())),
            503 => None,
            other => panic!("{other}: {body}"),
        }
    }
}
