//! Sending what waits: which job goes out next, and what its attempt means.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use leadway_domain::record::HeldReason;
use leadway_domain::{Timestamp, WorkspaceId};

use crate::circuit::Permit;
use crate::client::Client;
use crate::due::ROWS;
use crate::endpoint::{Endpoint, endpoint, is_too_old};
use crate::flights::Ended;
use crate::lane::Slot;
use crate::meters::circuit_gauge;
use crate::outcome::{Attempt, Job};
use crate::schedule::later;
use crate::stage::{Running, STOOD_STILL};
use crate::{Target, WebhookRequest, payload, sign};

const TOO_OLD: &str = "the client kept failing until the appointment was too old (give_up_after_hours)";
const NO_SECRET: &str = "the workspace has no usable signing secret: rotate it";

/// What a lane could do with its turn.
enum Turn {
    /// Something, and it may be able to do more.
    Moved,
    /// Nothing, until an attempt of its own ends or a job comes in.
    Idle,
    /// Nothing before this time.
    NotBefore(Timestamp),
    /// Nothing, until an attempt of any lane ends.
    NodeFull,
}

impl Running {
    /// Lets the job wait in memory, or on disk when there is no room.
    pub(crate) fn admit(&mut self, job: Job, now: Timestamp) {
        if self.lanes.room(&job.appointment.workspace_id) > 0 {
            self.lanes.push(job);
        } else {
            self.outbox.push_back(job.held(HeldReason::QueueFull, now, now));
        }
    }

    /// Puts on disk what came from the log and has waited long: it would hold the watermark back.
    pub(crate) fn spill_waiting(&mut self, now: Timestamp) {
        let longest = i64::try_from(self.options.max_wait_seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        let before = now.as_microsecond().saturating_sub(longest);
        let Ok(before) = Timestamp::from_microsecond(before) else { return };
        let spilled = self.lanes.extract_waiting_since(before).into_iter();
        self.outbox.extend(spilled.map(|job| job.held(HeldReason::QueueFull, now, now)));
    }

    /// Whether attempts may be started. Who stood still, or has waited long for the log, may have lost its partitions
    /// without knowing.
    pub(crate) fn may_send(&self, now: Timestamp) -> bool {
        !self.stopping && !self.unproven && now <= later(self.last_turn, STOOD_STILL)
    }

    /// Waits for what the log does; meanwhile attempts end, and others take their places.
    pub(crate) async fn while_sending<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.flights.ended() => {}
            }
            self.attempts_ended();
            let now = self.clock.now();
            if self.may_send(now) {
                self.dispatch(now);
            }
        }
    }

    /// Gives every lane that may be able to send its turns, one job each time.
    pub(crate) fn dispatch(&mut self, now: Timestamp) {
        while let Some(id) = self.wakes.take_due(now) {
            self.lanes.list(&id);
        }
        let mut kept_waiting = Vec::new();
        while let Some(id) = self.lanes.next_turn() {
            match self.lane_turn(&id, now) {
                Turn::Moved => self.lanes.list(&id),
                Turn::Idle => {}
                Turn::NotBefore(at) => self.wakes.at(&id, at),
                Turn::NodeFull => kept_waiting.push(id),
            }
        }
        kept_waiting.iter().for_each(|id| self.lanes.list(id));
    }

    fn lane_turn(&mut self, id: &WorkspaceId, now: Timestamp) -> Turn {
        let slot = self.lanes.slot(id);
        let Some(lane) = self.lanes.get(id) else { return Turn::Idle };
        let Some(job) = lane.queue.front() else { return Turn::Idle };
        let client = lane.client.clone();
        let (target, client) = match endpoint(&job.appointment, client.as_deref()) {
            Endpoint::Post(target, client) => (target, client),
            Endpoint::Inactive => return self.hold(id, now),
            Endpoint::Nowhere(why) => return self.give_up(id, why, now),
        };
        // Tests go elsewhere and say nothing of the client.
        let test = job.appointment.test;
        let longest = Duration::from_secs(u64::from(self.options.give_up_after_hours) * 3_600);
        if !test && !lane.circuit.is_closed() {
            if is_too_old(&job.appointment, &client.workspace, now, longest) {
                return self.give_up(id, TOO_OLD, now);
            }
            match lane.circuit.permit(now) {
                Permit::Go => {}
                Permit::NotBefore(until) => return self.shed(id, until, now),
                Permit::AfterProbe => return Turn::Idle,
            }
        }
        if let Some(until) = lane.quiet(now).filter(|_| !test) {
            return Turn::NotBefore(until);
        }
        match slot {
            Slot::Free => {}
            Slot::LaneFull => return Turn::Idle,
            Slot::NodeFull => return Turn::NodeFull,
        }
        if let Some(Err(at)) = lane.pace.as_ref().map(crate::limits::Pace::take) {
            return Turn::NotBefore(at);
        }
        if !test {
            lane.circuit.sent();
        }
        if let Some(job) = self.pop(id, now) {
            self.send(job, client, target, now);
        }
        Turn::Moved
    }

    /// Takes the first job of a lane; rows that wait for room in memory may follow.
    fn pop(&mut self, id: &WorkspaceId, now: Timestamp) -> Option<Job> {
        let job = self.lanes.pop(id);
        let half = ROWS.min(self.options.max_queued_per_workspace) / 2;
        if let Some(lane) = self.lanes.get(id)
            && lane.rows.parked
            && lane.queue.len() <= half
        {
            lane.rows.parked = false;
            self.scans.at(id, now);
        }
        job
    }

    /// The workspace takes nothing now: the first job goes to disk, or stays there. Its rows are looked at again when the
    /// settings change.
    fn hold(&mut self, id: &WorkspaceId, now: Timestamp) -> Turn {
        match self.pop(id, now) {
            Some(job) if job.is_on_disk() => self.lanes.left(job.id(), job.source.assignment),
            Some(job) => self.outbox.push_back(job.held(HeldReason::WebhookInactive, now, now)),
            None => {}
        }
        Turn::Moved
    }

    fn give_up(&mut self, id: &WorkspaceId, why: &str, now: Timestamp) -> Turn {
        if let Some(job) = self.pop(id, now) {
            self.outbox.push_back(job.given_up(why, now));
        }
        Turn::Moved
    }

    /// The circuit is open: all that waits for the client goes to disk, or stays there, until it may be probed.
    fn shed(&mut self, id: &WorkspaceId, until: Timestamp, now: Timestamp) -> Turn {
        for job in self.lanes.extract(id, |job| !job.appointment.test) {
            if job.is_on_disk() {
                self.lanes.left(job.id(), job.source.assignment);
            } else {
                self.outbox.push_back(job.held(HeldReason::CircuitOpen, until, now));
            }
        }
        if let Some(lane) = self.lanes.get(id) {
            lane.rows.parked = false;
            lane.rows.begin_again();
        }
        self.scans.at(id, until);
        Turn::Moved
    }

    fn send(&mut self, job: Job, client: &Client, target: &Arc<Target>, now: Timestamp) {
        self.lanes.attempt_started(&client.workspace.id);
        match request(&job, client, target, now) {
            Some(request) => {
                let body_counts = !client.workspace.ignore_answer_body;
                self.flights.start(job, self.transport.clone(), request, body_counts);
            }
            None => self.attempt_ended(Ended { job, attempt: Attempt::Impossible(NO_SECRET), took: Duration::ZERO }),
        }
    }

    /// Takes in the attempts that have ended.
    pub(crate) fn attempts_ended(&mut self) {
        for ended in self.flights.take() {
            self.attempt_ended(ended);
        }
    }

    fn attempt_ended(&mut self, Ended { job, attempt, took }: Ended) {
        let (now, id) = (self.clock.now(), job.appointment.workspace_id.clone());
        self.meters.attempt.record(took.as_secs_f64());
        if !job.appointment.test {
            self.judge_client(&id, &attempt, now);
        }
        self.lanes.attempt_ended(&id);
        let settled = job.attempted(attempt, took, now, &self.schedule, &mut self.random);
        if let Some(error) = &settled.failure {
            let (appointment, attempts) = (settled.record.appointment_id.0, settled.record.attempts);
            tracing::debug!(workspace = %id, appointment, attempts, error, "an attempt failed");
        }
        self.outbox.push_back(settled);
    }

    /// Lets the circuit know how an attempt ended, heeds what the client asks for, and has the rows looked at when it may
    /// be reached again. A client that declines this appointment by its answer's body may take the next one.
    fn judge_client(&mut self, id: &WorkspaceId, attempt: &Attempt, now: Timestamp) {
        let longest = Duration::from_secs(self.options.max_retry_after_seconds);
        let Some(lane) = self.lanes.get(id) else { return };
        let works = attempt.client_works();
        if let Some(asked) = attempt.retry_after(now).filter(|_| !works) {
            lane.quiet_until = lane.quiet_until.max(Some(later(now, asked.min(longest))));
        }
        let failure = attempt.failure().filter(|_| !works);
        let was_closed = lane.circuit.is_closed();
        lane.circuit.ended(works, now, self.circuit_rule);
        if let Permit::NotBefore(until) = lane.circuit.permit(now) {
            self.scans.at(id, until);
            if was_closed {
                lane.trouble.tell(now);
                let (error, until) = (failure.as_deref().unwrap_or_default(), &until);
                tracing::warn!(workspace = %id, error, %until, "the client keeps failing; it is left alone for a while");
            }
        } else if !was_closed {
            self.scans.at(id, now);
        }
        if was_closed != lane.circuit.is_closed() {
            circuit_gauge(id, !lane.circuit.is_closed());
        }
        match failure {
            Some(error) if lane.trouble.failed(now) => tracing::warn!(workspace = %id, error, "the client fails"),
            Some(_) => {}
            None => {
                if let Some(since) = lane.trouble.succeeded() {
                    tracing::info!(workspace = %id, %since, "the client is back");
                }
            }
        }
    }
}

/// The request of one attempt: the body is made once, and signed for this moment. `None` when nothing can sign it.
fn request(job: &Job, client: &Client, target: &Arc<Target>, now: Timestamp) -> Option<WebhookRequest> {
    let body = payload::body(&job.appointment, client.workspace.phone_format).ok()?;
    let id = sign::webhook_id(job.id());
    let signature = client.keys.sign(&id, now, &body)?;
    Some(WebhookRequest { target: target.clone(), id, timestamp: now.as_second(), signature, body: Bytes::from(body) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Answer;
    use crate::due::tests::running;
    use crate::outcome::tests::appointment;
    use crate::outcome::{Place, Source};
    use leadway_domain::Partition;
    use leadway_domain::record::{Outcome, Topic};
    use leadway_tables::MemoryTables;
    use parking_lot::Mutex;
    use std::fmt::{Debug, Write};
    use tokio_util::sync::CancellationToken;
    use tracing::field::Field;
    use tracing::span::{Attributes, Id, Record};

    /// All that a thread writes to the process's log.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<String>>);

    impl tracing::Subscriber for Log {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            let mut text = self.0.lock();
            event.record(&mut |field: &Field, value: &dyn Debug| write!(text, "{field}={value:?} ").unwrap());
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[tokio::test]
    async fn the_log_says_why_it_was_given_up_without_what_the_client_answered() {
        let log = Log::default();
        let _listening = tracing::subscriber::set_default(log.clone());
        let mut running = running(&MemoryTables::default()).await;
        let now = running.clock.now();
        let source = Source { partition: Partition(0), assignment: 1, place: Place::Row(now) };
        let attempts = running.options.max_attempts - 1;
        let job = Job { appointment: Arc::new(appointment(1, "w")), attempts, source, since: now };
        let location = Some("https://other.example/?token=s3cret".to_owned());
        let answer = Answer { status: 302, location, body: Bytes::from_static(b"s3cret"), ..Answer::default() };
        running.attempt_ended(Ended { job, attempt: Attempt::answered(answer, true), took: Duration::ZERO });
        let record = running.outbox.front().unwrap().record.clone();
        assert!(record.outcome == Outcome::GivenUp && record.error.unwrap().contains("s3cret"), "the tables tell all");
        let stages = running.log.clone();
        let mut stage = stages.stage("dispatcher", Topic::Appointments, &[Topic::Deliveries]).await.unwrap();
        running.commit(&mut *stage, &CancellationToken::new()).await.unwrap();
        let told = log.0.lock().clone();
        assert!(told.contains("given up") && told.contains("an attempt failed"), "{told}");
        assert!(told.contains("the client answered 302") && !told.contains("s3cret"), "{told}");
    }
}
