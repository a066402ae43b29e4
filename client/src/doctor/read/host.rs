//! What the host gives an ordinary user for containers.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::statfs::{FsType, NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, statfs};
use nix::unistd::{Uid, User};

use super::program;
use crate::doctor::{Cgroups, Mapper, Rootless, Storage, Tun, UserNamespaces};
use crate::podman::StorageFacts;

/// Where cgroups are mounted (cgroups(7)).
const CGROUPS: &str = "/sys/fs/cgroup";

/// The first id that `useradd` gives away (`SUB_UID_MIN` of login.defs(5)).
pub(super) const FIRST_ID: u64 = 100_000;

/// CIFS over version 2 and later, `linux/magic.h`; nix names the older one.
const SMB2_SUPER_MAGIC: FsType = FsType(0xfe53_4d42);

/// What a rootless podman of this user's finds.
pub(super) fn rootless() -> Rootless {
    let uid = Uid::effective();
    let user = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let (uids, gids) = (read("/etc/subuid"), read("/etc/subgid"));
    Rootless {
        subordinates: (ids(&uids, &user, uid.as_raw()), ids(&gids, &user, uid.as_raw())),
        free_id: free_id(&[&uids, &gids]),
        mappers: (mapper("newuidmap"), mapper("newgidmap")),
        namespaces: namespaces(),
        cgroups: cgroups(Path::new(CGROUPS), uid.as_raw()),
        lingers: Path::new("/run/systemd/system")
            .exists()
            .then(|| Path::new("/var/lib/systemd/linger").join(&user).exists()),
        tun: tun(),
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
    let Some(file) = program::find(name) else { return Mapper::Missing };
    let setuid = fs::metadata(&file).is_ok_and(|metadata| metadata.permissions().mode() & 0o4000 != 0);
    let mut capabilities = [0; 64];
    let capable = rustix::fs::getxattr(&file, "security.capability", &mut capabilities[..]).is_ok();
    if setuid || capable { Mapper::Able } else { Mapper::Powerless }
}

fn namespaces() -> UserNamespaces {
    let number = |file: &str| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let restricted = number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1);
    UserNamespaces {
        max: number("/proc/sys/user/max_user_namespaces"),
        clone: number("/proc/sys/kernel/unprivileged_userns_clone").map(|on| on != 0),
        restricted: restricted && !Path::new("/etc/apparmor.d/podman").exists(),
    }
}

fn cgroups(mount: &Path, uid: u32) -> Cgroups {
    if !mount.join("cgroup.controllers").exists() {
        return Cgroups::Version1;
    }
    let own = mount.join(format!("user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers"));
    match fs::read_to_string(own) {
        Ok(text) => Cgroups::Delegated(text.split_whitespace().map(str::to_owned).collect()),
        Err(_) => Cgroups::NoSession,
    }
}

fn tun() -> Tun {
    match OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Tun::Denied,
        // Another error comes from a kernel that does not know the device.
        Err(_) => Tun::Missing,
        Ok(_) => Tun::Open,
    }
}

/// Where podman keeps images.
pub(super) fn storage(facts: &StorageFacts) -> Storage {
    let there = statfs(&facts.root).ok();
    let over_network = there.as_ref().is_some_and(|system| {
        let kind = system.filesystem_type();
        kind == NFS_SUPER_MAGIC || kind == SMB_SUPER_MAGIC || kind == SMB2_SUPER_MAGIC
    });
    let bytes = |system: &nix::sys::statfs::Statfs| {
        Some(system.blocks_available().saturating_mul(system.block_size().try_into().ok()?))
    };
    Storage {
        root: facts.root.clone(),
        free: there.as_ref().and_then(bytes),
        over_network,
        driver: facts.driver.clone(),
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
        assert_eq!(cgroups(mount.path(), 7), Cgroups::Version1);
        fs::write(mount.path().join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        assert_eq!(cgroups(mount.path(), 7), Cgroups::NoSession);
        let own = mount.path().join("user.slice/user-7.slice/user@7.service");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("cgroup.controllers"), "memory pids\n").unwrap();
        assert_eq!(cgroups(mount.path(), 7), Cgroups::Delegated(vec!["memory".into(), "pids".into()]));
    }
}
