//! The answers to commands, heard where they are decided: at the tail of `appointments`.
//!
//! Looking for the answer in the tables again and again would either be late or keep them busy, and nothing would tell scoring
//! that somebody waits. So one task follows the topic while anybody listens, and a listener then waits for just that record.

use std::sync::Arc;

use leadway_domain::record::{AppointmentRecord, Topic};
use leadway_domain::{LeadId, Partition};
use leadway_eventlog::{Address, EventLog, LogError, Position, ReadLimit};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};

/// Answers that a listener may be behind before it misses some. It then finds its own in the tables.
const HELD: usize = 1_024;

/// Which command was decided, and where the decision stands.
type Decided = (LeadId, Address);

/// Hears decisions while somebody listens.
#[derive(Clone)]
pub(crate) struct Answers {
    log: Arc<dyn EventLog>,
    /// Of the task that follows the topic; `None` while there is none.
    following: Arc<Mutex<Option<Sender<Decided>>>>,
}

/// What was decided since it began to listen.
pub(crate) struct Listener(Receiver<Decided>);

impl Answers {
    pub(crate) fn new(log: Arc<dyn EventLog>) -> Self {
        Self { log, following: Arc::default() }
    }

    /// Begins to listen: before the command is appended, so that its answer is not missed.
    pub(crate) fn listen(&self) -> Listener {
        let mut following = self.following.lock();
        if let Some(heard) = &*following {
            return Listener(heard.subscribe());
        }
        let (heard, listener) = broadcast::channel(HELD);
        *following = Some(heard.clone());
        let position = |partition| {
            let next = self.log.seen(Topic::Appointments, partition);
            Position { topic: Topic::Appointments, partition, next }
        };
        let positions = (0..self.log.partitions(Topic::Appointments)).map(Partition).map(position).collect();
        let answers = self.clone();
        tokio::spawn(async move { answers.follow(positions, heard).await });
        Listener(listener)
    }

    async fn follow(self, mut positions: Vec<Position>, heard: Sender<Decided>) {
        loop {
            let told = tokio::select! {
                told = tell_more(&*self.log, &mut positions, &heard) => told,
                () = heard.closed() => Ok(()),
            };
            let mut following = self.following.lock();
            // Listeners come under the lock: whoever comes now finds this task, or none.
            if heard.receiver_count() > 0 && told.is_ok() {
                continue;
            }
            *following = None;
            if let Err(error) = told {
                tracing::debug!(%error, "answers to commands are looked for in the tables");
            }
            return;
        }
    }
}

/// Waits for decisions and tells those that answer commands.
async fn tell_more(log: &dyn EventLog, positions: &mut [Position], heard: &Sender<Decided>) -> Result<(), LogError> {
    log.wait(positions).await?;
    for position in positions {
        while log.seen(position.topic, position.partition) > position.next {
            let records = log.read(position.topic, position.partition, position.next, ReadLimit::default()).await?;
            let Some(last) = records.last() else { break };
            for record in &records {
                if let Some(command_id) = record.decode().ok().as_ref().and_then(answered) {
                    // Nobody may be left who listens.
                    let _ = heard.send((command_id, record.address));
                }
            }
            position.next = last.next();
        }
    }
    Ok(())
}

fn answered(decision: &AppointmentRecord) -> Option<LeadId> {
    match decision {
        AppointmentRecord::Routed(appointment) => appointment.command_id,
        AppointmentRecord::Unrouted(unrouted) => unrouted.command_id,
        AppointmentRecord::Refused(refused) => Some(refused.command_id),
        AppointmentRecord::Duplicate(_) => None,
    }
}

impl Listener {
    /// Where the decision about this command stands. Waits for ever where it is not heard.
    pub(crate) async fn decision(&mut self, command_id: LeadId) -> Address {
        loop {
            match self.0.recv().await {
                Ok((decided, address)) if decided == command_id => return address,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
