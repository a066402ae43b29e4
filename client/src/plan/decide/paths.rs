//! Paths and devices of the host that a launch needs, looked at before anything is pulled or made.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Builder;
use crate::kernel::PathKind;
use crate::plan::{Conflict, Launch};
use crate::podman::Mount;

impl Builder<'_> {
    /// What containers that are made or started are to have of the host must be there, and be what it is meant to be.
    pub(super) fn find_conflicts_of_paths(&self) -> Result<(), Conflict> {
        let launches = || self.launches.iter().filter(|launch| !self.runs_as_wanted(launch));
        launches().try_for_each(|launch| self.find_conflicts_of_mounts(launch))?;
        launches().try_for_each(|launch| {
            match launch.container.device_paths().find(|device| !is_there(self.kind(device))) {
                Some(device) => {
                    let device = device.display().to_string();
                    Err(Conflict::DeviceMissing { service: launch.service.clone(), device })
                }
                None => Ok(()),
            }
        })
    }

    fn find_conflicts_of_mounts(&self, launch: &Launch) -> Result<(), Conflict> {
        for mount in &launch.container.mounts {
            let Mount::Bind { source, .. } = mount else { continue };
            let service = || launch.service.clone();
            // A folder of ours is made.
            let ours = launch.folders.contains(source);
            match self.kind(source) {
                Some(PathKind::Blocked) => {
                    return Err(Conflict::NoFolder { service: service(), path: source.clone() });
                }
                Some(PathKind::Missing) if !ours => {
                    return Err(Conflict::PathMissing { service: service(), path: source.clone() });
                }
                Some(PathKind::File) if is_meant_as_folder(source) => {
                    return Err(Conflict::NoFolder { service: service(), path: source.clone() });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn kind(&self, path: &Path) -> Option<PathKind> {
        self.observed.paths.get(path).copied()
    }

    /// Whether a path of ours is a file: it is mounted as it is, and no folder is made in its place.
    pub(super) fn is_file(&self, path: &Path) -> bool {
        self.kind(path) == Some(PathKind::File)
    }
}

/// What this user may not look at is left to podman.
fn is_there(kind: Option<PathKind>) -> bool {
    !matches!(kind, Some(PathKind::Missing | PathKind::Blocked))
}

/// A path that ends with a slash names a folder.
fn is_meant_as_folder(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}
