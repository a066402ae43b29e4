//! A home folder with a configuration, in which commands run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use airpods_lab::Place;

/// A home with a configuration file.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    pub(crate) fn with(text: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(home.file().parent().unwrap()).unwrap();
        fs::write(home.file(), text).unwrap();
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.path().join(".config/airpods/config.toml")
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// The other files beside the configuration.
    pub(crate) fn others(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.file().parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|file| *file != self.file()).collect()
    }
}

impl Place for Home {
    /// `airpods` is among the programs.
    fn command(&self, program: &str) -> Command {
        let own = Path::new(env!("CARGO_BIN_EXE_airpods")).parent().unwrap();
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.path()).env("ZDOTDIR", self.path()).env("TERM", "xterm");
        command.env("PATH", format!("{}:/usr/bin:/bin", own.display())).current_dir(self.path());
        command
    }

    fn link_target(&self) -> String {
        "1".to_owned()
    }
}
