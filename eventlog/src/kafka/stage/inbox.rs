//! Between a member's thread and its stage: what the group has decided, and how far the stage has been given records.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use leadway_domain::{Offset, Partition};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::record::Record;
use crate::{Assignment, LogError, StageEvent};

/// Between the member's thread and its stage.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    filled: Notify,
}

struct State {
    /// What the stage has not been told yet.
    events: VecDeque<Event>,
    /// The partitions that the stage knows to be its own.
    told: BTreeSet<Partition>,
    /// Those of which it is given nothing more, until they are assigned again.
    leaving: BTreeSet<Partition>,
    /// Behind the last record that the stage was given of each of the member's partitions.
    given: BTreeMap<Partition, Offset>,
    error: Option<LogError>,
    asking: bool,
    asked: Instant,
    closed: bool,
}

enum Event {
    Assigned(Vec<Assignment>),
    Revoked(Vec<Partition>),
}

impl Default for State {
    fn default() -> Self {
        Self {
            events: VecDeque::new(),
            told: BTreeSet::new(),
            leaving: BTreeSet::new(),
            given: BTreeMap::new(),
            error: None,
            asking: false,
            asked: Instant::now(),
            closed: false,
        }
    }
}

/// The stage waits for something, as long as this lives.
pub(crate) struct Asking<'i>(&'i Inbox);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.asking = false;
        state.asked = Instant::now();
    }
}

impl Inbox {
    /// The stage begins to wait.
    pub(crate) fn asking(&self) -> Asking<'_> {
        self.state.lock().asking = true;
        Asking(self)
    }

    /// Waits for the next thing that the stage is to be told. Nothing is lost when the future is dropped.
    pub(crate) async fn event(&self) -> Result<StageEvent, LogError> {
        loop {
            let filled = self.filled.notified();
            if let Some(event) = self.state.lock().take() {
                return event;
            }
            filled.await;
        }
    }

    /// Gives the stage what was read, except for records of partitions that are not its own any more: which those are is
    /// returned too. What was given counts from this moment, also for whoever takes a partition away.
    pub(crate) fn give(&self, mut records: Vec<Record>) -> (Vec<Record>, Vec<Partition>) {
        let mut state = self.state.lock();
        let mut gone = Vec::new();
        records.retain(|record| {
            let partition = record.address.partition;
            let own = state.told.contains(&partition) && !state.leaving.contains(&partition);
            if own {
                let given = state.given.entry(partition).or_default();
                *given = record.next().max(*given);
            } else {
                gone.push(partition);
            }
            own
        });
        gone.dedup();
        (records, gone)
    }

    /// The partitions are the stage's from when it is told.
    pub(crate) fn assigned(&self, assignments: Vec<Assignment>) {
        self.change(|state| {
            for assignment in &assignments {
                let given = assignment.progress.first().map_or(Offset(0), |p| p.next);
                state.given.insert(assignment.partition, given);
                state.leaving.remove(&assignment.partition);
            }
            state.events.push_back(Event::Assigned(assignments));
        });
    }

    /// The stage is given nothing more of these partitions.
    pub(crate) fn leaving(&self, partitions: &[Partition]) {
        self.state.lock().leaving.extend(partitions);
    }

    /// How far the stage has been given a partition: behind the last record.
    pub(crate) fn given(&self, partition: Partition) -> Offset {
        self.state.lock().given.get(&partition).copied().unwrap_or_default()
    }

    /// Records of the member's partitions, which end there, that the stage has not been given.
    pub(crate) fn lag(&self, end: impl Fn(Partition) -> Offset) -> u64 {
        self.state.lock().given.iter().map(|(partition, given)| end(*partition).0.saturating_sub(given.0)).sum()
    }

    /// The partitions are not the stage's any more, from now on.
    pub(crate) fn revoked(&self, partitions: &[Partition]) {
        self.change(|state| {
            for partition in partitions {
                state.told.remove(partition);
                state.given.remove(partition);
            }
            state.events.push_back(Event::Revoked(partitions.to_vec()));
        });
    }

    /// The stage is told of an error that only people can mend.
    pub(crate) fn failed(&self, error: LogError) {
        self.change(|state| state.error = Some(error));
    }

    /// Whether the stage knows all of these partitions to be its own; without any, whether it has one.
    pub(crate) fn owns(&self, partitions: &BTreeSet<Partition>) -> bool {
        let state = self.state.lock();
        if partitions.is_empty() { !state.told.is_empty() } else { partitions.is_subset(&state.told) }
    }

    /// One of the stage's partitions.
    pub(crate) fn any_owned(&self) -> Option<Partition> {
        self.state.lock().told.first().copied()
    }

    /// How long the stage has been busy without asking for more.
    pub(crate) fn busy(&self) -> Duration {
        let state = self.state.lock();
        if state.asking { Duration::ZERO } else { state.asked.elapsed() }
    }

    /// The stage has shown that it lives.
    pub(crate) fn touch(&self) {
        self.state.lock().asked = Instant::now();
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
    }

    pub(crate) fn closed(&self) -> bool {
        self.state.lock().closed
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        // Kept for the next wait if nobody waits now.
        self.filled.notify_one();
    }
}

impl State {
    fn take(&mut self) -> Option<Result<StageEvent, LogError>> {
        if let Some(error) = self.error.take() {
            return Some(Err(error));
        }
        Some(Ok(match self.events.pop_front()? {
            Event::Assigned(assignments) => {
                // What has been taken away since is not its own, though it is told of that later.
                let taken = |p: &Partition| self.events.iter().any(|e| matches!(e, Event::Revoked(r) if r.contains(p)));
                self.told.extend(assignments.iter().map(|a| a.partition).filter(|p| !taken(p)));
                StageEvent::Assigned(assignments)
            }
            Event::Revoked(partitions) => StageEvent::Revoked(partitions),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address, Position};
    use futures::FutureExt;
    use leadway_domain::Timestamp;
    use leadway_domain::record::Topic;

    fn record(partition: u32, offset: u64) -> Record {
        let address = Address { topic: Topic::Leads, partition: Partition(partition), offset: Offset(offset) };
        let (id, time) = (Default::default(), Timestamp::UNIX_EPOCH);
        let (key, kind, data, decoded) = ("".into(), "test".into(), Vec::new().into(), Default::default());
        Record { address, key, kind, id, time, data, decoded }
    }

    fn assignment(partition: u32, next: u64) -> Assignment {
        let position = Position { topic: Topic::Leads, partition: Partition(partition), next: Offset(next) };
        Assignment { partition: Partition(partition), progress: vec![position] }
    }

    /// What the stage is told.
    fn told(inbox: &Inbox) -> Vec<String> {
        let event = || inbox.event().now_or_never();
        let text = |event: Result<StageEvent, LogError>| match event.unwrap() {
            StageEvent::Assigned(a) => format!("assigned {:?}", a.iter().map(|a| a.partition.0).collect::<Vec<_>>()),
            StageEvent::Revoked(p) => format!("revoked {:?}", p.iter().map(|p| p.0).collect::<Vec<_>>()),
            StageEvent::Records(_) => unreachable!("an inbox has none"),
        };
        std::iter::from_fn(event).map(text).collect()
    }

    /// What it is given of what was read, and what not.
    fn give(inbox: &Inbox, read: &[(u32, u64)]) -> (Vec<(u32, u64)>, Vec<u32>) {
        let (given, gone) = inbox.give(read.iter().map(|(partition, offset)| record(*partition, *offset)).collect());
        let at = |r: &Record| (r.address.partition.0, r.address.offset.0);
        (given.iter().map(at).collect(), gone.iter().map(|p| p.0).collect())
    }

    #[test]
    fn a_stage_owns_what_it_was_told_and_loses_it_before_it_is_told() {
        let (inbox, both) = (Inbox::default(), BTreeSet::from([Partition(0), Partition(1)]));
        inbox.assigned(vec![assignment(0, 0), assignment(1, 0)]);
        assert!(!inbox.owns(&both) && !inbox.owns(&BTreeSet::new()));
        assert_eq!(told(&inbox), ["assigned [0, 1]"]);
        assert!(inbox.owns(&both) && inbox.owns(&BTreeSet::new()));
        inbox.revoked(&[Partition(0)]);
        // It comes back at once, but what the stage did before is void.
        inbox.assigned(vec![assignment(0, 0)]);
        assert!(!inbox.owns(&both) && inbox.owns(&BTreeSet::from([Partition(1)])));
        assert_eq!(give(&inbox, &[(0, 0), (0, 1), (1, 0)]), (vec![(1, 0)], vec![0]), "read for the former assignment");
        assert_eq!(told(&inbox), ["revoked [0]", "assigned [0]"]);
        assert!(inbox.owns(&both));
        assert_eq!(give(&inbox, &[(0, 0)]), (vec![(0, 0)], vec![]));
    }

    #[test]
    fn nothing_is_given_of_a_partition_that_leaves_and_what_was_given_before_counts() {
        let inbox = Inbox::default();
        inbox.assigned(vec![assignment(0, 5), assignment(1, 0)]);
        told(&inbox);
        assert_eq!(inbox.given(Partition(0)), Offset(5));
        give(&inbox, &[(0, 5), (0, 7)]);
        inbox.leaving(&[Partition(0)]);
        assert_eq!(give(&inbox, &[(0, 8), (1, 0)]), (vec![(1, 0)], vec![0]));
        assert_eq!([inbox.given(Partition(0)), inbox.given(Partition(1))], [Offset(8), Offset(1)]);
        assert_eq!(inbox.lag(|_| Offset(10)), 2 + 9);
        inbox.revoked(&[Partition(0)]);
        assert_eq!(inbox.lag(|_| Offset(10)), 9);
        inbox.assigned(vec![assignment(0, 8)]);
        told(&inbox);
        assert_eq!(give(&inbox, &[(0, 8)]), (vec![(0, 8)], vec![]));
    }
    #[test]
    fn what_was_taken_away_before_the_stage_was_told_of_it_is_not_its_own_in_between() {
        let inbox = Inbox::default();
        inbox.assigned(vec![assignment(0, 0), assignment(1, 0)]);
        inbox.revoked(&[Partition(0)]);
        inbox.event().now_or_never().unwrap().unwrap();
        assert!(!inbox.owns(&BTreeSet::from([Partition(0)])) && inbox.owns(&BTreeSet::from([Partition(1)])));
        assert_eq!(inbox.any_owned(), Some(Partition(1)));
        inbox.assigned(vec![assignment(0, 0)]);
        assert_eq!(told(&inbox), ["revoked [0]", "assigned [0]"]);
        assert!(inbox.owns(&BTreeSet::from([Partition(0), Partition(1)])));
    }
}
