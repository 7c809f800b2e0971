//! What a look at a whole log found.

use leadway_domain::record::Topic;
use leadway_domain::{Offset, Partition};

use crate::{Address, Position};

/// A whole log, looked at.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Files that hold records.
    pub files: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
    /// Whole frames.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// What cannot be read.
    pub damage: Vec<Damage>,
    /// Which records are lost by it.
    pub holes: Vec<Hole>,
    /// What stands behind the last whole frame: a write that was not completed, which a start leaves out, or damage of what
    /// was written last. These look the same.
    pub tail: Option<Damage>,
    /// Records that are whole, and of a kind or form that this version does not know.
    pub unreadable: u64,
    /// Where the first of them stand.
    pub unreadable_at: Vec<Address>,
    /// Where each partition ends.
    pub ends: Vec<Position>,
}

impl Inspection {
    /// Whether something is wrong that a start does not see to by itself.
    pub fn is_damaged(&self) -> bool {
        !self.damage.is_empty() || !self.holes.is_empty()
    }
}

/// Bytes of a file that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// From which byte on.
    pub position: u64,
    /// How many bytes; 0 when the file itself is missing.
    pub bytes: u64,
    /// What is wrong.
    pub reason: String,
}

/// Records that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Of which topic.
    pub topic: Topic,
    /// Of which partition.
    pub partition: Partition,
    /// The first one.
    pub from: Offset,
    /// Behind the last one.
    pub to: Offset,
}

impl Hole {
    /// One record.
    pub(crate) fn of(address: Address) -> Self {
        let Address { topic, partition, offset } = address;
        Self { topic, partition, from: offset, to: offset.next() }
    }
}
