//! What holds for any bytes in the place of a file of the kernel's. See [`crate::fuzzing`].
#![allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic reports a finding")]

use std::path::{Component, Path};

use super::container::{Place, place, refusals, share};

/// A container's cgroup is one that names it, within the mount; a share of the CPUs is a number; a count is what was counted.
pub fn cgroup_files(bytes: &[u8]) {
    const ID: &str = "4635f4ca9a13";
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for unified in [true, false] {
        let Some(Place::Own(path)) = place(text, ID, unified, "pids") else { continue };
        assert!(path.to_string_lossy().contains(ID));
        let below = |part: Component<'_>| matches!(part, Component::Normal(_));
        assert!(
            path.components().all(below) && Path::new("/sys").join(&path).starts_with("/sys"),
            "{}",
            path.display()
        );
    }
    assert!(share(text).is_none_or(|share| share.is_finite() && share >= 0.0));
    if let Some(count) = refusals(text) {
        assert_eq!(refusals(&format!("low 7\nmax {count}\n")), Some(count));
    }
}
