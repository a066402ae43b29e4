//! The commands in the pages are commands that there are: each is parsed as if it had been typed.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use airpods::cli::Cli;
use clap::CommandFactory;
use clap::error::ErrorKind;

fn pages() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let docs = fs::read_dir(top.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    docs.filter(|path| path.extension().is_some_and(|kind| kind == "md")).chain([top.join("README.md")]).collect()
}

/// The commands of a page: what follows a prompt in a block, and what stands in backticks in a sentence.
fn commands(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut block = false;
    for line in page.lines() {
        if line.starts_with("```") {
            block = !block;
        } else if block {
            found.extend(line.strip_prefix("$ ").and_then(|typed| typed.split(" # ").next()));
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    let own = |typed: &&str| *typed == "airpods" || typed.starts_with("airpods ");
    // One that is not written out stands for several.
    let whole = |typed: &&str| !typed.contains(['…', '|']) && !typed.contains("COMMAND");
    found.into_iter().flat_map(|typed| typed.split(" && ")).map(str::trim).filter(own).filter(whole).collect()
}

/// Why this cannot be typed, if it cannot.
fn complaint(typed: &str) -> Option<String> {
    // N stands for a number.
    let words = typed.split_whitespace().map(|word| if word == "N" { "1300" } else { word });
    let error = Cli::command().try_get_matches_from(words).err()?;
    // A command that is spoken of may be the beginning of several.
    let spoken_of = [
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
        ErrorKind::MissingSubcommand,
        ErrorKind::MissingRequiredArgument,
        ErrorKind::DisplayVersion,
        ErrorKind::DisplayHelp,
    ];
    (!spoken_of.contains(&error.kind())).then(|| error.to_string())
}

#[test]
fn every_command_in_the_pages_can_be_typed() {
    let mut seen = 0;
    for path in pages() {
        let page = fs::read_to_string(&path).unwrap();
        for typed in commands(&page) {
            seen += 1;
            assert_eq!(complaint(typed), None, "{}: `{typed}`", path.display());
        }
    }
    assert!(seen > 40, "the pages are not read: {seen} commands");
}

#[test]
fn a_command_that_there_is_not_is_noticed() {
    let page = "Say `airpods stop` or `airpods halt`:\n```console\n$ airpods up --sideways   # no\n$ true\n```\n";
    assert_eq!(commands(page), ["airpods stop", "airpods halt", "airpods up --sideways"]);
    let wrong: Vec<&str> = commands(page).into_iter().filter(|typed| complaint(typed).is_some()).collect();
    assert_eq!(wrong, ["airpods halt", "airpods up --sideways"]);
}
