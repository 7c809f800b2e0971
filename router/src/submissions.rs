//! The submission race: two ingest nodes may accept the same submission within the moment that the log needs to tell
//! them of each other. The later of the two in the partition is a duplicate.

use std::collections::VecDeque;

use leadway_domain::lead::SubmissionKey;
use leadway_domain::{LeadId, Timestamp};
use rustc_hash::FxHashMap;

/// The submissions of one partition within the window, oldest first; bounded by age and by number.
pub(crate) struct Submissions {
    window_seconds: u64,
    limit: usize,
    firsts: FxHashMap<SubmissionKey, First>,
    order: VecDeque<(SubmissionKey, First)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct First {
    id: LeadId,
    received_at: Timestamp,
}

impl Submissions {
    pub(crate) fn new(window_seconds: u64, limit: usize) -> Self {
        Self { window_seconds, limit: limit.max(1), firsts: FxHashMap::default(), order: VecDeque::new() }
    }

    /// The first lead of this submission within the window. When there is none, this lead is the first.
    /// Leads are told in the order of their ids, and may be told again.
    pub(crate) fn first_of(&mut self, key: SubmissionKey, id: LeadId, received_at: Timestamp) -> Option<LeadId> {
        self.forget_older_than(received_at);
        if let Some(first) = self.firsts.get(&key)
            && self.within_window(first.received_at, received_at)
        {
            return (first.id != id).then_some(first.id);
        }
        let first = First { id, received_at };
        self.firsts.insert(key, first);
        self.order.push_back((key, first));
        if self.order.len() > self.limit {
            self.forget_oldest();
        }
        None
    }

    fn within_window(&self, first: Timestamp, now: Timestamp) -> bool {
        now.duration_since(first).unsigned_abs().as_secs() < self.window_seconds
    }

    fn forget_older_than(&mut self, now: Timestamp) {
        while let Some((_, oldest)) = self.order.front()
            && oldest.received_at < now
            && !self.within_window(oldest.received_at, now)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((key, oldest)) = self.order.pop_front()
            && self.firsts.get(&key) == Some(&oldest)
        {
            self.firsts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    const A: SubmissionKey = SubmissionKey(1);
    const B: SubmissionKey = SubmissionKey(2);

    #[test]
    fn the_later_lead_of_a_submission_is_a_duplicate_of_the_first() {
        let mut seen = Submissions::new(60, 10);
        assert_eq!(seen.first_of(A, LeadId(1), at(0)), None);
        assert_eq!(seen.first_of(B, LeadId(2), at(0)), None);
        assert_eq!(seen.first_of(A, LeadId(3), at(1)), Some(LeadId(1)));
        assert_eq!(seen.first_of(A, LeadId(4), at(59)), Some(LeadId(1)), "the window does not slide");
    }

    #[test]
    fn a_lead_told_again_is_no_duplicate_of_itself() {
        let mut seen = Submissions::new(60, 10);
        assert_eq!(seen.first_of(A, LeadId(1), at(0)), None);
        assert_eq!(seen.first_of(A, LeadId(1), at(0)), None);
    }

    #[test]
    fn what_comes_after_the_window_is_a_new_submission() {
        let mut seen = Submissions::new(60, 10);
        assert_eq!(seen.first_of(A, LeadId(1), at(0)), None);
        assert_eq!(seen.first_of(A, LeadId(2), at(60)), None);
        assert_eq!(seen.first_of(A, LeadId(3), at(61)), Some(LeadId(2)));
        assert_eq!(seen.order.len(), 1);
    }

    #[test]
    fn the_window_holds_no_more_than_its_limit() {
        let mut seen = Submissions::new(60, 2);
        for id in 1..=5 {
            assert_eq!(seen.first_of(SubmissionKey(u128::from(id)), LeadId(id), at(0)), None);
        }
        assert_eq!((seen.firsts.len(), seen.order.len()), (2, 2));
        assert_eq!(seen.first_of(SubmissionKey(5), LeadId(6), at(0)), Some(LeadId(5)));
        assert_eq!(seen.first_of(SubmissionKey(1), LeadId(7), at(0)), None);
    }
}
