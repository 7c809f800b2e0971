//! The client systems, and what they see of the nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use leadway_dispatcher::{Answer, SendError, Transport, WebhookRequest};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::faulty::Trouble;
use crate::ice::Ice;

/// One POST.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// When the dispatcher sent it, since the world began. It reaches the client later if its node then stands still.
    pub(crate) at: Duration,
    /// The number of the node.
    pub(crate) node: u32,
    pub(crate) workspace: String,
    pub(crate) appointment: u64,
    pub(crate) webhook_id: String,
}

pub(crate) struct Clients {
    random: Mutex<fastrand::Rng>,
    trouble: Trouble,
    began: Instant,
    pub(crate) attempts: Mutex<Vec<Attempt>>,
    /// How often each appointment was answered with 2xx.
    pub(crate) taken: Mutex<BTreeMap<u64, u32>>,
}

impl Clients {
    pub(crate) fn new(random: fastrand::Rng, trouble: Trouble) -> Self {
        Self {
            random: Mutex::new(random),
            trouble,
            began: Instant::now(),
            attempts: Mutex::default(),
            taken: Mutex::default(),
        }
    }

    async fn answer(&self, workspace: &str, appointment: u64) -> Result<Answer, SendError> {
        let (delay, dice) = {
            let mut random = self.random.lock();
            (random.u64(100..200_000), random.u32(0..100))
        };
        tokio::time::sleep(Duration::from_micros(delay)).await;
        let answer = |status| Ok(Answer { status, body: Bytes::from_static(b"{}"), ..Answer::default() });
        match (workspace, dice) {
            ("dead", _) => Err(SendError::Connect("refused".into())),
            ("flaky", 0..20) => answer(500),
            ("flaky", 20..30) => {
                tokio::time::sleep(Duration::from_secs(15)).await;
                Err(SendError::Timeout)
            }
            _ => {
                *self.taken.lock().entry(appointment).or_default() += 1;
                // The answer may be lost on its way when the node dies now.
                self.trouble.moment().await;
                answer(200)
            }
        }
    }
}

/// The way from one node to the clients.
pub(crate) struct Line {
    pub(crate) clients: Arc<Clients>,
    pub(crate) ice: Ice,
    /// The number of the node.
    pub(crate) node: u32,
}

#[async_trait]
impl Transport for Line {
    async fn send(&self, request: WebhookRequest) -> Result<Answer, SendError> {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let workspace = body["workspace_id"].as_str().unwrap().to_owned();
        let appointment = body["appointment_id"].as_u64().unwrap();
        let (at, node, webhook_id) = (self.clients.began.elapsed(), self.node, request.id);
        let attempt = Attempt { at, node, workspace: workspace.clone(), appointment, webhook_id };
        self.clients.attempts.lock().push(attempt);
        self.ice.run(self.clients.answer(&workspace, appointment)).await
    }
}
