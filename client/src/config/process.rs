//! The process that a service runs (`process` of the OCI runtime specification): `command`,
//! `command_args` and `entrypoint_override`. Also its variables from elsewhere: files with one
//! variable a line (`.env` beside the configuration, and those of `env_file`), and the secrets of
//! `services.NAME.secret_env`.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Serialize, Serializer};

use super::name::ObjectName;
use super::places::Places;
use super::section::{Mismatch, Read, Section, entries, list, owned_text, text};
use super::tree::{Node, Value};
use crate::podman::SecretSource;

/// `command` is split into words as a shell does; `command_args` is not.
pub(super) fn command(section: &Section<'_>) -> Option<Vec<String>> {
    section.may_be_list_or_one("command_args");
    let args = section.optional("command_args", args);
    section.may_be_list_or_one("command");
    let line = section.optional("command", |node| match &node.value {
        Value::String(line) => shlex::split(line).ok_or_else(|| {
            Mismatch::new("a quote in this command has no end").hint("an array of words needs no quotes")
        }),
        _ => list(owned_text)(node),
    });
    if line.is_some() && args.is_some() {
        section.refuse("`command` and `command_args` are the same setting: leave out one of the two");
    }
    line.or(args)
}

/// Words, or a table of options in the form of the Python airpods:
/// `{ ctx_size = 4096, flash_attn = true, lora = ["a", "b"] }` is
/// `--ctx-size 4096 --flash-attn --lora a --lora b`.
fn args(node: &Node) -> Read<Vec<String>> {
    match &node.value {
        Value::Table(_) => Ok(entries(node, option)?.into_iter().flat_map(|(_, words)| words).collect()),
        _ => words(node),
    }
}

fn option(name: &str, node: &Node) -> Read<Vec<String>> {
    let flag = format!("--{}", name.replace('_', "-"));
    match &node.value {
        Value::Boolean(true) => Ok(vec![flag]),
        Value::Boolean(false) => Ok(Vec::new()),
        Value::Array(_) => Ok(list(scalar)(node)?.into_iter().flat_map(|text| [flag.clone(), text]).collect()),
        _ => Ok(vec![flag, scalar(node)?]),
    }
}

fn scalar(node: &Node) -> Read<String> {
    match &node.value {
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        _ => owned_text(node),
    }
}

pub(super) fn optional_words(section: &Section<'_>, key: &'static str) -> Option<Vec<String>> {
    section.may_be_list_or_one(key);
    section.optional(key, words)
}

/// Words of a command line; a single text is one word and is never split.
pub(super) fn words(node: &Node) -> Read<Vec<String>> {
    match &node.value {
        Value::String(word) => Ok(vec![word.clone()]),
        _ => list(owned_text)(node),
    }
}

/// A file with variables, and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Its variables.
    pub variables: Vec<(String, String)>,
}

impl Serialize for EnvFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.path.serialize(serializer)
    }
}

/// Reads one file of `env_file`; `places` resolves its path.
pub(super) fn env_file(node: &Node, places: &Places) -> Read<EnvFile> {
    let text = text(node)?;
    let path = match places.beside_file(text) {
        Some(Ok(path)) => path,
        Some(Err(why)) => return Err(Mismatch::new(format_args!("`{text}` has no place: {why}"))),
        None => return Err(Mismatch::new(format_args!("`{text}` is not a path"))),
    };
    let content = (places.read)(&path)
        .map_err(|cause| Mismatch::new(format_args!("`{}` cannot be read: {cause}", path.display())))?;
    let variables = variables(&content)
        .map_err(|why| Mismatch::new(format_args!("`{}` is no file of variables: {why}", path.display())))?;
    Ok(EnvFile { path, variables })
}

/// Upper bound on the size of a file of variables, in bytes.
const LARGEST: u64 = 1 << 20;

/// Reads a file of variables. Anything but a regular file is refused before it is read: a FIFO
/// would never end.
pub(super) fn read(path: &Path) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut text = String::new();
    let mut file = File::open(path)?.take(LARGEST + 1);
    if file.read_to_string(&mut text)? as u64 > LARGEST {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is larger than 1 MiB"));
    }
    Ok(text)
}

/// The variables of a text in their order, or the fault of a line that is none. The grammar is
/// compose's ("Env file syntax"): a value has quotes or extends to the end of its line. The line
/// may hold a password, so the fault does not quote it.
pub(super) fn variables(text: &str) -> Result<Vec<(String, String)>, String> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(number, line)| variable(line).map_err(|why| format!("line {number} {why}"))).collect()
}

fn variable(line: &str) -> Result<(String, String), &'static str> {
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line.split_once('=').ok_or("is not `NAME=value`")?;
    let name = name.trim_end();
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '\0') {
        return Err("has no name before its `=`");
    }
    let value = value.trim_start();
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(&value[1..], quote)?,
        // A `#` within a word belongs to the word.
        _ if value.starts_with('#') => String::new(),
        _ => value.split(" #").next().unwrap_or_default().trim_end().to_owned(),
    };
    Ok((name.to_owned(), value))
}

/// The text before the closing quote; a backslash is special only between double quotes.
fn quoted(text: &str, quote: char) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            c if c == quote => {
                let after = rest.as_str().trim_start();
                let ends = after.is_empty() || after.starts_with('#');
                return if ends { Ok(value) } else { Err("goes on behind its closing quote") };
            }
            '\\' if quote == '"' => match rest.next() {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some(c @ ('"' | '\\' | '$')) => value.push(c),
                Some(c) => value.extend(['\\', c]),
                None => return Err("has a quote without an end"),
            },
            c => value.push(c),
        }
    }
    Err("has a quote without an end")
}

/// Reads the secret variables; `places` resolves the paths of their files.
pub(super) fn secret_env(section: &Section<'_>, places: &Places) -> IndexMap<String, SecretSource> {
    let read = |name: &str, node: &Node| {
        if is_name(name) {
            source(node, places)
        } else {
            Err(Mismatch::new("this cannot be the name of a secret variable")
                .hint("it has letters, digits and `_`, and begins with no digit"))
        }
    };
    IndexMap::from_iter(section.or("secret_env", Vec::new(), |node| entries(node, read)))
}

/// A name that is also valid in files of variables, units and Kubernetes (POSIX, "Environment
/// Variable Definition").
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(fits) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// `file:PATH`, or `podman:NAME`.
fn source(node: &Node, places: &Places) -> Read<SecretSource> {
    let text = text(node)?;
    // The text may be the secret itself, written here by mistake: the message does not quote it.
    let wrong = || {
        Mismatch::new("this does not say where the secret is kept")
            .hint("write `file:PATH`, such as `file:~/keys/openai`, or `podman:NAME` for one of `podman secret ls`")
    };
    match text.split_once(':') {
        Some(("file", path)) => match places.beside_file(path) {
            Some(Ok(path)) => Ok(SecretSource::File(path)),
            Some(Err(why)) => Err(Mismatch::new(format_args!("`{text}` has no place: {why}"))),
            None => Err(wrong()),
        },
        Some(("podman", name)) => match name.parse::<ObjectName>() {
            Ok(name) => Ok(SecretSource::Podman(name.to_string())),
            Err(why) => Err(Mismatch::new(format_args!("`{name}` is no name of a secret: {why}"))),
        },
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_variables_as_compose_reads_them() {
        for (line, read_as) in [
            ("A=1", "A|1"),
            ("export A='two words'", "A|two words"),
            ("A=two words # more", "A|two words"),
            ("A=x#y", "A|x#y"),
            ("A=  \"x # y\" # more", "A|x # y"),
            ("A=\"a\\nb \\\"c\\\" \\d\"", "A|a\nb \"c\" \\d"),
            ("A='a\\n'", "A|a\\n"),
            ("A=", "A|"),
            ("A= # none", "A|"),
            ("A=b=c", "A|b=c"),
            ("A=$HOME", "A|$HOME"),
        ] {
            let read = variables(&format!("# a comment\n\n{line}\r\n"));
            let read = read.map(|all| all.iter().map(|(name, value)| format!("{name}|{value}")).collect::<Vec<_>>());
            assert_eq!(read, Ok(vec![read_as.to_owned()]), "{line}");
        }
    }

    #[test]
    fn a_line_that_is_no_variable_is_named_and_not_shown() {
        for line in ["secret words", "=secret", "secret word=1", "A=\"secret", "A='secret' more"] {
            let why = variables(&format!("A=1\n{line}\n"));
            assert!(why.as_ref().is_err_and(|why| why.starts_with("line 2 ") && !why.contains("secret")), "{why:?}");
        }
    }

    #[test]
    fn an_endless_file_is_not_read() {
        assert!(read(Path::new("/dev/zero")).is_err());
        assert!(read(Path::new("/does/not/exist")).is_err_and(|error| error.kind() == ErrorKind::NotFound));
    }
}
