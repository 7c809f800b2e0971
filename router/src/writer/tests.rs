//! The index against the plainest matcher there is, over random settings and random changes of them.

use std::collections::BTreeMap;

use leadway_domain::Zip;
use leadway_domain::settings::{Change, Entity, EntityKind, Workspace};
use leadway_domain::zip::ZipPattern;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::decide::tests::{put_workspace, rule, rule_id, workspace};

const PRODUCTS: [&str; 3] = ["Solar", "HVAC", "Heat Pump"];
const WORKSPACES: [&str; 4] = ["a", "b", "c", "d"];

/// ZIPs at which patterns of every form below begin, end or nearly do.
fn probes() -> Vec<Zip> {
    let numbers = ["90209", "90210", "90211", "90299", "90001", "91000", "10001", "10002", "00501", "02134", "99950"];
    numbers.iter().map(|z| Zip::parse(z).unwrap()).collect()
}

fn pattern() -> impl Strategy<Value = String> {
    let zip = || select(vec!["90210", "90211", "90001", "10001", "10002", "02134", "00501"]);
    prop_oneof![
        zip().prop_map(str::to_owned),
        select(vec!["9*", "90*", "902*", "9021*", "0*", "100*"]).prop_map(str::to_owned),
        select(vec!["90001-90210", "00501-99950", "10001-10001", "90205-90899"]).prop_map(str::to_owned),
        select(vec!["CA", "NY", "MA", "AK"]).prop_map(str::to_owned),
        (zip(), select(vec!["1", "12.5", "60"])).prop_map(|(zip, miles)| format!("{zip}+{miles}mi")),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let any_rule = (0..12_u128, select(&WORKSPACES[..]), vec(select(&PRODUCTS[..]), 1..3), vec(pattern(), 1..4));
    let put_rule = (any_rule, -1..3_i32, prop::bool::weighted(0.85)).prop_map(
        |((n, workspace, products, zips), priority, is_active)| {
            let product_types = products.into_iter().map(str::to_owned).collect();
            let plain = rule(n, workspace, "", "", priority);
            Change::Put(Entity::Rule(Rule { product_types, zip_codes: zips, is_active, ..plain }))
        },
    );
    let delete = |kind: EntityKind, id: String| Change::Delete { kind, id };
    prop_oneof![
        8 => put_rule,
        2 => (0..12_u128).prop_map(move |n| delete(EntityKind::Rule, rule_id(n).to_string())),
        3 => (select(&WORKSPACES[..]), prop::bool::weighted(0.3)).prop_map(|(name, paused)| {
            Change::Put(Entity::Workspace(Workspace { paused, ..workspace(name) }))
        }),
        1 => select(&WORKSPACES[..]).prop_map(move |name| delete(EntityKind::Workspace, name.to_owned())),
    ]
}

fn naive(settings: &Settings, zips: &ZipDirectory, product: &str, zip: Zip) -> Option<RuleId> {
    let info = zips.get(zip)?;
    let holds = |text: &String| ZipPattern::parse(text).is_ok_and(|p| p.contains(info, zips));
    let takes = |rule: &&Arc<Rule>| {
        rule.is_active
            && settings.workspaces.get(&rule.workspace_id).is_some_and(|w| !w.paused)
            && rule.product_types.iter().any(|p| p == product)
            && rule.zip_codes.iter().any(holds)
    };
    settings.rules.values().filter(takes).min_by_key(|r| (r.priority, r.id)).map(|r| r.id)
}

/// Every list of the index, to compare two.
fn lists(index: &MatchIndex) -> BTreeMap<(ProductKey, usize, u8), Vec<RuleId>> {
    let mut lists: BTreeMap<_, Vec<RuleId>> = BTreeMap::new();
    for (product, table) in &*index.products {
        for (number, chunk) in table.chunks.iter().enumerate() {
            for (local, rule) in chunk.iter().flat_map(|c| c.placed()) {
                lists.entry((product.clone(), number, local)).or_default().push(rule.id);
            }
        }
    }
    lists
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_index_finds_what_looking_through_all_rules_finds(batches in vec(vec(change(), 1..12), 1..6)) {
        let zips = ZipDirectory::builtin();
        let mut writer = IndexWriter::new(zips.clone());
        let mut settings = Settings::default();
        for changes in batches {
            changes.iter().for_each(|c| settings.apply(c));
            let index = writer.advance(&settings);
            for product in PRODUCTS {
                for zip in probes() {
                    let found = index.find(product, zip).map(|r| r.id);
                    prop_assert_eq!(found, naive(&settings, &zips, product, zip), "{} {}", product, zip);
                }
            }
            let fresh = IndexWriter::new(zips.clone()).advance(&settings);
            prop_assert_eq!(lists(&index), lists(&fresh));
            prop_assert_eq!(index.rules(), fresh.rules());
        }
    }
}

#[test]
fn a_change_shares_every_chunk_that_it_does_not_touch() {
    let mut settings = Settings::default();
    settings.apply(&put_workspace("a"));
    settings.apply(&Change::Put(Entity::Rule(rule(1, "a", "Solar", "CA,NY", 1))));
    let mut writer = IndexWriter::new(ZipDirectory::builtin());
    let before = writer.advance(&settings);
    settings.apply(&Change::Put(Entity::Rule(rule(2, "a", "Solar", "90210", 0))));
    let after = writer.advance(&settings);

    let zip = Zip::parse("90210").unwrap();
    assert_eq!(before.find("Solar", zip).unwrap().id, rule_id(1), "a reader of the earlier index sees no change");
    assert_eq!(after.find("Solar", zip).unwrap().id, rule_id(2));
    let chunks = |index: &MatchIndex| index.table("Solar").unwrap().chunks.clone();
    let pairs = chunks(&before).into_iter().zip(chunks(&after));
    let differing = pairs.filter(|(a, b)| match (a, b) {
        (Some(a), Some(b)) => !Arc::ptr_eq(a, b),
        (None, None) => false,
        _ => true,
    });
    assert_eq!(differing.count(), 1);
}

#[test]
fn products_are_matched_however_they_are_spelled() {
    let mut settings = Settings::default();
    settings.apply(&put_workspace("a"));
    settings.apply(&Change::Put(Entity::Rule(rule(1, "a", "Heat Pump", "90210", 1))));
    let index = IndexWriter::new(ZipDirectory::builtin()).advance(&settings);
    let zip = Zip::parse("90210").unwrap();
    for name in ["Heat Pump", "heat-pump", "HEATPUMP"] {
        assert!(index.find(name, zip).is_some(), "{name}");
    }
    assert!(index.find("Heat", zip).is_none());
}

#[test]
fn an_unknown_zip_matches_nothing_though_its_prefix_is_covered() {
    let mut settings = Settings::default();
    settings.apply(&put_workspace("a"));
    settings.apply(&Change::Put(Entity::Rule(rule(1, "a", "Solar", "902*", 1))));
    let zips = ZipDirectory::builtin();
    let index = IndexWriter::new(zips.clone()).advance(&settings);
    let mut unknown = (90_200..90_300).filter_map(Zip::from_number).filter(|z| zips.get(*z).is_none());
    let unknown = unknown.next().unwrap();
    assert!(index.find("Solar", unknown).is_none());
}
