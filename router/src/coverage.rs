//! Which ZIPs each product's rules cover, where they overlap, and where nobody is.

use std::collections::{BTreeMap, BTreeSet};

use leadway_domain::settings::Rule;
use leadway_domain::zip::ZipPattern;
use leadway_domain::{WorkspaceId, Zip, ZipDirectory};
use rustc_hash::FxHashMap;
use serde::Serialize;
use utoipa::ToSchema;

use crate::index::{MatchIndex, ProductKey, ProductTable};
use crate::matcher::Routing;
use crate::region::Node;

/// Workspaces listed per product at most.
const MAX_WORKSPACES: usize = 1_000;
/// Overlapping ZIPs listed per product at most.
const MAX_SAMPLE: usize = 20;

/// The coverage of every product.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Coverage {
    /// How many ZIPs the list has.
    pub zips_known: usize,
    /// Every known product, by name.
    pub products: Vec<ProductCoverage>,
}

/// The coverage of one product.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ProductCoverage {
    /// Canonical product name.
    #[schema(example = "Solar")]
    pub product_type: String,
    /// How many ZIPs at least one active rule takes.
    pub zips_covered: usize,
    /// Who takes them; those with the most first.
    pub workspaces: Vec<WorkspaceCoverage>,
    /// How many more workspaces there are than are listed.
    pub workspaces_left_out: usize,
    /// ZIPs that rules of more than one workspace take.
    pub overlaps: Overlaps,
    /// ZIPs that no rule takes.
    pub gaps: Gaps,
    /// What workspaces that are paused would take; those with the most first. It is counted nowhere else.
    pub paused: Vec<PausedCoverage>,
}

/// What one paused workspace would take of a product.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PausedCoverage {
    /// The workspace.
    #[schema(value_type = String, example = "solar_west_coast")]
    pub workspace_id: WorkspaceId,
    /// How many ZIPs its active rules name.
    pub zips: usize,
    /// How many of those nobody else takes meanwhile.
    pub zips_left_open: usize,
}

/// What one workspace takes of a product.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct WorkspaceCoverage {
    /// The workspace.
    #[schema(value_type = String, example = "solar_west_coast")]
    pub workspace_id: WorkspaceId,
    /// How many ZIPs its rules take.
    pub zips: usize,
    /// In how many of those its rule wins.
    pub zips_won: usize,
}

/// ZIPs that rules of more than one workspace take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Overlaps {
    /// How many.
    pub zips: usize,
    /// The first of them.
    pub sample: Vec<OverlapSample>,
}

/// One ZIP that rules of more than one workspace take.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct OverlapSample {
    /// The ZIP.
    #[schema(value_type = String, example = "90210")]
    pub zip_code: Zip,
    /// Who takes it, by id.
    #[schema(value_type = Vec<String>)]
    pub workspaces: Vec<WorkspaceId>,
}

/// Known ZIPs that no rule takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Gaps {
    /// How many.
    pub zips: usize,
    /// How many per state.
    pub by_state: BTreeMap<String, usize>,
}

/// The coverage of every known product. It looks at every ZIP: not for a thread that serves others.
pub fn coverage(routing: &Routing, zips: &ZipDirectory) -> Coverage {
    let nowhere = ProductTable::empty();
    let survey = |name: &str| {
        let table = routing.index.table(name).unwrap_or(&nowhere);
        let paused = paused(routing, name, zips);
        ProductCoverage { paused, ..Survey::new(table).product(name, &routing.index, zips) }
    };
    let products = routing.settings.products.values().map(|p| survey(&p.name)).collect();
    Coverage { zips_known: zips.len(), products }
}

/// What the workspaces that are paused would take of a product.
fn paused(routing: &Routing, product: &str, zips: &ZipDirectory) -> Vec<PausedCoverage> {
    let settings = &routing.settings;
    let key = ProductKey::of(product);
    let mut named: BTreeMap<&WorkspaceId, BTreeSet<Zip>> = BTreeMap::new();
    let resting = |rule: &Rule| rule.is_active && settings.workspaces.get(&rule.workspace_id).is_some_and(|w| w.paused);
    for rule in settings.rules.values().filter(|rule| resting(rule)) {
        if rule.product_types.iter().any(|name| ProductKey::of(name) == key) {
            let patterns = rule.zip_codes.iter().filter_map(|text| ZipPattern::parse(text).ok());
            named.entry(&rule.workspace_id).or_default().extend(patterns.flat_map(|pattern| pattern.expand(zips)));
        }
    }
    let open = |zips: &BTreeSet<Zip>| zips.iter().filter(|zip| routing.index.find(product, **zip).is_none()).count();
    let coverage = |(id, zips): (&WorkspaceId, BTreeSet<Zip>)| PausedCoverage {
        workspace_id: id.clone(),
        zips: zips.len(),
        zips_left_open: open(&zips),
    };
    let mut paused: Vec<_> = named.into_iter().map(coverage).collect();
    paused.sort_by(|a, b| b.zips.cmp(&a.zips).then_with(|| a.workspace_id.cmp(&b.workspace_id)));
    paused.truncate(MAX_WORKSPACES);
    paused
}

/// Workspaces as small numbers, and which of them each node has: a list is read once, not for each ZIP below it.
struct Survey<'a> {
    workspaces: Vec<&'a WorkspaceId>,
    by_node: FxHashMap<Node, Vec<u32>>,
}

/// What is counted for one workspace.
#[derive(Clone, Copy, Default)]
struct Count {
    zips: usize,
    won: usize,
}

impl<'a> Survey<'a> {
    fn new(table: &'a ProductTable) -> Self {
        let mut numbers: FxHashMap<&WorkspaceId, u32> = FxHashMap::default();
        let mut survey = Self { workspaces: Vec::new(), by_node: FxHashMap::default() };
        for (number, chunk) in table.chunks.iter().enumerate() {
            for (local, rule) in chunk.iter().flat_map(|c| c.placed()) {
                let workspace = &rule.workspace_id;
                let workspace = *numbers.entry(workspace).or_insert_with(|| {
                    survey.workspaces.push(workspace);
                    survey.workspaces.len() as u32 - 1
                });
                survey.by_node.entry(Node { chunk: number as u16, local }).or_default().push(workspace);
            }
        }
        for list in survey.by_node.values_mut() {
            list.sort_unstable();
            list.dedup();
        }
        survey
    }

    /// Who takes a ZIP, ascending and each once.
    fn takers(&self, zip: Zip, takers: &mut Vec<u32>) {
        takers.clear();
        takers.extend(Node::above(zip).iter().filter_map(|node| self.by_node.get(node)).flatten());
        takers.sort_unstable();
        takers.dedup();
    }

    fn product(&self, name: &str, index: &MatchIndex, zips: &ZipDirectory) -> ProductCoverage {
        let numbers: FxHashMap<&WorkspaceId, usize> = self.workspaces.iter().copied().zip(0..).collect();
        let mut counts = vec![Count::default(); self.workspaces.len()];
        let (mut zips_covered, mut overlaps, mut gaps) = (0, Overlaps::default(), Gaps::default());
        let mut takers = Vec::new();
        for info in zips.iter() {
            self.takers(info.zip, &mut takers);
            if takers.is_empty() {
                gaps.zips += 1;
                *gaps.by_state.entry(info.state.to_string()).or_default() += 1;
                continue;
            }
            zips_covered += 1;
            for taker in &takers {
                if let Some(count) = counts.get_mut(*taker as usize) {
                    count.zips += 1;
                }
            }
            let winner = index.find(name, info.zip).and_then(|rule| numbers.get(&rule.workspace_id));
            if let Some(count) = winner.and_then(|number| counts.get_mut(*number)) {
                count.won += 1;
            }
            if takers.len() > 1 {
                overlaps.zips += 1;
                if overlaps.sample.len() < MAX_SAMPLE {
                    overlaps.sample.push(OverlapSample { zip_code: info.zip, workspaces: self.names(&takers) });
                }
            }
        }
        let workspaces = self.ranking(&counts);
        let workspaces_left_out = self.workspaces.len() - workspaces.len();
        ProductCoverage {
            product_type: name.to_owned(),
            zips_covered,
            workspaces,
            workspaces_left_out,
            overlaps,
            gaps,
            paused: Vec::new(),
        }
    }

    fn names(&self, takers: &[u32]) -> Vec<WorkspaceId> {
        let known = takers.iter().filter_map(|n| self.workspaces.get(*n as usize));
        let mut names: Vec<WorkspaceId> = known.map(|w| (*w).clone()).collect();
        names.sort_unstable();
        names.truncate(MAX_SAMPLE);
        names
    }

    fn ranking(&self, counts: &[Count]) -> Vec<WorkspaceCoverage> {
        let coverage = |(id, count): (&&WorkspaceId, &Count)| WorkspaceCoverage {
            workspace_id: (*id).clone(),
            zips: count.zips,
            zips_won: count.won,
        };
        let mut ranking: Vec<_> = self.workspaces.iter().zip(counts).map(coverage).collect();
        ranking.sort_by(|a, b| b.zips.cmp(&a.zips).then_with(|| a.workspace_id.cmp(&b.workspace_id)));
        ranking.truncate(MAX_WORKSPACES);
        ranking
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::Fixture;

    #[test]
    fn covered_overlapping_and_open_zips_are_counted() {
        let mut fixture = Fixture::new(&["a", "b"]);
        fixture.rule(1, "a", "Solar", "90210-90212", 2);
        fixture.rule(2, "a", "Solar", "90210", 3);
        fixture.rule(3, "b", "Solar", "90211", 1);
        fixture.rule(4, "b", "HVAC", "CA", 1);
        let routing = fixture.routing();
        let coverage = coverage(&routing, &fixture.zips);
        let product = |name: &str| coverage.products.iter().find(|p| p.product_type == name).unwrap();

        let solar = product("Solar");
        assert_eq!(solar.zips_covered, 3);
        let shares: Vec<_> = solar.workspaces.iter().map(|w| (w.workspace_id.as_str(), w.zips, w.zips_won)).collect();
        assert_eq!(shares, [("a", 3, 2), ("b", 1, 1)]);
        assert_eq!(solar.overlaps.zips, 1);
        let overlap = solar.overlaps.sample.first().unwrap();
        assert_eq!(overlap.zip_code.to_string(), "90211");
        assert_eq!(overlap.workspaces.iter().map(WorkspaceId::as_str).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(solar.gaps.zips, fixture.zips.len() - 3);

        let hvac = product("HVAC");
        assert_eq!(hvac.gaps.by_state.get("CA"), None, "the whole state is covered");
        assert_eq!(hvac.zips_covered + hvac.gaps.zips, coverage.zips_known);
        assert_eq!(hvac.gaps.zips, hvac.gaps.by_state.values().sum::<usize>());
    }

    #[test]
    fn a_paused_workspace_covers_nothing_and_is_told_apart() {
        let mut fixture = Fixture::new(&["b"]);
        fixture.paused("a");
        fixture.rule(1, "a", "Solar", "90210-90212", 1);
        fixture.rule(2, "b", "Solar", "90211", 2);
        let coverage = coverage(&fixture.routing(), &fixture.zips);
        let solar = coverage.products.iter().find(|p| p.product_type == "Solar").unwrap();
        assert_eq!(solar.zips_covered, 1);
        let shares: Vec<_> = solar.workspaces.iter().map(|w| (w.workspace_id.as_str(), w.zips, w.zips_won)).collect();
        assert_eq!(shares, [("b", 1, 1)], "the next rule wins");
        let paused: Vec<_> = solar.paused.iter().map(|w| (w.workspace_id.as_str(), w.zips, w.zips_left_open)).collect();
        assert_eq!(paused, [("a", 3, 2)]);
    }

    #[test]
    fn a_product_without_rules_is_one_gap() {
        let fixture = Fixture::new(&[]);
        let coverage = coverage(&fixture.routing(), &fixture.zips);
        assert!(coverage.products.iter().all(|p| p.zips_covered == 0 && p.gaps.zips == fixture.zips.len()));
        assert!(!coverage.products.is_empty());
    }
}
