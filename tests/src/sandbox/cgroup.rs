//! The sandbox's own control groups: podman's containers are inside, and they are removed with it.
//!
//! Hosts have either the unified hierarchy (cgroups v2, every systemd machine today) or
//! per-controller hierarchies (v1). In both the sandbox gets a group of its own and a cgroup
//! namespace rooted in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::error::{Doing, Result};

const ROOT: &str = "/sys/fs/cgroup";

/// One control-group hierarchy of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchy {
    /// cgroups v2 at `/sys/fs/cgroup`.
    Unified,
    /// One v1 hierarchy: its controllers as `/proc/self/cgroup` writes them (`pids`, `cpu,cpuacct`,
    /// `name=systemd`), and the own group in it.
    Legacy { controllers: String, own: String },
}

impl Hierarchy {
    /// The name of its folder under `/sys/fs/cgroup`.
    fn folder(&self) -> PathBuf {
        match self {
            Self::Unified => ROOT.into(),
            Self::Legacy { controllers, .. } => Path::new(ROOT).join(controllers.trim_start_matches("name=")),
        }
    }

    /// The argument of `mount -o` for a v1 hierarchy.
    fn mount_option(controllers: &str) -> String {
        if controllers.starts_with("name=") { format!("none,{controllers}") } else { controllers.to_owned() }
    }

    /// Where a sandbox's group is made. A unified one lies directly under the root. Below the group
    /// of a running shell it could have no controllers, because the kernel allows no processes in
    /// inner groups.
    fn group(&self, name: &str) -> PathBuf {
        match self {
            Self::Unified => self.folder().join(name),
            Self::Legacy { own, .. } => {
                let nested = self.folder().join(own.trim_start_matches('/'));
                if nested.is_dir() { nested.join(name) } else { self.folder().join(name) }
            }
        }
    }
}

/// The hierarchies of this host.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let kind = statfs(ROOT).doing(|| format!("look at `{ROOT}`"))?;
    if kind.filesystem_type() == CGROUP2_SUPER_MAGIC {
        return Ok(vec![Hierarchy::Unified]);
    }
    let own = fs::read_to_string("/proc/self/cgroup").doing(|| "read /proc/self/cgroup".into())?;
    Ok(legacy(&own))
}

/// Parses `/proc/self/cgroup` (cgroups(7)): lines of `ID:CONTROLLERS:PATH`, the unified one without
/// controllers.
fn legacy(own_groups: &str) -> Vec<Hierarchy> {
    own_groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, own) = (fields.next()?, fields.next()?);
            (!controllers.is_empty())
                .then(|| Hierarchy::Legacy { controllers: controllers.to_owned(), own: own.to_owned() })
        })
        .collect()
}

/// Makes the sandbox's groups, one in each hierarchy.
pub(crate) fn make(hierarchies: &[Hierarchy], name: &str) -> Result<Vec<PathBuf>> {
    hierarchies
        .iter()
        .map(|hierarchy| {
            let group = hierarchy.group(name);
            fs::create_dir(&group).doing(|| format!("make the control group `{}`", group.display()))?;
            // A new v1 cpuset is empty and accepts no process, so copy the parent's values.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let parent = group.with_file_name(file);
                if matches!(hierarchy, Hierarchy::Legacy { .. }) && parent.exists() {
                    let value = fs::read_to_string(&parent).doing(|| format!("read `{}`", parent.display()))?;
                    fs::write(group.join(file), value.trim()).doing(|| format!("set `{file}`"))?;
                }
            }
            Ok(group)
        })
        .collect()
}

/// The existing groups next to a new one whose names begin with `prefix`.
pub(crate) fn siblings(hierarchies: &[Hierarchy], prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for hierarchy in hierarchies {
        let group = hierarchy.group(prefix);
        let parent = group.parent().unwrap_or(Path::new(ROOT));
        let entries = fs::read_dir(parent).doing(|| format!("list `{}`", parent.display()))?;
        let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
        found.extend(entries.flatten().map(|entry| entry.path()).filter(named));
    }
    Ok(found)
}

/// Moves this process into the groups.
pub(crate) fn join(groups: &[PathBuf]) -> Result<()> {
    for group in groups {
        // "0" stands for the writing process, in any pid namespace.
        fs::write(group.join("cgroup.procs"), "0").doing(|| format!("join `{}`", group.display()))?;
    }
    Ok(())
}

/// Mounts the sandbox's view of its groups below `root` (a new root that is not yet pivoted to).
/// The calling process is in a cgroup namespace rooted in them.
pub(crate) fn mount_inside(hierarchies: &[Hierarchy], root: &Path) -> Result<()> {
    let top = root.join(ROOT.trim_start_matches('/'));
    if hierarchies == [Hierarchy::Unified] {
        return mount_at("cgroup2", &top, None);
    }
    mount_at("tmpfs", &top, Some("mode=755"))?;
    for hierarchy in hierarchies {
        let Hierarchy::Legacy { controllers, .. } = hierarchy else { continue };
        let folder = root.join(hierarchy.folder().strip_prefix("/").unwrap_or(Path::new("")));
        fs::create_dir(&folder).doing(|| format!("make `{}`", folder.display()))?;
        mount_at("cgroup", &folder, Some(&Hierarchy::mount_option(controllers)))?;
    }
    Ok(())
}

fn mount_at(kind: &str, target: &Path, options: Option<&str>) -> Result<()> {
    mount(Some(kind), target, Some(kind), MsFlags::empty(), options)
        .doing(|| format!("mount {kind} on `{}`", target.display()))
}

/// The group for a user's commands, below the namespace's root, seen from inside. On v2 a group
/// that has processes cannot have controllers below it, so commands live in leaves of their own. A
/// person's leaf is delegated to that person, as systemd does for `user@.service`. So rootless
/// podman can limit its containers.
pub(crate) fn join_leaf(person: Option<u32>) -> Result<()> {
    let kind = statfs(ROOT).doing(|| format!("look at `{ROOT}`"))?;
    if kind.filesystem_type() != CGROUP2_SUPER_MAGIC {
        let mut groups = Vec::new();
        for entry in fs::read_dir(ROOT).doing(|| format!("list `{ROOT}`"))? {
            groups.push(entry.doing(|| format!("list `{ROOT}`"))?.path());
        }
        return join(&groups);
    }
    let Some(uid) = person else {
        let leaf = Path::new(ROOT).join("root");
        return make_unless_there(&leaf).and_then(|()| join(&[leaf]));
    };
    let home = Path::new(ROOT).join(format!("user-{uid}"));
    let leaf = home.join("shell");
    for group in [&home, &leaf] {
        make_unless_there(group)?;
        for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            let path = group.join(file);
            std::os::unix::fs::chown(&path, Some(uid), Some(uid))
                .doing(|| format!("give `{}` away", path.display()))?;
        }
    }
    join(&[leaf])
}

/// On v2, enables for the groups below the namespace's root every controller that the host
/// delegates.
pub(crate) fn delegate_controllers() -> Result<()> {
    let available = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).unwrap_or_default();
    for controller in available.split_whitespace() {
        fs::write(Path::new(ROOT).join("cgroup.subtree_control"), format!("+{controller}"))
            .doing(|| format!("hand the controller `{controller}` on"))?;
    }
    Ok(())
}

fn make_unless_there(group: &Path) -> Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.doing(|| format!("make `{}`", group.display())),
    }
}

/// Removes groups with everything below them, once their processes are gone. Returns those that are
/// still there after 60 s.
pub(crate) fn remove(groups: &[PathBuf]) -> Vec<PathBuf> {
    const LIMIT: Duration = Duration::from_secs(60);
    let start = Instant::now();
    loop {
        for group in groups {
            remove_tree(group);
        }
        let left: Vec<PathBuf> = groups.iter().filter(|group| group.exists()).cloned().collect();
        if left.is_empty() || start.elapsed() > LIMIT {
            return left;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Removes the folders from the leaves up: the files of a group cannot be unlinked.
fn remove_tree(group: &Path) {
    let children = fs::read_dir(group).into_iter().flatten().flatten();
    for child in children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&child.path());
    }
    let _ = fs::remove_dir(group);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_v1_hierarchy_is_found_and_the_unified_one_beside_them_is_left_out() {
        let found = legacy("9:name=systemd:/\n4:memory:/deep/er\n2:cpu,cpuacct:/\n0::/\n");
        let folders: Vec<PathBuf> = found.iter().map(Hierarchy::folder).collect();
        assert_eq!(
            folders,
            ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu,cpuacct"].map(PathBuf::from)
        );
        assert_eq!(Hierarchy::mount_option("name=systemd"), "none,name=systemd");
    }
}
