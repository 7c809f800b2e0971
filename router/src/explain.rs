//! Why a product in a ZIP goes where it goes.
//!
//! Works on the rules as they are written, one by one, and not on the match index: it would show if the two differed.

use leadway_domain::settings::{Rule, Settings, fold_name};
use leadway_domain::zip::{ZipInfo, ZipPattern};
use leadway_domain::{RuleId, Timestamp, WorkspaceId, Zip, ZipDirectory};
use serde::Serialize;
use utoipa::ToSchema;

/// Other rules shown at most.
const MAX_OTHERS: usize = 200;

/// Which rule wins for a product and a ZIP, and why every other rule of that product or ZIP does not.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Explanation {
    /// Canonical product name.
    #[schema(example = "Solar")]
    pub product_type: String,
    /// Five digits.
    #[schema(value_type = String, example = "90210")]
    pub zip_code: Zip,
    /// The ZIP's state; absent when the ZIP is not in the list, which no rule can match.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "CA")]
    pub state: Option<String>,
    /// The moment whose settings are explained; absent when it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// The rule that wins; `null` when a lead would be unrouted.
    pub winner: Option<RuleSummary>,
    /// The other rules of that product or ZIP, those that came closest first.
    pub others: Vec<OtherRule>,
    /// How many more there are than are shown.
    pub others_left_out: usize,
}

/// What matters of a rule here.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RuleSummary {
    /// The rule.
    #[schema(value_type = String, format = Uuid)]
    pub rule_id: RuleId,
    /// Where its appointments go.
    #[schema(value_type = String, example = "solar_west_coast")]
    pub workspace_id: WorkspaceId,
    /// The lowest number wins.
    pub priority: i32,
    /// The first of its ZIP patterns that holds the ZIP; absent when none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "902*")]
    pub matched_by: Option<String>,
}

/// A rule that does not win.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct OtherRule {
    /// The rule.
    #[serde(flatten)]
    pub rule: RuleSummary,
    /// Every reason: `inactive`, `workspace missing`, `workspace paused`, `other product`, `ZIP not in rule`; when there is none of these,
    /// `lower priority than the winner` or `newer than the winner of the same priority`.
    #[schema(value_type = Vec<String>)]
    pub why_not: Vec<&'static str>,
}

/// Explains by these settings. `product` is a product's name or synonym; one that is not known is taken as written.
pub fn explain(settings: &Settings, zips: &ZipDirectory, product: &str, zip: Zip) -> Explanation {
    let product_type = settings.product_name(product).map_or_else(|| product.to_owned(), |name| name.to_string());
    let folded = fold_name(&product_type);
    let info = zips.get(zip);
    let mut matching = Vec::new();
    let mut others = Vec::new();
    for rule in settings.rules.values() {
        let of_product = rule.product_types.iter().any(|p| fold_name(p) == folded);
        let matched_by = info.and_then(|info| pattern_that_holds(rule, info, zips));
        if !of_product && matched_by.is_none() {
            continue;
        }
        let workspace = settings.workspaces.get(&rule.workspace_id);
        let reasons = [
            (!rule.is_active, "inactive"),
            (workspace.is_none(), "workspace missing"),
            (workspace.is_some_and(|w| w.paused), "workspace paused"),
            (!of_product, "other product"),
            (matched_by.is_none(), "ZIP not in rule"),
        ];
        let why_not: Vec<&str> = reasons.into_iter().filter(|(applies, _)| *applies).map(|(_, why)| why).collect();
        let other = OtherRule { rule: summary(rule, matched_by), why_not };
        if other.why_not.is_empty() { matching.push(other) } else { others.push(other) }
    }
    let rank = |other: &OtherRule| (other.rule.priority, other.rule.rule_id);
    matching.sort_by_key(rank);
    others.sort_by_key(|other| (other.why_not.len(), rank(other)));

    let mut matching = matching.into_iter();
    let winner = matching.next().map(|w| w.rule);
    let best_priority = winner.as_ref().map(|w| w.priority);
    let beaten = matching.map(|mut loser| {
        loser.why_not.push(match best_priority == Some(loser.rule.priority) {
            true => "newer than the winner of the same priority",
            false => "lower priority than the winner",
        });
        loser
    });
    let mut others: Vec<OtherRule> = beaten.chain(others).collect();
    let others_left_out = others.len().saturating_sub(MAX_OTHERS);
    others.truncate(MAX_OTHERS);
    let state = info.map(|i| i.state.to_string());
    Explanation { product_type, zip_code: zip, state, at: None, winner, others, others_left_out }
}

fn summary(rule: &Rule, matched_by: Option<String>) -> RuleSummary {
    RuleSummary { rule_id: rule.id, workspace_id: rule.workspace_id.clone(), priority: rule.priority, matched_by }
}

fn pattern_that_holds(rule: &Rule, info: &ZipInfo, zips: &ZipDirectory) -> Option<String> {
    let holds = |text: &&String| ZipPattern::parse(text).is_ok_and(|pattern| pattern.contains(info, zips));
    rule.zip_codes.iter().find(holds).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{Fixture, rule_id};

    fn why_not(explanation: &Explanation, n: u128) -> Vec<&'static str> {
        let rule = |other: &&OtherRule| other.rule.rule_id == rule_id(n);
        explanation.others.iter().find(rule).map(|o| o.why_not.clone()).unwrap_or_default()
    }

    #[test]
    fn every_other_rule_of_the_product_or_zip_gets_its_reasons() {
        let mut fixture = Fixture::new(&["a", "b"]);
        fixture.paused("resting");
        fixture.rule(9, "resting", "Solar", "90210", 1);
        fixture.rule(1, "a", "Solar", "902*", 5);
        fixture.rule(2, "b", "Solar", "90210", 5);
        fixture.rule(3, "b", "Solar", "CA", 6);
        fixture.rule(4, "a", "HVAC", "90210", 1);
        fixture.rule(5, "a", "Solar", "10001", 1);
        fixture.rule(6, "nobody", "Solar", "90210", 1);
        fixture.inactive_rule(7, "a", "Solar", "10001", 1);
        fixture.rule(8, "a", "HVAC", "10001", 1);
        let zip = Zip::parse("90210").unwrap();
        let explanation = explain(&fixture.settings, &fixture.zips, "solar", zip);

        let winner = explanation.winner.clone().unwrap();
        assert_eq!((winner.rule_id, winner.matched_by.as_deref()), (rule_id(1), Some("902*")));
        assert_eq!(why_not(&explanation, 2), ["newer than the winner of the same priority"]);
        assert_eq!(why_not(&explanation, 3), ["lower priority than the winner"]);
        assert_eq!(why_not(&explanation, 4), ["other product"]);
        assert_eq!(why_not(&explanation, 5), ["ZIP not in rule"]);
        assert_eq!(why_not(&explanation, 6), ["workspace missing"]);
        assert_eq!(why_not(&explanation, 7), ["inactive", "ZIP not in rule"]);
        assert_eq!(why_not(&explanation, 9), ["workspace paused"]);
        assert_eq!(explanation.others.len(), 7, "the rule that has neither the product nor the ZIP is not named");
        assert_eq!(explanation.product_type, "Solar");
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let mut fixture = Fixture::new(&["a"]);
        for n in 1..=(MAX_OTHERS as u128 + 11) {
            fixture.rule(n, "a", "Solar", "90210", 1);
        }
        let explanation = explain(&fixture.settings, &fixture.zips, "Solar", Zip::parse("90210").unwrap());
        assert_eq!((explanation.others.len(), explanation.others_left_out), (MAX_OTHERS, 10));
    }

    #[test]
    fn a_zip_that_does_not_exist_has_no_winner() {
        let mut fixture = Fixture::new(&["a"]);
        fixture.rule(1, "a", "Solar", "0*", 1);
        let explanation = explain(&fixture.settings, &fixture.zips, "Solar", Zip::parse("00000").unwrap());
        assert_eq!((explanation.winner, explanation.state), (None, None));
    }
}
