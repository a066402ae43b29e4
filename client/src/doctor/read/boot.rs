//! The unit that starts containers at boot.

use std::path::{Path, PathBuf};

use crate::doctor::Boot;
use crate::file::{self, Links, Owner};

const UNIT: &str = "podman-restart.service";

/// What starts containers of this kind of podman at boot; none where there is no systemd.
pub(super) fn read(rootless: bool) -> Option<Boot> {
    let home = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    Path::new("/run/systemd/system").exists().then(|| of(Path::new("/"), home.as_deref(), rootless))
}

/// The same of a file system with this root (systemd.unit(5), "Unit File Load Path").
fn of(root: &Path, home: Option<&Path>, rootless: bool) -> Boot {
    let kind = if rootless { "user" } else { "system" };
    let own = home.filter(|_| rootless).map(|home| home.join("systemd/user"));
    let of_machine = ["etc/systemd", "usr/lib/systemd", "lib/systemd"].map(|folder| root.join(folder).join(kind));
    let folders: Vec<PathBuf> = own.into_iter().chain(of_machine).collect();
    let unit = |folder: &PathBuf| file::read(&folder.join(UNIT), Links::Followed, Owner::Any).ok();
    let wanted = |folder: &PathBuf| {
        ["default.target.wants", "multi-user.target.wants"]
            .iter()
            .any(|target| folder.join(target).join(UNIT).symlink_metadata().is_ok())
    };
    Boot { rootless, unit: folders.iter().find_map(unit), enabled: folders.iter().any(wanted) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    #[test]
    fn a_unit_is_found_where_systemd_reads_it_and_is_enabled_by_a_link() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home/.config");
        assert_eq!(of(root.path(), Some(&home), true), Boot { rootless: true, ..Boot::default() });
        for kind in ["user", "system"] {
            let folder = root.path().join("usr/lib/systemd").join(kind);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(UNIT), kind).unwrap();
        }
        let wants = home.join("systemd/user/default.target.wants");
        fs::create_dir_all(&wants).unwrap();
        std::os::unix::fs::symlink("/nowhere", wants.join(UNIT)).unwrap();
        let found = |rootless| of(root.path(), Some(&home), rootless);
        assert_eq!(found(true), Boot { rootless: true, unit: Some("user".into()), enabled: true });
        assert_eq!(found(false), Boot { rootless: false, unit: Some("system".into()), enabled: false });
    }
}
