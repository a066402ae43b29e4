//! The commands in the pages, and those that the program itself advises, exist: each is parsed as
//! if a user had typed it, and those that set a value are run.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use airpods::Cli;
use airpods_lab::documents;
use clap::CommandFactory;
use clap::error::ErrorKind;

fn pages() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let docs = fs::read_dir(top.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    docs.filter(|path| path.extension().is_some_and(|kind| kind == "md")).chain([top.join("README.md")]).collect()
}

/// The commands of a page: the lines with a prompt in a block, and the text in backticks in a
/// sentence.
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

/// Why this cannot be run where nothing is configured, if it cannot.
fn refusal(typed: &str) -> Option<String> {
    let home = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_airpods")).parent().unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", typed]).env_clear().env("HOME", home.path()).env("PATH", programs);
    let output = shell.output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The commands in the texts of a source file. They stand in backticks, or a text is a command by
/// itself, as the doctor's cures are. `fill` replaces `{}`, `{mtu}` and so on.
fn advised(source: &str, cures: bool, fill: impl Fn(&str) -> String) -> Vec<String> {
    let own = |text: &&str| text.starts_with("airpods ") && !text.contains(['|', '`']);
    let within = |line: &str, quote: char| line.split(quote).filter(own).map(ToOwned::to_owned).collect::<Vec<_>>();
    let of_line = |line: &str| [within(line, '`'), if cures { within(line, '"') } else { Vec::new() }].concat();
    source.lines().flat_map(of_line).flat_map(|text| filled_in(&text.replace("\\\"", "\""), &fill)).collect()
}

/// The single commands of a line.
fn filled_in(text: &str, fill: impl Fn(&str) -> String) -> Vec<String> {
    let mut parts = text.split('{');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or(("", part));
        filled.push_str(&fill(name));
        filled.push_str(rest);
    }
    filled.split(" && ").filter(|typed| typed.starts_with("airpods ")).map(ToOwned::to_owned).collect()
}

/// The examples in the help of a command that have a line of their own.
fn examples(source: &str) -> impl Iterator<Item = String> {
    let lines = source.lines().map(|line| line.trim().trim_end_matches("\")]"));
    lines.filter(|line| line.starts_with("airpods ")).map(|typed| typed.replace("\\\"", "\""))
}

fn a_number(_: &str) -> String {
    "1300".to_owned()
}

/// Something that can stand where a source file has this name in braces.
fn plausible(name: &str) -> String {
    let value = match name {
        "name" | "service" => "ollama",
        "place" => "services.ollama.container",
        "other" => "ollama-other",
        "key" => "services.ollama.ports.0.host",
        "policy_key" => "services.ollama.restart_policy",
        // A port of the host.
        "free" => "7002",
        "subnet" => "10.90.0.0/24",
        "mtu" => "1380",
        "to" | "unit" => "4096",
        _ => return format!("{{{name}}}"),
    };
    value.to_owned()
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
        for typed in advised(&fs::read_to_string(&path).unwrap(), cures, a_number) {
            seen += 1;
            assert_eq!(complaint(&typed), None, "{}: `{typed}`", path.display());
        }
    }
    assert!(seen > 60, "the sources are not read: {seen} commands");
}

#[test]
fn every_value_that_is_advised_to_be_set_is_one_that_its_key_takes() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // Tests expect advice about services of their own, so their sources are left out.
    let own = |path: &PathBuf| !path.components().any(|part| part.as_os_str() == "tests");
    let of_source = |path: PathBuf| {
        let source = fs::read_to_string(&path).unwrap();
        let cures = path.components().any(|part| part.as_os_str() == "doctor");
        let typed = advised(&source, cures, plausible).into_iter().chain(examples(&source));
        typed.map(|typed| (path.clone(), typed.replace("ADDRESS", "192.0.2.53"))).collect::<Vec<_>>()
    };
    let of_page = |path: PathBuf| {
        let page = fs::read_to_string(&path).unwrap();
        commands(&page).into_iter().map(|typed| (path.clone(), typed.to_owned())).collect::<Vec<_>>()
    };
    let all = sources(&top).into_iter().filter(own).flat_map(of_source).chain(pages().into_iter().flat_map(of_page));
    let mut seen = 0;
    // One that removes a key has no value.
    let sets = |typed: &str| typed.starts_with("airpods config set ") && !typed.ends_with(" --unset");
    for (path, typed) in all.filter(|(_, typed)| sets(typed)) {
        seen += 1;
        assert_eq!(refusal(&typed), None, "{}: `{typed}`", path.display());
    }
    assert!(seen >= 18, "the sources are not read: {seen} commands");
}

#[test]
fn an_advice_that_cannot_be_followed_is_noticed() {
    let source = "format!(\"say `airpods halt {name}`\")\nbroken(\"airpods stop {} && airpods start --sideways\")";
    assert_eq!(advised(source, false, a_number), ["airpods halt 1300"]);
    assert_eq!(advised(source, true, a_number), ["airpods halt 1300", "airpods stop 1300", "airpods start --sideways"]);
    assert_eq!(
        advised("`airpods config set cli.{what} '[\\\"{mtu}\\\"]'`", false, plausible),
        ["airpods config set cli.{what} '[\"1380\"]'"]
    );
    assert!(
        refusal("airpods config set cli.{what} 1").is_some() && refusal("airpods config set cli.log_lines 1").is_none()
    );
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

/// The commands that have a switch of this name, as they are typed.
fn with_switch(name: &str) -> BTreeSet<String> {
    fn add(command: &clap::Command, before: &str, name: &str, all: &mut BTreeSet<String>) {
        let typed = format!("{before}{}", command.get_name());
        command.get_subcommands().for_each(|inner| add(inner, &format!("{typed} "), name, all));
        if command.get_arguments().any(|argument| argument.get_long() == Some(name)) {
            all.insert(typed);
        }
    }
    let mut all = BTreeSet::new();
    add(&Cli::command(), "", name, &mut all);
    all
}

#[test]
fn every_command_with_json_has_a_schema_which_the_page_lists_and_no_schema_is_for_another() {
    let schemas = documents::schemas().unwrap();
    let described: BTreeSet<String> = schemas.values().flat_map(documents::commands).map(ToOwned::to_owned).collect();
    let printed: BTreeSet<String> = with_switch("json").iter().map(|typed| format!("{typed} --json")).collect();
    let without_variants: BTreeSet<String> =
        described.iter().map(|typed| typed.replace(" --dry-run", "").replace(" --pre-fetch", "")).collect();
    assert_eq!(without_variants, printed);
    let planned: BTreeSet<String> = with_switch("dry-run").intersection(&with_switch("json")).cloned().collect();
    for typed in planned {
        assert!(described.contains(&format!("{typed} --dry-run --json")), "no schema for the plan of `{typed}`");
    }
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json.md")).unwrap();
    let mut listed = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let named: Vec<_> = line.split('`').skip(1).step_by(2).collect();
        let (file, commands) = named.split_last().unwrap();
        let schema = schemas.get(*file).unwrap_or_else(|| panic!("there is no {file}"));
        assert_eq!(*commands, documents::commands(schema), "{file}");
        listed.insert((*file).to_owned());
    }
    assert_eq!(listed, schemas.keys().cloned().collect());
}
