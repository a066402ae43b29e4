//! The settings that go to podman as they are, in the words that Kubernetes has for them.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::name::{label, of_path};
use crate::plan::Launch;
use crate::podman::{ContainerOption, Options};

/// Where shared memory is (`shm_overview(7)`).
const SHM: &str = "/dev/shm";

/// What of a pod's specification is said for one of its containers; what cannot be said, a sentence each.
pub(super) fn of_pod(launch: &Launch, spec: &mut Value) -> Vec<String> {
    let mut unexpressed = Vec::new();
    let options = &launch.container.options;
    for (row, values) in options.iter() {
        let first = values.first().map(String::as_str).unwrap_or_default();
        let cannot = |why: &str| format!("`services.{}.{}`: {why}", launch.service, row.key);
        match row.option {
            ContainerOption::Hostname => spec["hostname"] = first.into(),
            ContainerOption::Ipc if first == "host" => spec["hostIPC"] = true.into(),
            ContainerOption::Ipc if first == "none" => unexpressed.push(cannot("every pod has shared memory")),
            ContainerOption::ShmSize => {
                let volume =
                    json!({ "name": shm(launch), "emptyDir": { "medium": "Memory", "sizeLimit": kubes(first) } });
                match spec["volumes"].as_array_mut() {
                    Some(volumes) => volumes.push(volume),
                    None => spec["volumes"] = json!([volume]),
                }
            }
            ContainerOption::Tmpfs => {
                let volumes = values.iter().map(|one| {
                    let mut folder = json!({ "medium": "Memory" });
                    if let Some(size) = tmpfs_options(one).find_map(|option| option.strip_prefix("size=")) {
                        folder["sizeLimit"] = kubes(size).into();
                    }
                    json!({ "name": tmpfs_name(launch, one), "emptyDir": folder })
                });
                let volumes: Vec<Value> = volumes.collect();
                match spec["volumes"].as_array_mut() {
                    Some(all) => all.extend(volumes),
                    None => spec["volumes"] = volumes.into(),
                }
                let other = |option: &&str| !option.starts_with("size=") && !matches!(*option, "rw" | "ro");
                let unknown = values.iter().flat_map(|one| tmpfs_options(one)).filter(other);
                unexpressed.extend(unknown.map(|option| cannot(&format!("Kubernetes has no word for `{option}`"))));
            }
            ContainerOption::Ulimits => unexpressed.push(cannot("Kubernetes has no such limits")),
            ContainerOption::Sysctls => {
                let named = |(name, value)| json!({ "name": name, "value": value });
                spec["securityContext"]["sysctls"] = options.sysctls().map(named).collect();
            }
            ContainerOption::GroupAdd => {
                let numbers: Vec<u32> = values.iter().filter_map(|group| group.parse().ok()).collect();
                if numbers.len() < values.len() {
                    unexpressed.push(cannot("Kubernetes has numbers of groups, and no names"));
                }
                if !numbers.is_empty() {
                    spec["securityContext"]["supplementalGroups"] = json!(numbers);
                }
            }
            ContainerOption::User if numbers(first).is_none() => {
                unexpressed.push(cannot("Kubernetes has numbers of users, and no names"));
            }
            ContainerOption::Userns => {
                unexpressed.push(cannot("is an annotation of podman's, which a cluster ignores"));
            }
            ContainerOption::Init => unexpressed.push(cannot("is an annotation of podman's, which a cluster ignores")),
            ContainerOption::SecurityOpt => {
                let known = |option: &String| {
                    option == "no-new-privileges" || option == "label=disable" || option.ends_with("=unconfined")
                };
                let unknown = values.iter().filter(|option| !known(option));
                unexpressed.extend(unknown.map(|option| cannot(&format!("Kubernetes has no word for `{option}`"))));
            }
            _ => {}
        }
    }
    unexpressed
}

/// The annotations by which podman takes what Kubernetes has no field for.
pub(super) fn annotations(launch: &Launch) -> Vec<(String, String)> {
    let options = &launch.container.options;
    let init = options.get(ContainerOption::Init).first();
    let init = init.map(|_| (format!("io.podman.annotations.init/{}", label(&launch.service)), "TRUE".to_owned()));
    let userns = options.get(ContainerOption::Userns).first();
    let userns = userns.map(|mode| ("io.podman.annotations.userns".to_owned(), mode.clone()));
    init.into_iter().chain(userns).collect()
}

/// A container's `securityContext`; empty where nothing is to be said.
pub(super) fn security_context(options: &Options) -> Map<String, Value> {
    let mut context = Map::new();
    if let Some((user, group)) = options.get(ContainerOption::User).first().and_then(|user| numbers(user)) {
        context.insert("runAsUser".to_owned(), user.into());
        context.extend(group.map(|group| ("runAsGroup".to_owned(), group.into())));
    }
    if !options.get(ContainerOption::Privileged).is_empty() {
        context.insert("privileged".to_owned(), true.into());
    }
    if !options.get(ContainerOption::ReadOnly).is_empty() {
        context.insert("readOnlyRootFilesystem".to_owned(), true.into());
    }
    let mut capabilities = Map::new();
    for (key, option) in [("add", ContainerOption::CapAdd), ("drop", ContainerOption::CapDrop)] {
        let names: Vec<&str> = options.get(option).iter().map(|name| name.trim_start_matches("CAP_")).collect();
        if !names.is_empty() {
            capabilities.insert(key.to_owned(), json!(names));
        }
    }
    if !capabilities.is_empty() {
        context.insert("capabilities".to_owned(), capabilities.into());
    }
    for option in options.get(ContainerOption::SecurityOpt) {
        let (key, value) = match option.as_str() {
            "no-new-privileges" => ("allowPrivilegeEscalation", json!(false)),
            "seccomp=unconfined" => ("seccompProfile", json!({ "type": "Unconfined" })),
            "apparmor=unconfined" => ("appArmorProfile", json!({ "type": "Unconfined" })),
            // The type that is confined by nothing (podman-kube-play(1)).
            "label=disable" => ("seLinuxOptions", json!({ "type": "spc_t" })),
            _ => continue,
        };
        context.insert(key.to_owned(), value);
    }
    context
}

/// Folders in memory: shared memory of a size, and those of `tmpfs`.
pub(super) fn mount_memory(launch: &Launch, container: &mut Value) {
    let options = &launch.container.options;
    let shared = options.get(ContainerOption::ShmSize).first();
    let shared = shared.map(|_| json!({ "name": shm(launch), "mountPath": SHM }));
    let folders = options.get(ContainerOption::Tmpfs).iter().map(|one| {
        let mut mount = json!({ "name": tmpfs_name(launch, one), "mountPath": tmpfs_path(one) });
        if tmpfs_options(one).any(|option| option == "ro") {
            mount["readOnly"] = true.into();
        }
        mount
    });
    let more: Vec<Value> = shared.into_iter().chain(folders).collect();
    match container["volumeMounts"].as_array_mut() {
        Some(mounts) => mounts.extend(more),
        None if !more.is_empty() => container["volumeMounts"] = more.into(),
        None => {}
    }
}

fn tmpfs_path(tmpfs: &str) -> &str {
    tmpfs.split(':').next().unwrap_or_default()
}

fn tmpfs_options(tmpfs: &str) -> impl Iterator<Item = &str> {
    let options = tmpfs.split_once(':').map_or("", |(_, options)| options);
    options.split(',').filter(|option| !option.is_empty())
}

/// A name that no other folder in memory of the pod has.
fn tmpfs_name(launch: &Launch, tmpfs: &str) -> String {
    format!("tmp-{}", of_path(Path::new(&format!("{}{}", launch.service, tmpfs_path(tmpfs)))))
}

fn shm(launch: &Launch) -> String {
    format!("shm-{}", label(&launch.service))
}

/// `1g` as `1Gi`.
fn kubes(size: &str) -> String {
    let (number, unit) = size.split_at(size.trim_end_matches(|c: char| !c.is_ascii_digit()).len());
    if unit.is_empty() { number.to_owned() } else { format!("{number}{}i", unit.to_uppercase()) }
}

/// The number of a user, and of a group where there is one.
fn numbers(user: &str) -> Option<(u32, Option<u32>)> {
    match user.split_once(':') {
        Some((user, group)) => Some((user.parse().ok()?, Some(group.parse().ok()?))),
        None => Some((user.parse().ok()?, None)),
    }
}
