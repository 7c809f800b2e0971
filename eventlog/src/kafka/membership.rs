//! A share of a topic's partitions without reading them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use leadway_domain::Partition;
use tokio::sync::watch;

use super::bell::Bell;
use super::client::{Clients, refused};
use super::group::{Group, Rebalance};
use crate::{LogError, Membership};

/// How long the thread sleeps at most.
const NAP: Duration = Duration::from_millis(100);

/// `None` until the group has decided for the first time.
type Share = Option<Result<BTreeSet<Partition>, LogError>>;

/// One member.
pub(crate) struct Member {
    share: watch::Receiver<Share>,
    told: Option<BTreeSet<Partition>>,
    stop: Arc<AtomicBool>,
    bell: Bell,
}

impl Member {
    /// Joins the group `name` that divides the topic.
    pub(crate) fn join(clients: Clients, name: &'static str, topic: String) -> Result<Self, LogError> {
        let (bell, stop) = (Bell::default(), Arc::new(AtomicBool::new(false)));
        let (told, share) = watch::channel(None);
        let thread = std::thread::Builder::new().name(format!("kafka-{name}"));
        let (ring, ended) = (bell.clone(), stop.clone());
        let run = move || {
            while !ended.load(Ordering::Acquire) {
                if let Err(error) = keep(&clients, name, &topic, &ring, &ended, &told) {
                    tracing::warn!(%error, name, "the membership broke; joining again");
                    told.send_modify(|share| *share = Some(Ok(BTreeSet::new())));
                    ring.wait(Duration::from_secs(1));
                }
            }
        };
        thread.spawn(run).map_err(|e| LogError::Unusable(format!("a thread cannot be started: {e}")))?;
        Ok(Self { share, told: None, stop, bell })
    }
}

/// Keeps the membership until it is to end or breaks.
fn keep(
    clients: &Clients,
    name: &str,
    topic: &str,
    bell: &Bell,
    stop: &AtomicBool,
    told: &watch::Sender<Share>,
) -> Result<(), rdkafka::error::KafkaError> {
    let mut group = Group::join(clients, name, topic, bell)?;
    let mut own = BTreeSet::new();
    while !stop.load(Ordering::Acquire) {
        loop {
            let polled = group.poll();
            let quiet = polled.is_none();
            if let Some(Err(error)) = polled {
                let error = match error {
                    rdkafka::error::KafkaError::MessageConsumptionFatal(_) => return Err(error),
                    error => refused("sharing a topic", &error),
                };
                if !error.is_transient() {
                    told.send_modify(|share| *share = Some(Err(error)));
                }
            }
            let mut decided = false;
            while let Some(decision) = group.decision() {
                decided = true;
                answer(&mut group, &mut own, decision)?;
            }
            if decided {
                told.send_modify(|share| *share = Some(Ok(own.clone())));
            }
            if quiet && !decided {
                break;
            }
        }
        bell.wait(NAP);
    }
    Ok(())
}

fn answer(
    group: &mut Group,
    own: &mut BTreeSet<Partition>,
    decision: Rebalance,
) -> Result<(), rdkafka::error::KafkaError> {
    match decision {
        Rebalance::Assigned(partitions) => {
            group.assign(&partitions)?;
            own.extend(partitions);
        }
        Rebalance::Revoked(partitions) => {
            own.retain(|p| !partitions.contains(p));
            group.unassign(&partitions)?;
        }
    }
    Ok(())
}

#[async_trait]
impl Membership for Member {
    async fn changed(&mut self) -> Result<Vec<Partition>, LogError> {
        loop {
            let share = self.share.borrow_and_update().clone();
            match share {
                Some(Err(error)) => return Err(error),
                Some(Ok(own)) if self.told.as_ref() != Some(&own) => {
                    self.told = Some(own.clone());
                    return Ok(own.into_iter().collect());
                }
                _ => self.share.changed().await.map_err(|_| LogError::Closed)?,
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
    }
}
