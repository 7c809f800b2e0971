//! The submission race: two ingest nodes may accept the same submission within the moment that the log needs to tell
//! them of each other. The later of the two in the partition is a duplicate.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use leadway_domain::lead::{Lead, SubmissionKey};
use leadway_domain::{LeadId, Timestamp};
use rustc_hash::FxBuildHasher;

/// The submissions of one partition within the window, oldest first; bounded by age and by number. There may be millions of
/// them, so each is kept once and found by its number.
pub(crate) struct Submissions {
    window_seconds: u64,
    limit: usize,
    firsts: VecDeque<First>,
    /// How many were forgotten; the number of the oldest one there is.
    forgotten: u64,
    /// The numbers of the last first lead of each submission, in as many bits as tell those apart that are kept.
    numbers: HashTable<u32>,
}

#[derive(Clone, Copy)]
struct First {
    key: SubmissionKey,
    id: LeadId,
    /// In microseconds.
    received_at: i64,
}

impl Submissions {
    pub(crate) fn new(window_seconds: u64, limit: usize) -> Self {
        let limit = limit.clamp(1, u32::MAX as usize / 2);
        Self { window_seconds, limit, firsts: VecDeque::new(), forgotten: 0, numbers: HashTable::new() }
    }

    /// The first lead of the same customer's submission within the window, by either of its keys. Another customer's with the
    /// same key was let in on purpose: it is none.
    pub(crate) fn first_of_lead(&mut self, lead: &Lead, id: LeadId) -> Option<LeadId> {
        let firsts = keys(lead).map(|key| self.first_of(key?, id, lead.received_at));
        firsts.into_iter().flatten().min()
    }

    /// The first lead of this submission within the window. When there is none, this lead is the first.
    /// Leads are told in the order of their ids, and may be told again.
    pub(crate) fn first_of(&mut self, key: SubmissionKey, id: LeadId, received_at: Timestamp) -> Option<LeadId> {
        let received_at = received_at.as_microsecond();
        self.forget_older_than(received_at);
        let (firsts, forgotten, window) = (&self.firsts, self.forgotten, self.window_seconds);
        let first = |number: &u32| numbered(firsts, forgotten, *number);
        let same = |number: &u32| first(number).is_some_and(|first| first.key == key);
        let hash_of = |number: &u32| first(number).map_or(0, |first| hash(first.key));
        let number = (forgotten + firsts.len() as u64) as u32;
        match self.numbers.entry(hash(key), same, hash_of) {
            Entry::Occupied(mut known) => {
                if let Some(first) = first(known.get())
                    && within(window, first.received_at, received_at)
                {
                    return (first.id != id).then_some(first.id);
                }
                *known.get_mut() = number;
            }
            Entry::Vacant(new) => {
                new.insert(number);
            }
        }
        self.firsts.push_back(First { key, id, received_at });
        if self.firsts.len() > self.limit {
            self.forget_oldest();
        }
        None
    }

    fn forget_older_than(&mut self, now: i64) {
        while let Some(oldest) = self.firsts.front()
            && oldest.received_at < now
            && !within(self.window_seconds, oldest.received_at, now)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.firsts.pop_front() else { return };
        let number = self.forgotten as u32;
        self.forgotten += 1;
        // A later first lead of the same submission has a number of its own.
        if let Ok(known) = self.numbers.find_entry(hash(oldest.key), |known| *known == number) {
            known.remove();
        }
    }
}

/// A lead's submissions, as its customer's.
pub(crate) fn keys(lead: &Lead) -> [Option<SubmissionKey>; 2] {
    [Some(lead.submission), lead.also].map(|key| key.map(|key| key.by(lead.contact_id)))
}

fn numbered(firsts: &VecDeque<First>, forgotten: u64, number: u32) -> Option<&First> {
    firsts.get(number.wrapping_sub(forgotten as u32) as usize)
}

fn within(window_seconds: u64, first: i64, now: i64) -> bool {
    now.abs_diff(first) / 1_000_000 < window_seconds
}

fn hash(key: SubmissionKey) -> u64 {
    FxBuildHasher.hash_one(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use leadway_domain::ContactId;

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
    fn either_key_makes_a_duplicate_but_only_of_the_same_customer() {
        let lead = |submission, also, contact: u128| Lead {
            submission,
            also,
            contact_id: ContactId(uuid::Uuid::from_u128(contact)),
            received_at: at(0),
            ..crate::decide::tests::lead()
        };
        let mut seen = Submissions::new(60, 10);
        assert_eq!(seen.first_of_lead(&lead(A, Some(B), 7), LeadId(1)), None);
        assert_eq!(seen.first_of_lead(&lead(A, Some(B), 8), LeadId(2)), None, "another customer's");
        assert_eq!(seen.first_of_lead(&lead(SubmissionKey(3), Some(B), 7), LeadId(3)), Some(LeadId(1)));
        assert_eq!(seen.first_of_lead(&lead(A, None, 7), LeadId(4)), Some(LeadId(1)));
        assert_eq!(seen.first_of_lead(&lead(A, Some(B), 7), LeadId(1)), None, "told again");
    }

    #[test]
    fn what_comes_after_the_window_is_a_new_submission() {
        let mut seen = Submissions::new(60, 10);
        assert_eq!(seen.first_of(A, LeadId(1), at(0)), None);
        assert_eq!(seen.first_of(A, LeadId(2), at(60)), None);
        assert_eq!(seen.first_of(A, LeadId(3), at(61)), Some(LeadId(2)));
        assert_eq!((seen.numbers.len(), seen.firsts.len()), (1, 1));
    }

    #[test]
    fn the_window_holds_no_more_than_its_limit() {
        let mut seen = Submissions::new(60, 2);
        for id in 1..=5 {
            assert_eq!(seen.first_of(SubmissionKey(u128::from(id)), LeadId(id), at(0)), None);
        }
        assert_eq!((seen.numbers.len(), seen.firsts.len()), (2, 2));
        assert_eq!(seen.first_of(SubmissionKey(5), LeadId(6), at(0)), Some(LeadId(5)));
        assert_eq!(seen.first_of(SubmissionKey(1), LeadId(7), at(0)), None);
    }
}
