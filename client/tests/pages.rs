//! The commands in the pages, and those that the program itself advises, are commands that there are: each is parsed as if it
//! had been typed.
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

/// The commands in the texts of a source file, where what is filled in is a number: what stands in backticks, and a text that is a
/// command by itself, as the doctor's cures are.
fn advised(source: &str, cures: bool) -> Vec<String> {
    let own = |text: &&str| text.starts_with("airpods ") && !text.contains(['|', '`']);
    let within = |line: &str, quote: char| line.split(quote).filter(own).map(ToOwned::to_owned).collect::<Vec<_>>();
    let of_line = |line: &str| [within(line, '`'), if cures { within(line, '"') } else { Vec::new() }].concat();
    source.lines().flat_map(of_line).flat_map(|text| filled_in(&text)).collect()
}

/// The single commands of a line with `{}`, `{mtu}` and so on.
fn filled_in(text: &str) -> Vec<String> {
    let filled = text.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest)).collect::<Vec<_>>();
    let commands = filled.join("1300");
    commands.split(" && ").filter(|typed| typed.starts_with("airpods ")).map(ToOwned::to_owned).collect()
}

/// The Rust files of a folder and of those below.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    entries.flat_map(below).filter(|path| path.extension().is_some_and(|kind| kind == "rs")).collect()
}

#[test]
fn every_command_that_the_program_advises_can_be_typed() {
    let mut seen = 0;
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let cures = path.components().any(|part| part.as_os_str() == "doctor");
        for typed in advised(&fs::read_to_string(&path).unwrap(), cures) {
            seen += 1;
            assert_eq!(complaint(&typed), None, "{}: `{typed}`", path.display());
        }
    }
    assert!(seen > 60, "the sources are not read: {seen} commands");
}

#[test]
fn an_advice_that_cannot_be_followed_is_noticed() {
    let source = "format!(\"say `airpods halt {name}`\")\nbroken(\"airpods stop {} && airpods start --sideways\")";
    assert_eq!(advised(source, false), ["airpods halt 1300"]);
    assert_eq!(advised(source, true), ["airpods halt 1300", "airpods stop 1300", "airpods start --sideways"]);
    assert!(complaint("airpods halt 1300").is_some() && complaint("airpods start --sideways").is_some());
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
