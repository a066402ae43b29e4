//! The needs of a podman that runs as an ordinary user, and whether the host meets them.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::unistd::{Uid, User};

use super::{Code, Finding, programs};

/// The number of ids that `useradd` gives to a user. With fewer, an image that uses a higher id
/// cannot be unpacked.
const IDS: u64 = 65536;

/// The facts about the user who runs the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rootless {
    /// The user's name.
    pub user: String,
    /// The user's id.
    pub uid: u32,
    /// The number of ids that `/etc/subuid` and `/etc/subgid` give to the user.
    pub subordinates: (u64, u64),
    /// The first id after all ranges in both files.
    pub free_id: u64,
    /// `newuidmap` and `newgidmap`.
    pub mappers: (Mapper, Mapper),
    /// The kernel's settings for user namespaces.
    pub namespaces: UserNamespaces,
    /// The control groups that are delegated to the user.
    pub cgroups: Cgroups,
    /// Whether the user's services keep running without a session; `None` without systemd.
    pub lingers: Option<bool>,
    /// `/dev/net/tun`.
    pub tun: Tun,
}

/// A program that writes id maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapper {
    /// It is there, setuid or with its file capability.
    Privileged,
    /// It exists but may not write any.
    Unprivileged,
    /// It is not there.
    Missing,
}

/// The settings that keep ordinary users from creating user namespaces; `None` if the kernel does
/// not have the setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserNamespaces {
    /// `user.max_user_namespaces`.
    pub max: Option<u64>,
    /// `kernel.unprivileged_userns_clone`, of Debian's older kernels.
    pub clone: Option<bool>,
    /// `kernel.apparmor_restrict_unprivileged_userns` is set, and `AppArmor` has no profile for
    /// podman.
    pub restricted: bool,
}

/// The control groups that are delegated to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// Version 1, which cannot be delegated.
    Version1,
    /// Version 2, but the user has no systemd that could delegate any.
    NoSession,
    /// Version 2, with these controllers.
    Delegated(Vec<String>),
}

/// `/dev/net/tun`, by which containers of an ordinary user reach the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tun {
    /// It can be opened.
    Open,
    /// It is not there.
    Missing,
    /// It may not be opened by this user.
    Denied,
}

/// The needs of the services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// A service has a memory limit.
    pub memory: bool,
    /// A service has a CPU limit.
    pub cpus: bool,
    /// A service's restart policy is `always` or `unless-stopped`.
    pub restart: bool,
    /// The keys that give services the restart policy `unless-stopped`.
    pub unless_stopped: Vec<String>,
}

/// Judges whether the host meets the needs of a rootless podman.
pub(super) fn judge(rootless: &Rootless, needs: &Needs) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(subordinates(rootless));
    findings.extend(mappers(rootless));
    findings.extend(namespaces(rootless.namespaces));
    findings.extend(tun(rootless.tun));
    findings.extend(cgroups(rootless, needs));
    findings.extend(linger(rootless, needs));
    findings
}

fn subordinates(rootless: &Rootless) -> Option<Finding> {
    let Rootless { user, subordinates: (uids, gids), free_id, .. } = rootless;
    let (file, has) = if uids <= gids { ("/etc/subuid", *uids) } else { ("/etc/subgid", *gids) };
    if has >= IDS {
        return None;
    }
    let range = format!("{free_id}-{}", free_id + IDS - 1);
    let cure = format!("sudo usermod --add-subuids {range} --add-subgids {range} {user} && podman system migrate");
    let cause = if has == 0 {
        format!("{file} has no ids for the containers of `{user}`, who cannot unpack most images")
    } else {
        format!("{file} has {has} ids for the containers of `{user}`, and images may need {IDS}")
    };
    Some(if has == 0 {
        Finding::broken(Code::SubordinateIds, cause, cure)
    } else {
        Finding::note(Code::SubordinateIds, cause, cure)
    })
}

fn mappers(rootless: &Rootless) -> Option<Finding> {
    let (uid, gid) = rootless.mappers;
    let (name, state) = if uid == Mapper::Privileged { ("newgidmap", gid) } else { ("newuidmap", uid) };
    let cure = match state {
        Mapper::Privileged => return None,
        Mapper::Missing => "sudo apt install uidmap",
        Mapper::Unprivileged => "sudo apt install --reinstall uidmap",
    };
    let cause = match state {
        Mapper::Missing => format!("`{name}` is not installed, which gives containers their ids"),
        _ => format!("`{name}` has neither the setuid bit nor its capability, and cannot give containers their ids"),
    };
    Some(Finding::broken(Code::IdMappers, cause, cure))
}

fn namespaces(namespaces: UserNamespaces) -> Option<Finding> {
    let (switch, cure) = if namespaces.max == Some(0) {
        ("`user.max_user_namespaces` is 0", "sudo sysctl -w user.max_user_namespaces=15000")
    } else if namespaces.clone == Some(false) {
        ("`kernel.unprivileged_userns_clone` is 0", "sudo sysctl -w kernel.unprivileged_userns_clone=1")
    } else if namespaces.restricted {
        (
            "`kernel.apparmor_restrict_unprivileged_userns` is 1 and AppArmor has no profile for podman",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        )
    } else {
        return None;
    };
    Some(Finding::broken(Code::UserNamespaces, format!("unprivileged user namespaces are disabled: {switch}"), cure))
}

fn tun(tun: Tun) -> Option<Finding> {
    let (summary, cure) = match tun {
        Tun::Open => return None,
        Tun::Missing => ("is not there", "sudo modprobe tun"),
        Tun::Denied => ("cannot be opened by you", "sudo chmod 666 /dev/net/tun"),
    };
    let cause = format!("/dev/net/tun {summary}, and rootless containers reach the network through it");
    Some(Finding::broken(Code::TunDevice, cause, cure))
}

fn cgroups(rootless: &Rootless, needs: &Needs) -> Option<Finding> {
    const DELEGATE: &str = "sudo install -d /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu \
                            cpuset io memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/airpods.conf && \
                            sudo systemctl daemon-reload";
    // The last value of a parameter counts (kernel-command-line(7)). It was usually set to 0 in
    // `/etc/default/grub`, which this leaves as it is.
    const UNIFIED: &str = "command -v update-grub >/dev/null && sudo install -d /etc/default/grub.d && \
                           printf 'GRUB_CMDLINE_LINUX_DEFAULT=\"%s\"\\n' '$GRUB_CMDLINE_LINUX_DEFAULT systemd.unified_cgroup_hierarchy=1' | sudo tee \
                           /etc/default/grub.d/airpods.cfg && sudo update-grub && sudo reboot";
    match &rootless.cgroups {
        Cgroups::Version1 => Some(Finding::note(
            Code::CgroupVersion,
            "control groups are of version 1, where no limit of a rootless container is enforced",
            UNIFIED,
        )),
        Cgroups::NoSession => Some(Finding::note(
            Code::UserSession,
            format!("`{}` has no systemd session here, so limits of containers are not enforced", rootless.user),
            format!("sudo loginctl enable-linger {}", rootless.user),
        )),
        Cgroups::Delegated(controllers) => {
            let wanted = [("pids", true), ("memory", needs.memory), ("cpu", needs.cpus)];
            let missing = wanted.iter().filter(|(name, wanted)| *wanted && !controllers.iter().any(|has| has == name));
            let missing: Vec<String> = missing.map(|(name, _)| format!("`{name}`")).collect();
            let plural = if missing.len() == 1 { "" } else { "s" };
            let cause = format!(
                "systemd does not hand the controller{plural} {} on to you: limits are not enforced",
                missing.join(", ")
            );
            (!missing.is_empty()).then(|| Finding::note(Code::CgroupDelegation, cause, DELEGATE))
        }
    }
}

pub(super) fn linger(rootless: &Rootless, needs: &Needs) -> Option<Finding> {
    let ends = rootless.lingers == Some(false) && needs.restart && rootless.cgroups != Cgroups::NoSession;
    ends.then(|| {
        Finding::note(
            Code::Linger,
            "your services end when you log out, and do not come back at boot: lingering is off",
            format!("sudo loginctl enable-linger {}", rootless.user),
        )
    })
}

/// Where cgroups are mounted (cgroups(7)).
const CGROUPS: &str = "/sys/fs/cgroup";

/// The first id that `useradd` gives away (`SUB_UID_MIN` of login.defs(5)).
pub(super) const FIRST_ID: u64 = 100_000;

/// The facts about the host for this user's rootless podman.
pub(super) fn read() -> Rootless {
    let uid = Uid::effective();
    let user = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (uids, gids) = (read("/etc/subuid"), read("/etc/subgid"));
    Rootless {
        subordinates: (ids(&uids, &user, uid.as_raw()), ids(&gids, &user, uid.as_raw())),
        free_id: free_id(&[&uids, &gids]),
        mappers: (mapper("newuidmap"), mapper("newgidmap")),
        namespaces: read_namespaces(),
        cgroups: read_cgroups(Path::new(CGROUPS), uid.as_raw()),
        lingers: Path::new("/run/systemd/system")
            .exists()
            .then(|| Path::new("/var/lib/systemd/linger").join(&user).exists()),
        tun: read_tun(),
        user,
        uid: uid.as_raw(),
    }
}

/// The lines `NAME-OR-UID:FIRST:COUNT` of subuid(5) and subgid(5).
fn ranges(text: &str) -> impl Iterator<Item = (&str, u64, u64)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        Some((fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

pub(super) fn ids(text: &str, user: &str, uid: u32) -> u64 {
    let uid = uid.to_string();
    ranges(text)
        .filter(|(owner, ..)| *owner == user || *owner == uid)
        .map(|(.., count)| count)
        .fold(0, u64::saturating_add)
}

pub(super) fn free_id(texts: &[&str]) -> u64 {
    let ends = texts.iter().flat_map(|text| ranges(text)).map(|(_, first, count)| first.saturating_add(count));
    ends.fold(FIRST_ID, u64::max)
}

fn mapper(name: &str) -> Mapper {
    let Some(file) = programs::find(name) else { return Mapper::Missing };
    let setuid = fs::metadata(&file).is_ok_and(|metadata| metadata.permissions().mode() & 0o4000 != 0);
    let mut capabilities = [0; 64];
    let capable = rustix::fs::getxattr(&file, "security.capability", &mut capabilities[..]).is_ok();
    if setuid || capable { Mapper::Privileged } else { Mapper::Unprivileged }
}

fn read_namespaces() -> UserNamespaces {
    let number = |file: &str| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let restricted = number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1);
    UserNamespaces {
        max: number("/proc/sys/user/max_user_namespaces"),
        clone: number("/proc/sys/kernel/unprivileged_userns_clone").map(|on| on != 0),
        restricted: restricted && !Path::new("/etc/apparmor.d/podman").exists(),
    }
}

fn read_cgroups(mount: &Path, uid: u32) -> Cgroups {
    if !mount.join("cgroup.controllers").exists() {
        return Cgroups::Version1;
    }
    let own = mount.join(format!("user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers"));
    match fs::read_to_string(own) {
        Ok(text) => Cgroups::Delegated(text.split_whitespace().map(str::to_owned).collect()),
        Err(_) => Cgroups::NoSession,
    }
}

fn read_tun() -> Tun {
    match OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Tun::Denied,
        // Any other error means that the kernel has no such device.
        Err(_) => Tun::Missing,
        Ok(_) => Tun::Open,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SUBUID: &str = "alice:100000:65536\n# nobody\n1001:165536:65536\nalice:300000:10\n";

    #[test]
    fn ranges_count_by_name_and_by_id_and_the_next_free_one_is_beyond_all() {
        assert_eq!(ids(SUBUID, "alice", 1000), 65546);
        assert_eq!(ids(SUBUID, "bob", 1001), 65536);
        assert_eq!(ids(SUBUID, "carol", 1002), 0);
        assert_eq!(free_id(&[SUBUID, "dave:400000:65536\n"]), 465_536);
        assert_eq!(free_id(&["", ""]), FIRST_ID);
    }

    #[test]
    fn the_controllers_are_those_that_the_users_own_systemd_has() {
        let mount = tempfile::tempdir().unwrap();
        assert_eq!(read_cgroups(mount.path(), 7), Cgroups::Version1);
        fs::write(mount.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        assert_eq!(read_cgroups(mount.path(), 7), Cgroups::NoSession);
        let own = mount.path().join("user.slice/user-7.slice/user@7.service");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("cgroup.controllers"), "memory pids\n").unwrap();
        assert_eq!(read_cgroups(mount.path(), 7), Cgroups::Delegated(vec!["memory".into(), "pids".into()]));
    }
}
