//! Walks the fixtures: every valid one is read with the digest and the warnings that are committed, every invalid one
//! has exactly the violations that stand beside it.
//!
//! After a deliberate change `UPDATE_EXPECTATIONS=1 cargo test -p addon-descriptor` writes the expectations anew; the
//! difference is then for a person to read.

#![allow(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use addon_descriptor::{AddonDescriptor, Digest, Reading, Violation, read, rules};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The documents of a folder, by name.
fn documents(name: &str) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            found.insert(stem, fs::read(path).unwrap());
        }
    }
    assert!(!found.is_empty(), "no fixtures in {name}");
    found
}

/// Compares with what is committed; a file that is not there holds nothing.
fn hold_to(path: &Path, found: &str) {
    if std::env::var_os("UPDATE_EXPECTATIONS").is_some() {
        if found.is_empty() { _ = fs::remove_file(path) } else { fs::write(path, found).unwrap() }
    }
    assert_eq!(found, fs::read_to_string(path).unwrap_or_default(), "{}", path.display());
}

fn reading(name: &str, text: &[u8]) -> Reading {
    read(text).unwrap_or_else(|fault| panic!("{name}: {fault}"))
}

fn valid(name: &str, text: &[u8]) -> AddonDescriptor {
    let reading = reading(name, text);
    reading.descriptor.unwrap_or_else(|| panic!("{name}: {:#?}", reading.violations))
}

/// One line a finding; of a list that is cut by its limit, its ends.
fn listed(findings: &[Violation]) -> String {
    let lines: Vec<String> = findings
        .iter()
        .map(|found| {
            let suggestion =
                found.suggestion.as_deref().map(|text| format!(" -> {text}")).unwrap_or_default();
            format!("{}:{} {} {:?}{suggestion}\n", found.line, found.column, found.rule, found.path)
        })
        .collect();
    match lines.len() {
        0..=100 => lines.concat(),
        count => format!("{}... {} more\n{}", lines[..3].concat(), count - 4, lines[count - 1]),
    }
}

fn digests() -> String {
    let all = documents("valid");
    all.iter().map(|(name, text)| format!("{name} {}\n", valid(name, text).digest())).collect()
}

#[test]
fn valid_documents_have_their_committed_digests() {
    hold_to(&folder("digests.txt"), &digests());
}

#[test]
fn valid_documents_have_exactly_their_warnings() {
    for (name, text) in documents("valid") {
        hold_to(&folder("valid").join(format!("{name}.warnings")), &listed(&reading(&name, &text).warnings));
    }
}

#[test]
fn invalid_documents_have_exactly_their_violations() {
    for (name, text) in documents("invalid") {
        let reading = reading(&name, &text);
        assert!(!reading.violations.is_empty(), "{name} is accepted");
        assert!(reading.descriptor.is_none(), "{name} is handed out");
        hold_to(&folder("invalid").join(format!("{name}.violations")), &listed(&reading.violations));
    }
}

#[test]
fn each_fixture_breaks_the_rule_that_it_is_named_after() {
    for (name, text) in documents("invalid") {
        let known = rules::VIOLATIONS.iter().map(|(rule, _)| *rule);
        let rule = known.filter(|rule| name.starts_with(rule)).max_by_key(|rule| rule.len());
        let rule = rule.unwrap_or_else(|| panic!("{name} is named after no rule"));
        assert!(reading(&name, &text).violations.iter().any(|found| found.rule == rule), "{name}");
    }
}

#[test]
fn every_rule_has_a_fixture() {
    let mut violations = BTreeSet::new();
    let mut warnings = BTreeSet::new();
    for (name, text) in documents("invalid").into_iter().chain(documents("valid")) {
        let reading = reading(&name, &text);
        violations.extend(reading.violations.iter().map(|found| found.rule));
        warnings.extend(reading.warnings.iter().map(|found| found.rule));
    }
    let known = |table: &[(&'static str, &str)]| table.iter().map(|(rule, _)| *rule).collect::<BTreeSet<_>>();
    assert_eq!(violations, known(rules::VIOLATIONS));
    assert_eq!(warnings, known(rules::WARNINGS));
}

#[test]
fn findings_come_in_the_order_of_the_text_and_say_something() {
    for (name, text) in documents("invalid").into_iter().chain(documents("valid")) {
        let reading = reading(&name, &text);
        for findings in [&reading.violations, &reading.warnings] {
            let places: Vec<(u32, u32)> = findings.iter().map(|found| (found.line, found.column)).collect();
            assert!(places.is_sorted(), "{name}: {places:?}");
            assert!(findings.iter().all(|found| !found.message.is_empty() && found.line > 0), "{name}");
        }
    }
}

#[test]
fn the_canonical_form_is_read_as_the_same_document() {
    for (name, text) in documents("valid") {
        let descriptor = valid(&name, &text);
        let canonical = descriptor.canonical();
        let again = valid(&name, &canonical);
        assert_eq!(again, descriptor, "{name}: {}", String::from_utf8_lossy(&canonical));
        assert_eq!(Digest::of(&canonical), descriptor.digest(), "{name}");
        assert_eq!(again.canonical(), canonical, "{name}");
    }
}
