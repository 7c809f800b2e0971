//! Which crate may know which: the arrows of ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

const FOUNDATION: [&str; 3] = ["domain", "eventlog", "tables"];

#[test]
fn crates_depend_only_on_what_the_map_allows() {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec().unwrap();
    let dependencies: BTreeMap<String, BTreeSet<String>> = metadata
        .packages
        .iter()
        .map(|package| {
            let ours = package.dependencies.iter().filter(|d| d.kind == cargo_metadata::DependencyKind::Normal);
            let ours = ours.filter_map(|d| d.name.strip_prefix("leadway-").map(str::to_owned)).collect();
            (package.name.trim_start_matches("leadway-").to_owned(), ours)
        })
        .collect();
    let allowed = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
    let stages = ["ingest", "router", "dispatcher", "scoring", "portal"];
    for (package, found) in &dependencies {
        let may = match package.as_str() {
            "domain" => allowed(&[]),
            "eventlog" | "tables" => allowed(&["domain"]),
            stage if stages.contains(&stage) => allowed(&FOUNDATION),
            _ => continue,
        };
        assert!(found.is_subset(&may), "{package} depends on {:?}", found.difference(&may));
    }
    assert!(stages.iter().all(|s| dependencies.contains_key(*s)), "{dependencies:?}");
}
