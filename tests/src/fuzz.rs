//! The inputs in `tests/fuzz/seeds`: the seeds of fuzzing and the inputs that it has found.

use std::fs;

use crate::error::{Doing, Result};
use crate::programs::repository;

/// The function to fuzz: it panics if a property does not hold.
pub type Target = fn(&[u8]);

/// Runs `check` on every input kept for a target and returns their number. Each input is named on
/// standard error first, so the last name is the one that panicked.
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
