//! The inputs of `tests/fuzz/seeds`: what fuzzing begins with, and what it has found.

use std::fs;

use crate::error::{Doing, Result};
use crate::programs::repository;

/// The function to fuzz: it panics if a property does not hold.
pub type Target = fn(&[u8]);

/// Gives every input that is kept for a target to what it fuzzes, and tells how many there are. The last one named on
/// standard error is the one that a panic is about.
///
/// # Errors
/// If the folder of the target cannot be read.
pub fn replay(target: &str, check: Target) -> Result<usize> {
    let mut replayed = 0;
    let doing = || format!("read the inputs for `{target}`");
    for entry in fs::read_dir(repository().join("tests/fuzz/seeds").join(target)).doing(doing)? {
        let path = entry.doing(doing)?.path();
        eprintln!("{}", path.display());
        check(&fs::read(path).doing(doing)?);
        replayed += 1;
    }
    Ok(replayed)
}
