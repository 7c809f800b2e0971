//! Sets of ZIPs as few nodes of a decimal tree.
//!
//! Whatever form a rule's pattern has, the ZIPs it names are covered by as few whole prefixes as possible: `CA` is
//! some sixty nodes in place of 2,600 ZIPs. A ZIP lies under five nodes: its prefixes of one to five digits.

use std::ops::Range;
use std::sync::Arc;

use leadway_domain::zip::ZipPattern;
use leadway_domain::{Zip, ZipDirectory};
use rustc_hash::FxHashMap;

/// Chunk of the nodes above three digits; those below are in the chunk of their first three digits, 0 to 999.
pub(crate) const TOP: u16 = 1_000;
/// Chunks of a product, the top included.
pub(crate) const CHUNKS: usize = 1_001;
/// Nodes of a chunk: the 100 pairs of digits that it tells apart (the last two of a ZIP, or in the top the first two), the
/// 10 digits they begin with, and the whole, which the top leaves empty.
pub(crate) const NODES: usize = 111;
const TENS: u8 = 100;
const WHOLE: u8 = 110;

/// One prefix of one to five digits: the chunk it stands in, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Node {
    pub(crate) chunk: u16,
    pub(crate) local: u8,
}

impl Node {
    /// The node of the `width` ZIP numbers from `low` on; `width` is a power of ten below 100,000.
    fn of(low: u32, width: u32) -> Self {
        let chunk = (low / 100) as u16;
        match width {
            10_000 => Self { chunk: TOP, local: TENS + (low / 10_000) as u8 },
            1_000 => Self { chunk: TOP, local: (low / 1_000) as u8 },
            100 => Self { chunk, local: WHOLE },
            10 => Self { chunk, local: TENS + (low % 100 / 10) as u8 },
            _ => Self { chunk, local: (low % 100) as u8 },
        }
    }

    /// The five nodes that a ZIP lies under.
    pub(crate) fn above(zip: Zip) -> [Self; 5] {
        let n = zip.number() as u32;
        [10_000, 1_000, 100, 10, 1].map(|width| Self::of(n - n % width, width))
    }

    /// The three-digit prefixes that lie under it, or that it lies under.
    pub(crate) fn prefixes(self) -> Range<u16> {
        let local = u16::from(self.local);
        match (self.chunk, self.local) {
            (TOP, TENS..) => (local - u16::from(TENS)) * 100..(local - u16::from(TENS) + 1) * 100,
            (TOP, _) => local * 10..(local + 1) * 10,
            (chunk, _) => chunk..chunk + 1,
        }
    }
}

/// Turns patterns into nodes, by one list of ZIPs.
pub(crate) struct Regions {
    zips: Arc<ZipDirectory>,
    /// How many known ZIPs have a smaller number: 100,001 sums.
    known_below: Vec<u32>,
    /// Nodes of the patterns that are slow to expand and that many rules share.
    cache: FxHashMap<String, Arc<[Node]>>,
}

/// Patterns kept expanded. When there are more, the cache starts afresh: it only saves time.
const CACHE_LIMIT: usize = 50_000;

impl Regions {
    pub(crate) fn new(zips: Arc<ZipDirectory>) -> Self {
        let numbers = 0..=Zip::COUNT as u32;
        let known = |n: u32| Zip::from_number(n).is_some_and(|z| zips.get(z).is_some());
        let known_below = numbers
            .scan(0, |sum, n| {
                let below = *sum;
                *sum += u32::from(known(n));
                Some(below)
            })
            .collect();
        Self { zips, known_below, cache: FxHashMap::default() }
    }

    /// The list of ZIPs.
    pub(crate) fn zips(&self) -> &ZipDirectory {
        &self.zips
    }

    /// The nodes under which every known ZIP of one of the patterns lies, and no other known ZIP; ascending.
    /// A pattern that cannot be read names nothing: rules are checked before they are recorded.
    pub(crate) fn nodes(&mut self, patterns: &[String]) -> Vec<Node> {
        let mut nodes = Vec::new();
        for text in patterns {
            match ZipPattern::parse(text) {
                Ok(wide @ (ZipPattern::State(_) | ZipPattern::Radius { .. })) => {
                    nodes.extend_from_slice(&self.cached(text, &wide));
                }
                Ok(narrow) => self.expand(&narrow, &mut nodes),
                Err(error) => tracing::warn!(pattern = %text, %error, "a rule's ZIP pattern is passed over"),
            }
        }
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }

    fn cached(&mut self, text: &str, pattern: &ZipPattern) -> Arc<[Node]> {
        if let Some(nodes) = self.cache.get(text) {
            return nodes.clone();
        }
        let mut nodes = Vec::new();
        self.expand(pattern, &mut nodes);
        let nodes: Arc<[Node]> = nodes.into();
        if self.cache.len() >= CACHE_LIMIT {
            self.cache.clear();
        }
        self.cache.insert(text.to_owned(), nodes.clone());
        nodes
    }

    fn expand(&self, pattern: &ZipPattern, nodes: &mut Vec<Node>) {
        let zips: Vec<u32> = pattern.expand(&self.zips).into_iter().map(|z| z.number() as u32).collect();
        self.cover(&zips, 0, Zip::COUNT as u32, nodes);
    }

    /// Covers the ascending `zips`, all of them within the `width` numbers from `low` on.
    fn cover(&self, zips: &[u32], low: u32, width: u32, nodes: &mut Vec<Node>) {
        if width < Zip::COUNT as u32 && zips.len() as u32 == self.known(low, width) {
            nodes.push(Node::of(low, width));
            return;
        }
        let child = width / 10;
        let mut rest = zips;
        while let Some(first) = rest.first() {
            let low = first - first % child;
            let (inside, beyond) = rest.split_at(rest.partition_point(|n| *n < low + child));
            self.cover(inside, low, child, nodes);
            rest = beyond;
        }
    }

    fn known(&self, low: u32, width: u32) -> u32 {
        let below = |n: u32| self.known_below.get(n as usize).copied().unwrap_or_default();
        below(low + width) - below(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_cover_exactly_the_zips_of_the_patterns() {
        let zips = ZipDirectory::builtin();
        let mut regions = Regions::new(zips.clone());
        for text in ["90210", "902*", "9*", "90001-90899", "CA", "PR", "90210+25mi", "00601-99950", "00000"] {
            let nodes = regions.nodes(&[text.to_owned()]);
            let pattern = ZipPattern::parse(text).unwrap();
            for zip in zips.iter() {
                let covered = Node::above(zip.zip).iter().any(|n| nodes.contains(n));
                assert_eq!(covered, pattern.contains(zip, &zips), "{text} {}", zip.zip);
            }
        }
    }

    #[test]
    fn a_state_is_few_nodes_and_a_whole_prefix_is_one() {
        let mut regions = Regions::new(ZipDirectory::builtin());
        assert_eq!(regions.nodes(&["902*".to_owned()]), [Node { chunk: 902, local: 110 }]);
        assert_eq!(regions.nodes(&["9*".to_owned()]), [Node { chunk: TOP, local: 109 }]);
        let california = regions.nodes(&["CA".to_owned()]).len();
        assert!((1..150).contains(&california), "{california}");
    }

    #[test]
    fn what_cannot_be_read_names_nothing() {
        let mut regions = Regions::new(ZipDirectory::builtin());
        assert_eq!(regions.nodes(&["nonsense".to_owned(), "00000".to_owned()]), []);
    }
}
