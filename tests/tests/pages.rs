//! Checks that the tests and the properties named in the pages exist.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use airpods_lab::repository;

/// Every file below a folder whose name ends in `end`.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_str().unwrap().ends_with(end) {
            found.push(path);
        }
    }
    found
}

/// The names of all tests of the workspace.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in ["client", "dbus", "helper", "tests"].iter().flat_map(|part| files(&repository().join(part), ".rs")) {
        let text = fs::read_to_string(&source).unwrap();
        // Matches `#[test]` and `#[tokio::test]`. The name follows the next `fn`, after any other
        // attributes.
        for after in text.split("test]\n").skip(1) {
            let name = after.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
            names.insert(name.unwrap_or_else(|| panic!("{}: a test without a name", source.display())).to_owned());
        }
        // The macros make a test for each Debian, or for each bus daemon, from such a function.
        for argument in ["(suite: Suite) {\n", "(bus: BusDaemon) {\n"] {
            let claims = text.split(argument).filter_map(|before| before.rsplit("fn ").next());
            names.extend(claims.map(str::to_owned));
        }
    }
    names
}

/// The rows of all tables of a page, as cells, without headings and rulers.
fn rows(page: &str) -> Vec<Vec<&str>> {
    page.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| |"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

#[test]
fn every_security_property_and_every_case_names_tests_that_are_there() {
    let there = tests();
    for page in ["docs/security.md", "docs/cases.md"] {
        let page = fs::read_to_string(repository().join(page)).unwrap();
        every_row_names_tests(&rows(&page), &there);
    }
}

/// Checks that each row has its own code, a sentence, and the names of tests.
fn every_row_names_tests(rows: &[Vec<&str>], there: &BTreeSet<String>) {
    assert!(rows.len() > 40, "the tables are not read: {rows:?}");
    let mut codes = BTreeSet::new();
    for row in rows {
        let [code, _, shown] = row.as_slice() else { panic!("{row:?} has not three cells") };
        assert!(codes.insert(*code), "{code} is there twice");
        let named: Vec<&str> = shown.split(", ").map(|name| name.trim_matches('`')).collect();
        for name in named {
            assert!(there.contains(name), "{code}: there is no test `{name}`");
        }
    }
}

#[test]
fn the_threat_model_refers_to_properties_that_are_there() {
    let properties = fs::read_to_string(repository().join("docs/security.md")).unwrap();
    let codes: BTreeSet<&str> = rows(&properties).into_iter().map(|row| row[0]).collect();
    let model = fs::read_to_string(repository().join("docs/threat-model.md")).unwrap();
    let is_code = |word: &&str| {
        let mut letters = word.chars();
        letters.next().is_some_and(|first| "RAIQKL".contains(first))
            && word.len() > 1
            && letters.all(|letter| letter.is_ascii_digit())
    };
    let referred: Vec<&str> = model.split(|letter: char| !letter.is_alphanumeric()).filter(is_code).collect();
    assert!(referred.len() > 20, "the references are not read: {referred:?}");
    for code in referred {
        assert!(codes.contains(code), "docs/security.md has no {code}");
    }
}
