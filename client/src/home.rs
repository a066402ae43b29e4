//! The folders that environment variables name: those of the user's files, and those of programs
//! (`PATH`). For the former also the reason why one cannot be used.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, User, access, geteuid};

/// The variables that name a folder for airpods (XDG Base Directory Specification; `AIRPODS_HOME`
/// is our own).
const AIRPODS_VARIABLES: [&str; 5] = ["AIRPODS_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "HOME"];

/// The variables that podman needs (containers-storage.conf(5), containers.conf(5)).
const PODMAN_VARIABLES: [&str; 3] = ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"];

/// A folder that is needed and cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeFault {
    folder: PathBuf,
    /// The variable or the entry that names the folder; none for one below it.
    named_by: Option<Name>,
    why: FaultKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Variable(&'static str),
    /// The user's entry in passwd(5), since `HOME` is not set.
    Passwd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FaultKind {
    Missing,
    NoFolder,
    ReadOnly,
    NotPermitted,
    Relative,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "does not exist",
            Self::NoFolder => "is not a folder",
            Self::ReadOnly => "is on a read-only file system",
            Self::NotPermitted => "this user may not write",
            Self::Relative => "is not an absolute path",
        })
    }
}

impl fmt::Display for HomeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folder, why) = (self.folder.display(), self.why);
        match self.named_by {
            Some(Name::Variable(variable)) => write!(f, "`{variable}` names `{folder}`, which {why}"),
            Some(Name::Passwd) => write!(f, "`HOME` is not set, and this user's home is `{folder}`, which {why}"),
            None if why == FaultKind::NotPermitted => write!(f, "`{folder}` is a folder that {why}"),
            None => write!(f, "`{folder}` {why}"),
        }
    }
}

impl HomeFault {
    /// The fault of the folder that holds a path of airpods, if that is why the path cannot be
    /// used.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        Self::among(path, |name| std::env::var_os(name).map(PathBuf::from))
    }

    fn among(path: &Path, lookup: impl Fn(&str) -> Option<PathBuf>) -> Option<Self> {
        let values = AIRPODS_VARIABLES.into_iter().filter_map(|name| Some((name, lookup(name)?)));
        // The innermost folder counts: `XDG_CONFIG_HOME` may lie below `HOME`.
        let holding = values.filter(|(_, folder)| folder.is_absolute() && path.starts_with(folder));
        let (name, folder) = holding.max_by_key(|(_, folder)| folder.components().count())?;
        Self::of_folder(Name::Variable(name), folder.clone()).or_else(|| Self::below(path, &folder))
    }

    /// The fault of a folder that podman needs, if podman's error names it.
    #[must_use]
    pub fn of_podman(message: &str) -> Option<Self> {
        Self::named_in(message, |name| std::env::var_os(name).map(PathBuf::from))
    }

    fn named_in(message: &str, lookup: impl Fn(&str) -> Option<PathBuf>) -> Option<Self> {
        let set = PODMAN_VARIABLES.into_iter().filter_map(|name| Some((Name::Variable(name), lookup(name)?)));
        let unset = lookup("HOME").is_none();
        let passwd = unset.then(|| Some((Name::Passwd, User::from_uid(geteuid()).ok()??.dir))).flatten();
        let named = |folder: &Path| folder.parent().is_some() && message.contains(&*folder.to_string_lossy());
        let mut folders = set.chain(passwd).filter(|(_, folder)| named(folder));
        folders.find_map(|(name, folder)| Self::of_folder(name, folder))
    }

    /// The fault of a folder that a variable or passwd(5) names.
    fn of_folder(name: Name, folder: PathBuf) -> Option<Self> {
        let why = if folder.is_relative() { Some(FaultKind::Relative) } else { judge(&folder) };
        why.map(|why| Self { folder, named_by: Some(name), why })
    }

    /// The fault of the nearest folder or file above a path that exists, if it is below `folder`.
    fn below(path: &Path, folder: &Path) -> Option<Self> {
        let way = path.ancestors().skip(1).take_while(|above| *above != folder);
        let found = way.into_iter().find(|above| above.symlink_metadata().is_ok())?;
        Some(Self { folder: found.to_owned(), named_by: None, why: judge(found)? })
    }

    /// The next action.
    #[must_use]
    pub fn hint(&self) -> Cow<'static, str> {
        match self.named_by {
            Some(Name::Variable(variable)) => format!("set `{variable}` to a folder that you can write").into(),
            Some(Name::Passwd) => "set `HOME` to a folder that you can write".into(),
            None => format!("make `{}` a folder that you can write", self.folder.display()).into(),
        }
    }
}

/// Why nothing can be made in a folder. A missing folder is a fault, too.
fn judge(folder: &Path) -> Option<FaultKind> {
    match folder.metadata() {
        Ok(found) if !found.is_dir() => Some(FaultKind::NoFolder),
        Ok(_) => match access(folder, AccessFlags::W_OK | AccessFlags::X_OK) {
            Err(Errno::EROFS) => Some(FaultKind::ReadOnly),
            Err(_) => Some(FaultKind::NotPermitted),
            Ok(()) => None,
        },
        // A folder above it may not be entered.
        Err(cause) if cause.raw_os_error() == Some(Errno::EACCES as i32) => Some(FaultKind::NotPermitted),
        Err(_) => Some(FaultKind::Missing),
    }
}

/// The path of a program, found through `$PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    find_in(program, std::env::split_paths(&path))
}

/// A program in the first of these folders that has it.
pub(crate) fn find_in(program: &str, folders: impl IntoIterator<Item = impl AsRef<Path>>) -> Option<PathBuf> {
    folders.into_iter().map(|folder| folder.as_ref().join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fault(path: &str, variables: &[(&str, &str)]) -> Option<String> {
        let lookup = |name: &str| variables.iter().find(|(one, _)| *one == name).map(|(_, value)| PathBuf::from(value));
        HomeFault::among(Path::new(path), lookup).map(|fault| fault.to_string())
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named_with_what_names_it() {
        let own = tempfile::tempdir().unwrap();
        let home = own.path().to_str().unwrap();
        std::fs::write(own.path().join("file"), "").unwrap();
        let file = format!("{home}/file");
        let nope = "`HOME` names `/nope`, which does not exist";
        assert_eq!(fault("/nope/.config/x", &[("HOME", "/nope")]).as_deref(), Some(nope));
        let no_folder = format!("`HOME` names `{file}`, which is not a folder");
        assert_eq!(fault(&format!("{file}/.config/x"), &[("HOME", &file)]), Some(no_folder));
        let inner = format!("`XDG_STATE_HOME` names `{file}`, which is not a folder");
        let both = [("HOME", home), ("XDG_STATE_HOME", &file)];
        assert_eq!(fault(&format!("{file}/airpods/x"), &both), Some(inner));
        let below = format!("`{file}` is not a folder");
        assert_eq!(fault(&format!("{file}/airpods/x"), &[("HOME", home)]), Some(below));
    }

    #[test]
    fn a_usable_or_unnamed_folder_is_not_reported() {
        let own = tempfile::tempdir().unwrap();
        let home = own.path().to_str().unwrap();
        assert_eq!(fault(&format!("{home}/.config/x"), &[("HOME", home)]), None);
        assert_eq!(fault("/nope/x", &[("HOME", home)]), None);
        assert_eq!(fault("rel/x", &[("HOME", home), ("XDG_CONFIG_HOME", "rel")]), None);
        assert_eq!(fault("/nope/x", &[]), None);
    }

    #[test]
    fn a_podman_folder_is_reported_only_if_podman_names_it() {
        let blamed = |message: &str, variable: &str, value: &str| {
            let lookup =
                |name: &str| (name == variable).then(|| PathBuf::from(value)).or((name == "HOME").then(|| "/".into()));
            HomeFault::named_in(message, lookup).map(|fault| (fault.to_string(), fault.hint().into_owned()))
        };
        let (fault, hint) = blamed("cannot resolve /nope: lstat /nope", "HOME", "/nope").unwrap();
        assert_eq!(fault, "`HOME` names `/nope`, which does not exist");
        assert_eq!(hint, "set `HOME` to a folder that you can write");
        let (fault, _) = blamed("instead got \"rel/containers\"", "XDG_DATA_HOME", "rel").unwrap();
        assert_eq!(fault, "`XDG_DATA_HOME` names `rel`, which is not an absolute path");
        assert_eq!(blamed("no space left on device", "HOME", "/nope"), None);
    }
}
