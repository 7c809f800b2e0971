//! How far one partition has come, and where a restart takes it up again.

use std::collections::BTreeMap;

use leadway_domain::{LeadId, Offset};
use rustc_hash::FxHashSet;

/// Progress in one partition.
///
/// Appointments end in any order, so progress is two positions. Every appointment before the *watermark* has an outcome
/// in the log. Of those behind it some have one too; all of these outcomes stand at or behind the second position, *outcomes
/// from*, in `deliveries`. A restart reads `deliveries` from there to its end and leaves out what it finds.
pub(crate) struct Progress {
    /// The next appointment record to be taken.
    taken: Offset,
    /// Appointments without an outcome in the log, each with the end of `deliveries` when it was taken: no outcome of
    /// this or a later appointment can stand before that.
    unresolved: BTreeMap<Offset, Offset>,
    /// The end of `deliveries`, as far as this member wrote it.
    end: Offset,
    /// What an earlier member left behind the watermark.
    before: Before,
}

struct Before {
    /// Where this assignment started to read outcomes.
    from: Offset,
    /// The end of `deliveries` at that time.
    outcomes_end: Offset,
    /// The end of `appointments` at that time: only records before it can have an outcome.
    appointments_end: Offset,
    done: FxHashSet<LeadId>,
}

/// Where a partition stood when it was assigned.
pub(crate) struct Standing {
    pub(crate) watermark: Offset,
    pub(crate) outcomes_from: Offset,
    pub(crate) outcomes_end: Offset,
    pub(crate) appointments_end: Offset,
    /// The appointments with an outcome between `outcomes_from` and `outcomes_end`.
    pub(crate) done: FxHashSet<LeadId>,
}

/// The two positions to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Positions {
    pub(crate) watermark: Offset,
    pub(crate) outcomes_from: Offset,
}

impl Progress {
    pub(crate) fn resume(standing: Standing) -> Self {
        let Standing { watermark, outcomes_from, outcomes_end, appointments_end, done } = standing;
        let before = Before { from: outcomes_from, outcomes_end, appointments_end, done };
        Self { taken: watermark, unresolved: BTreeMap::new(), end: outcomes_end, before }
    }

    /// Takes the appointment at `offset`; tells whether it still needs an outcome.
    pub(crate) fn take(&mut self, offset: Offset, appointment: LeadId) -> bool {
        let from = self.outcomes_from_now(offset);
        let done = self.before.done.contains(&appointment);
        self.pass(offset);
        if !done {
            self.unresolved.insert(offset, from);
        }
        !done
    }

    /// Whether an earlier member may have ended the appointment at `offset`, though its outcome was not found.
    pub(crate) fn may_be_done(&self, offset: Offset, appointment: LeadId) -> bool {
        offset < self.before.appointments_end && !self.before.done.contains(&appointment)
    }

    /// Leaves out a record that needs no outcome.
    pub(crate) fn pass(&mut self, offset: Offset) {
        self.taken = self.taken.max(offset.next());
        if self.taken >= self.before.appointments_end {
            self.before.done = FxHashSet::default();
        }
    }

    /// The appointment at `offset` gets its outcome with the commit that is being prepared.
    pub(crate) fn resolve(&mut self, offset: Offset) {
        self.unresolved.remove(&offset);
    }

    /// An outcome has landed at this offset of `deliveries`.
    pub(crate) fn landed(&mut self, offset: Offset) {
        self.end = self.end.max(offset.next());
    }

    pub(crate) fn positions(&self) -> Positions {
        match self.unresolved.first_key_value() {
            Some((&watermark, &outcomes_from)) => Positions { watermark, outcomes_from },
            None => Positions { watermark: self.taken, outcomes_from: self.outcomes_from_now(self.taken) },
        }
    }

    /// The next record to be taken.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> Offset {
        self.taken
    }

    /// How far scoring must have come before the table shows what earlier members left.
    pub(crate) fn rows_from(&self) -> Offset {
        self.before.outcomes_end
    }

    /// Outcomes of appointments at or behind `offset` cannot stand before this. While records are taken that an earlier
    /// member may have ended, that is where this assignment started, not the present end.
    fn outcomes_from_now(&self, offset: Offset) -> Offset {
        if offset < self.before.appointments_end { self.before.from } else { self.end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resumed(watermark: u64, from: u64, end: u64, appointments_end: u64, done: &[u64]) -> Progress {
        Progress::resume(Standing {
            watermark: Offset(watermark),
            outcomes_from: Offset(from),
            outcomes_end: Offset(end),
            appointments_end: Offset(appointments_end),
            done: done.iter().map(|id| LeadId(*id)).collect(),
        })
    }

    fn positions(watermark: u64, outcomes_from: u64) -> Positions {
        Positions { watermark: Offset(watermark), outcomes_from: Offset(outcomes_from) }
    }

    #[test]
    fn the_watermark_waits_for_the_oldest_appointment_without_outcome() {
        let mut progress = resumed(0, 0, 0, 0, &[]);
        for offset in 0..3 {
            assert!(progress.take(Offset(offset), LeadId(offset)));
        }
        progress.resolve(Offset(1));
        assert_eq!(progress.positions(), positions(0, 0));
        progress.landed(Offset(0));
        progress.take(Offset(3), LeadId(3));
        progress.resolve(Offset(0));
        progress.landed(Offset(1));
        assert_eq!(progress.positions(), positions(2, 0));
        progress.resolve(Offset(2));
        // Record 3 was taken when one outcome had landed: none of its own can stand before 1.
        assert_eq!(progress.positions(), positions(3, 1));
        progress.resolve(Offset(3));
        assert_eq!(progress.positions(), positions(4, 2));
    }

    #[test]
    fn records_that_need_no_outcome_are_passed() {
        let mut progress = resumed(5, 2, 2, 5, &[]);
        progress.pass(Offset(5));
        assert_eq!(progress.positions(), positions(6, 2));
    }

    #[test]
    fn what_has_an_outcome_is_left_out_also_after_a_second_restart() {
        // Appointments 10, 11, 12; 11 ended at outcome 4, then the node died.
        let mut progress = resumed(10, 3, 5, 13, &[11]);
        assert!(progress.take(Offset(10), LeadId(10)));
        assert!(!progress.take(Offset(11), LeadId(11)));
        assert!(progress.take(Offset(12), LeadId(12)));
        progress.resolve(Offset(10));
        // A restart now must still find the outcome of 11 if the watermark stands before it, and may not if behind.
        assert_eq!(progress.positions(), positions(12, 3));
        progress.resolve(Offset(12));
        assert_eq!(progress.positions(), positions(13, 5));
        assert!(progress.take(Offset(13), LeadId(11)), "what came later is not left out");
    }

    proptest::proptest! {
        /// Whatever the order of outcomes and crashes, each appointment gets exactly one.
        #[test]
        fn every_appointment_gets_exactly_one_outcome(steps in proptest::collection::vec(0u8..10, 1..200)) {
            const APPOINTMENTS: u64 = 20;
            let (mut log, mut stored) = (Vec::<u64>::new(), positions(0, 0));
            let restart = |log: &[u64], stored: Positions| {
                let done: Vec<u64> = log[stored.outcomes_from.0 as usize..].to_vec();
                resumed(stored.watermark.0, stored.outcomes_from.0, log.len() as u64, APPOINTMENTS, &done)
            };
            let mut progress = restart(&log, stored);
            let mut open = Vec::new();
            for step in steps.into_iter().chain(std::iter::repeat_n(4, 100)) {
                match step {
                    0 => {
                        open.clear();
                        progress = restart(&log, stored);
                    }
                    1..=4 if progress.taken().0 < APPOINTMENTS => {
                        let offset = progress.taken();
                        if progress.take(offset, LeadId(offset.0)) {
                            open.push(offset);
                        }
                    }
                    _ if !open.is_empty() => {
                        let offset = open.remove(step as usize % open.len());
                        progress.resolve(offset);
                        stored = progress.positions();
                        progress.landed(Offset(log.len() as u64));
                        log.push(offset.0);
                    }
                    _ => {}
                }
            }
            log.sort_unstable();
            proptest::prop_assert_eq!(log, (0..APPOINTMENTS).collect::<Vec<_>>());
        }
    }
}
