//! What this node itself appended and settled: whoever follows the log need not read it to know it.

use std::collections::VecDeque;
use std::ops::Range;

use leadway_domain::{Offset, Partition};

/// Most pieces that one partition's offsets are kept in; what comes on top is read from the log like anybody's.
const MAX_PIECES: usize = 1_000;

/// Where this node's own records end that begin at some position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The first record that is not known to be this node's.
    pub(crate) next: Offset,
    /// How many records until the next that is, if one is.
    pub(crate) others: Option<u64>,
}

/// The offsets of every partition.
#[derive(Default)]
pub(crate) struct Own(Vec<Pieces>);

/// Ascending, with gaps between them.
#[derive(Default)]
struct Pieces(VecDeque<Range<u64>>);

impl Own {
    /// This node settled the record at `offset`.
    pub(crate) fn add(&mut self, partition: Partition, Offset(offset): Offset) {
        let number = partition.0 as usize;
        if self.0.len() <= number {
            self.0.resize_with(number + 1, Pieces::default);
        }
        if let Some(pieces) = self.0.get_mut(number) {
            pieces.add(offset);
        }
    }

    /// Passes over what is this node's from `next` on, and forgets it.
    pub(crate) fn pass(&mut self, partition: Partition, Offset(next): Offset) -> Stretch {
        let pieces = self.0.get_mut(partition.0 as usize);
        pieces.map_or(Stretch { next: Offset(next), others: None }, |pieces| pieces.pass(next))
    }
}

impl Pieces {
    fn add(&mut self, offset: u64) {
        // Appends are settled nearly in order: the place is near the end.
        let behind = self.0.iter().rposition(|piece| piece.start <= offset).map_or(0, |before| before + 1);
        let joins_next = self.0.get(behind).is_some_and(|next| next.start == offset + 1);
        match behind.checked_sub(1).and_then(|before| self.0.get_mut(before)) {
            Some(piece) if offset < piece.end => {}
            Some(piece) if offset == piece.end => {
                piece.end += 1;
                if joins_next && let Some(next) = self.0.remove(behind) {
                    self.0.iter_mut().skip(behind - 1).take(1).for_each(|piece| piece.end = next.end);
                }
            }
            _ if joins_next => self.0.iter_mut().skip(behind).take(1).for_each(|piece| piece.start = offset),
            _ => self.0.insert(behind, offset..offset + 1),
        }
        if self.0.len() > MAX_PIECES {
            self.0.pop_front();
        }
    }

    fn pass(&mut self, mut next: u64) -> Stretch {
        while let Some(piece) = self.0.pop_front_if(|piece| piece.start <= next) {
            next = next.max(piece.end);
        }
        Stretch { next: Offset(next), others: self.0.front().map(|piece| piece.start - next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn pass(own: &mut Own, next: u64) -> (u64, Option<u64>) {
        let Stretch { next: Offset(next), others } = own.pass(Partition(2), Offset(next));
        (next, others)
    }

    #[test]
    fn what_is_known_is_passed_over_once() {
        let mut own = Own::default();
        for offset in [4, 6, 5, 9, 4] {
            own.add(Partition(2), Offset(offset));
        }
        assert_eq!(pass(&mut own, 2), (2, Some(2)));
        assert_eq!(pass(&mut own, 4), (7, Some(2)));
        assert_eq!(pass(&mut own, 4), (4, Some(5)), "it is forgotten");
        assert_eq!(pass(&mut own, 12), (12, None));
        assert_eq!(own.pass(Partition(7), Offset(1)), Stretch { next: Offset(1), others: None });
    }

    #[test]
    fn it_is_bounded() {
        let mut own = Own::default();
        (0..10_000).for_each(|n| own.add(Partition(2), Offset(2 * n)));
        assert_eq!(own.0[2].0.len(), MAX_PIECES);
    }

    proptest! {
        #[test]
        fn pieces_are_the_set_of_their_offsets(offsets in proptest::collection::vec(0u64..40, 0..60)) {
            let mut own = Own::default();
            offsets.iter().for_each(|offset| own.add(Partition(2), Offset(*offset)));
            let (mut found, mut at) = (BTreeSet::new(), 0);
            loop {
                let (next, others) = pass(&mut own, at);
                found.extend(at..next);
                let Some(others) = others else { break };
                prop_assert!(others > 0);
                at = next + others;
            }
            prop_assert_eq!(found, offsets.into_iter().collect::<BTreeSet<_>>());
        }
    }
}
