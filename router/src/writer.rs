//! Keeps the match index in step with the settings: each change touches only the chunks of the rules it concerns.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use leadway_domain::settings::{Rule, Settings};
use leadway_domain::{RuleId, WorkspaceId, ZipDirectory};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::index::{Chunk, MatchIndex, ProductKey, ProductTable, rank};
use crate::region::{Node, Regions};

/// Makes the index of each next snapshot of the settings out of the previous one.
pub struct IndexWriter {
    regions: Regions,
    /// What `index` was made of.
    settings: Settings,
    index: MatchIndex,
    /// So that a workspace that comes or goes finds its rules.
    by_workspace: FxHashMap<WorkspaceId, BTreeSet<RuleId>>,
}

/// What is to be done to a product's rules.
#[derive(Default)]
struct Edits {
    chunks: FxHashMap<u16, Edit>,
    /// The prefixes at which another rule may win then.
    unsettled: FxHashSet<u16>,
}

/// What is to be done to one chunk.
#[derive(Default)]
struct Edit {
    removed: FxHashSet<RuleId>,
    /// With their nodes, by rank.
    added: Vec<(u8, Arc<Rule>)>,
}

type ByProduct = FxHashMap<ProductKey, Edits>;

impl IndexWriter {
    /// Starts without rules.
    pub fn new(zips: Arc<ZipDirectory>) -> Self {
        Self {
            index: MatchIndex::empty(&zips),
            regions: Regions::new(zips),
            settings: Settings::default(),
            by_workspace: FxHashMap::default(),
        }
    }

    /// The rules whose part in matching may differ in `settings`: those that changed, and those of workspaces that
    /// came, went, or were paused or taken up again. Cheap when little changed: snapshots share what is equal.
    pub fn affected(&self, settings: &Settings) -> BTreeSet<RuleId> {
        let mut affected: BTreeSet<RuleId> = self.settings.rules.diff(&settings.rules).map(|d| rule_of(&d)).collect();
        for difference in self.settings.workspaces.diff(&settings.workspaces) {
            let id = match difference {
                DiffItem::Add(id, _) | DiffItem::Remove(id, _) => id,
                DiffItem::Update { old: (id, old), new: (_, new) } if old.paused != new.paused => id,
                DiffItem::Update { .. } => continue,
            };
            affected.extend(self.by_workspace.get(id).into_iter().flatten());
        }
        affected
    }

    /// The index of `settings`. Takes time in proportion to the rules that changed and the ZIPs they cover.
    pub fn advance(&mut self, settings: &Settings) -> MatchIndex {
        let mut edits = ByProduct::default();
        let mut rules = self.index.rules;
        let mut joining = Vec::new();
        for id in self.affected(settings) {
            let old = taking_part(&self.settings, id).cloned();
            let new = taking_part(settings, id).cloned();
            if let (Some(old), Some(new)) = (&old, &new)
                && Arc::ptr_eq(old, new)
            {
                continue;
            }
            rules = rules + usize::from(new.is_some()) - usize::from(old.is_some());
            if let Some(old) = old {
                self.collect(&old, &mut edits, |edit, _| {
                    edit.removed.insert(old.id);
                });
            }
            joining.extend(new);
        }
        // Noted in the order of their ranks, they need no more sorting where they are the only ones.
        joining.sort_unstable_by_key(|rule| rank(rule));
        for new in &joining {
            self.collect(new, &mut edits, |edit, local| edit.added.push((local, new.clone())));
        }
        self.follow_workspaces(settings);
        self.settings = settings.clone();
        self.index = MatchIndex { products: Arc::new(self.edited(edits)), rules, ..self.index.clone() };
        self.index.clone()
    }

    /// Visits the edit of every (product, node) that the rule stands at.
    fn collect(&mut self, rule: &Rule, edits: &mut ByProduct, note: impl Fn(&mut Edit, u8)) {
        let nodes = self.regions.nodes(&rule.zip_codes);
        let products: BTreeSet<ProductKey> = rule.product_types.iter().map(|p| ProductKey::of(p)).collect();
        for product in products {
            let Edits { chunks, unsettled } = edits.entry(product).or_default();
            for together in nodes.chunk_by(|a, b| a.chunk == b.chunk) {
                let Some(Node { chunk, .. }) = together.first() else { continue };
                let edit = chunks.entry(*chunk).or_default();
                together.iter().for_each(|node| note(edit, node.local));
                unsettled.extend(together.iter().flat_map(|node| node.prefixes()));
            }
        }
    }

    fn edited(&self, edits: ByProduct) -> FxHashMap<ProductKey, Arc<ProductTable>> {
        let mut products = (*self.index.products).clone();
        for (product, Edits { chunks, unsettled }) in edits {
            let mut table = products.get(&product).map_or_else(ProductTable::empty, |t| (**t).clone());
            for (chunk, edit) in chunks {
                if let Some(slot) = table.chunks.get_mut(usize::from(chunk)) {
                    *slot = edit.applied_to(slot.as_deref());
                }
            }
            for prefix in unsettled {
                table.settle(prefix, self.regions.zips());
            }
            if table.is_empty() {
                products.remove(&product);
            } else {
                products.insert(product, Arc::new(table));
            }
        }
        products
    }

    fn follow_workspaces(&mut self, settings: &Settings) {
        let mut forget = |rule: &Rule| {
            if let Some(rules) = self.by_workspace.get_mut(&rule.workspace_id) {
                rules.remove(&rule.id);
                if rules.is_empty() {
                    self.by_workspace.remove(&rule.workspace_id);
                }
            }
        };
        let differences: Vec<_> = self.settings.rules.diff(&settings.rules).collect();
        for difference in &differences {
            if let DiffItem::Remove(_, rule) | DiffItem::Update { old: (_, rule), .. } = difference {
                forget(rule);
            }
        }
        for difference in &differences {
            if let DiffItem::Add(_, rule) | DiffItem::Update { new: (_, rule), .. } = difference {
                self.by_workspace.entry(rule.workspace_id.clone()).or_default().insert(rule.id);
            }
        }
    }
}

impl Edit {
    fn applied_to(mut self, chunk: Option<&Chunk>) -> Option<Arc<Chunk>> {
        let placed = match chunk {
            None => {
                self.added.sort_by_key(|(local, _)| *local);
                self.added
            }
            Some(chunk) => {
                let kept = chunk.placed().filter(|(_, rule)| !self.removed.contains(&rule.id));
                let mut placed: Vec<_> = kept.map(|(local, rule)| (local, rule.clone())).collect();
                placed.append(&mut self.added);
                placed.sort_by(|(n, a), (m, b)| n.cmp(m).then_with(|| rank(a).cmp(&rank(b))));
                placed
            }
        };
        (!placed.is_empty()).then(|| Arc::new(Chunk::new(placed)))
    }
}

/// The rule, if it takes part in matching: active, and its workspace exists and is not paused. A workspace that takes no
/// webhooks now still matches: its deliveries are held.
fn taking_part(settings: &Settings, id: RuleId) -> Option<&Arc<Rule>> {
    settings.rules.get(&id).filter(|rule| settings.takes_part(rule))
}

fn rule_of(difference: &DiffItem<'_, '_, RuleId, Arc<Rule>>) -> RuleId {
    match difference {
        DiffItem::Add(id, _) | DiffItem::Remove(id, _) | DiffItem::Update { new: (id, _), .. } => **id,
    }
}

#[cfg(test)]
mod tests;
