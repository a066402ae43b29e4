//! Whether services come back after a reboot, as `restart_policy` promises. podman itself starts nothing at boot: a unit of
//! systemd's does, `podman-restart.service`.

use super::{Code, Finding, Needs};

/// What starts containers at boot.
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
