//! The embedded log: an append-only journal in a folder.
//!
//! Every commit of one tick, whoever asked, is one frame, with what a member that reads ahead made of it: one write and
//! one fsync. Records of all topics and the progress of stages stand in the same frames, so that outputs and progress land
//! together because a frame does.
//!
//! - `frame`, `entry`, `state`: the form of what is stored, and what it adds up to.
//! - `queue`, `writer`, `segment`, `disk`: the way in.
//! - `signals`, `view`, `cold`, `scan`: the way out, from memory or from the files.
//! - `recover`, `sidecar`, `folder`: the start.
//! - `inspect`, `salvage`: what is left when something is damaged.

mod cold;
mod disk;
mod entry;
mod folder;
mod frame;
mod inspect;
mod lanes;
mod options;
mod queue;
mod recover;
mod salvage;
mod scan;
mod segment;
mod sidecar;
mod signals;
mod state;
#[cfg(test)]
mod tests;
mod view;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use futures::future::select_all;
use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};
use parking_lot::RwLock;
use tokio::sync::{oneshot, watch};

use crate::member::Rounds;
use crate::record::placed_partition;
use crate::{
    Address, EventLog, Extent, Inspection, LogError, NewRecord, Position, ReadLimit, Record, Stage, StageEvent,
};
use disk::{Disk, OsDisk};
pub use inspect::check_record;
use lanes::{Lanes, code};
pub use options::Options;
use queue::{Commit, Join, Joined, Member, Queue, Request};
use recover::{Recovered, recover};
use segment::Appender;
use signals::{Listeners, signals};
use state::State;
use view::{Plan, Reading, View};
use writer::Writer;

type Joining = oneshot::Receiver<Result<Joined, LogError>>;

/// What the writer and readers share.
pub(crate) struct Shared {
    folder: PathBuf,
    view: RwLock<View>,
}

/// Opens the log for reading and writing.
pub(crate) async fn open(options: Options) -> Result<Arc<dyn EventLog>, LogError> {
    let journal = open_on(options, Arc::new(OsDisk)).await?;
    Ok(Arc::new(journal))
}

async fn open_on(options: Options, disk: Arc<dyn Disk>) -> Result<Journal, LogError> {
    options.check()?;
    blocking(move || start(&options, disk)).await
}

/// Opens the log as it is at this moment, for reading only and beside the process that writes it.
pub(crate) async fn open_read_only(folder: &Path) -> Result<Arc<dyn EventLog>, LogError> {
    let folder = folder.to_owned();
    let journal = blocking(move || {
        let lanes = Lanes::new(folder::partitions(&folder)?);
        let Recovered { view, .. } = recover_beside_writer(&folder, lanes)?;
        let shared = Arc::new(Shared { folder, view: RwLock::new(view) });
        Ok(Journal { shared, lanes, listeners: Listeners::default(), reading: Reading::Durable, writing: None })
    });
    Ok(Arc::new(journal.await?))
}

/// Reads everything there is; see [`crate::inspect`].
pub(crate) async fn inspect_folder(folder: &Path) -> Result<Inspection, LogError> {
    let folder = folder.to_owned();
    blocking(move || inspect::inspect(&folder)).await
}

/// Copies what can be read; see [`crate::salvage`].
pub(crate) async fn salvage_folder(from: &Path, to: &Path) -> Result<Inspection, LogError> {
    let (from, to) = (from.to_owned(), to.to_owned());
    blocking(move || salvage::salvage(&from, &to)).await
}

/// A frame that is being written at this very moment may look damaged: what looks so three times is.
fn recover_beside_writer(folder: &Path, lanes: Lanes) -> Result<Recovered, LogError> {
    for _ in 0..2 {
        if let Ok(recovered) = recover(folder, lanes, 0) {
            return Ok(recovered);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    recover(folder, lanes, 0)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(LogError::Closed))
}

/// Bytes of several calls that one frame gathers at most. A single larger call has a frame of its own.
const MAX_TOGETHER: usize = 16 << 20;

/// Locks the folder, recovers what it holds and starts the writer.
fn start(options: &Options, disk: Arc<dyn Disk>) -> Result<Journal, LogError> {
    let folder = options.folder.clone();
    let lock = folder::lock(&folder)?;
    folder::fix_partitions(&folder, options.partitions)?;
    let lanes = Lanes::new(options.partitions);
    let mut recovered = recover(&folder, lanes, options.tail_bytes)?;
    folder::tidy(&folder, lanes, &recovered)?;
    let (appender, first) = appender(options, disk, &mut recovered)
        .map_err(|e| LogError::Unusable(format!("{}: the log cannot be written: {e}", folder.display())))?;
    let Recovered { state, mut view, .. } = recovered;
    view.set_segment(appender.segment());
    let shared = Arc::new(Shared { folder, view: RwLock::new(view) });
    let queue = Arc::new(Queue::new(options.max_waiting_bytes));
    let (signals, listeners) = signals();
    let together = options.max_batch_bytes.min(MAX_TOGETHER);
    let writer = Writer::new((state, appender, first), shared.clone(), queue.clone(), signals, together);
    let thread = std::thread::Builder::new().name("eventlog-writer".into()).spawn(move || writer.run());
    let thread = thread.map_err(|e| LogError::Unusable(format!("the log's writer cannot be started: {e}")))?;
    let writing = Writing { queue, thread: Some(thread), max_batch_bytes: options.max_batch_bytes, _lock: lock };
    Ok(Journal { shared, lanes, listeners, reading: Reading::Durable, writing: Some(Arc::new(writing)) })
}

/// Goes on where the files end, or starts an empty log; also tells the sequence of the newest segment's first frame.
fn appender(options: &Options, disk: Arc<dyn Disk>, recovered: &mut Recovered) -> std::io::Result<(Appender, u64)> {
    let folder = options.folder.clone();
    match recovered.newest {
        Some(newest) => {
            let appender = Appender::resume(disk, folder, options.segment_bytes, newest.segment, newest.base)?;
            Ok((appender, newest.first))
        }
        None => {
            let state: &mut State = &mut recovered.state;
            let snapshot = state.snapshot(0);
            let appender = Appender::start(disk, folder, options.segment_bytes, &snapshot)?;
            state.sequence += 1;
            Ok((appender, 0))
        }
    }
}

/// The embedded log. The last of its clones and stages to go writes what waits and ends the writer.
#[derive(Clone)]
struct Journal {
    shared: Arc<Shared>,
    lanes: Lanes,
    listeners: Listeners,
    reading: Reading,
    /// `None` when it was opened read-only.
    writing: Option<Arc<Writing>>,
}

/// The writer's handle.
struct Writing {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
    max_batch_bytes: usize,
    /// Nobody else opens the folder while this file is open.
    _lock: File,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.queue.close();
        // The lock must not go before the last write has landed: one commit's time at most.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the log's writer died");
        }
    }
}

impl Journal {
    fn writing(&self) -> Result<&Writing, LogError> {
        self.writing
            .as_deref()
            .ok_or_else(|| LogError::Unusable(format!("{} was opened for reading only", self.shared.folder.display())))
    }

    async fn commit(
        &self,
        mut records: Vec<NewRecord>,
        member: Option<Member>,
        progress: Vec<Position>,
    ) -> Result<Vec<Address>, LogError> {
        let writing = self.writing()?;
        for record in &mut records {
            let partition = placed_partition(record, self.lanes.partitions(record.topic));
            self.check_partition(record.topic, partition)?;
            record.partition = Some(partition);
        }
        for position in &progress {
            self.check_partition(position.topic, position.partition)?;
        }
        let topic = records.first().map(|r| r.topic);
        let (answer, answered) = oneshot::channel();
        let request = Request::Commit(Commit { records, member, progress, answer });
        let bytes = request.size();
        if bytes > writing.max_batch_bytes {
            return Err(LogError::TooLarge { topic, bytes, limit: writing.max_batch_bytes });
        }
        writing.queue.push(request, bytes)?;
        answered.await.unwrap_or(Err(LogError::Closed))
    }

    fn join(&self, join: Join) -> Result<Joining, LogError> {
        let (answer, answered) = oneshot::channel();
        self.writing()?.queue.push(Request::Join(join, answer), 0)?;
        Ok(answered)
    }

    fn check_partition(&self, topic: Topic, partition: Partition) -> Result<(), LogError> {
        match self.lanes.of(topic, partition) {
            Some(_) => Ok(()),
            None => Err(LogError::Unusable(format!(
                "topic {} has no partition {}: it has {}",
                topic.name(),
                partition.0,
                self.lanes.partitions(topic)
            ))),
        }
    }

    fn has_any(&self, positions: &[Position]) -> bool {
        let view = self.shared.view.read();
        positions.iter().any(|p| view.has(p, self.reading))
    }
}

#[async_trait]
impl EventLog for Journal {
    fn partitions(&self, topic: Topic) -> u32 {
        self.lanes.partitions(topic)
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Address>, LogError> {
        self.commit(records, None, Vec::new()).await
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, LogError> {
        let plan = self.shared.view.read().plan(Position { topic, partition, next: from }, limit, self.reading);
        match plan {
            Plan::Nothing => Ok(Vec::new()),
            Plan::Tail(records) => Ok(records),
            Plan::Files(cold) => blocking(move || cold.run()).await,
        }
    }

    async fn end(&self, topic: Topic, partition: Partition) -> Result<Offset, LogError> {
        Ok(self.seen(topic, partition))
    }

    fn seen(&self, topic: Topic, partition: Partition) -> Offset {
        self.lanes.of(topic, partition).map_or(Offset(0), |lane| self.shared.view.read().end(lane, self.reading))
    }

    async fn wait(&self, positions: &[Position]) -> Result<(), LogError> {
        let mut topics: Vec<u8> = positions.iter().map(|p| code(p.topic)).collect();
        topics.sort_unstable();
        topics.dedup();
        let mut wakers: Vec<_> = topics.iter().filter_map(|t| self.listeners.records(self.reading, *t)).collect();
        loop {
            wakers.iter_mut().for_each(watch::Receiver::mark_unchanged);
            if self.has_any(positions) {
                return Ok(());
            }
            self.writing()?;
            match wakers.as_mut_slice() {
                [] => std::future::pending().await,
                [waker] => waker.changed().await,
                wakers => select_all(wakers.iter_mut().map(|w| Box::pin(w.changed()))).await.0,
            }
            .map_err(|_| LogError::Closed)?;
        }
    }

    async fn stage(&self, name: &'static str, input: Topic, tracked: &[Topic]) -> Result<Box<dyn Stage>, LogError> {
        let positions = Rounds::positions(input, tracked, self.lanes.partitions(input));
        let joining = self.join(Join { stage: name, again: None, positions: positions.clone() })?;
        let Joined { member, positions: progress } = joining.await.unwrap_or(Err(LogError::Closed))?;
        let topics = 1 + tracked.len();
        let rounds = Rounds::new(&progress, topics);
        Ok(Box::new(JournalStage { journal: self.clone(), member, positions, topics, rounds, again: None }))
    }

    async fn extents(&self) -> Result<Vec<Extent>, LogError> {
        let (folder, newest) = {
            let view = self.shared.view.read();
            (self.shared.folder.clone(), view.segments().last().map(|segment| segment.number))
        };
        if let Some(newest) = newest {
            blocking(move || segment::expect(&folder, newest)).await?;
        }
        let view = self.shared.view.read();
        let extent = |(lane, (topic, partition)): (usize, (Topic, Partition))| {
            let end = view.end(lane, Reading::Durable);
            Extent { topic, partition, first: Offset(0), end }
        };
        Ok(self.lanes.all().enumerate().map(extent).collect())
    }

    fn disk_bytes(&self) -> Option<u64> {
        Some(self.shared.view.read().segments().iter().map(|s| s.length).sum())
    }
}

struct JournalStage {
    journal: Journal,
    member: Member,
    /// Every partition of every topic of the stage, from its beginning.
    positions: Vec<Position>,
    /// Topics of the stage.
    topics: usize,
    rounds: Rounds,
    /// It begins anew; kept here, because who waits may stop waiting.
    again: Option<Joining>,
}

impl JournalStage {
    /// How many frames were withdrawn.
    fn withdrawn(&self) -> Option<watch::Receiver<u64>> {
        self.journal.listeners.withdrawn.clone()
    }

    /// What was read may never have been: begins anew where the stage stands, in the partitions of which more was read.
    async fn begin_anew(&mut self) -> Result<StageEvent, LogError> {
        let joining = match &mut self.again {
            Some(joining) => joining,
            none => {
                let (stage, positions) = (self.member.stage, self.positions.clone());
                none.insert(self.journal.join(Join { stage, again: Some(self.member), positions })?)
            }
        };
        let joined = joining.await;
        self.again = None;
        let Joined { member, positions } = joined.unwrap_or(Err(LogError::Closed))?;
        self.member = member;
        Ok(StageEvent::Revoked(self.rounds.go_back(&positions, self.topics)))
    }
}

#[async_trait]
impl Stage for JournalStage {
    fn read_ahead(&mut self) {
        if self.journal.reading == Reading::Durable {
            self.journal.reading = Reading::Ahead;
            self.member.withdrawn = self.withdrawn().map(|count| *count.borrow());
        }
    }

    async fn next(&mut self, limit: ReadLimit) -> Result<StageEvent, LogError> {
        let withdrawn = self.withdrawn();
        let mut journal = &self.journal;
        let (Some(seen), Some(mut withdrawn)) = (self.member.withdrawn, withdrawn) else {
            return self.rounds.next(&mut journal, limit).await;
        };
        tokio::select! {
            biased;
            _ = withdrawn.wait_for(|count| *count != seen) => {}
            event = self.rounds.next(&mut journal, limit) => return event,
        }
        self.begin_anew().await
    }

    fn lag(&self) -> u64 {
        self.rounds.lag(&self.journal)
    }

    async fn commit(&mut self, outputs: &[NewRecord], progress: &[Position]) -> Result<Vec<Address>, LogError> {
        self.journal.commit(outputs.to_vec(), Some(self.member), progress.to_vec()).await
    }
}
