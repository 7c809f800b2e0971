//! Keeps the match index in step with the settings: each change touches only the chunks of the rules it concerns.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use leadway_domain::settings::{Rule, Settings, fold_name};
use leadway_domain::{RuleId, WorkspaceId, ZipDirectory};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::index::{Chunk, Entry, MatchIndex, ProductTable};
use crate::region::Regions;

/// Makes the index of each next snapshot of the settings out of the previous one.
pub struct IndexWriter {
    regions: Regions,
    /// What `index` was made of.
    settings: Settings,
    index: MatchIndex,
    /// So that a workspace that comes or goes finds its rules.
    by_workspace: FxHashMap<WorkspaceId, BTreeSet<RuleId>>,
}

/// What is to be done to one chunk.
#[derive(Default)]
struct Edit {
    removed: FxHashSet<RuleId>,
    added: Vec<(u8, Entry)>,
}

/// Edits by folded product name and chunk.
type Edits = FxHashMap<Box<str>, FxHashMap<u16, Edit>>;

impl IndexWriter {
    /// Starts without rules.
    pub fn new(zips: Arc<ZipDirectory>) -> Self {
        Self {
            regions: Regions::new(zips.clone()),
            settings: Settings::default(),
            index: MatchIndex::empty(zips),
            by_workspace: FxHashMap::default(),
        }
    }

    /// The rules whose part in matching may differ in `settings`: those that changed, and those of workspaces that
    /// came or went. Cheap when little changed: snapshots share what is equal.
    pub fn affected(&self, settings: &Settings) -> BTreeSet<RuleId> {
        let mut affected: BTreeSet<RuleId> = self.settings.rules.diff(&settings.rules).map(|d| rule_of(&d)).collect();
        for difference in self.settings.workspaces.diff(&settings.workspaces) {
            if let DiffItem::Add(id, _) | DiffItem::Remove(id, _) = difference {
                affected.extend(self.by_workspace.get(id).into_iter().flatten());
            }
        }
        affected
    }

    /// The index of `settings`. Takes time in proportion to the rules that changed and the ZIPs they cover.
    pub fn advance(&mut self, settings: &Settings) -> MatchIndex {
        let mut edits = Edits::default();
        let mut rules = self.index.rules;
        for id in self.affected(settings) {
            let old = taking_part(&self.settings, id).cloned();
            let new = taking_part(settings, id).cloned();
            if let (Some(old), Some(new)) = (&old, &new)
                && Arc::ptr_eq(old, new)
            {
                continue;
            }
            rules = rules + usize::from(new.is_some()) - usize::from(old.is_some());
            self.collect(old.as_ref(), &mut edits, |edit, _, rule| {
                edit.removed.insert(rule.id);
            });
            self.collect(new.as_ref(), &mut edits, |edit, local, rule| edit.added.push((local, Entry::new(rule))));
        }
        self.follow_workspaces(settings);
        self.settings = settings.clone();
        self.index = MatchIndex { products: Arc::new(self.edited(edits)), zips: self.index.zips.clone(), rules };
        self.index.clone()
    }

    /// Visits the edit of every (product, node) that the rule stands at.
    fn collect(&mut self, rule: Option<&Arc<Rule>>, edits: &mut Edits, note: impl Fn(&mut Edit, u8, &Arc<Rule>)) {
        let Some(rule) = rule else { return };
        let nodes = self.regions.nodes(&rule.zip_codes);
        let products: BTreeSet<String> = rule.product_types.iter().map(|p| fold_name(p)).collect();
        for product in products {
            let chunks = edits.entry(product.into()).or_default();
            for node in &nodes {
                note(chunks.entry(node.chunk).or_default(), node.local, rule);
            }
        }
    }

    fn edited(&self, edits: Edits) -> FxHashMap<Box<str>, Arc<ProductTable>> {
        let mut products = (*self.index.products).clone();
        for (product, chunks) in edits {
            let mut table = products.get(&product).map_or_else(ProductTable::empty, |t| (**t).clone());
            for (chunk, edit) in chunks {
                if let Some(slot) = table.chunks.get_mut(usize::from(chunk)) {
                    *slot = edit.applied_to(slot.as_deref());
                }
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
    fn applied_to(self, chunk: Option<&Chunk>) -> Option<Arc<Chunk>> {
        let mut placed = self.added;
        if let Some(chunk) = chunk {
            let kept = chunk.placed().filter(|(_, entry)| !self.removed.contains(&entry.rule.id));
            placed.extend(kept.map(|(local, entry)| (local, entry.clone())));
        }
        (!placed.is_empty()).then(|| Arc::new(Chunk::new(placed)))
    }
}

/// The rule, if it takes part in matching: active, and its workspace exists. A workspace that takes no webhooks now
/// still matches: its deliveries are held.
fn taking_part(settings: &Settings, id: RuleId) -> Option<&Arc<Rule>> {
    settings.rules.get(&id).filter(|r| r.is_active && settings.workspaces.contains_key(&r.workspace_id))
}

fn rule_of(difference: &DiffItem<'_, '_, RuleId, Arc<Rule>>) -> RuleId {
    match difference {
        DiffItem::Add(id, _) | DiffItem::Remove(id, _) | DiffItem::Update { new: (id, _), .. } => **id,
    }
}

#[cfg(test)]
mod tests;
