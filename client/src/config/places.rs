//! Where configuration, data and state lie, and what the paths and variables of a configuration refer to, beside the text
//! itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::{ConfigError, process};

/// The name of our folders below those of all programs (`~/.config`, `~/.local/state`).
pub const FOLDER: &str = "airpods";

/// The places that the environment names.
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
    /// Every variable, for `${NAME}` in the configuration. One that is no UTF-8 is left out.
    pub variables: BTreeMap<String, String>,
}

/// Which file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// This one; it must exist.
    Named {
        /// The file.
        path: PathBuf,
        /// The option or variable that names it.
        by: &'static str,
    },
    /// The first that exists, else the built-in defaults alone.
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

    /// Reads the variables through `lookup`. An empty one counts as unset, and so does a relative path in an XDG
    /// variable (XDG Base Directory Specification, "Basics").
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

    /// Which file to read; `option` is `--config`. A folder that holds other things of the earlier tool too has
    /// its file in `configs/`.
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

    /// The file that `config init` creates: the one named, else the last place in the first folder searched.
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

    /// The folders and variables that a configuration refers to, those of `.env` beside its file included.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] or [`ConfigError::Variables`]: a `.env` that is there and cannot be read, or is none.
    pub fn places(&self, file: Option<&Path>) -> Result<Places, ConfigError> {
        // A container's mount needs an absolute path whatever the current folder is.
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

    /// The folder where the Python airpods keeps everything: that of its file, or the one above where that folder is `configs`.
    #[must_use]
    pub fn earlier_home(&self, file: Option<&Path>) -> Option<PathBuf> {
        let own = self.airpods_home.as_ref().and_then(|home| std::path::absolute(home).ok());
        let of_file = || {
            let folder = std::path::absolute(file?).ok()?.parent()?.to_owned();
            if folder.ends_with("configs") { folder.parent().map(Path::to_owned) } else { Some(folder) }
        };
        own.or_else(of_file).or_else(|| self.config_folders().into_iter().next())
    }

    /// The file with the web UI's secret that the Python airpods made.
    #[must_use]
    pub fn earlier_secret(&self, file: Option<&Path>) -> Option<PathBuf> {
        self.earlier_home(file).map(|home| home.join("configs/webui_secret"))
    }

    /// The folder where what the command makes up itself is kept, such as the web UI's secret.
    #[must_use]
    pub fn state_folder(&self) -> Option<PathBuf> {
        self.folder(self.state_home.as_ref(), ".local/state").map(|folder| match self.airpods_home {
            Some(_) => folder.join("state"),
            None => folder,
        })
    }

    fn folder(&self, xdg: Option<&PathBuf>, below_home: &str) -> Option<PathBuf> {
        // A container's mount needs an absolute path whatever the current folder is.
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
