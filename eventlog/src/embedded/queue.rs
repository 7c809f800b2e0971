//! What waits for the writer: bounded in bytes, taken a tick at a time.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::entry::{progress_size, record_size};
use crate::{Address, LogError, NewRecord, Position};

/// Work for the writer.
pub(crate) enum Request {
    Commit(Commit),
    Join(Join, oneshot::Sender<Result<Joined, LogError>>),
}

/// Records and progress that land together.
pub(crate) struct Commit {
    pub(crate) records: Vec<NewRecord>,
    /// The member that commits; `None` for an append that no stage makes.
    pub(crate) member: Option<Member>,
    pub(crate) progress: Vec<Position>,
    pub(crate) answer: oneshot::Sender<Result<Vec<Address>, LogError>>,
}

/// One member of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) stage: &'static str,
    /// Only the newest may commit.
    pub(crate) generation: u64,
    /// Of one that reads ahead: how many frames had been withdrawn when it began. It may have read what was withdrawn since.
    pub(crate) withdrawn: Option<u64>,
}

/// A stage begins anew, with another member or with one that it has. It goes through the queue so that what an earlier member has under way is either in the
/// progress that the new one is told, or refused.
pub(crate) struct Join {
    pub(crate) stage: &'static str,
    /// The member that begins anew; `None` for another one.
    pub(crate) again: Option<Member>,
    /// Whose progress is asked for.
    pub(crate) positions: Vec<Position>,
}

/// What a new member is told.
pub(crate) struct Joined {
    pub(crate) member: Member,
    /// The positions asked for, each where the stage stands.
    pub(crate) positions: Vec<Position>,
}

impl Request {
    /// Bytes that it takes in a frame, at most.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Commit(commit) => {
                let progress = commit.member.map_or(0, |m| progress_size(m.stage) * commit.progress.len());
                commit.records.iter().map(record_size).sum::<usize>() + progress
            }
            Self::Join(..) => 0,
        }
    }

    /// Whether it is the answer of a member that reads ahead.
    fn is_ahead(&self) -> bool {
        matches!(self, Self::Commit(Commit { member: Some(Member { withdrawn: Some(_), .. }), .. }))
    }
}

/// With so many requests there may be more soon, and with so many there is no waiting for them.
const MANY: usize = 8;
const ENOUGH: usize = 48;
/// A thread that gives up the core may get it back milliseconds later: after so long it does not do so again.
const LONGEST_GATHERING: Duration = Duration::from_micros(1_500);

/// The requests that wait.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    limit: usize,
}

#[derive(Default)]
struct Waiting {
    requests: std::collections::VecDeque<(usize, Request)>,
    bytes: usize,
    /// Requests of members that read ahead.
    ahead: usize,
    /// Whether the writer waits for one of those and for nothing else.
    only_ahead: bool,
    closed: bool,
}

impl Queue {
    /// A queue that takes no more when `limit` bytes wait.
    pub(crate) fn new(limit: usize) -> Self {
        Self { waiting: Mutex::default(), wake: Condvar::new(), limit }
    }

    /// Adds a request of `size` bytes.
    pub(crate) fn push(&self, request: Request, size: usize) -> Result<(), LogError> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(LogError::Closed);
        }
        if waiting.bytes > 0 && waiting.bytes + size > self.limit {
            return Err(LogError::Unavailable(format!(
                "{} bytes wait to be written, and max_waiting_bytes is {}; try again soon",
                waiting.bytes, self.limit
            )));
        }
        waiting.bytes += size;
        waiting.ahead += usize::from(request.is_ahead());
        let wakes = request.is_ahead() || !waiting.only_ahead;
        waiting.requests.push_back((size, request));
        drop(waiting);
        if wakes {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Waits for requests and takes all of them, up to about `limit` bytes. Where many wait already, the threads that make more
    /// get the core first, as long as more come: a commit costs as much as several requests. `None` when the queue is
    /// closed and empty.
    pub(crate) fn take(&self, limit: usize) -> Option<Tick> {
        let mut waiting = self.waiting.lock();
        while waiting.requests.is_empty() {
            if waiting.closed {
                return None;
            }
            self.wake.wait(&mut waiting);
        }
        let (mut before, begun) = (MANY - 1, Instant::now());
        while waiting.may_grow(before, limit) && begun.elapsed() < LONGEST_GATHERING {
            before = waiting.requests.len();
            MutexGuard::unlocked(&mut waiting, std::thread::yield_now);
        }
        Some(waiting.take(limit))
    }

    /// Waits for a member that reads ahead, and takes all that waits then. `None` when none commits within `patience`.
    pub(crate) fn take_ahead(&self, limit: usize, patience: Duration) -> Option<Tick> {
        let deadline = Instant::now() + patience;
        let mut waiting = self.waiting.lock();
        waiting.only_ahead = true;
        while waiting.ahead == 0 && !waiting.closed && !self.wake.wait_until(&mut waiting, deadline).timed_out() {}
        waiting.only_ahead = false;
        (waiting.ahead > 0).then(|| waiting.take(limit))
    }

    /// Requests that wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.waiting.lock().requests.len()
    }

    /// Takes nothing more; what waits is still written.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.wake.notify_one();
    }

    /// Takes nothing more and forgets what waits, which answers it with [`LogError::Closed`].
    pub(crate) fn abandon(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        let forgotten = std::mem::take(&mut waiting.requests);
        waiting.ahead = 0;
        drop(waiting);
        drop(forgotten);
    }
}

impl Waiting {
    /// Whether more requests than before wait, and it is worth to wait for others. The answer of a member that reads ahead
    /// waits for nobody: until it is in the log the member does nothing.
    fn may_grow(&self, before: usize, limit: usize) -> bool {
        let count = self.requests.len();
        count > before && count < ENOUGH && self.bytes < limit && self.ahead == 0
    }

    fn take(&mut self, limit: usize) -> Tick {
        let mut tick = Tick { requests: Vec::with_capacity(self.requests.len()), bytes: 0 };
        while let Some((size, _)) = self.requests.front() {
            if tick.bytes > 0 && tick.bytes + size > limit {
                break;
            }
            let Some((size, request)) = self.requests.pop_front() else { break };
            self.ahead -= usize::from(request.is_ahead());
            tick.bytes += size;
            tick.requests.push(request);
        }
        self.bytes -= tick.bytes;
        tick
    }
}

/// What is taken at once.
pub(crate) struct Tick {
    pub(crate) requests: Vec<Request>,
    /// Bytes that they take in a frame, at most.
    pub(crate) bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join() -> Request {
        Request::Join(Join { stage: "s", again: None, positions: Vec::new() }, oneshot::channel().0)
    }

    #[test]
    fn what_does_not_fit_is_refused_until_something_is_taken() {
        let queue = Queue::new(100);
        queue.push(join(), 60).unwrap();
        assert!(queue.push(join(), 60).unwrap_err().is_transient());
        assert_eq!(queue.take(1_000).unwrap().bytes, 60);
        queue.push(join(), 60).unwrap();
    }

    #[test]
    fn a_single_request_may_be_larger_than_the_queue() {
        Queue::new(100).push(join(), 200).unwrap();
    }

    #[test]
    fn a_tick_takes_all_that_fits() {
        let queue = Queue::new(1_000);
        for _ in 0..5 {
            queue.push(join(), 40).unwrap();
        }
        assert_eq!(queue.take(100).unwrap().requests.len(), 2);
        assert_eq!(queue.take(30).unwrap().requests.len(), 1);
        assert_eq!(queue.take(1_000).unwrap().requests.len(), 2);
    }

    #[test]
    fn many_requests_give_others_time_as_long_as_more_come_but_the_answer_of_a_member_that_reads_ahead_does_not() {
        let queue = Queue::new(1_000);
        let more = |count| (0..count).for_each(|_| queue.push(join(), 1).unwrap());
        let may_grow = |before, limit| queue.waiting.lock().may_grow(before, limit);
        more(MANY - 1);
        assert!(!may_grow(MANY - 1, 1_000), "few");
        more(1);
        assert!(may_grow(MANY - 1, 1_000));
        assert!(!may_grow(MANY, 1_000), "no more have come");
        assert!(!may_grow(MANY - 1, MANY), "they fill a frame");
        queue.push(commit(Some(0)), 1).unwrap();
        assert!(!may_grow(MANY - 1, 1_000), "its answer waits");
        assert_eq!(queue.take(1_000).unwrap().requests.len(), MANY + 1);
        more(ENOUGH);
        assert!(!may_grow(MANY - 1, 1_000), "enough");
        more(2 * ENOUGH);
        assert_eq!(queue.take(1_000).unwrap().requests.len(), 3 * ENOUGH);
    }

    fn commit(withdrawn: Option<u64>) -> Request {
        let member = Some(Member { stage: "s", generation: 1, withdrawn });
        Request::Commit(Commit { records: Vec::new(), member, progress: Vec::new(), answer: oneshot::channel().0 })
    }

    #[test]
    fn who_waits_for_a_member_that_reads_ahead_gets_all_that_waits_when_it_comes() {
        let queue = std::sync::Arc::new(Queue::new(1_000));
        queue.push(commit(None), 10).unwrap();
        let waiting = std::thread::spawn({
            let queue = queue.clone();
            move || {
                let begun = Instant::now();
                let taken = queue.take_ahead(1_000, Duration::from_secs(600)).map(|tick| tick.bytes);
                assert!(begun.elapsed() < Duration::from_secs(300), "it is woken");
                taken
            }
        });
        while !queue.waiting.lock().only_ahead {
            std::thread::yield_now();
        }
        queue.push(commit(None), 10).unwrap();
        queue.push(commit(Some(0)), 10).unwrap();
        queue.push(commit(None), 10).unwrap();
        let taken = waiting.join().unwrap().unwrap();
        assert!(taken >= 30, "{taken}");
        queue.push(commit(None), 10).unwrap();
        assert_eq!(taken + queue.take(1_000).unwrap().bytes, 50, "nothing is lost");
    }

    #[test]
    fn when_that_member_does_not_come_what_waits_stays() {
        let queue = Queue::new(1_000);
        queue.push(commit(None), 10).unwrap();
        assert!(queue.take_ahead(1_000, Duration::from_millis(1)).is_none());
        assert_eq!(queue.take(1_000).unwrap().bytes, 10);
        queue.close();
        let begun = Instant::now();
        assert!(queue.take_ahead(1_000, Duration::from_secs(600)).is_none());
        assert!(begun.elapsed() < Duration::from_secs(300), "a closed queue is not waited for");
    }

    #[test]
    fn a_member_behind_what_fits_is_taken_later() {
        let queue = Queue::new(1_000);
        queue.push(commit(None), 60).unwrap();
        queue.push(commit(Some(0)), 60).unwrap();
        assert_eq!(queue.take_ahead(100, Duration::ZERO).unwrap().bytes, 60);
        assert_eq!(queue.take_ahead(100, Duration::ZERO).unwrap().bytes, 60);
        assert!(queue.take_ahead(100, Duration::ZERO).is_none());
    }

    #[test]
    fn a_closed_queue_gives_out_what_waits_and_takes_nothing() {
        let queue = Queue::new(1_000);
        queue.push(join(), 1).unwrap();
        queue.close();
        assert!(matches!(queue.push(join(), 1), Err(LogError::Closed)));
        assert!(queue.take(10).is_some());
        assert!(queue.take(10).is_none());
    }
}
