//! The public stacks that were counted, as small configurations of our own in `tests/stacks`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Result};

/// A configuration with the needs of one public stack.
#[derive(Debug)]
pub struct Stack {
    /// The name of its file, without the extension.
    pub name: String,
    /// Its file. Files of variables are beside it.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// The needs that its second line lists.
    pub needs: Vec<String>,
}

impl Stack {
    /// Whether its second line lists this need.
    #[must_use]
    pub fn needs(&self, need: &str) -> bool {
        self.needs.iter().any(|listed| listed == need)
    }
}

/// The folder of the stacks.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("stacks")
}

/// All stacks, in the order of their names.
///
/// # Errors
/// A file cannot be read.
pub fn stacks() -> Result<Vec<Stack>> {
    let mut stacks = files(|path| path.extension().is_some_and(|kind| kind == "toml"))?;
    stacks.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(stacks.into_iter().map(|(path, text)| stack(path, text)).collect())
}

/// The files of variables beside the stacks, with their text.
///
/// # Errors
/// A file cannot be read.
pub fn variables() -> Result<Vec<(PathBuf, String)>> {
    files(|path| path.to_string_lossy().ends_with(".env"))
}

fn files(belongs: impl Fn(&Path) -> bool) -> Result<Vec<(PathBuf, String)>> {
    let folder = folder();
    let entries = fs::read_dir(&folder).doing(|| format!("list `{}`", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| belongs(path));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).doing(|| format!("read `{}`", path.display()))?;
        Ok((path, text))
    };
    paths.map(read).collect()
}

fn stack(path: PathBuf, text: String) -> Stack {
    let listed = text.lines().find_map(|line| line.strip_prefix("# needs: ")).unwrap_or_default();
    let needs = listed.split(", ").map(str::to_owned).collect();
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Stack { name, path, text, needs }
}
