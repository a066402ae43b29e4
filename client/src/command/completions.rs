//! `airpods completions`: scripts that let a shell complete the command line.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Command, ValueEnum};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{self, CompleteEnv, EnvCompleter, Shells};

use crate::config::{CompletionWords, Environment, completion_words};
use crate::error::{Exit, Failure};

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
    /// The file name under which the shell looks for the script.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Bash => "airpods",
            Self::Fish => "airpods.fish",
            Self::Zsh => "_airpods",
        }
    }

    /// The script that completes the command line of `airpods`. It calls `airpods`, and [`answer`]
    /// handles that call.
    ///
    /// # Errors
    /// None is known: the script is written to memory.
    pub fn script(self) -> io::Result<String> {
        let mut script = Vec::new();
        self.completer().write_registration(VARIABLE, "airpods", "airpods", "airpods", &mut script)?;
        let script = String::from_utf8(script).map_err(io::Error::other)?;
        Ok(match self {
            Self::Bash => script.replace(BASH_ASKS, &format!("{BASH_ASKS} 2>/dev/null")),
            Self::Zsh => script + ZSH_AT_ONCE,
            Self::Fish => script,
        })
    }

    fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Self::Bash => &env::Bash,
            Self::Fish => &env::Fish,
            Self::Zsh => &env::Zsh,
        }
    }
}

/// The environment variable that the scripts set for their call.
const VARIABLE: &str = "AIRPODS_COMPLETE";

/// How bash's script calls `airpods`. If the program was removed, its error must not appear within
/// the command line.
const BASH_ASKS: &str = r#"-- "${words[@]}""#;

/// zsh reads the file when the first line is completed, so the script must complete that line
/// itself.
const ZSH_AT_ONCE: &str = r#"
if [ "$funcstack[1]" = _airpods ]; then
    _clap_dynamic_completer_airpods "$@"
fi
"#;

/// Handles the call of a completion script, if this is one. It reads only the configuration.
///
/// # Errors
/// The shell is not supported, or the answer cannot be written.
pub(crate) fn answer(command: impl Fn() -> Command) -> Result<bool, clap::Error> {
    const SHELLS: Shells<'_> = Shells(&[&env::Bash, &env::Fish, &env::Zsh]);
    let current_dir = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(|| names_first(command())).var(VARIABLE).shells(SHELLS);
    asked.try_complete(std::env::args_os(), current_dir.as_deref())
}

/// Makes clap offer a command's name only. Of all visible names it offers the alphabetically first,
/// so `run` and not `start`. A hidden alias is offered only once the user has begun to type it.
fn names_first(command: Command) -> Command {
    command.mut_subcommands(|command| {
        let aliases: Vec<String> = command.get_visible_aliases().map(ToOwned::to_owned).collect();
        names_first(command.visible_alias(Resettable::Reset).aliases(aliases))
    })
}

/// Completes a service's name.
pub(super) fn services() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(words_of_configuration().services))
}

/// Completes a configuration key.
pub(super) fn keys() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(words_of_configuration().keys))
}

fn candidates(words: Vec<String>) -> Vec<CompletionCandidate> {
    // Keep the order of the configuration.
    words.into_iter().enumerate().map(|(at, word)| CompletionCandidate::new(word).display_order(Some(at))).collect()
}

/// The words from the configuration file that the unfinished line selects. That line follows `--`.
fn words_of_configuration() -> CompletionWords {
    let line = std::env::args_os().skip_while(|word| word != "--").skip(1);
    completion_words(&Environment::of_process(), config_option(line).as_deref())
}

/// The value of `--config` in an unfinished line.
fn config_option(mut line: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    let option = line.find_map(|word| {
        let rest = word.as_bytes().strip_prefix(b"--config")?;
        // The path is the next word, or follows the `=`.
        (rest.is_empty() || rest.starts_with(b"="))
            .then(|| rest.get(1..).map(|path| OsStr::from_bytes(path).to_owned()))
    })?;
    option.or_else(|| line.next()).map(PathBuf::from)
}

/// Runs `airpods completions`.
///
/// # Errors
/// When what is printed cannot be written.
pub fn run(args: &Args) -> Result<Exit, Failure> {
    print(&args.shell.script()?)?;
    Ok(Exit::Done)
}

fn print(script: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(script.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_an_unfinished_line_names_is_found() {
        for (line, expected) in [
            ("airpods --config /a start oll", Some("/a")),
            ("airpods start --config=/b oll", Some("/b")),
            ("airpods start --config", None),
            ("airpods start --configs /c", None),
            ("airpods config get", None),
        ] {
            let words = line.split_whitespace().map(OsString::from);
            assert_eq!(config_option(words), expected.map(PathBuf::from), "{line}");
        }
    }
}
