//! How podman spells the settings it was given, by version, as observed with 4.3.1 and 5.4.2.

use std::path::{Component, Path, PathBuf};

use crate::config::Reference;
use crate::podman::{ContainerDetail, ContainerOption, Limits, Options, Version};

/// The first version, in this model, that keeps a tag beside a digest.
const FIRST_WITH_TAGS: Version = Version { major: 5, minor: 0 };

/// The full name of an image.
pub(super) fn image(name: &str, version: Version) -> String {
    let whole = Reference::of(name).to_string();
    match whole.split_once('@') {
        // A colon after the last slash begins a tag.
        Some((named, digest)) if version < FIRST_WITH_TAGS => {
            let path = named.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(named, |(path, _)| path);
            format!("{path}@{digest}")
        }
        _ => whole,
    }
}

/// Rewrites the stored settings as podman reports them.
pub(super) fn respell(detail: &mut ContainerDetail, cpus: Option<f64>, version: Version) {
    detail.image = image(&detail.image, version);
    for mount in &mut detail.mounts {
        mount.source = clean(&mount.source);
        mount.target = clean(&mount.target);
    }
    detail.mounts.sort_by(|one, other| one.target.cmp(&other.target));
    for aliases in detail.networks.values_mut() {
        aliases.push(detail.id.chars().take(12).collect());
        aliases.sort_unstable();
    }
    let own = [("PATH", "/usr/bin:/bin"), ("container", "podman"), ("HOSTNAME", "4635d2f1c0aa"), ("HOME", "/root")];
    for (name, value) in own {
        detail.env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    detail.ports.sort_unstable();
    #[allow(clippy::cast_sign_loss, reason = "a quota is positive")]
    let nanos = cpus.map_or(0, |cpus| Limits::cpu_quota(cpus) as u64 * (1_000_000_000 / Limits::CPU_PERIOD));
    detail.nano_cpus = nanos;
}

/// Some of the default capabilities of a container, as far as tests need them.
const DEFAULT_CAPABILITIES: [&str; 3] = ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"];

/// The settings as podman reports them: the resulting capabilities in place of the added and
/// dropped ones, and one word for every user namespace of the container's own.
pub(super) fn reported(wanted: &Options) -> Options {
    let mut reported = wanted.clone();
    let (added, dropped) = (wanted.get(ContainerOption::CapAdd), wanted.get(ContainerOption::CapDrop));
    let drops = |name: &str| dropped.iter().any(|dropped| dropped == "ALL" || dropped == name);
    let kept = DEFAULT_CAPABILITIES.into_iter().filter(|name| !drops(name)).map(str::to_owned);
    reported.set(ContainerOption::CapAdd, kept.chain(added.iter().cloned()).collect());
    reported.set(ContainerOption::CapDrop, Vec::new());
    let tmpfs =
        |one: &String| format!("{one}{}rw,rprivate,nosuid,nodev,tmpcopyup", if one.contains(':') { ',' } else { ':' });
    reported.set(ContainerOption::Tmpfs, wanted.get(ContainerOption::Tmpfs).iter().map(tmpfs).collect());
    if !matches!(wanted.get(ContainerOption::Userns).first().map(String::as_str), None | Some("host")) {
        reported.set(ContainerOption::Userns, vec!["private".to_owned()]);
    }
    reported
}

/// Go's `filepath.Clean`.
fn clean(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut clean, part| {
        match part {
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir => {}
            part => clean.push(part),
        }
        clean
    })
}
