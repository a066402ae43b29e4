//! The size of the helper: the code that a reviewer of its use of `CAP_NET_ADMIN` has to read and
//! trust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use airpods_lab::Program;

use super::{BenchError, Result};

/// Prints the crates, the lines of code, the files and the size of the program.
///
/// # Errors
/// [`BenchError`] when the program is not built, or cargo or strip does not run.
pub(super) fn size() -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    let crates = crates(repository)?;
    let files = sources(&repository.join("helper/src"))?;
    let texts = files.iter().map(fs::read_to_string).collect::<Result<Vec<_>, _>>().map_err(io("read the sources"))?;
    let lines: usize = texts.iter().map(|text| lines_of_code(text)).sum();
    println!("| the helper's | |\n|---|---:|");
    println!("| crates, its own two among them | {crates} |");
    println!("| lines of code, without tests, comments and blanks | {lines} |");
    println!("| files | {} |", files.len());
    println!("| program, stripped | {} KiB |", stripped(&Program::Helper.path()?)? / 1024);
    Ok(())
}

/// The crates compiled into the program, and the procedural macros, without those of build scripts.
fn crates(repository: &Path) -> Result<usize> {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--package", "airpods-helper", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    let told = cargo.current_dir(repository).output().map_err(io("run cargo"))?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let mut names: Vec<&str> = told.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { Err(BenchError::NoNumber("cargo tree")) } else { Ok(names.len()) }
}

/// The source files of a folder, without tests.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("list the sources"))? {
        let path = entry.map_err(io("list the sources"))?.path();
        match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("tests") => {}
            _ if path.is_dir() => files.extend(sources(&path)?),
            _ => files.push(path),
        }
    }
    Ok(files)
}

/// The lines that are neither blank nor a comment, up to the tests beside the code, which come last
/// in every file.
fn lines_of_code(text: &str) -> usize {
    let code = text.lines().take_while(|line| *line != "#[cfg(test)]");
    code.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// The bytes of a program without its symbols.
fn stripped(program: &Path) -> Result<u64> {
    let copy = program.with_extension("stripped");
    let stripped = Command::new("strip").arg("-o").arg(&copy).arg(program).status();
    let bytes = stripped.and_then(|_| fs::metadata(&copy)).map(|data| data.len());
    // The copy does not exist if strip failed.
    drop(fs::remove_file(&copy));
    bytes.map_err(io("strip the program"))
}

fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> BenchError {
    move |source| BenchError::Io { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blanks_and_tests_are_no_code() {
        let text = "//! Docs.\n\nuse a;\n    // Why.\n    b();\n\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(lines_of_code(text), 2);
    }
}
