//! Which decisions are news.
//!
//! A router decides the leads and commands of a partition in their order. So within one partition of `appointments` what the
//! decisions go back to rises, unless they were made a second time: earlier versions did that when the router's
//! position in the log had been moved back. Only a decision that does not rise needs to be looked up in the tables.

use std::cmp::Ordering;

use leadway_domain::{Offset, Partition};
use rustc_hash::FxHashMap;

/// By partition of `appointments` and of `leads`: the last lead or command that a new decision went back to.
#[derive(Default)]
pub(crate) struct Causes(FxHashMap<(Partition, Partition), Offset>);

impl Causes {
    /// How a decision in `partition` that goes back to the lead or command at `cause` stands to the new ones before it;
    /// `None` when none is known.
    pub(crate) fn order(&self, partition: Partition, (home, offset): (Partition, Offset)) -> Option<Ordering> {
        self.0.get(&(partition, home)).map(|last| offset.cmp(last))
    }

    /// Notes a decision that is new.
    pub(crate) fn note(&mut self, partition: Partition, (home, offset): (Partition, Offset)) {
        let last = self.0.entry((partition, home)).or_insert(offset);
        *last = offset.max(*last);
    }
}
