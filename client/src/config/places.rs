//! What a configuration's paths and variables refer to, beside the text itself.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The folders that paths begin at, the variables that `${NAME}` stands for, and the files that the configuration names.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where `bind://` volumes lie.
    pub data_folder: Option<PathBuf>,
    /// Where those of the Python airpods lie, if it was used here.
    pub earlier_folder: Option<PathBuf>,
    /// The folder of the configuration's file, where `./` begins.
    pub file_folder: Option<PathBuf>,
    /// The user's own, for `~`.
    pub home: Option<PathBuf>,
    /// The variables of the environment and of `.env`; the former go before the latter.
    pub variables: BTreeMap<String, String>,
    /// Reads a file that is named.
    pub read: fn(&Path) -> io::Result<String>,
    /// Whether something is there.
    pub exists: fn(&Path) -> bool,
}

impl Default for Places {
    /// Nowhere: there are no folders, variables and files.
    fn default() -> Self {
        Self {
            data_folder: None,
            earlier_folder: None,
            file_folder: None,
            home: None,
            variables: BTreeMap::new(),
            read: |_| Err(io::Error::from(io::ErrorKind::NotFound)),
            exists: |_| false,
        }
    }
}

impl From<Option<&Path>> for Places {
    /// With a data folder and nothing else.
    fn from(data_folder: Option<&Path>) -> Self {
        Self { data_folder: data_folder.map(Path::to_owned), ..Self::default() }
    }
}

impl Places {
    /// The folder that the Python airpods has for a `bind://` volume, if it is there.
    pub(super) fn earlier(&self, relative: &Path) -> Option<PathBuf> {
        let path = self.earlier_folder.as_ref()?.join(relative);
        (self.exists)(&path).then_some(path)
    }

    /// The same for a file that is named, which without `./` is beside the configuration as well, as compose has it.
    pub(super) fn beside_file(&self, text: &str) -> Option<Result<PathBuf, &'static str>> {
        if text.is_empty() || text.starts_with(['/', '~', '$', '.']) {
            return self.host_path(text);
        }
        self.host_path(&format!("./{text}"))
    }

    /// The path of something on the host: absolute, below the home folder (`~/`, `$HOME/`), or beside the configuration (`./`,
    /// `../`). Nothing where the text is no such path; an error where the folder is not known.
    pub(super) fn host_path(&self, text: &str) -> Option<Result<PathBuf, &'static str>> {
        let below = |folder: &Option<PathBuf>, rest: &str, what| {
            folder.as_ref().map(|folder| clean(&folder.join(rest.trim_start_matches('/')))).ok_or(what)
        };
        let home = ["~", "$HOME", "${HOME}"].into_iter().find_map(|word| {
            let rest = text.strip_prefix(word)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(rest)
        });
        if let Some(rest) = home {
            return Some(below(&self.home, rest, "`HOME` is not set"));
        }
        if text.starts_with("./") || text.starts_with("../") || text == "." || text == ".." {
            return Some(below(&self.file_folder, text, "there is no file that it could be beside"));
        }
        text.starts_with('/').then(|| Ok(PathBuf::from(text)))
    }
}

/// The path without `.` and, as far as that needs no look at the disk, without `..`.
fn clean(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(cleaned.pop()),
            other => cleaned.push(other),
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_the_root_at_home_or_beside_the_file() {
        let places = Places {
            home: Some("/home/alice".into()),
            file_folder: Some("/home/alice/.config/airpods".into()),
            ..Places::default()
        };
        for (text, path) in [
            ("/srv/models", "/srv/models"),
            ("~", "/home/alice"),
            ("~/models", "/home/alice/models"),
            ("$HOME/models", "/home/alice/models"),
            ("${HOME}/models", "/home/alice/models"),
            ("./data", "/home/alice/.config/airpods/data"),
            ("../shared/x", "/home/alice/.config/shared/x"),
            (".", "/home/alice/.config/airpods"),
        ] {
            assert_eq!(places.host_path(text), Some(Ok(path.into())), "{text}");
            let nowhere = Places::default().host_path(text);
            assert!(matches!(nowhere, Some(Err(_))) || text.starts_with('/'), "{text}: {nowhere:?}");
        }
        for name in ["models", "~bob/x", "$HOMER/x", ".hidden"] {
            assert_eq!(places.host_path(name), None, "{name}");
        }
    }
}
