//! The sandbox's file system: the host's, seen through an overlay whose changes go to memory.
//! Nothing that is written inside reaches the host, and the host's homes, containers and runtime
//! files are not seen.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{chdir, pivot_root};

use super::cgroup::{self, Hierarchy};
use super::people::{self, PEOPLE};
use crate::error::{Doing, Result};

/// Mount point of the scaffolding while the new root is built. Any folder that every Debian has
/// would do.
const SCAFFOLD: &str = "/mnt";

/// Folders that are empty in every sandbox, with their modes. podman unpacks imported images in
/// `/var/tmp`.
const EMPTY: [(&str, u32); 8] = [
    ("run", 0o755),
    ("tmp", 0o1777),
    ("var/tmp", 0o1777),
    ("var/log", 0o755),
    ("var/lib/containers", 0o755),
    ("var/lib/airpods-helper", 0o700),
    ("root", 0o700),
    ("home", 0o755),
];

/// Folders that are separate file systems on some machines. An overlay shows only one file system.
const MAYBE_SEPARATE: [&str; 4] = ["usr", "var", "etc", "opt"];

/// Device nodes: path below `/dev`, major, minor (admin-guide/devices.txt).
const NODES: [(&str, u64, u64); 8] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("fuse", 10, 229),
    ("net/tun", 10, 200),
];

/// Builds the new root in a mount namespace of its own and moves into it.
pub(super) fn build(hierarchies: &[Hierarchy]) -> Result<()> {
    private_root()?;
    let scaffold = Path::new(SCAFFOLD);
    attach("tmpfs", scaffold, "mode=755")?;
    let root = scaffold.join("root");
    overlay(Path::new("/"), scaffold, "root", &root)?;
    for name in MAYBE_SEPARATE {
        let host = Path::new("/").join(name);
        if device(&host) != device(Path::new("/")) && host.is_dir() {
            overlay(&host, scaffold, name, &root.join(name))?;
        }
    }
    for (folder, mode) in EMPTY {
        make_folder(&root.join(folder), 0o755)?;
        attach("tmpfs", &root.join(folder), &format!("mode={mode:o}"))?;
    }
    attach("proc", &root.join("proc"), "")?;
    attach("sysfs", &root.join("sys"), "")?;
    cgroup::mount_inside(hierarchies, &root)?;
    devices(&root.join("dev"))?;
    chdir(&root).doing(|| format!("enter `{}`", root.display()))?;
    // pivot_root(2): with "." twice the old root is stacked on the new one, and unmounting "."
    // uncovers it.
    pivot_root(".", ".").doing(|| "change the root".into())?;
    umount2(".", MntFlags::MNT_DETACH).doing(|| "leave the old root".into())?;
    chdir("/").doing(|| "enter the new root".into())?;
    set_up_accounts()
}

/// Makes all mounts private: no later mount is visible outside.
fn private_root() -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .doing(|| "make the mounts private".into())
}

fn device(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|found| found.dev())
}

/// `target` shows `lower`; changes go to a folder of the scaffold's tmpfs.
fn overlay(lower: &Path, scaffold: &Path, name: &str, target: &Path) -> Result<()> {
    let (upper, work) = (scaffold.join(format!("{name}.upper")), scaffold.join(format!("{name}.work")));
    for folder in [upper.as_path(), work.as_path(), target] {
        make_folder(folder, 0o755)?;
    }
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    attach("overlay", target, &options)
}

fn attach(kind: &str, target: &Path, options: &str) -> Result<()> {
    mount(Some(kind), target, Some(kind), MsFlags::empty(), Some(options))
        .doing(|| format!("mount {kind} on `{}`", target.display()))
}

fn make_folder(path: &Path, mode: u32) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).doing(|| format!("make `{}`", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).doing(|| format!("open `{}`", path.display()))
}

/// Makes device nodes, so that all users inside can open /dev/net/tun and /dev/fuse, independent of
/// their modes outside.
fn devices(dev: &Path) -> Result<()> {
    attach("tmpfs", dev, "mode=755")?;
    for (folder, kind, options) in [
        ("pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ("shm", "tmpfs", "mode=1777"),
        ("mqueue", "mqueue", ""),
    ] {
        make_folder(&dev.join(folder), 0o755)?;
        attach(kind, &dev.join(folder), options)?;
    }
    make_folder(&dev.join("net"), 0o755)?;
    for (name, major, minor) in NODES {
        let path = dev.join(name);
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(major, minor))
            .doing(|| format!("make the device `{}`", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).doing(|| format!("open `{name}`"))?;
    }
    for (link, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        std::os::unix::fs::symlink(target, dev.join(link)).doing(|| format!("link `{link}`"))?;
    }
    Ok(())
}

/// Accounts, homes, and a podman that works in here.
fn set_up_accounts() -> Result<()> {
    let read = |path: &str| fs::read_to_string(path).doing(|| format!("read `{path}`"));
    let accounts = people::accounts(&read("/etc/passwd")?, &read("/etc/group")?);
    write("/etc/passwd", &accounts.passwd)?;
    write("/etc/group", &accounts.group)?;
    write("/etc/shadow", &accounts.shadow)?;
    write("/etc/subuid", &accounts.subids)?;
    write("/etc/subgid", &accounts.subids)?;
    write("/etc/hostname", "sandbox\n")?;
    write("/etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost sandbox\n")?;
    // A host's resolv.conf may be a link into its /run.
    let _ = fs::remove_file("/etc/resolv.conf");
    write("/etc/resolv.conf", "")?;
    for person in &PEOPLE {
        for folder in [people::home(person.name), format!("/run/user/{}", person.uid)] {
            make_folder(Path::new(&folder), 0o700)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
                .and_then(|()| chown(&folder, Some(person.uid), Some(person.uid)))
                .doing(|| format!("give `{folder}` to {}", person.name))?;
        }
        let storage = PathBuf::from(people::home(person.name)).join(".config/containers/storage.conf");
        write_deep(&storage, USER_STORAGE)?;
        let top = PathBuf::from(people::home(person.name)).join(".config");
        for path in [top.clone(), top.join("containers"), storage] {
            chown(&path, Some(person.uid), Some(person.uid)).doing(|| format!("give `{}` away", path.display()))?;
        }
    }
    let (helper, id) = people::HELPER_USER;
    chown("/var/lib/airpods-helper", Some(id), Some(id)).doing(|| format!("give its folder to {helper}"))?;
    for folder in ["/run/dbus", "/run/netns", "/run/lock", LOGS] {
        make_folder(Path::new(folder), 0o755)?;
    }
    write_deep(Path::new("/etc/containers/containers.conf"), CONTAINERS)?;
    write_deep(Path::new("/etc/containers/storage.conf"), ROOT_STORAGE)?;
    write_deep(Path::new("/etc/containers/registries.conf"), "unqualified-search-registries = []\n")
}

/// Where the laboratory keeps the logs of what runs inside.
pub(super) const LOGS: &str = "/var/log/lab";

/// podman's settings for a host without systemd and journal, with limits that need no
/// `CAP_SYS_RESOURCE`.
const CONTAINERS: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"

[network]
network_backend = "netavark"
"#;

const ROOT_STORAGE: &str = r#"[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
"#;

/// The storage driver of users. An image here is one file, so copying it is as fast as drivers that
/// need a newer kernel or fuse.
const USER_STORAGE: &str = "[storage]\ndriver = \"vfs\"\n";

fn write(path: &str, text: &str) -> Result<()> {
    fs::write(path, text).doing(|| format!("write `{path}`"))
}

fn write_deep(path: &Path, text: &str) -> Result<()> {
    make_folder(path.parent().unwrap_or(Path::new("/")), 0o755)?;
    fs::write(path, text).doing(|| format!("write `{}`", path.display()))
}
