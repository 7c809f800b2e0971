//! The match index: for a product and a ZIP, the rule that wins.
//!
//! Per product, the rules stand in sorted lists at the nodes of a decimal tree of ZIPs (see `region.rs`), a chunk of
//! lists for each three-digit prefix; beside them stands who wins at each ZIP, which is all that a match reads. An index
//! never changes: the next one shares every chunk that no changed rule touches, so a change costs what the rule covers,
//! and matching never waits for it.

use std::sync::Arc;

use leadway_domain::settings::{Rule, fold_name};
use leadway_domain::{RuleId, Zip, ZipDirectory};
use rustc_hash::FxHashMap;

use crate::region::{CHUNKS, NODES, Node, TOP};

/// Every rule that takes part in matching, by product and ZIP. Cloning is cheap.
#[derive(Clone)]
pub struct MatchIndex {
    pub(crate) products: Arc<FxHashMap<ProductKey, Arc<ProductTable>>>,
    /// By ZIP number, its place among the known ZIPs that begin with the same three digits; [`NO_SEAT`] where there is no
    /// such ZIP.
    pub(crate) seats: Arc<[u8]>,
    pub(crate) rules: usize,
}

const NO_SEAT: u8 = u8::MAX;

/// The rules of one product.
#[derive(Clone)]
pub(crate) struct ProductTable {
    /// By chunk of ZIPs; `None` where no rule stands.
    pub(crate) chunks: Vec<Option<Arc<Chunk>>>,
    /// By the first three digits of a ZIP; `None` where nobody wins.
    winners: Vec<Option<Arc<Winners>>>,
}

/// The lists of one chunk's nodes, end to end.
pub(crate) struct Chunk {
    /// Where each node's list starts in `rules`; one more than there are nodes.
    starts: [u32; NODES + 1],
    /// In each list the winner stands first.
    rules: Vec<Arc<Rule>>,
}

/// Who wins, by the ZIP's seat. As small as it can be: what random matches read should fit the processor's caches.
type Winners = [Option<Arc<Rule>>];

/// Who wins is who has the smallest rank: the lower priority number, then the older rule, which has the smaller id.
pub(crate) fn rank(rule: &Rule) -> (i32, RuleId) {
    (rule.priority, rule.id)
}

impl MatchIndex {
    /// The rule that wins for this product, however it is spelled, and this ZIP; `None` when no rule has both, or
    /// the ZIP is not in the list.
    pub fn find(&self, product: &str, zip: Zip) -> Option<&Arc<Rule>> {
        let seat = *self.seats.get(zip.number())?;
        self.table(product)?.winners.get(zip.number() / 100)?.as_ref()?.get(usize::from(seat))?.as_ref()
    }

    /// An index without rules, over this list of ZIPs.
    pub(crate) fn empty(zips: &ZipDirectory) -> Self {
        let mut seats = vec![NO_SEAT; Zip::COUNT];
        let (mut prefix, mut next) = (0, 0);
        for zip in zips.iter().map(|info| info.zip.number()) {
            if zip / 100 != prefix {
                (prefix, next) = (zip / 100, 0);
            }
            if let Some(seat) = seats.get_mut(zip) {
                *seat = next;
            }
            next += 1;
        }
        Self { products: Arc::default(), seats: seats.into(), rules: 0 }
    }

    /// How many rules take part in matching.
    pub fn rules(&self) -> usize {
        self.rules
    }

    /// The rules of a product.
    pub(crate) fn table(&self, product: &str) -> Option<&ProductTable> {
        self.products.get(&ProductKey::of(product)).map(|table| &**table)
    }
}

/// A [folded](fold_name) product name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ProductKey {
    /// Up to 32 ASCII letters and digits, filled up with zeros: made and compared without an allocation.
    Short([u8; 32]),
    /// Any other.
    Long(String),
}

impl ProductKey {
    pub(crate) fn of(name: &str) -> Self {
        Self::short(name).unwrap_or_else(|| {
            let folded = fold_name(name);
            // What folding leaves out may have been all that was not short.
            Self::short(&folded).unwrap_or(Self::Long(folded))
        })
    }

    /// The key of most names as people write them; `None` leaves the others to be folded first. It goes the same way
    /// whatever a byte is: a processor cannot guess how the next lead spells its product.
    fn short(name: &str) -> Option<Self> {
        let mut folded = [0; 32];
        let (mut length, mut all_bits) = (0, 0);
        for byte in name.bytes() {
            let kept = byte.is_ascii_alphanumeric();
            *folded.get_mut(length)? = byte.to_ascii_lowercase() * u8::from(kept);
            length += usize::from(kept);
            all_bits |= byte;
        }
        all_bits.is_ascii().then_some(Self::Short(folded))
    }
}

impl ProductTable {
    pub(crate) fn empty() -> Self {
        Self { chunks: vec![None; CHUNKS], winners: vec![None; usize::from(TOP)] }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.iter().all(Option::is_none)
    }

    /// Finds out anew who wins at the known ZIPs that begin with these three digits.
    pub(crate) fn settle(&mut self, prefix: u16, zips: &ZipDirectory) {
        let numbers = u32::from(prefix) * 100..(u32::from(prefix) + 1) * 100;
        let known = numbers.filter_map(Zip::from_number).filter(|zip| zips.get(*zip).is_some());
        let winner = |zip| {
            let firsts = Node::above(zip).into_iter().filter_map(|node| self.list(node).first());
            firsts.min_by_key(|rule| rank(rule)).cloned()
        };
        let winners: Arc<Winners> = known.map(winner).collect();
        if let Some(slot) = self.winners.get_mut(usize::from(prefix)) {
            *slot = winners.iter().any(Option::is_some).then_some(winners);
        }
    }

    fn list(&self, node: Node) -> &[Arc<Rule>] {
        let chunk = self.chunks.get(usize::from(node.chunk)).and_then(Option::as_deref);
        chunk.map_or(&[], |chunk| chunk.list(node.local))
    }
}

impl Chunk {
    /// A chunk of these rules, each with the node it stands at; sorted by node, the rules of each by rank.
    pub(crate) fn new(placed: Vec<(u8, Arc<Rule>)>) -> Self {
        let mut starts = [0; NODES + 1];
        for (node, start) in starts.iter_mut().enumerate() {
            *start = placed.partition_point(|(local, _)| usize::from(*local) < node) as u32;
        }
        Self { starts, rules: placed.into_iter().map(|(_, rule)| rule).collect() }
    }

    /// The rules at a node, the winner first.
    pub(crate) fn list(&self, local: u8) -> &[Arc<Rule>] {
        let bound = |n: usize| self.starts.get(n).map_or(0, |s| *s as usize);
        let local = usize::from(local);
        self.rules.get(bound(local)..bound(local + 1)).unwrap_or_default()
    }

    /// Its rules with their nodes, sorted by both.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (u8, &Arc<Rule>)> {
        (0..NODES as u8).flat_map(|local| self.list(local).iter().map(move |rule| (local, rule)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_of_the_longest_short_key_keeps_it_however_it_is_spelled() {
        for length in [31, 32, 33] {
            let name = "a".repeat(length);
            for spelled in [name.to_uppercase(), format!("{name}-"), format!("- {name} -"), format!("{name}™")] {
                assert_eq!(ProductKey::of(&spelled), ProductKey::of(&name), "{spelled}");
            }
        }
    }

    proptest! {
        #[test]
        fn names_have_one_key_if_they_fold_to_one(name in "[ -~é™\u{212a}]{0,36}", other in "[a-c™]{0,3}") {
            for other in [&other, &name.to_uppercase(), &format!(" {name}-"), &format!("{name}™")] {
                let same = fold_name(&name) == fold_name(other);
                prop_assert_eq!(ProductKey::of(&name) == ProductKey::of(other), same, "{} {}", name, other);
            }
        }
    }
}
