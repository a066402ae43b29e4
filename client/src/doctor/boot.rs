//! Whether services come back after a reboot, as `restart_policy` promises. podman itself starts nothing at boot: a unit of
//! systemd's does, `podman-restart.service`.

use std::path::{Path, PathBuf};

use super::{Code, Finding, Needs};
use crate::file::{self, Links, Owner};

/// The unit that starts containers at boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// It is podman's of this user, and the unit is one of `systemctl --user`.
    pub rootless: bool,
    /// The text of the unit; none if this podman has none.
    pub unit: Option<String>,
    /// It is started at boot.
    pub enabled: bool,
}

/// Judges it. `needs` says what was promised.
pub(super) fn judge(boot: &Boot, needs: Needs) -> Option<Finding> {
    if !needs.restart {
        return None;
    }
    let enable =
        if boot.rootless { "systemctl --user enable podman-restart" } else { "sudo systemctl enable podman-restart" };
    let note = |why: &str, cure: String| {
        let cause = format!("services do not come back after a reboot: {why}");
        Some(Finding::note(Code::Boot, cause, cure))
    };
    let Some(unit) = &boot.unit else {
        return note("this podman has no `podman-restart.service`", "airpods export quadlet --install".to_owned());
    };
    // `always` alone up to podman 5.3; others have been started since (podman-restart.service of podman#20418).
    let starts_all = ["unless-stopped", "should-start-on-boot"].iter().any(|word| unit.contains(word));
    if needs.unless_stopped && !starts_all {
        let why = "this podman's `podman-restart.service` starts only what has the policy `always`";
        if needs.own_unless_stopped {
            // A policy that a service has for itself stands whatever that of all is.
            return note(why, "airpods export quadlet --install".to_owned());
        }
        let mut cure = "airpods config set runtime.restart_policy always && airpods start --yes".to_owned();
        if !boot.enabled {
            cure += " && ";
            cure += enable;
        }
        return note(why, cure);
    }
    if boot.enabled { None } else { note("`podman-restart.service` is not enabled", enable.to_owned()) }
}

const UNIT: &str = "podman-restart.service";

/// The unit that starts containers of this kind of podman at boot; none without systemd.
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
    use super::*;

    use std::fs;

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
