//! Lists the crates that each of the two programs is linked with, and their licences, for the
//! packages and for `make install`: `cargo run --example licences -- FOLDER` writes
//! `FOLDER/PACKAGE/crates.txt`.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use serde_json::Value;

/// How the files begin that say on which terms a crate may be used.
const TERMS: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];

/// A crate that is linked.
struct Linked {
    name: String,
    licence: String,
    home: String,
    /// The texts that come with it, each with its file's name.
    texts: Vec<(String, String)>,
}

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).map(PathBuf::from).ok_or_else(|| io::Error::other("a folder is needed"))?;
    let described: Value = serde_json::from_str(&cargo(&["metadata", "--locked", "--format-version=1"])?)?;
    for program in ["airpods", "airpods-helper"] {
        let folder = folder.join(program);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("crates.txt"), page(program, &linked(program, &described)?))?;
    }
    Ok(())
}

/// The standard output of a run of cargo.
fn cargo(arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).args(arguments).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}

/// The crates of others in a program, by name and version.
fn linked(program: &str, described: &Value) -> io::Result<Vec<Linked>> {
    let package = format!("--package={program}");
    let tree = ["tree", "--locked", &package, "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}"];
    let tree = cargo(&tree)?;
    let mut names: Vec<String> = tree.lines().filter(|line| !line.contains("(/")).filter_map(name).collect();
    names.sort();
    names.dedup();
    let packages = described["packages"].as_array().into_iter().flatten();
    let packages: BTreeMap<String, &Value> =
        packages.map(|package| (format!("{} {}", text(package, "name"), text(package, "version")), package)).collect();
    names
        .into_iter()
        .map(|name| {
            let package = packages.get(&name).ok_or_else(|| io::Error::other(format!("cargo does not know {name}")))?;
            let manifest = PathBuf::from(text(package, "manifest_path"));
            let texts = terms(manifest.parent().unwrap_or(Path::new("/")))?;
            Ok(Linked { name, licence: text(package, "license"), home: text(package, "repository"), texts })
        })
        .collect()
}

/// `serde v1.0.0 (*)` as `serde 1.0.0`.
fn name(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?.strip_prefix('v')?))
}

fn text(package: &Value, key: &str) -> String {
    package[key].as_str().unwrap_or_default().to_owned()
}

/// The texts in a crate's folder.
fn terms(folder: &Path) -> io::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && TERMS.iter().any(|term| name.to_uppercase().starts_with(term)) {
            found.push((name, String::from_utf8_lossy(&fs::read(entry.path())?).trim().to_owned()));
        }
    }
    found.sort();
    Ok(found)
}

/// The page: a line for each crate, then each text once, with the names of those it came with.
fn page(program: &str, linked: &[Linked]) -> String {
    let mut lines = vec![format!("{program} is linked with these crates of others.\n")];
    let mut texts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for Linked { name, licence, home, texts: own } in linked {
        lines.push(format!("{name}: {licence} <{home}>"));
        for (file, text) in own {
            texts.entry(text).or_default().push(format!("{name} ({file})"));
        }
    }
    lines.push("\nWhat comes with them:".to_owned());
    for (text, from) in texts {
        lines.push(format!("\n{}\n{}:\n\n{text}", "=".repeat(80), from.join(", ")));
    }
    lines.join("\n") + "\n"
}
