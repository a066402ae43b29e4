//! Compares the helper's manual page, which is written by hand, with its help text.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use airpods_lab::Program;

const PAGE: &str = include_str!("../airpods-helper.8");

#[test]
fn the_page_has_every_exit_code_of_the_help_and_the_version() {
    let output = Command::new(Program::Helper.path().unwrap()).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let plain = PAGE.replace("\\-", "-");
    for line in codes.lines() {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(plain.contains(&format!(".TP\n.B {code}\n{}\n", meaning.replace('`', ""))), "{line}");
    }
    assert!(codes.lines().count() > 5, "{codes}");
    assert!(PAGE.starts_with(".TH ") && PAGE.contains(&format!("airpods {}\"", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn mandoc_has_no_warning_about_the_page() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/airpods-helper.8");
    let output = Command::new("mandoc").args(["-T", "lint", "-W", "warning", page]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert!(output.status.success());
}
