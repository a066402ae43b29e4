//! `airpods completions`: what a shell needs to complete the command line.

use std::io::{self, Write};

use clap::{CommandFactory, ValueEnum};

use crate::cli::Cli;
use crate::error::Failure;
use crate::exit::Exit;

/// The arguments of `airpods completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: airpods completions bash > ~/.local/share/bash-completion/completions/airpods")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// A shell that completes command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU bash, with the package bash-completion
    Bash,
    /// fish
    Fish,
    /// zsh
    Zsh,
}

impl Shell {
    /// The file by whose name the shell finds the script.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Bash => "airpods",
            Self::Fish => "airpods.fish",
            Self::Zsh => "_airpods",
        }
    }

    /// The script that completes the command line of `airpods`.
    #[must_use]
    pub fn script(self) -> Vec<u8> {
        let shell = match self {
            Self::Bash => clap_complete::Shell::Bash,
            Self::Fish => clap_complete::Shell::Fish,
            Self::Zsh => clap_complete::Shell::Zsh,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "airpods", &mut script);
        script
    }
}

/// Runs `airpods completions`.
///
/// # Errors
/// When nobody reads what is printed.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    print(&args.shell.script())?;
    Ok(Exit::Done)
}

fn print(script: &[u8]) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(script)?;
    out.flush()
}
