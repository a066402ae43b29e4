//! Reading `services.NAME.secret_env`.

use indexmap::IndexMap;

use super::name::ObjectName;
use super::places::Places;
use super::section::{Mismatch, Read, Section, entries, text};
use super::tree::Node;
use crate::podman::SecretSource;

/// Reads the secret variables; `places` is where the paths of their files begin.
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

/// A name that files of variables, units and Kubernetes have too (POSIX, "Environment Variable Definition").
fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(fits) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// `file:PATH`, or `podman:NAME`.
fn source(node: &Node, places: &Places) -> Read<SecretSource> {
    let text = text(node)?;
    // Somebody may have written the value itself: it is not repeated.
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
