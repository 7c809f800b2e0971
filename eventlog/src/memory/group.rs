//! Who of a stage's members has which partition.

use std::collections::{BTreeMap, BTreeSet};

use leadway_domain::Partition;

/// What those who join a stage become to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// The last one has everything, the others are fenced off.
    Exclusive,
    /// They divide the partitions among them.
    Shared,
}

/// A member, told apart from every other one that ever was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemberId(u64);

/// One span of time in which a partition is a member's; another one of the same member is another tenure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tenure {
    member: MemberId,
    number: u64,
}

/// The tenures that a member was told of.
pub(super) type Told = BTreeMap<Partition, Tenure>;

/// What a member is to be told next.
pub(super) enum Change {
    /// These are not its own any more.
    Lost(Vec<Partition>),
    /// These are its own from now on.
    Gained(Vec<Partition>),
}

/// The members of one stage. When the partitions are divided anew they are the new members' at that very moment, and the
/// former ones learn it at their next call. While a member's node stands still nothing is divided, until it goes on or is
/// thrown out: as on Kafka, where every member must answer.
#[derive(Default)]
pub(super) struct Group {
    /// Each with the node that it runs on, in the order in which they joined.
    members: Vec<(MemberId, u32)>,
    still: BTreeSet<u32>,
    tenures: BTreeMap<Partition, Tenure>,
    partitions: u32,
    counted: u64,
}

impl Group {
    pub(super) fn join(&mut self, node: u32, sharing: Sharing, partitions: u32) -> MemberId {
        let id = MemberId(self.count());
        self.partitions = partitions;
        if sharing == Sharing::Exclusive {
            self.members.clear();
        }
        self.members.push((id, node));
        self.divide();
        id
    }

    pub(super) fn leave(&mut self, id: MemberId) {
        self.members.retain(|(member, _)| *member != id);
        self.divide();
    }

    /// A node stands still, or goes on.
    pub(super) fn stand_still(&mut self, node: u32, still: bool) {
        if still {
            self.still.insert(node);
        } else {
            self.still.remove(&node);
            self.divide();
        }
    }

    /// Throws out every member of a node.
    pub(super) fn expel(&mut self, node: u32) {
        self.members.retain(|(_, of)| *of != node);
        self.divide();
    }

    pub(super) fn has(&self, id: MemberId) -> bool {
        self.members.iter().any(|(member, _)| *member == id)
    }

    /// Whether the partition is the member's, and has been since it was told so, if it was.
    pub(super) fn owns(&self, id: MemberId, told: &Told, partition: Partition) -> bool {
        let told = told.get(&partition);
        self.tenures.get(&partition).is_some_and(|t| t.member == id && told.is_none_or(|told| told == t))
    }

    /// Brings what a member was told a step nearer to what is: what it lost comes before what it gained.
    pub(super) fn tell(&self, id: MemberId, told: &mut Told) -> Option<Change> {
        let lost: Vec<Partition> = told.keys().filter(|p| !self.owns(id, told, **p)).copied().collect();
        if !lost.is_empty() {
            told.retain(|partition, _| !lost.contains(partition));
            return Some(Change::Lost(lost));
        }
        let own = self.tenures.iter().filter(|(_, tenure)| tenure.member == id);
        let gained: Vec<(Partition, Tenure)> =
            own.filter(|(p, _)| !told.contains_key(p)).map(|(p, tenure)| (*p, *tenure)).collect();
        told.extend(gained.iter().copied());
        (!gained.is_empty()).then(|| Change::Gained(gained.into_iter().map(|(p, _)| p).collect()))
    }

    /// Gives every partition to a member, in turns. Who keeps one keeps its tenure.
    fn divide(&mut self) {
        let members = &self.members;
        self.tenures.retain(|_, tenure| members.iter().any(|(member, _)| *member == tenure.member));
        if members.iter().any(|(_, node)| self.still.contains(node)) {
            return;
        }
        for partition in (0..self.partitions).map(Partition) {
            let turn = (partition.0 as usize).checked_rem(self.members.len());
            let Some(&(member, _)) = turn.and_then(|turn| self.members.get(turn)) else { return };
            if self.tenures.get(&partition).is_none_or(|tenure| tenure.member != member) {
                let number = self.count();
                self.tenures.insert(partition, Tenure { member, number });
            }
        }
    }

    fn count(&mut self) -> u64 {
        self.counted += 1;
        self.counted
    }
}
