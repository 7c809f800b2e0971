//! Routing unrouted leads again after rules were made or changed, if the node is set to: beside the requests, in one task.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leadway_domain::record::Topic;
use leadway_domain::settings::{Rule, Settings};
use leadway_domain::zip::ZipPattern;
use leadway_domain::{LeadId, Offset, Partition, RuleId, WorkspaceId, Zip, ZipDirectory};
use leadway_tables::schema::{UNROUTED_SHARDS, UnroutedRow};
use leadway_tables::{Range, key, scan};

use crate::problem::{Answer, Refusal};
use crate::retry::retry_leads;
use crate::state::{Portal, Shared};

/// Unrouted leads that are looked at, and at most retried, at once.
const CHUNK: usize = 1_000;
/// How often in a row a step may fail before the walk is given up.
const MAX_FAILURES: u32 = 60;
/// How long a failed step waits before it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The rules whose leads are still to be routed again. Changes that come while a walk is under way are put together for
/// the next one.
#[derive(Default)]
pub(crate) struct RuleRetries(Mutex<State>);

#[derive(Default)]
struct State {
    walking: bool,
    waiting: BTreeSet<RuleId>,
    /// Who made the last change.
    actor: String,
}

impl RuleRetries {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; if something did, the state would still be whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the rules; tells whether the caller must start the walk.
    fn add(&self, actor: &str, rules: impl Iterator<Item = RuleId>) -> bool {
        let mut state = self.state();
        state.waiting.extend(rules);
        actor.clone_into(&mut state.actor);
        !state.waiting.is_empty() && !std::mem::replace(&mut state.walking, true)
    }

    /// What the next walk is about; `None` ends the task.
    fn take(&self) -> Option<(String, BTreeSet<RuleId>)> {
        let mut state = self.state();
        state.walking = !state.waiting.is_empty();
        state.walking.then(|| (state.actor.clone(), std::mem::take(&mut state.waiting)))
    }
}

/// Sees to it that the unrouted leads which active ones of these rules match are routed again, if the node is set to. It
/// answers at once: the rules stand whatever becomes of it, and what a restart cuts off can be asked for with
/// `POST /api/unrouted/retry`.
pub(crate) fn retry_for_rules<'r>(portal: &Shared, actor: &str, rules: impl IntoIterator<Item = &'r Rule>) {
    if !portal.options.retry_unrouted_on_rule_change {
        return;
    }
    let active = rules.into_iter().filter(|rule| rule.is_active).map(|rule| rule.id);
    if portal.rule_retries.add(actor, active) {
        let portal = portal.clone();
        tokio::spawn(async move {
            while let Some((actor, rules)) = portal.rule_retries.take().filter(|_| !portal.writes.are_stopped()) {
                walk(&portal, &actor, rules).await;
            }
        });
    }
}

/// The same for every rule of a workspace that is paused no more.
pub(crate) fn retry_for_workspace(portal: &Shared, actor: &str, workspace: &WorkspaceId) {
    let settings = portal.settings.load();
    let rules = settings.rules.values().filter(|rule| rule.workspace_id == *workspace);
    retry_for_rules(portal, actor, rules.map(|rule| &**rule));
}

/// One walk through all unrouted leads.
async fn walk(portal: &Portal, actor: &str, rules: BTreeSet<RuleId>) {
    let mut patience = Patience::default();
    let covered = loop {
        match covered(portal, &rules).await {
            Ok(covered) => break covered,
            Err(refusal) if patience.lasts(&refusal).await => {}
            Err(_) => return,
        }
    };
    let mut retried = 0;
    for shard in 0..UNROUTED_SHARDS as i64 {
        let mut from = Some(LeadId(0)).filter(|_| !covered.is_empty());
        while let Some(start) = from {
            match step(portal, actor, shard, start, &covered).await {
                Ok((found, next)) => {
                    patience = Patience::default();
                    retried += found;
                    from = next;
                }
                Err(refusal) if patience.lasts(&refusal).await => {}
                Err(_) => return,
            }
        }
    }
    tracing::info!(retried, "unrouted leads are routed again after a change of rules");
}

/// How often in a row a step has failed.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    /// Pauses before the step is tried again; `false` when it failed too often.
    async fn lasts(&mut self, refusal: &Refusal) -> bool {
        self.0 += 1;
        if self.0 >= MAX_FAILURES {
            tracing::error!(
                problem = refusal.0.detail,
                "unrouted leads are not all routed again; POST /api/unrouted/retry"
            );
            return false;
        }
        tracing::warn!(problem = refusal.0.detail, "unrouted leads cannot be routed again now");
        tokio::time::sleep(PAUSE).await;
        true
    }
}

/// Retries what the rules cover among the next leads of a shard; tells how many, and where the shard goes on.
async fn step(
    portal: &Portal,
    actor: &str,
    shard: i64,
    from: LeadId,
    covered: &HashSet<(String, Zip)>,
) -> Answer<(usize, Option<LeadId>)> {
    let rows: Vec<UnroutedRow> = scan(&*portal.tables, &key![shard], Range::first(CHUNK).from(key![from])).await?;
    let next = rows.last().filter(|_| rows.len() == CHUNK).map(|row| LeadId(row.lead_id.0 + 1));
    let wanted = rows.into_iter().filter_map(|row| {
        let service = row.service_type.zip(row.customer_zip)?;
        covered.contains(&service).then_some(row.lead_id)
    });
    let wanted: Vec<LeadId> = wanted.collect();
    Ok((retry_leads(portal, actor, wanted).await?, next))
}

/// The products and ZIPs of the rules as they are now. A retry is decided by the settings that the router knows: those of
/// this process are waited for until they hold everything that the log does, so that a router beside this portal knows
/// the rules. Of a router on another node nothing is known here; it follows the same topic.
async fn covered(portal: &Portal, rules: &BTreeSet<RuleId>) -> Answer<HashSet<(String, Zip)>> {
    let end = portal.log.end(Topic::Settings, Partition(0)).await?;
    if let Some(last) = end.0.checked_sub(1) {
        portal.settings.wait_for(Offset(last)).await?;
    }
    let (settings, zips, rules) = (portal.settings.load(), portal.zips.clone(), rules.clone());
    // Expanding a state looks at the whole ZIP list: no work for the runtime's own threads.
    let expanded = tokio::task::spawn_blocking(move || expand(&settings, &zips, &rules)).await;
    Ok(expanded.unwrap_or_default())
}

fn expand(settings: &Settings, zips: &ZipDirectory, rules: &BTreeSet<RuleId>) -> HashSet<(String, Zip)> {
    let mut covered = HashSet::new();
    for rule in rules.iter().filter_map(|id| settings.rules.get(id)).filter(|rule| settings.takes_part(rule)) {
        let patterns = rule.zip_codes.iter().filter_map(|text| ZipPattern::parse(text).ok());
        for zip in patterns.flat_map(|pattern| pattern.expand(zips)) {
            covered.extend(rule.product_types.iter().map(|product| (product.clone(), zip)));
        }
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_during_a_walk_wait_together_for_the_next_one() {
        let retries = RuleRetries::default();
        let rule = |n| RuleId(uuid::Uuid::from_u128(n));
        assert!(!retries.add("a", std::iter::empty()), "nothing to do");
        assert!(retries.add("a", [rule(1)].into_iter()), "the first one starts the task");
        assert_eq!(retries.take(), Some(("a".to_owned(), BTreeSet::from([rule(1)]))));
        assert!(!retries.add("a", [rule(2)].into_iter()), "one at a time");
        assert!(!retries.add("b", [rule(2), rule(3)].into_iter()));
        assert_eq!(retries.take(), Some(("b".to_owned(), BTreeSet::from([rule(2), rule(3)]))));
        assert_eq!(retries.take(), None);
        assert!(retries.add("a", [rule(1)].into_iter()), "it has ended, so the next one starts it anew");
    }
}
