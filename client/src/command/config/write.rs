//! Writes the configuration file: `set` changes or removes one value if the result is valid, `init`
//! and `reset` write the defaults. Also the errors of a file that was not written.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use toml_edit::Value;

use super::print_message;
use crate::command::Context;
use crate::config::edit::{self, EditError, KeyPath};
use crate::config::{ConfigError, DEFAULTS, Loaded, Places, Problem, Source};
use crate::error::{Exit, Failure, Report, render, render_fault};
use crate::file::{self, Links, Owner};
use crate::home::HomeFault;
use crate::terminal::{Answer, Consent, EscapedLine, ask};

/// The type of a value on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Type {
    /// Decided by the value's form; a text if the key needs one.
    Auto,
    /// A text.
    Str,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// `true` or `false`.
    Bool,
    /// JSON, for arrays and tables.
    Json,
}

/// The value does not have the given type.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {what}")]
struct NotOfType {
    value: String,
    what: &'static str,
}

impl Report for NotOfType {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("without `--type` its form decides the type".into())
    }
}

/// Sets the key, or removes it if `value` is none.
pub(super) fn set(context: &Context, key: &KeyPath, value: Option<&str>, kind: Type) -> Result<Exit, Failure> {
    let values = match value {
        Some(value) => read(value, kind)?.into_iter().map(Some).collect(),
        None => vec![None],
    };
    let found = crate::config::locate(&context.environment, context.config.as_deref())?;
    let is_new = found.is_none();
    let path = match found {
        Some(path) => path,
        None => context.environment.new_file(None).ok_or(NotWritten::NoFolder)?,
    };
    let unwritable = NotWritten::unwritable(&path);
    let _lock = file::Lock::of(&path).map_err(&unwritable)?;
    let old = if is_new { String::new() } else { read_file(&path)? };
    let places = context.environment.places(Some(&path))?;
    let check = |text: &str| check(&path, &old, text, &places);
    let edited = |value| match value {
        Some(value) => edit::set(&old, DEFAULTS, key, value),
        None => edit::unset(&old, key),
    };
    match choose(values, edited, check) {
        Ok((text, loaded)) => {
            loaded.print_warnings(&mut anstream::stderr());
            let written = if is_new { file::create(&path, &text) } else { file::replace(&path, &text) };
            written.map_err(&unwritable)?;
        }
        Err(Refused::Edit(error)) => return Err(error.into()),
        Err(Refused::Wrong(problems)) => return Err(NotWritten::Wrong { path, problems }.into()),
    }
    print_message(&format!("{} {}", if is_new { "created" } else { "changed" }, path.display()));
    Ok(Exit::Done)
}

fn read_file(path: &Path) -> Result<String, NotWritten> {
    file::read(path, Links::Followed, Owner::Any)
        .map_err(|cause| NotWritten::Unreadable { path: path.to_owned(), cause })
}

/// The possible values for a text, the most likely first.
fn read(text: &str, kind: Type) -> Result<Vec<Value>, NotOfType> {
    let not = |what| NotOfType { value: text.to_owned(), what };
    let value = match kind {
        Type::Auto => {
            let json = || text.starts_with(['{', '[']).then(|| json(text)).flatten();
            return Ok(text.parse().ok().or_else(json).into_iter().chain([Value::from(text)]).collect());
        }
        Type::Str => Value::from(text),
        Type::Int => Value::from(text.parse::<i64>().map_err(|_| not("a whole number"))?),
        Type::Float => Value::from(text.parse::<f64>().map_err(|_| not("a number"))?),
        Type::Bool => Value::from(text.parse::<bool>().map_err(|_| not("`true` or `false`"))?),
        Type::Json => json(text).ok_or_else(|| not("JSON with an equivalent in TOML"))?,
    };
    Ok(vec![value])
}

/// Parses JSON. TOML has no null, so a value with null is refused.
fn json(text: &str) -> Option<Value> {
    fn convert(value: serde_json::Value) -> Option<Value> {
        use serde_json::Value as Json;
        Some(match value {
            Json::Null => return None,
            Json::Bool(truth) => truth.into(),
            Json::Number(number) => match number.as_i64() {
                Some(whole) => whole.into(),
                None => number.as_f64()?.into(),
            },
            Json::String(text) => text.into(),
            Json::Array(items) => Value::Array(items.into_iter().map(convert).collect::<Option<_>>()?),
            Json::Object(entries) => {
                let entries = entries.into_iter().map(|(key, value)| Some((key, convert(value)?)));
                Value::InlineTable(entries.collect::<Option<_>>()?)
            }
        })
    }
    convert(serde_json::from_str(text).ok()?)
}

/// The reason that none of the values is possible.
#[derive(Debug)]
enum Refused {
    Edit(EditError),
    Wrong(ConfigError),
}

/// The first value that gives a valid configuration, with its text. Otherwise the error of the most
/// likely one.
fn choose<V, T>(
    values: Vec<V>,
    edited: impl Fn(V) -> Result<String, EditError>,
    check: impl Fn(&str) -> Result<T, ConfigError>,
) -> Result<(String, T), Refused> {
    let mut refused = None;
    for value in values {
        let text = edited(value).map_err(Refused::Edit)?;
        match check(&text) {
            Ok(checked) => return Ok((text, checked)),
            Err(problems) => drop(refused.get_or_insert(problems)),
        }
    }
    Err(Refused::Wrong(refused.unwrap_or(ConfigError::Wrong(Vec::new()))))
}

/// Parses the new text. Unknown keys that the old text had are accepted: this command did not add
/// them.
fn check(path: &Path, old: &str, text: &str, places: &Places) -> Result<Loaded, ConfigError> {
    let parse =
        |text: &str| crate::config::parse_in(Some(Source::of_file(PathBuf::from(path), text.to_owned())), places);
    let before = match parse(old) {
        Ok(loaded) => loaded.warnings,
        Err(ConfigError::Wrong(problems)) => problems,
        Err(_) => Vec::new(),
    };
    let loaded = parse(text)?;
    let is_old = |unknown: &Problem| before.iter().any(|problem| problem.message == unknown.message);
    if loaded.unknown_keys().all(is_old) { Ok(loaded) } else { loaded.refuse_unknown_keys() }
}

/// Writes the first file.
pub(super) fn init(context: &Context, force: bool) -> Result<Exit, Failure> {
    let path = context.environment.new_file(context.config.as_deref()).ok_or(NotWritten::NoFolder)?;
    let written = if force { file::replace(&path, DEFAULTS) } else { file::create(&path, DEFAULTS) };
    match written {
        Ok(()) => print_message(&format!("created {}", path.display())),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => return Err(NotWritten::Exists(path).into()),
        Err(cause) => return Err(NotWritten::Unwritable { path, cause }.into()),
    }
    Ok(Exit::Done)
}

/// Replaces the file with the defaults, and keeps a copy of the old file.
pub(super) async fn reset(context: &Context, force: bool) -> Result<Exit, Failure> {
    // An invalid file can be reset, too, so it is located but not parsed.
    let Some(path) = crate::config::locate(&context.environment, context.config.as_deref())? else {
        print_message("there is no configuration file, the built-in defaults are used");
        return Ok(Exit::Done);
    };
    let question = format!("Replace `{}` with the defaults, and keep a copy of it?", path.display());
    match ask(&question, Consent::from_switches(force, false)).await? {
        Answer::Yes => {}
        Answer::No => return Ok(Exit::Done),
        Answer::NoTerminal => return Err(NotWritten::Unconfirmed(path).into()),
    }
    let unwritable = NotWritten::unwritable(&path);
    let _lock = file::Lock::of(&path).map_err(&unwritable)?;
    let backup = file::back_up(&path).map_err(&unwritable)?;
    file::replace(&path, DEFAULTS).map_err(&unwritable)?;
    print_message(&format!("restored the defaults in {}; the old file is {}", path.display(), backup.display()));
    Ok(Exit::Done)
}

/// The reason that a configuration file was not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWritten {
    /// No folder for it is known.
    #[error("there is no folder for a configuration file")]
    NoFolder,
    /// It exists already.
    #[error("`{}` exists", _0.display())]
    Exists(PathBuf),
    /// It cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        cause: io::Error,
    },
    /// It, or a file beside it, cannot be written.
    #[error("`{}` cannot be written", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        cause: io::Error,
    },
    /// The new text is not a valid configuration.
    #[error("`{}` was not changed", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The problems of the new text.
        problems: ConfigError,
    },
    /// The draft from the editor is not valid, which was reported already.
    #[error("`{}` was not changed", path.display())]
    WrongDraft {
        /// The file.
        path: PathBuf,
        /// The path of the draft, which is kept.
        draft: PathBuf,
        /// The user answered the question with Ctrl-C.
        interrupted: bool,
    },
    /// The editor failed.
    #[error("`{}` was not changed: the editor `{editor}` {how}", path.display())]
    Editor {
        /// The file.
        path: PathBuf,
        /// The editor's command line.
        editor: String,
        /// How it ended.
        how: String,
        /// The path of the draft, if anything was written in it.
        draft: Option<PathBuf>,
    },
    /// Another program changed the file meanwhile.
    #[error("`{}` was not changed: another program has changed it meanwhile", path.display())]
    Meanwhile {
        /// The file.
        path: PathBuf,
        /// The path of the text that was not written, which is kept.
        draft: PathBuf,
    },
    /// A confirmation is needed, and there is no terminal.
    #[error("replacing `{}` with the defaults needs confirmation, and there is no terminal", _0.display())]
    Unconfirmed(PathBuf),
}

impl NotWritten {
    /// Returns a function that makes an I/O error on a file into this error.
    pub(super) fn unwritable(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::Unwritable { path: path.clone(), cause }
    }
}

impl Report for NotWritten {
    fn exit(&self) -> Exit {
        match self {
            Self::WrongDraft { interrupted: true, .. } => Exit::Interrupted,
            Self::Wrong { .. } | Self::WrongDraft { .. } => Exit::Configuration,
            Self::Unconfirmed(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    fn home_fault(&self) -> Option<HomeFault> {
        match self {
            Self::Unreadable { path, .. } | Self::Unwritable { path, .. } => HomeFault::of(path),
            _ => None,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoFolder => Some("set `HOME`, or name a file with `--config`".into()),
            Self::Exists(_) => Some("`--force` replaces it".into()),
            Self::Unconfirmed(_) => Some("say `--force`".into()),
            Self::Editor { draft: None, .. } => Some("`$VISUAL` or `$EDITOR` names the editor".into()),
            Self::WrongDraft { draft, .. }
            | Self::Editor { draft: Some(draft), .. }
            | Self::Meanwhile { draft, .. } => Some(format!("your text is in `{}`", draft.display()).into()),
            Self::Unreadable { .. } | Self::Unwritable { .. } | Self::Wrong { .. } => None,
        }
    }

    /// Prints the problems of the text before the error.
    fn render(&self, to: &mut dyn Write) -> io::Result<()> {
        if let Self::WrongDraft { interrupted: true, .. } = self {
            // The question's line has not ended yet.
            writeln!(to)?;
        }
        if let Some(fault) = self.home_fault() {
            return render_fault(self, &fault, to);
        }
        let Self::Wrong { problems, .. } = self else { return render(self, self.hint().as_deref(), to) };
        problems.render(to)?;
        writeln!(to, "{}", EscapedLine(&self.to_string()))
    }
}
