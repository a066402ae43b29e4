//! The manual pages and the completions that `make install` brings, by the programs that read them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::process::Command;

use airpods::Cli;
use airpods::command::completions::Shell;
use clap::CommandFactory;
use tempfile::TempDir;

#[path = "../examples/manual/pages.rs"]
mod pages;

/// The words of every command that people are shown, `airpods` itself among them.
fn commands() -> Vec<Vec<String>> {
    fn add(command: &clap::Command, path: &[String], all: &mut Vec<Vec<String>>) {
        let path = [path, &[command.get_name().to_owned()]].concat();
        let shown = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
        shown.for_each(|subcommand| add(subcommand, &path, all));
        all.push(path);
    }
    let mut all = Vec::new();
    add(&Cli::command(), &[], &mut all);
    all
}

/// The complaints of a program about a text in a file; empty when it prints nothing and succeeds.
fn complaints(program: &str, options: &[&str], text: impl AsRef<[u8]>) -> String {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("text");
    fs::write(&file, text).unwrap();
    let output = Command::new(program).args(options).arg(&file).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let status = if output.status.success() { String::new() } else { output.status.to_string() };
    format!("{}{status}", String::from_utf8_lossy(&text))
}

#[test]
fn every_command_has_a_page_with_examples() {
    let pages = pages::pages();
    for words in commands() {
        let name = format!("{}.1", words.join("-"));
        let page = pages.iter().find(|page| page.file_name == name).unwrap_or_else(|| panic!("no page {name}"));
        let examples = page.text.split(".SH EXAMPLES\n.EX\n").nth(1).and_then(|rest| rest.split(".EE").next());
        let called = words.join(" ");
        assert!(
            examples.is_some_and(|text| text.lines().all(|line| line.starts_with(&called))),
            "{name}: {examples:?}"
        );
        assert!(examples.is_some_and(|text| !text.is_empty()), "{name}");
        assert!(page.text.contains("130 interrupted"), "{name} has no exit codes");
    }
}

#[test]
fn every_page_has_the_day_of_the_release_and_so_has_the_helpers() {
    let changelog = concat!(env!("CARGO_MANIFEST_DIR"), "/../helper/debian/changelog");
    let released = Command::new("dpkg-parsechangelog").args(["-l", changelog, "-S", "Timestamp"]).output().unwrap();
    let at = format!("@{}", String::from_utf8(released.stdout).unwrap().trim());
    let day = Command::new("date").args(["--utc", "+%F", "--date", &at]).output().unwrap();
    let day = String::from_utf8(day.stdout).unwrap();
    let of_helper = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../helper/airpods-helper.8")).unwrap();
    let texts = pages::pages().into_iter().map(|page| page.text).chain([of_helper]);
    for text in texts {
        let title = text.lines().find(|line| line.starts_with(".TH ")).unwrap();
        assert!(title.replace("\\-", "-").contains(day.trim()), "{title} is not of {day}");
    }
}

#[test]
fn mandoc_has_no_warning_about_any_page() {
    for page in pages::pages() {
        let output = complaints("mandoc", &["-T", "lint", "-W", "warning"], &page.text);
        assert_eq!(output, "", "{}", page.file_name);
    }
    assert!(!complaints("mandoc", &["-T", "lint", "-W", "warning"], ".TH x\n.XX\n").is_empty(), "mandoc looks");
}

#[test]
fn the_page_of_the_configuration_has_every_default() {
    let page = pages::pages().into_iter().find(|page| page.file_name == "airpods.toml.5").unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("page");
    fs::write(&file, page.text).unwrap();
    let shown = Command::new("mandoc").args(["-T", "utf8", "-O", "width=200"]).arg(&file).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap().replace('\u{8}', "");
    for line in airpods::config::DEFAULTS.lines() {
        assert!(shown.contains(line.trim_end()), "{line}");
    }
}

#[test]
fn each_shell_accepts_its_completions() {
    for (program, shell) in [("bash", Shell::Bash), ("fish", Shell::Fish), ("zsh", Shell::Zsh)] {
        assert_eq!(complaints(program, &["-n"], shell.script().unwrap()), "", "{program}");
        assert!(!complaints(program, &["-n"], "case (((\n").is_empty(), "{program} looks");
    }
}

#[test]
fn the_command_prints_the_completions_that_are_installed() {
    for (name, shell) in [("bash", Shell::Bash), ("fish", Shell::Fish), ("zsh", Shell::Zsh)] {
        let output = Command::new(env!("CARGO_BIN_EXE_airpods")).args(["completions", name]).output().unwrap();
        assert!(output.status.success());
        assert!(output.stdout == shell.script().unwrap().as_bytes(), "{name}");
    }
}
