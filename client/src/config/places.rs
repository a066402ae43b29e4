//! Where configuration, data and state lie, and the folders and variables that a configuration
//! refers to.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::{ConfigError, process};

/// The name of airpods' folders below the user's (`~/.config`, `~/.local/state`).
pub const FOLDER: &str = "airpods";

/// The folders and files that the environment names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `$AIRPODS_CONFIG`: the one file to read.
    pub airpods_config: Option<PathBuf>,
    /// `$AIRPODS_HOME`: the folder where everything of airpods lies.
    pub airpods_home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// `$XDG_DATA_HOME`.
    pub data_home: Option<PathBuf>,
    /// `$XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// Every variable, for `${NAME}` in the configuration. Variables that are not UTF-8 are left
    /// out.
    pub variables: BTreeMap<String, String>,
}

/// The file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// This one; it must exist.
    Named {
        /// The file.
        path: PathBuf,
        /// The option or variable that names it.
        by: &'static str,
    },
    /// The first that exists, or the built-in defaults alone.
    FirstOf(Vec<PathBuf>),
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let variables = std::env::vars_os().filter_map(text).collect();
        Self { variables, ..Self::read(|name| std::env::var_os(name)) }
    }

    /// Reads the variables through `lookup`. An empty one counts as unset, and so does a relative
    /// path in an XDG variable (XDG Base Directory Specification, "Basics").
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| lookup(name).filter(|text| !text.is_empty()).map(PathBuf::from);
        let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
        Self {
            airpods_config: path("AIRPODS_CONFIG"),
            airpods_home: path("AIRPODS_HOME"),
            config_home: absolute("XDG_CONFIG_HOME"),
            data_home: absolute("XDG_DATA_HOME"),
            state_home: absolute("XDG_STATE_HOME"),
            home: absolute("HOME"),
            variables: BTreeMap::new(),
        }
    }

    /// The file to read; `option` is `--config`. A folder of the Python airpods has its file in
    /// `configs/`.
    #[must_use]
    pub fn search(&self, option: Option<&Path>) -> Search {
        if let Some(path) = option {
            return Search::Named { path: path.to_owned(), by: "`--config`" };
        }
        if let Some(path) = &self.airpods_config {
            return Search::Named { path: path.clone(), by: "`$AIRPODS_CONFIG`" };
        }
        let folders = match &self.airpods_home {
            Some(home) => vec![home.clone()],
            None => self.config_folders(),
        };
        Search::FirstOf(
            folders
                .iter()
                .flat_map(|folder| ["configs/config.toml", "config.toml"].map(|file| folder.join(file)))
                .collect(),
        )
    }

    /// The file that `config init` creates: the named one, or `config.toml` in the first folder
    /// searched.
    #[must_use]
    pub fn new_file(&self, option: Option<&Path>) -> Option<PathBuf> {
        match self.search(option) {
            Search::Named { path, .. } => Some(path),
            Search::FirstOf(paths) => paths.into_iter().nth(1),
        }
    }

    /// The folder under which `bind://` volumes lie.
    #[must_use]
    pub fn data_folder(&self) -> Option<PathBuf> {
        self.folder(self.data_home.as_ref(), ".local/share").map(|folder| folder.join("volumes"))
    }

    /// The folders and variables that a configuration refers to, those of `.env` beside its file
    /// included.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] or [`ConfigError::Variables`]: a `.env` that cannot be read, or
    /// holds anything but variables.
    pub fn places(&self, file: Option<&Path>) -> Result<Places, ConfigError> {
        // A mount of a container needs an absolute path, whatever the current folder is.
        let file_folder = file.and_then(|file| std::path::absolute(file).ok()?.parent().map(Path::to_owned));
        let mut variables = BTreeMap::new();
        if let Some(path) = file_folder.as_ref().map(|folder| folder.join(".env")).filter(|path| path.exists()) {
            let text = process::read(&path).map_err(|cause| ConfigError::Unreadable { path: path.clone(), cause })?;
            variables.extend(process::variables(&text).map_err(|why| ConfigError::Variables { path, why })?);
        }
        variables.extend(self.variables.clone());
        let (data_folder, home) = (self.data_folder(), self.home.clone());
        let earlier_folder = self.earlier_home(file).map(|home| home.join("volumes")).filter(|folder| folder.is_dir());
        let earlier_folder = earlier_folder.filter(|folder| Some(folder) != data_folder.as_ref());
        let (read, exists) = (process::read as fn(&Path) -> _, Path::exists as fn(&Path) -> _);
        Ok(Places { data_folder, earlier_folder, file_folder, home, variables, read, exists })
    }

    /// The folder of the Python airpods: `$AIRPODS_HOME`, or the folder of its file, or the one
    /// above if that folder is `configs`.
    #[must_use]
    pub fn earlier_home(&self, file: Option<&Path>) -> Option<PathBuf> {
        let own = self.airpods_home.as_ref().and_then(|home| std::path::absolute(home).ok());
        let of_file = || {
            let folder = std::path::absolute(file?).ok()?.parent()?.to_owned();
            if folder.ends_with("configs") { folder.parent().map(Path::to_owned) } else { Some(folder) }
        };
        own.or_else(of_file).or_else(|| self.config_folders().into_iter().next())
    }

    /// The file in which the Python airpods keeps the web UI's secret.
    #[must_use]
    pub fn earlier_secret(&self, file: Option<&Path>) -> Option<PathBuf> {
        self.earlier_home(file).map(|home| home.join("configs/webui_secret"))
    }

    /// The folder for what airpods creates itself, such as the web UI's secret.
    #[must_use]
    pub fn state_folder(&self) -> Option<PathBuf> {
        self.folder(self.state_home.as_ref(), ".local/state").map(|folder| match self.airpods_home {
            Some(_) => folder.join("state"),
            None => folder,
        })
    }

    fn folder(&self, xdg: Option<&PathBuf>, below_home: &str) -> Option<PathBuf> {
        // A mount of a container needs an absolute path, whatever the current folder is.
        let own = self.airpods_home.as_ref().map(|home| std::path::absolute(home).unwrap_or_else(|_| home.clone()));
        let home = || self.home.as_ref().map(|home| home.join(below_home));
        own.or_else(|| xdg.cloned().or_else(home).map(|folder| folder.join(FOLDER)))
    }

    fn config_folders(&self) -> Vec<PathBuf> {
        let home = self.home.as_ref().map(|home| home.join(".config"));
        let mut folders: Vec<_> =
            self.config_home.iter().cloned().chain(home).map(|folder| folder.join(FOLDER)).collect();
        folders.dedup();
        folders
    }
}

/// The folders that paths begin at, the variables for `${NAME}`, and access to the files that the
/// configuration names.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where `bind://` volumes lie.
    pub data_folder: Option<PathBuf>,
    /// Where `bind://` volumes of the Python airpods lie, if it was used here.
    pub earlier_folder: Option<PathBuf>,
    /// The folder of the configuration's file, where `./` begins.
    pub file_folder: Option<PathBuf>,
    /// The user's home, for `~`.
    pub home: Option<PathBuf>,
    /// The variables of the environment and of `.env`; the environment takes precedence.
    pub variables: BTreeMap<String, String>,
    /// Reads a file that the configuration names.
    pub read: fn(&Path) -> io::Result<String>,
    /// Whether a path exists.
    pub exists: fn(&Path) -> bool,
}

impl Default for Places {
    /// No folders, no variables and no files.
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
    /// A data folder and nothing else.
    fn from(data_folder: Option<&Path>) -> Self {
        Self { data_folder: data_folder.map(Path::to_owned), ..Self::default() }
    }
}

impl Places {
    /// The folder in which the Python airpods keeps a `bind://` volume, if it exists.
    pub(super) fn earlier(&self, relative: &Path) -> Option<PathBuf> {
        let path = self.earlier_folder.as_ref()?.join(relative);
        (self.exists)(&path).then_some(path)
    }

    /// As [`Self::host_path`], for a file that the configuration names. Without `./` it lies beside
    /// the configuration, too, as in compose.
    pub(super) fn beside_file(&self, text: &str) -> Option<Result<PathBuf, &'static str>> {
        let is_elsewhere = text.is_empty() || text.starts_with(['~', '$']);
        self.host_path(text).or_else(|| self.host_path(&format!("./{text}")).filter(|_| !is_elsewhere))
    }

    /// The path of something on the host: absolute, below the home folder (`~/`, `$HOME/`), or
    /// beside the configuration (`./`, `../`). `None` if the text is no such path; an error if the
    /// folder is unknown.
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

/// The path without `.` and `..`. Symbolic links are not resolved.
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
