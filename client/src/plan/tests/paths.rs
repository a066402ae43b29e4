//! Paths and devices of the host that are missing or of the wrong kind are found before the first
//! step.

use super::*;
use crate::kernel::PathKind;

/// The error of starting one service with this setting, on a host where `path` is of this kind.
async fn refusal(setting: &str, path: &str, kind: PathKind) -> Option<String> {
    let toml = THREE.replace("[services.web]", &format!("[services.web]\n{setting}"));
    let podman = podman(NEW);
    let desired = desired(&toml, &["web"], NEW);
    let mut observed = observed(&podman, &desired).await;
    observed.paths = [(path.into(), kind)].into();
    decide(&desired, &observed, NetworkReset::Never).err().map(|conflict| conflict.to_string())
}

#[tokio::test]
async fn a_path_that_is_missing_or_no_folder_is_reported_before_any_change() {
    let mount = |source: &str| format!("volumes.x = {{ source = \"{source}\", target = \"/x\" }}");
    for (source, path, kind, message) in [
        ("/srv/x", "/srv/x", PathKind::Missing, Some("there is no `/srv/x` on this host")),
        ("/srv/x", "/srv/x", PathKind::Folder, None),
        ("/srv/x", "/srv/x", PathKind::File, None),
        ("/srv/x/", "/srv/x", PathKind::File, Some("is meant to be a folder")),
        ("/srv/x/y", "/srv/x/y", PathKind::Blocked, Some("is meant to be a folder")),
        ("bind://models", "/data/models", PathKind::Missing, None),
        ("bind://models", "/data/models", PathKind::Blocked, Some("is meant to be a folder")),
    ] {
        let refusal = refusal(&mount(source), path, kind).await;
        assert_eq!(refusal.is_some(), message.is_some(), "{source} {kind:?}: {refusal:?}");
        assert!(
            refusal.as_deref().unwrap_or_default().contains(message.unwrap_or_default()),
            "{source} {kind:?}: {refusal:?}"
        );
    }
}

#[tokio::test]
async fn a_file_of_ours_is_mounted_and_no_folder_is_made_in_its_place() {
    let toml = THREE.replace(
        "[services.web]",
        "[services.web]\nvolumes.x = { source = \"bind://Caddyfile\", target = \"/etc/caddy/Caddyfile\" }",
    );
    let podman = podman(NEW);
    let desired = desired(&toml, &["web"], NEW);
    let mut observed = observed(&podman, &desired).await;
    let makes_folders = |observed: &Observed| {
        let plan = decide(&desired, observed, NetworkReset::Never).unwrap();
        plan.steps.iter().any(|step| matches!(step.action, Action::CreateFolder(_)))
    };
    assert!(makes_folders(&observed));
    observed.paths = [("/data/Caddyfile".into(), PathKind::File)].into();
    assert!(!makes_folders(&observed));
}

#[tokio::test]
async fn a_missing_device_is_reported_before_any_change() {
    let podman = podman(NEW);
    let desired = desired(&format!("runtime.gpu_device_flag = \"/dev/kfd\"\n{THREE}"), &["web"], NEW);
    let mut observed = observed(&podman, &desired).await;
    observed.paths = [("/dev/kfd".into(), PathKind::Missing)].into();
    let message = decide(&desired, &observed, NetworkReset::Never).unwrap_err().to_string();
    assert!(message.contains("there is no device `/dev/kfd`"), "{message}");
}

#[tokio::test]
async fn a_named_gpu_that_is_missing_is_reported_before_anything_is_made() {
    let podman = podman(NEW);
    for (key, told) in [("gpu.device = [0, 1]", Some("this host has no GPU `0`")), ("gpu.enabled = true", None)] {
        let desired =
            desired(&format!("{THREE}[services.other]\nimage = \"docker.io/lab/web:1\"\n{key}\n"), &["other"], NEW);
        let observed = observed(&podman, &desired).await;
        let conflict = decide(&desired, &observed, NetworkReset::Never).err().map(|conflict| conflict.to_string());
        assert_eq!(conflict.is_some(), told.is_some(), "{conflict:?}");
        assert!(conflict.is_none_or(|conflict| conflict.contains(told.unwrap())), "{key}");
    }
}
