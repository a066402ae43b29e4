//! Writes the manual and the completions into a folder, for `make install`:
//! `cargo run --example manual -- FOLDER`. It is no part of the command, which would otherwise
//! carry it along.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::{env, fs, io};

use airpods::command::completions::Shell;
use clap::ValueEnum;

mod pages;

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).map(PathBuf::from).ok_or_else(|| io::Error::other("a folder is needed"))?;
    fs::create_dir_all(&folder)?;
    for page in pages::pages() {
        fs::write(folder.join(page.file_name), page.text)?;
    }
    for shell in Shell::value_variants() {
        fs::write(folder.join(shell.file_name()), shell.script()?)?;
    }
    Ok(())
}
