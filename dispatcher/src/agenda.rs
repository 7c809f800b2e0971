//! What is to be done for which workspace, and when.

use std::collections::BTreeSet;

use leadway_domain::{Timestamp, WorkspaceId};
use rustc_hash::FxHashMap;

/// At most one time per workspace, in order of time.
#[derive(Default)]
pub(crate) struct Agenda {
    by_time: BTreeSet<(Timestamp, WorkspaceId)>,
    times: FxHashMap<WorkspaceId, Timestamp>,
}

impl Agenda {
    /// Puts the workspace down for `at`, unless it is down for an earlier time.
    pub(crate) fn at(&mut self, workspace: &WorkspaceId, at: Timestamp) {
        match self.times.get(workspace) {
            Some(known) if *known <= at => return,
            Some(known) => {
                self.by_time.remove(&(*known, workspace.clone()));
            }
            None => {}
        }
        self.times.insert(workspace.clone(), at);
        self.by_time.insert((at, workspace.clone()));
    }

    /// Takes the workspace whose time came first, if its time has come.
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Option<WorkspaceId> {
        if self.next()? > now {
            return None;
        }
        let (_, workspace) = self.by_time.pop_first()?;
        self.times.remove(&workspace);
        Some(workspace)
    }

    /// The earliest time.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    pub(crate) fn forget(&mut self, workspace: &WorkspaceId) {
        if let Some(at) = self.times.remove(workspace) {
            self.by_time.remove(&(at, workspace.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_time_of_each_workspace_counts() {
        let (a, b) = (WorkspaceId::new("a").unwrap(), WorkspaceId::new("b").unwrap());
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut agenda = Agenda::default();
        agenda.at(&a, at(10));
        agenda.at(&b, at(5));
        agenda.at(&a, at(20));
        agenda.at(&a, at(3));
        assert_eq!(agenda.next(), Some(at(3)));
        assert_eq!(agenda.take_due(at(4)), Some(a.clone()));
        assert_eq!(agenda.take_due(at(4)), None);
        assert_eq!(agenda.take_due(at(5)), Some(b.clone()));
        agenda.at(&b, at(1));
        agenda.forget(&b);
        assert_eq!((agenda.take_due(at(99)), agenda.next()), (None, None));
    }
}
