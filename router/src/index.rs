//! The match index: for a product and a ZIP, the rule that wins.
//!
//! Per product, the rules stand in sorted lists at the nodes of a decimal tree of ZIPs (see `region.rs`), a chunk of
//! lists for each three-digit prefix. Each chunk also says who wins where, so a match reads two places. An index never changes: the next one shares every chunk that no
//! changed rule touches, so a change costs what the rule covers, and matching never waits for it.

use std::cmp::Ordering;
use std::sync::Arc;

use leadway_domain::settings::{Rule, fold_name};
use leadway_domain::{RuleId, Zip, ZipDirectory};
use rustc_hash::FxHashMap;

use crate::region::{CHUNKS, LEAVES, NODES, Node};

/// Every rule that takes part in matching, by product and ZIP. Cloning is cheap.
#[derive(Clone)]
pub struct MatchIndex {
    /// By [folded](fold_name) product name.
    pub(crate) products: Arc<FxHashMap<Box<str>, Arc<ProductTable>>>,
    pub(crate) zips: Arc<ZipDirectory>,
    pub(crate) rules: usize,
}

/// The rules of one product, by chunk of ZIPs; `None` where no rule reaches.
#[derive(Clone)]
pub(crate) struct ProductTable {
    pub(crate) chunks: Vec<Option<Arc<Chunk>>>,
}

/// The lists of one chunk's nodes, end to end, and what they come to.
pub(crate) struct Chunk {
    /// Where each node's list starts in `entries`; one more than there are nodes.
    starts: [u32; NODES + 1],
    entries: Vec<Entry>,
    /// Who wins at each pair of digits that the chunk tells apart, its shorter prefixes counted in: a match reads one of
    /// these in place of two or three lists.
    winners: [Option<Winner>; LEAVES],
}

/// One rule in a list. The winner stands first.
#[derive(Clone)]
pub(crate) struct Entry {
    /// The rule's own, beside the pointer: most comparisons end here.
    priority: i32,
    pub(crate) rule: Arc<Rule>,
}

/// The entry that wins, with what it is compared by beside it: a match follows no pointer but the winner's.
struct Winner {
    rank: (i32, RuleId),
    rule: Arc<Rule>,
}

impl Entry {
    pub(crate) fn new(rule: &Arc<Rule>) -> Self {
        Self { priority: rule.priority, rule: rule.clone() }
    }

    /// Who wins: the lower priority number, then the older rule, which has the smaller id.
    fn rank(&self, other: &Self) -> Ordering {
        self.priority.cmp(&other.priority).then_with(|| self.rule.id.cmp(&other.rule.id))
    }
}

impl MatchIndex {
    /// An index without rules, over this list of ZIPs.
    pub fn empty(zips: Arc<ZipDirectory>) -> Self {
        Self { products: Arc::default(), zips, rules: 0 }
    }

    /// The rule that wins for this product, however it is spelled, and this ZIP; `None` when no rule has both, or
    /// the ZIP is not in the list.
    pub fn find(&self, product: &str, zip: Zip) -> Option<&Arc<Rule>> {
        self.zips.get(zip)?;
        self.table(product)?.winner(zip)
    }

    /// How many rules take part in matching.
    pub fn rules(&self) -> usize {
        self.rules
    }

    /// The rules of a product.
    pub(crate) fn table(&self, product: &str) -> Option<&ProductTable> {
        let mut buffer = [0; FOLD_BUFFER];
        let table = match fold_into(product, &mut buffer) {
            Some(folded) => self.products.get(folded),
            None => self.products.get(fold_name(product).as_str()),
        };
        table.map(|t| &**t)
    }
}

const FOLD_BUFFER: usize = 64;

/// [`fold_name`] without an allocation, for names of ASCII letters up to 64 bytes; `None` for others.
fn fold_into<'a>(name: &str, buffer: &'a mut [u8; FOLD_BUFFER]) -> Option<&'a str> {
    if !name.is_ascii() {
        return None;
    }
    let mut length = 0;
    for byte in name.bytes().filter(u8::is_ascii_alphanumeric) {
        *buffer.get_mut(length)? = byte.to_ascii_lowercase();
        length += 1;
    }
    std::str::from_utf8(buffer.get(..length)?).ok()
}

impl ProductTable {
    pub(crate) fn empty() -> Self {
        Self { chunks: vec![None; CHUNKS] }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.iter().all(Option::is_none)
    }

    /// The rule that wins for a known ZIP.
    pub(crate) fn winner(&self, zip: Zip) -> Option<&Arc<Rule>> {
        let at = |leaf: Node| {
            let chunk = self.chunks.get(usize::from(leaf.chunk)).and_then(Option::as_deref)?;
            chunk.winners.get(usize::from(leaf.local))?.as_ref()
        };
        let winners = Node::leaves_above(zip).into_iter().filter_map(at);
        winners.min_by_key(|winner| winner.rank).map(|winner| &winner.rule)
    }
}

impl Chunk {
    /// A chunk of these entries, each with the node it stands at.
    pub(crate) fn new(mut placed: Vec<(u8, Entry)>) -> Self {
        placed.sort_unstable_by(|(n, a), (m, b)| n.cmp(m).then_with(|| a.rank(b)));
        let mut starts = [0; NODES + 1];
        for (node, start) in starts.iter_mut().enumerate() {
            *start = placed.partition_point(|(local, _)| usize::from(*local) < node) as u32;
        }
        let entries = placed.into_iter().map(|(_, entry)| entry).collect();
        let mut chunk = Self { starts, entries, winners: [const { None }; LEAVES] };
        chunk.winners = std::array::from_fn(|leaf| chunk.winner_at(leaf as u8));
        chunk
    }

    fn winner_at(&self, leaf: u8) -> Option<Winner> {
        let firsts = Node::over_leaf(leaf).into_iter().filter_map(|local| self.list(local).first());
        let winner = firsts.min_by(|a, b| a.rank(b))?;
        Some(Winner { rank: (winner.priority, winner.rule.id), rule: winner.rule.clone() })
    }

    /// The rules at a node, the winner first.
    pub(crate) fn list(&self, local: u8) -> &[Entry] {
        let bound = |n: usize| self.starts.get(n).map_or(0, |s| *s as usize);
        let local = usize::from(local);
        self.entries.get(bound(local)..bound(local + 1)).unwrap_or_default()
    }

    /// Its entries with their nodes.
    pub(crate) fn placed(&self) -> impl Iterator<Item = (u8, &Entry)> {
        (0..NODES as u8).flat_map(|local| self.list(local).iter().map(move |entry| (local, entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn folding_in_place_agrees_with_folding(name in "[ -~é]{0,70}") {
            let mut buffer = [0; FOLD_BUFFER];
            if let Some(folded) = fold_into(&name, &mut buffer) {
                prop_assert_eq!(folded, fold_name(&name));
            }
        }
    }
}
