//! Values that are never shown, and the files that keep them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Report;
use crate::file::{self, Links, Owner};
use crate::podman::SecretSource;

/// The longest value of a variable, in bytes: the kernel accepts 128 KiB for a variable with its
/// name (execve(2), `MAX_ARG_STRLEN`).
const LONGEST: usize = (128 << 10) - 1024;

/// A secret. Only [`Secret::expose`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text as a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The known values, by their source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretValues(BTreeMap<SecretSource, Secret>);

impl SecretValues {
    /// The value from a source.
    #[must_use]
    pub fn get(&self, source: &SecretSource) -> Option<&Secret> {
        self.0.get(source)
    }
}

impl FromIterator<(Secret, SecretSource)> for SecretValues {
    fn from_iter<I: IntoIterator<Item = (Secret, SecretSource)>>(values: I) -> Self {
        Self(values.into_iter().map(|(value, source)| (source, value)).collect())
    }
}

/// A file that keeps a secret cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the secret in `{}` cannot be used", path.display())]
pub struct UnusableFile {
    /// The file.
    path: PathBuf,
    /// Why.
    #[source]
    cause: io::Error,
}

impl UnusableFile {
    /// Why, without the path.
    #[must_use]
    pub fn why(&self) -> String {
        self.cause.to_string()
    }

    /// Whether the file exists and is not private to this user.
    #[must_use]
    pub fn is_open_to_others(&self) -> bool {
        self.cause.kind() == io::ErrorKind::PermissionDenied
    }
}

impl Report for UnusableFile {
    fn hint(&self) -> Option<Cow<'static, str>> {
        let path = self.path.display();
        Some(match self.cause.kind() {
            io::ErrorKind::NotFound => "put the value into this file, or change `secret_env`".into(),
            io::ErrorKind::PermissionDenied => {
                format!("make the file yours alone: `chown \"$USER\" {path}`, `chmod 600 {path}`").into()
            }
            _ => "the file holds the value and nothing else".into(),
        })
    }
}

/// The value in a file: its text without the line breaks at its end. The file must be this user's,
/// and nobody else may read or change it.
///
/// # Errors
/// [`UnusableFile`]
pub fn read(path: &Path) -> Result<Secret, UnusableFile> {
    let unusable = |cause| UnusableFile { path: path.to_owned(), cause };
    let invalid = |why: &str| unusable(io::Error::new(io::ErrorKind::InvalidData, why));
    // Links are followed, because secret managers link to their files (sops, agenix).
    let text = file::read(path, Links::Followed, Owner::Alone).map_err(unusable)?;
    let value = text.trim_end_matches(['\n', '\r']);
    if value.is_empty() {
        return Err(invalid("it is empty"));
    }
    if value.contains('\0') {
        return Err(invalid("it has a NUL byte, which no variable can hold"));
    }
    if value.len() > LONGEST {
        return Err(invalid("it is longer than a variable can be"));
    }
    Ok(Secret(value.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn file(folder: &Path, content: &[u8], mode: u32) -> PathBuf {
        let path = folder.join("key");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn refusal(path: &Path) -> String {
        let mut text = Vec::new();
        read(path).unwrap_err().render(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_value_is_the_text_of_its_file_without_the_last_line_break() {
        let folder = tempfile::tempdir().unwrap();
        for (content, value) in
            [("sk-1\n", "sk-1"), ("sk-1", "sk-1"), ("sk-1\r\n", "sk-1"), (" a b \n", " a b "), ("a\nb\n", "a\nb")]
        {
            let path = file(folder.path(), content.as_bytes(), 0o600);
            assert_eq!(read(&path).unwrap().expose(), value);
        }
        let path = file(folder.path(), b"sk-1\n", 0o400);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link).unwrap().expose(), "sk-1");
        assert!(!format!("{:?}", read(&link)).contains("sk-1"));
    }

    #[test]
    fn a_file_that_others_can_read_or_that_holds_no_value_is_refused_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o620, 0o666] {
            let refused = refusal(&file(folder.path(), b"sk-1\n", mode));
            assert!(refused.contains("others may read or change it") && refused.contains("chmod 600"), "{refused}");
        }
        let long = "x".repeat(LONGEST + 1);
        for content in [&b""[..], b"\n\n", b"sk-1\0", b"sk-1\xff", long.as_bytes()] {
            let refused = refusal(&file(folder.path(), content, 0o600));
            assert!(!refused.contains("sk-1") && !refused.contains("xxx"), "{refused}");
        }
        assert!(refusal(&folder.path().join("none")).contains("put the value into this file"));
        assert!(refusal(folder.path()).contains("no plain file"));
    }
}
