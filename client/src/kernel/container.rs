//! The kernel's view of a container: the devices and links in its own `/dev` and `/sys`, the limits
//! of its cgroup, and its kernel parameters. `/proc/sys` shows the parameters of the reader's own
//! namespaces, so a process of airpods has to enter the container's.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::{Bound, Processes};
use crate::inside;

/// The devices that every container has (OCI runtime specification, "Default Devices", and a
/// terminal of its own).
const DEFAULT_DEVICES: [&str; 8] = ["console", "full", "null", "ptmx", "random", "tty", "urandom", "zero"];

/// The devices that the container was given. `None` if its `/dev` cannot be read, which needs
/// permission to ptrace the process.
pub(super) fn devices(pid: u32) -> Option<Vec<PathBuf>> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let entries = fs::read_dir(root.join("dev")).ok()?;
    let mut devices = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let usual = path.file_name().is_some_and(|name| DEFAULT_DEVICES.iter().any(|usual| name == *usual));
        if is_device(&path) && !usual {
            devices.push(path);
        } else if path.is_dir() && !path.ends_with("pts") {
            // Folders such as `/dev/net` and `/dev/dri`. `/dev/pts` holds only terminals.
            let inside = fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path());
            devices.extend(inside.filter(|path| is_device(path)));
        }
    }
    let within = |path: &PathBuf| path.strip_prefix(&root).ok().map(|path| Path::new("/").join(path));
    Some(devices.iter().filter_map(within).collect())
}

fn is_device(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_char_device() || found.file_type().is_block_device())
}

/// Every link except `lo`, with its MTU. `None` if its `/sys` cannot be read, which needs
/// permission to ptrace the process. An image may also have no `/sys`.
pub(super) fn links(pid: u32) -> Option<Vec<(String, u32)>> {
    read(&PathBuf::from(format!("/proc/{pid}/root/sys/class/net")))
}

fn read(folder: &Path) -> Option<Vec<(String, u32)>> {
    let mut links = Vec::new();
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // `bonding_masters` is a file in the folder of links; it has no MTU.
        if let Some(mtu) = fs::read_to_string(entry.path().join("mtu")).ok().and_then(|text| text.trim().parse().ok())
            && name != "lo"
        {
            links.push((name, mtu));
        }
    }
    links.sort();
    Some(links)
}

/// Where cgroups are mounted (cgroups(7)).
const MOUNT: &str = "/sys/fs/cgroup";

/// The value in bytes from which a memory limit of version 1 means none: the kernel then writes the
/// largest number of whole pages.
const NO_LIMIT: u64 = i64::MAX as u64 - (1 << 20);

/// The limits of one container's control groups.
pub(super) struct Limits {
    /// `/proc/PID/cgroup`; `None` if it cannot be read.
    membership: Option<String>,
    container_id: String,
    /// Whether cgroups are version 2, with all controllers in one tree.
    unified: bool,
}

impl Limits {
    pub(super) fn of(pid: u32, container_id: &str) -> Self {
        Self {
            membership: fs::read_to_string(format!("/proc/{pid}/cgroup")).ok(),
            container_id: container_id.to_owned(),
            unified: Path::new(MOUNT).join("cgroup.controllers").exists(),
        }
    }

    /// The container's own limit, which is the innermost one. The runtime may have made a group for
    /// it within systemd's unit.
    pub(super) fn pids(&self) -> Option<Bound<u64>> {
        Some(self.each_pids()?.first().map_or(Bound::None, |limit| Bound::At(*limit)))
    }

    /// A stricter limit of an outer group, which systemd sets.
    pub(super) fn unit_pids(&self) -> Option<u64> {
        let limits = self.each_pids()?;
        let (innermost, outer) = limits.split_first()?;
        outer.iter().min().copied().filter(|limit| limit < innermost)
    }

    /// The limits on processes, from the process's cgroup up to the container's.
    fn each_pids(&self) -> Option<Vec<u64>> {
        let groups = self.groups("pids")?.unwrap_or_default();
        Some(groups.iter().filter_map(|folder| number(folder, "pids.max")).collect())
    }

    pub(super) fn memory(&self) -> Option<Bound<u64>> {
        let file = if self.unified { "memory.max" } else { "memory.limit_in_bytes" };
        self.strictest("memory", |folder| number(folder, file).filter(|limit| *limit < NO_LIMIT))
    }

    pub(super) fn cpus(&self) -> Option<Bound<f64>> {
        self.strictest("cpu", |folder| {
            if self.unified {
                share(&fs::read_to_string(folder.join("cpu.max")).ok()?)
            } else {
                let read = |file| fs::read_to_string(folder.join(file)).ok();
                share(&format!("{} {}", read("cpu.cfs_quota_us")?.trim(), read("cpu.cfs_period_us")?.trim()))
            }
        })
    }

    /// The smallest limit from the process's cgroup up to the container's. The runtime may have
    /// made an inner group, and set the limit on either.
    fn strictest<T: PartialOrd + Copy>(
        &self,
        controller: &str,
        limit: impl Fn(&Path) -> Option<T>,
    ) -> Option<Bound<T>> {
        // A container without a cgroup of its own shares its parent's, and has no limit of its own.
        let Some(groups) = self.groups(controller)? else { return Some(Bound::None) };
        // A group whose controller is off has no such file, and no limit.
        let limits = groups.iter().filter_map(|folder| limit(folder));
        let strictest = limits.reduce(|one, other| if other < one { other } else { one });
        Some(strictest.map_or(Bound::None, Bound::At))
    }

    /// The number of processes, and how often the kernel refused another one.
    pub(super) fn processes(&self) -> Option<Processes> {
        let groups = self.groups("pids")??;
        let current = number(groups.last()?, "pids.current")?;
        // Kernels differ: a refusal is counted in the group whose limit was reached, or in the
        // group that wanted to fork.
        let refused =
            groups.iter().filter_map(|folder| refusals(&fs::read_to_string(folder.join("pids.events")).ok()?));
        Some(Processes { current, refused: refused.max().unwrap_or_default() })
    }

    /// The folders of the cgroups from the process's up to the container's. `Some(None)` if the
    /// container has none of its own, `None` if that is unknown.
    #[allow(clippy::option_option, reason = "not knowing and there being none are two answers")]
    fn groups(&self, controller: &str) -> Option<Option<Vec<PathBuf>>> {
        let membership = parse_membership(self.membership.as_deref()?, &self.container_id, self.unified, controller)?;
        let CgroupMembership::Own(path) = membership else { return Some(None) };
        let mut folder = Path::new(MOUNT).join(path);
        if !folder.is_dir() {
            return None;
        }
        let mut groups = Vec::new();
        loop {
            groups.push(folder.clone());
            let own = folder.file_name().is_some_and(|name| name.to_string_lossy().contains(&self.container_id));
            if own || !folder.pop() {
                return Some(Some(groups));
            }
        }
    }
}

/// The number of refusals in `pids.events`, whose line is `max 3`.
pub(super) fn refusals(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("max "))?.trim().parse().ok()
}

/// The number in a file; none for `max` and other words.
fn number(folder: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
}

/// The number of CPUs for a quota and a period such as `50000 100000`; none for `max` and `-1`.
pub(super) fn share(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u32, u32) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0).then(|| f64::from(quota) / f64::from(period))
}

/// The cgroup of a process for one controller.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CgroupMembership {
    /// In the container's own cgroup, or in one below it. The path is relative to the mount.
    Own(PathBuf),
    /// In a cgroup that the container shares with others.
    Shared,
}

/// Reads `/proc/PID/cgroup`: `ID:CONTROLLERS:/PATH` per line; version 2 is the line with id 0.
pub(super) fn parse_membership(
    membership: &str,
    container_id: &str,
    unified: bool,
    controller: &str,
) -> Option<CgroupMembership> {
    membership.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let ours = if unified { id == "0" } else { controllers.split(',').any(|name| name == controller) };
        // A path with `..` is outside this cgroup namespace, which shows nothing of it.
        let is_below = |path: &&str| Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        let relative = path.strip_prefix('/').filter(|_| ours).filter(is_below)?;
        Some(if relative.contains(container_id) {
            CgroupMembership::Own(if unified { PathBuf::from(relative) } else { Path::new(controller).join(relative) })
        } else {
            CgroupMembership::Shared
        })
    })
}

/// The name of the hidden command that reads kernel parameters.
pub(crate) const COMMAND: &str = "sysctl-inside";

/// How long that process may take. It reads only a few files, but the machine may be slow.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The size limit of the list of names, in bytes.
const NAMES: u64 = 64 << 10;

/// Reads these parameters through a process of airpods that enters the namespaces of the process
/// `pid`. `None` if that is not permitted.
pub(super) async fn read_inside(pid: u32, names: &[&str]) -> Option<BTreeMap<String, String>> {
    let answer = inside::run(COMMAND, pid, &serde_json::to_vec(names).ok()?, TIMEOUT).await.ok()?;
    serde_json::from_slice(&answer).ok()
}

/// Enters the namespaces of the process `pid`, which cannot be undone, and reads the parameters
/// that standard input names.
///
/// # Errors
/// Those of the kernel; usually this user lacks the permission.
pub(crate) fn enter_and_read(pid: u32) -> io::Result<BTreeMap<String, String>> {
    let names: Vec<String> =
        serde_json::from_reader(io::Read::take(io::stdin().lock(), NAMES)).map_err(io::Error::other)?;
    inside::enter(pid, inside::NETWORK_AND_IPC)?;
    Ok(read_parameters(&names))
}

/// Reads parameters. One that does not exist or cannot be read is left out.
fn read_parameters(names: &[String]) -> BTreeMap<String, String> {
    let value = |name: &String| Some((name.clone(), fs::read_to_string(path(name)).ok()?.trim().to_owned()));
    names.iter().filter_map(value).collect()
}

/// The file of a parameter such as `net.core.somaxconn` (sysctl(8)).
fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}

/// Whether two values of a parameter are equal. The kernel accepts numbers in any base, and
/// separates them by tabs.
pub(crate) fn is_same(wanted: &str, found: &str) -> bool {
    let same = |(wanted, found): (&str, &str)| {
        wanted == found
            || parameter_number(wanted).zip(parameter_number(found)).is_some_and(|(wanted, found)| wanted == found)
    };
    let (wanted, found): (Vec<_>, Vec<_>) = (wanted.split_whitespace().collect(), found.split_whitespace().collect());
    wanted.len() == found.len() && wanted.into_iter().zip(found).all(same)
}

/// A number as `proc_dointvec` of the kernel reads it (strtoul with base 0).
fn parameter_number(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (digits, base) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    let number = i128::from(u64::from_str_radix(digits, base).ok()?);
    Some(sign * number)
}

/// Properties: a container's cgroup contains its id and is within the mount. A CPU share is a
/// finite number, and a count is parsed as it was written.
#[cfg(any(test, fuzzing))]
#[allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic reports a finding")]
pub fn cgroup_files(bytes: &[u8]) {
    const ID: &str = "4635f4ca9a13";
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for unified in [true, false] {
        let Some(CgroupMembership::Own(path)) = parse_membership(text, ID, unified, "pids") else { continue };
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_devices_beyond_the_default_ones_are_reported() {
        let devices = devices(std::process::id()).unwrap_or_default();
        assert!(devices.iter().all(|path| is_device(path)), "{devices:?}");
        assert!(!devices.contains(&"/dev/null".into()) && !devices.iter().any(|path| path.starts_with("/dev/pts")));
    }

    #[test]
    fn this_process_has_at_most_the_links_that_the_kernel_lists_for_it() {
        let listed = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
        let links = links(std::process::id()).unwrap_or_default();
        assert!(links.iter().all(|(name, _)| listed.contains(&format!("{name}:")) && name != "lo"), "{links:?}");
    }

    #[test]
    fn a_process_that_is_not_there_has_no_answer_and_not_no_links() {
        assert_eq!(links(u32::MAX), None);
    }

    const ID: &str = "4635f4ca9a13";

    #[test]
    fn version_2_is_read_from_the_line_with_id_0() {
        let text = format!("0::/user.slice/libpod-{ID}.scope/container\n");
        let own = PathBuf::from(format!("user.slice/libpod-{ID}.scope/container"));
        assert_eq!(parse_membership(&text, ID, true, "pids"), Some(CgroupMembership::Own(own)));
    }

    #[test]
    fn version_1_is_read_from_the_line_of_the_pids_controller() {
        let text = format!("9:memory:/else\n8:pids:/libpod_parent/libpod-{ID}\n0::/\n");
        let own = PathBuf::from(format!("pids/libpod_parent/libpod-{ID}"));
        assert_eq!(parse_membership(&text, ID, false, "pids"), Some(CgroupMembership::Own(own)));
    }

    #[test]
    fn a_container_without_a_cgroup_of_its_own_is_known_as_such() {
        assert_eq!(parse_membership("8:pids:/user.slice\n", ID, false, "pids"), Some(CgroupMembership::Shared));
        assert_eq!(parse_membership("1:name=systemd:/\n", ID, false, "pids"), None);
    }

    #[test]
    fn refusals_are_counted_by_the_kernel() {
        assert_eq!((refusals("max 3\n"), refusals("max 0\n"), refusals("")), (Some(3), Some(0), None));
    }

    #[test]
    fn a_share_of_the_cpus_is_a_quota_within_a_period() {
        assert_eq!(share("50000 100000\n"), Some(0.5));
        assert_eq!((share("max 100000\n"), share("-1 100000"), share("1 0")), (None, None, None));
    }

    #[test]
    fn a_parameter_is_compared_by_what_the_kernel_makes_of_it() {
        for (wanted, found) in
            [("1024 65000", "1024\t65000"), ("0x10", "16"), ("010", "8"), ("-1", "-1"), ("cubic", "cubic")]
        {
            assert!(is_same(wanted, found), "{wanted} {found}");
        }
        for (wanted, found) in [("1024", "1024\t65000"), ("10", "8"), ("cubic", "reno"), ("1", "-1")] {
            assert!(!is_same(wanted, found), "{wanted} {found}");
        }
    }

    #[test]
    fn objects_missing_in_the_kernel_are_left_out() {
        let names = ["kernel.ostype", "net.no_such_parameter"].map(str::to_owned);
        assert_eq!(read_parameters(&names), [("kernel.ostype".to_owned(), "Linux".to_owned())].into());
    }
}
