//! The state of the services that were started, and whether they come back after a reboot, as
//! `restart_policy` promises. podman itself starts nothing at boot; systemd's unit
//! `podman-restart.service` does.

use std::path::{Path, PathBuf};

use super::{Code, Finding, Needs};
use crate::file::{self, Links, Owner};
use crate::podman::{ContainerState, End, Version};

/// Up to this limit a service cannot work: some compose setups pass on a limit of 1.
const TOO_LOW_PIDS: u64 = 8;

/// The number of restarts from which a running service is reported: fewer may be an accident.
const RESTARTS: u32 = 3;

/// A service with a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The state of its container.
    pub state: ContainerState,
    /// How it ended; `None` if it has not ended.
    pub end: Option<End>,
    /// How often podman has restarted it.
    pub restarts: u32,
    /// Why it does not answer its health check, although it had the time to get ready.
    pub silent: Option<String>,
    /// The configured limit of processes.
    pub pids_limit: u64,
    /// The kernel's counts of its processes, if they can be read.
    pub pids: Option<Pids>,
}

/// The processes of a container, read from its control group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pids {
    /// The container's limit; `None` means no limit.
    pub limit: Option<u64>,
    /// The limit of the unit around it, if that is lower.
    pub unit: Option<u64>,
    /// The current number of processes.
    pub current: u64,
    /// How often the kernel refused a new process.
    pub refused: u64,
}

/// Judges one service.
pub(super) fn judge(service: &Service) -> Vec<Finding> {
    let name = &service.name;
    let logs = format!("airpods logs {name}");
    let mut findings = Vec::new();
    match service.state {
        ContainerState::Exited(code) if service.end.is_some_and(End::is_failure) => {
            let how = match service.end {
                Some(End::OutOfMemory) => "was killed because memory ran out".to_owned(),
                _ => format!("has ended: exit code {code}"),
            };
            findings.push(Finding::broken(Code::ServiceDead, format!("`{name}` {how}"), logs));
        }
        ContainerState::Running if service.restarts >= RESTARTS => {
            let cause = format!("`{name}` does not stay up: it was started again {} times", service.restarts);
            findings.push(Finding::broken(Code::ServiceRestarting, cause, logs));
        }
        ContainerState::Running => {
            let silent = service.silent.iter();
            findings.extend(silent.map(|why| {
                Finding::broken(Code::ServiceSilent, format!("`{name}` runs and does not answer: {why}"), &*logs)
            }));
        }
        state => findings.extend(state.improper().map(|word| {
            let cause =
                format!("the container of `{name}` is in the state `{word}`, in which podman does not start it");
            Finding::broken(Code::StateImproper, cause, format!("airpods start {name} --yes"))
        })),
    }
    findings.extend(service.pids.and_then(|pids| processes(service, pids)));
    findings
}

fn processes(service: &Service, pids: Pids) -> Option<Finding> {
    let Service { name, pids_limit, .. } = service;
    let limit = pids.limit?;
    if limit < *pids_limit {
        let cause = format!("the kernel lets `{name}` have {limit} processes, and {pids_limit} are configured");
        return Some(Finding::broken(Code::PidsLow, cause, format!("airpods start {name} --yes")));
    }
    let raise = |to: u64| format!("airpods config set services.{name}.pids_limit {to} && airpods start {name} --yes");
    if limit <= TOO_LOW_PIDS {
        let cause = format!("`services.{name}.pids_limit` is {limit}, too low for most programs");
        return Some(Finding::broken(Code::PidsLow, cause, raise(2048)));
    }
    if let Some(unit) = pids.unit {
        let cause =
            format!("systemd lets `{name}` have {unit} processes (`DefaultTasksMax`), and {limit} are configured");
        let cure = format!("airpods config set services.{name}.pids_limit {unit}");
        return Some(Finding::note(Code::PidsLow, cause, cure));
    }
    // From nine tenths on, the next burst reaches the limit.
    let near = pids.current >= limit - limit / 10;
    if pids.refused == 0 && !near {
        return None;
    }
    let times = match pids.refused {
        0 => format!("has {} of the {limit} processes that `pids_limit` allows", pids.current),
        1 => format!("could not fork once: `pids_limit` is {limit}"),
        many => format!("could not fork {many} times: `pids_limit` is {limit}"),
    };
    let level = if pids.refused > 0 { Finding::broken } else { Finding::note };
    Some(level(Code::PidsReached, format!("`{name}` {times}"), raise((limit * 2).min(1_000_000))))
}

/// The unit that starts containers at boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// The unit is the user's (`systemctl --user`), for a rootless podman.
    pub rootless: bool,
    /// The text of the unit; `None` if this podman has none.
    pub unit: Option<String>,
    /// It starts at boot.
    pub enabled: bool,
    /// The mask on it, with which systemd does not start it, enabled or not.
    pub masked: Option<Mask>,
}

/// The extent of a mask on a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// The user masked their own unit.
    Own,
    /// An administrator masked it for the machine, or for all users.
    Machine,
}

/// Judges the unit. `needs` has what the restart policies promise, `podman` is its version.
pub(super) fn judge_boot(boot: &Boot, needs: &Needs, podman: Option<Version>) -> Option<Finding> {
    const QUADLET: &str = "airpods export quadlet --install";
    if !needs.restart {
        return None;
    }
    let has_quadlet = podman.is_some_and(|podman| podman >= Version::WITH_QUADLET);
    let systemctl = if boot.rootless { "systemctl --user" } else { "sudo systemctl" };
    let unmask = match boot.masked {
        None => String::new(),
        Some(Mask::Machine) if boot.rootless => "sudo systemctl --global unmask podman-restart && ".to_owned(),
        Some(_) => format!("{systemctl} unmask podman-restart && "),
    };
    let enable = format!("{unmask}{systemctl} enable podman-restart");
    let starts = boot.enabled && boot.masked.is_none();
    let note = |why: &str, cure: String| {
        let cause = format!("services do not come back after a reboot: {why}");
        Some(Finding::note(Code::Boot, cause, cure))
    };
    let Some(unit) = &boot.unit else {
        let cure = if has_quadlet { QUADLET } else { "sudo apt install --reinstall podman" };
        return note("this podman has no `podman-restart.service`", cure.to_owned());
    };
    // Up to podman 5.3 the unit starts only containers with the policy `always`; later ones start
    // others, too (podman#20418).
    let starts_all = ["unless-stopped", "should-start-on-boot"].iter().any(|word| unit.contains(word));
    if !needs.unless_stopped.is_empty() && !starts_all {
        let why = "this podman's `podman-restart.service` starts only what has the policy `always`";
        // A service's own policy applies, whatever the policy for all services is.
        if has_quadlet && needs.unless_stopped.iter().any(|key| key.starts_with("services.")) {
            return note(why, QUADLET.to_owned());
        }
        let set = needs.unless_stopped.iter();
        let set = set.map(|policy_key| format!("airpods config set {policy_key} always"));
        let start = "airpods start --yes".to_owned();
        let commands = set.chain([start]).chain((!starts).then_some(enable));
        return note(why, commands.collect::<Vec<_>>().join(" && "));
    }
    match boot.masked {
        _ if starts => None,
        Some(_) => note("`podman-restart.service` is masked", enable),
        None => note("`podman-restart.service` is not enabled", enable),
    }
}

const UNIT: &str = "podman-restart.service";

/// The unit that starts containers of this kind of podman at boot; `None` without systemd.
pub(super) fn read_boot(rootless: bool) -> Option<Boot> {
    let home = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    Path::new("/run/systemd/system").exists().then(|| of(Path::new("/"), home.as_deref(), rootless))
}

/// The unit in a file system with this root (systemd.unit(5), "Unit File Load Path").
fn of(root: &Path, home: Option<&Path>, rootless: bool) -> Boot {
    let kind = if rootless { "user" } else { "system" };
    let own = home.filter(|_| rootless).map(|home| home.join("systemd/user"));
    let of_machine = ["etc/systemd", "usr/lib/systemd", "lib/systemd"].map(|folder| root.join(folder).join(kind));
    let folders: Vec<PathBuf> = own.clone().into_iter().chain(of_machine).collect();
    let found: Vec<PathBuf> = folders.iter().map(|folder| folder.join(UNIT)).filter(|unit| is_there(unit)).collect();
    // A unit is masked if its first file is empty or leads to /dev/null.
    let masks = |unit: &PathBuf| {
        unit.read_link().is_ok_and(|target| target == Path::new("/dev/null"))
            || unit.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
    };
    let text = |unit: &PathBuf| file::read(unit, Links::Followed, Owner::Any).ok().filter(|text| !text.is_empty());
    let wanted = |folder: &PathBuf| {
        ["default.target.wants", "multi-user.target.wants"]
            .iter()
            .any(|target| is_there(&folder.join(target).join(UNIT)))
    };
    let is_own = |unit: &&PathBuf| own.as_ref().is_some_and(|own| unit.starts_with(own));
    let masked = found.first().filter(|unit| masks(unit));
    let masked = masked.map(|unit| if is_own(&unit) { Mask::Own } else { Mask::Machine });
    Boot { rootless, unit: found.iter().find_map(text), enabled: folders.iter().any(wanted), masked }
}

/// Whether something has this path, be it a link that leads nowhere.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
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
        let user = Boot { rootless: true, unit: Some("user".into()), enabled: true, masked: None };
        let system = Boot { rootless: false, unit: Some("system".into()), enabled: false, masked: None };
        assert_eq!((found(true), found(false)), (user.clone(), system.clone()));

        let etc = root.path().join("etc/systemd");
        for kind in ["user", "system"] {
            fs::create_dir_all(etc.join(kind)).unwrap();
            std::os::unix::fs::symlink("/dev/null", etc.join(kind).join(UNIT)).unwrap();
        }
        let masked = |boot: &Boot, mask| Boot { masked: Some(mask), ..boot.clone() };
        assert_eq!((found(true), found(false)), (masked(&user, Mask::Machine), masked(&system, Mask::Machine)));
        fs::write(home.join("systemd/user").join(UNIT), "").unwrap();
        assert_eq!(found(true), masked(&user, Mask::Own));
    }
}
