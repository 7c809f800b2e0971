//! The writer: a thread that takes everything waiting, makes one frame of it, with what the member that reads ahead makes
//! of that, writes and syncs it once, lets every reader see it and answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leadway_domain::record::Topic;
use leadway_domain::{Offset, telemetry};
use tokio::sync::oneshot;

use super::Shared;
use super::entry::{put_progress, put_record};
use super::frame::{self, HEADER};
use super::lanes::code;
use super::queue::{Commit, Join, Joined, Member, Queue, Request, Tick};
use super::segment::{Appender, NotWritten};
use super::sidecar::Sidecar;
use super::signals::Signals;
use super::state::State;
use super::view::Reading;
use crate::{Address, LogError, Position, Record};

/// How long a frame waits for what the member that reads ahead makes of it: a few times what that takes, and little beside
/// an fsync.
const PATIENCE: Duration = Duration::from_micros(300);

type Answer = (oneshot::Sender<Result<Vec<Address>, LogError>>, Vec<Address>);
type JoinAnswer = oneshot::Sender<Result<Joined, LogError>>;

/// The one that writes.
pub(crate) struct Writer {
    /// What is durable; during a tick its ends run ahead, and go back when the tick fails.
    state: State,
    appender: Appender,
    /// Sequence of the newest segment's first frame.
    first: u64,
    generations: HashMap<&'static str, u64>,
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    signals: Signals,
    /// The topic that a member reads ahead, as long as it answers in time.
    answers_ahead: Option<Topic>,
    /// Bytes that a tick takes, unless a single request is larger. A frame may hold one request more.
    tick_bytes: usize,
    /// Since when nothing could be written.
    failing: Option<Instant>,
}

/// A frame in the making.
struct Draft {
    frame: Vec<u8>,
    /// Those that were not shown yet, with their lanes.
    records: Vec<(usize, Record)>,
    /// How many records it has, shown or not, by topic.
    topics: [u64; Topic::ALL.len()],
    progress: Vec<(&'static str, Position)>,
    /// Whether a commit of the member that reads ahead is in it: before that is answered it makes no other.
    answered: bool,
    answers: Vec<Answer>,
    joins: Vec<(Join, Member, JoinAnswer)>,
}

impl Writer {
    pub(crate) fn new(
        recovered: (State, Appender, u64),
        shared: Arc<Shared>,
        queue: Arc<Queue>,
        signals: Signals,
        tick_bytes: usize,
    ) -> Self {
        let (state, appender, first) = recovered;
        Self {
            state,
            appender,
            first,
            generations: HashMap::new(),
            shared,
            queue,
            signals,
            answers_ahead: None,
            tick_bytes,
            failing: None,
        }
    }

    /// Writes until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        // Should this thread die, whoever waits or comes later is told instead of waiting for ever.
        let _abandon = AbandonOnDrop(self.queue.clone());
        let queue = self.queue.clone();
        while let Some(tick) = queue.take(self.tick_bytes) {
            self.tick(tick);
        }
    }

    fn tick(&mut self, tick: Tick) {
        let started = Instant::now();
        let rolled = self.roll_if_full(tick.bytes);
        let mut draft = Draft::new(&tick);
        self.draft(&mut draft, tick);
        let writes = !draft.is_empty();
        let outcome = if writes { rolled.and_then(|()| self.write(&mut draft, started)) } else { Ok(()) };
        if writes {
            self.tell(outcome.as_ref().err());
        }
        match outcome {
            Ok(()) => {
                for (answer, addresses) in draft.answers {
                    // An error is a caller who no longer waits.
                    let _ = answer.send(Ok(addresses));
                }
                self.signals.records(Reading::Durable, &draft.topics);
            }
            Err(not_written) => {
                self.take_back(&draft);
                let error = refusal(&not_written);
                for (answer, _) in draft.answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
        for (join, member, answer) in draft.joins {
            let _ = answer.send(Ok(self.joined(join, member)));
        }
    }

    /// Begins a new segment if a frame of so many bytes does not fit into the newest one. Before the tick is drafted:
    /// the snapshot must hold what is durable and nothing else. What is added later may make the segment larger than it should be.
    fn roll_if_full(&mut self, bytes: usize) -> Result<(), NotWritten> {
        if bytes == 0 || !self.appender.is_full((bytes + HEADER) as u64) {
            return Ok(());
        }
        let full = self.appender.segment();
        let snapshot = self.state.snapshot(self.appender.next_number());
        self.appender.roll(&snapshot)?;
        let next = self.state.sequence;
        self.state.sequence += 1;
        let first = std::mem::replace(&mut self.first, next);
        let index = self.shared.view.read().index_of(full.number);
        self.shared.view.write().set_segment(self.appender.segment());
        let sidecar = Sidecar { segment: full, first, next, index };
        if let Err(error) = sidecar.store(&self.shared.folder, self.state.lanes) {
            tracing::warn!(%error, segment = full.number, "the index of a full segment is not stored; the next start makes it anew");
        }
        Ok(())
    }

    /// Adds a tick to the frame. Who is fenced off is refused at once and has no part in it.
    fn draft(&mut self, draft: &mut Draft, tick: Tick) {
        for request in tick.requests {
            match request {
                Request::Commit(commit) => self.draft_commit(draft, commit),
                Request::Join(join, answer) => match self.admit(&join) {
                    Ok(member) => draft.joins.push((join, member, answer)),
                    Err(error) => drop(answer.send(Err(error))),
                },
            }
        }
    }

    fn draft_commit(&mut self, draft: &mut Draft, commit: Commit) {
        if let Some(member) = commit.member {
            let stage = member.stage;
            if let Some(error) = self.refuses(member) {
                let _ = commit.answer.send(Err(error));
                return;
            }
            if let Some(position) = commit.progress.first().filter(|_| member.withdrawn.is_some()) {
                self.answers_ahead = Some(position.topic);
                draft.answered = true;
            }
            for position in commit.progress {
                if position.next > self.state.progress(stage, position.topic, position.partition) {
                    put_progress(&mut draft.frame, stage, position);
                    draft.progress.push((stage, position));
                }
            }
        }
        let mut addresses = Vec::with_capacity(commit.records.len());
        for record in commit.records {
            // Partitions were settled before the request was queued.
            let Some(partition) = record.partition else { continue };
            let Some(lane) = self.state.lanes.of(record.topic, partition) else { continue };
            let offset = self.state.end(lane);
            let address = Address { topic: record.topic, partition, offset: Offset(offset) };
            put_record(&mut draft.frame, &record, address);
            draft.records.push((lane, record.at(address)));
            if let Some(count) = draft.topics.get_mut(usize::from(code(address.topic))) {
                *count += 1;
            }
            self.state.set_end(lane, offset + 1);
            addresses.push(address);
        }
        draft.answers.push((commit.answer, addresses));
    }

    /// Why the member may not commit, if it may not.
    fn refuses(&self, member: Member) -> Option<LogError> {
        let stage = member.stage.to_owned();
        if self.generations.get(member.stage) != Some(&member.generation) {
            return Some(LogError::Fenced { stage });
        }
        let misled = member.withdrawn.is_some_and(|seen| seen != self.signals.withdrawn());
        misled.then_some(LogError::Revoked { stage })
    }

    /// Lets the member that reads ahead add to the frame what it makes of it, writes it and lets every reader see it.
    fn write(&mut self, draft: &mut Draft, started: Instant) -> Result<(), NotWritten> {
        let shown = self.let_read_ahead(draft);
        frame::finish(&mut draft.frame, self.state.sequence);
        let position = match self.appender.append(&draft.frame) {
            Ok(position) => position,
            Err(not_written) => {
                if shown {
                    self.shared.view.write().withdraw();
                    self.signals.withdraw();
                }
                // Nothing is shown again before there is something to be answered again.
                self.answers_ahead = None;
                return Err(not_written);
            }
        };
        self.state.sequence += 1;
        self.show(draft);
        self.shared.view.write().commit(position, draft.frame.len() as u64);
        for (stage, position) in draft.progress.drain(..) {
            self.state.advance(stage, position);
        }
        metrics::counter!(telemetry::LOG_COMMITS).increment(1);
        metrics::histogram!(telemetry::LOG_COMMIT_SECONDS).record(started.elapsed());
        for (topic, count) in Topic::ALL.into_iter().map(|t| (t, draft.topics.get(usize::from(code(t))).copied())) {
            if let Some(count) = count.filter(|c| *c > 0) {
                metrics::counter!(telemetry::LOG_RECORDS, "topic" => topic.name()).increment(count);
            }
        }
        Ok(())
    }

    /// Shows the frame to the member that reads ahead, and takes what it answers into the same frame, and whatever else
    /// waits by then: one fsync for both. Returns whether anything was shown.
    fn let_read_ahead(&mut self, draft: &mut Draft) -> bool {
        if draft.answered || !self.answers_ahead.is_some_and(|topic| draft.has(topic)) {
            return false;
        }
        self.show(draft);
        let left = self.tick_bytes.saturating_sub(draft.frame.len());
        match self.queue.take_ahead(left, PATIENCE) {
            Some(tick) => {
                self.draft(draft, tick);
                self.show(draft);
            }
            None => self.answers_ahead = None,
        }
        true
    }

    /// Shows those who read ahead what was not shown yet.
    fn show(&self, draft: &mut Draft) {
        if !draft.records.is_empty() {
            self.shared.view.write().show(draft.records.drain(..));
            self.signals.records(Reading::Ahead, &draft.topics);
        }
    }

    /// Tells the process's log when writing begins to fail, and when it is over: not each time between.
    fn tell(&mut self, failed: Option<&NotWritten>) {
        match (failed, self.failing) {
            (Some(NotWritten { error, .. }), None) => {
                self.failing = Some(Instant::now());
                tracing::error!(%error, "the log cannot be written; nothing is accepted until it can");
            }
            (None, Some(since)) => {
                self.failing = None;
                tracing::info!(seconds = since.elapsed().as_secs(), "the log is written again");
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// The offsets of a frame that was not written are given to the next records.
    fn take_back(&mut self, draft: &Draft) {
        for address in draft.answers.iter().rev().flat_map(|(_, addresses)| addresses.iter().rev()) {
            if let Some(lane) = self.state.lanes.of(address.topic, address.partition) {
                self.state.set_end(lane, address.offset.0);
            }
        }
        metrics::counter!(telemetry::LOG_FAILURES).increment(1);
    }

    /// Another member fences the earlier one off; the same one begins anew unless it was fenced off.
    fn admit(&mut self, join: &Join) -> Result<Member, LogError> {
        if let Some(member) = join.again {
            let fenced = self.refuses(Member { withdrawn: None, ..member });
            return fenced.map_or(Ok(member), Err);
        }
        let generation = self.generations.entry(join.stage).or_default();
        *generation += 1;
        Ok(Member { stage: join.stage, generation: *generation, withdrawn: None })
    }

    /// Where the member begins, now that what was in the queue before it has been answered.
    fn joined(&self, join: Join, member: Member) -> Joined {
        let at = |p: Position| Position { next: self.state.progress(join.stage, p.topic, p.partition), ..p };
        let positions = join.positions.into_iter().map(at).collect();
        Joined { member: Member { withdrawn: member.withdrawn.map(|_| self.signals.withdrawn()), ..member }, positions }
    }
}

impl Draft {
    fn new(tick: &Tick) -> Self {
        let count = tick.requests.len();
        Self {
            frame: frame::begin(tick.bytes),
            records: Vec::with_capacity(count),
            topics: [0; Topic::ALL.len()],
            progress: Vec::new(),
            answered: false,
            answers: Vec::with_capacity(count),
            joins: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.progress.is_empty()
    }

    fn has(&self, topic: Topic) -> bool {
        self.topics.get(usize::from(code(topic))).is_some_and(|count| *count > 0)
    }
}

fn refusal(not_written: &NotWritten) -> LogError {
    let NotWritten { error, taken_back } = not_written;
    if *taken_back {
        LogError::Unavailable(error.to_string())
    } else {
        tracing::error!(%error, "a failed commit could not be taken back durably: a restart may find it");
        LogError::Closed
    }
}

struct AbandonOnDrop(Arc<Queue>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
