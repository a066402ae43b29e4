//! Findings about the host's support for an ordinary user's containers, about the GPU and about the
//! storage.

use crate::doctor::Mask;

use super::{Case, bad, healthy};
use crate::config::GpuDevice;
use crate::doctor::{Cgroups, Code, Description, Facts, Gpu, Level, Mapper, Rootless, Tun, UserNamespaces};

/// A user for whom everything is set up.
pub(super) fn alice() -> Rootless {
    Rootless {
        user: "alice".to_owned(),
        uid: 1000,
        subordinates: (65536, 65536),
        free_id: 165_536,
        mappers: (Mapper::Privileged, Mapper::Privileged),
        namespaces: UserNamespaces { max: Some(60_000), clone: Some(true), restricted: false },
        cgroups: Cgroups::Delegated(vec!["cpu".to_owned(), "memory".to_owned(), "pids".to_owned()]),
        lingers: Some(true),
        tun: Tun::Open,
    }
}

/// A working card, which two services want.
pub(super) fn gpu() -> Gpu {
    Gpu {
        wanted_by: vec!["ollama".to_owned(), "comfyui".to_owned()],
        device: GpuDevice::Auto,
        device_there: false,
        nvidia_card: true,
        nvidia_driver: true,
        toolkit: true,
        descriptions: vec![Description { file: "/etc/cdi/nvidia.yaml".into(), missing: None }],
    }
}

fn rootless(facts: &mut Facts) -> &mut Rootless {
    facts.rootless.as_mut().unwrap()
}

fn storage(facts: &mut Facts) -> &mut crate::doctor::Storage {
    facts.storage.as_mut().unwrap()
}

const IDS: &str = "sudo usermod --add-subuids 165536-231071 --add-subgids 165536-231071 alice && podman system migrate";
const DESCRIBE: &str = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml";

const ALWAYS: &str = "ExecStart=podman start --all --filter restart-policy=always";

fn boot(facts: &mut Facts) -> &mut crate::doctor::Boot {
    facts.boot.as_mut().unwrap()
}

/// Debian 12's podman.
fn without_quadlet(facts: &mut Facts) {
    if let crate::doctor::Engine::Answers { version, .. } = &mut facts.engine {
        *version = crate::podman::Version { major: 4, minor: 3 };
    }
}

pub(super) const CASES: &[Case] = &[
    (
        |facts| boot(facts).enabled = false,
        Code::Boot,
        Level::Note,
        "`podman-restart.service` is not enabled",
        "systemctl --user enable podman-restart",
    ),
    (
        |facts| {
            facts.boot =
                Some(crate::doctor::Boot { rootless: false, unit: Some(ALWAYS.to_owned()), ..Default::default() });
            facts.needs.unless_stopped.clear();
        },
        Code::Boot,
        Level::Note,
        "`podman-restart.service` is not enabled",
        "sudo systemctl enable podman-restart",
    ),
    (
        |facts| boot(facts).masked = Some(Mask::Own),
        Code::Boot,
        Level::Note,
        "`podman-restart.service` is masked",
        "systemctl --user unmask podman-restart && systemctl --user enable podman-restart",
    ),
    (
        |facts| boot(facts).masked = Some(Mask::Machine),
        Code::Boot,
        Level::Note,
        "`podman-restart.service` is masked",
        "sudo systemctl --global unmask podman-restart && systemctl --user enable podman-restart",
    ),
    (
        |facts| {
            facts.root = true;
            facts.boot = Some(crate::doctor::Boot {
                unit: Some(ALWAYS.to_owned()),
                masked: Some(Mask::Machine),
                ..Default::default()
            });
            facts.needs.unless_stopped.clear();
        },
        Code::Boot,
        Level::Note,
        "`podman-restart.service` is masked",
        "systemctl unmask podman-restart && systemctl enable podman-restart",
    ),
    (
        |facts| {
            boot(facts).unit = Some(ALWAYS.to_owned());
            facts.needs.unless_stopped.push("services.ollama.restart_policy".to_owned());
        },
        Code::Boot,
        Level::Note,
        "starts only what has the policy `always`",
        "airpods export quadlet --install",
    ),
    (
        |facts| boot(facts).unit = Some(ALWAYS.to_owned()),
        Code::Boot,
        Level::Note,
        "starts only what has the policy `always`",
        "airpods config set runtime.restart_policy always && airpods start --yes",
    ),
    (
        |facts| (boot(facts).unit, boot(facts).enabled) = (Some(ALWAYS.to_owned()), false),
        Code::Boot,
        Level::Note,
        "services do not come back after a reboot",
        "airpods config set runtime.restart_policy always && airpods start --yes && systemctl --user enable podman-restart",
    ),
    (
        |facts| boot(facts).unit = None,
        Code::Boot,
        Level::Note,
        "this podman has no `podman-restart.service`",
        "airpods export quadlet --install",
    ),
    (
        |facts| {
            without_quadlet(facts);
            boot(facts).unit = None;
        },
        Code::Boot,
        Level::Note,
        "this podman has no `podman-restart.service`",
        "sudo apt install --reinstall podman",
    ),
    (
        |facts| {
            without_quadlet(facts);
            boot(facts).unit = Some(ALWAYS.to_owned());
            facts.needs.unless_stopped = vec!["services.ollama.restart_policy".to_owned()];
        },
        Code::Boot,
        Level::Note,
        "starts only what has the policy `always`",
        "airpods config set services.ollama.restart_policy always && airpods start --yes",
    ),
    (
        |facts| rootless(facts).subordinates = (0, 65536),
        Code::SubordinateIds,
        Level::Broken,
        "/etc/subuid has no ids for the containers of `alice`",
        IDS,
    ),
    (
        |facts| rootless(facts).subordinates = (65536, 1000),
        Code::SubordinateIds,
        Level::Note,
        "/etc/subgid has 1000 ids",
        IDS,
    ),
    (
        |facts| rootless(facts).mappers.0 = Mapper::Missing,
        Code::IdMappers,
        Level::Broken,
        "`newuidmap` is not installed",
        "sudo apt install uidmap",
    ),
    (
        |facts| rootless(facts).mappers.1 = Mapper::Unprivileged,
        Code::IdMappers,
        Level::Broken,
        "`newgidmap` has neither the setuid bit nor its capability",
        "sudo apt install --reinstall uidmap",
    ),
    (
        |facts| rootless(facts).namespaces.max = Some(0),
        Code::UserNamespaces,
        Level::Broken,
        "`user.max_user_namespaces` is 0",
        "sudo sysctl -w user.max_user_namespaces=15000",
    ),
    (
        |facts| rootless(facts).namespaces.clone = Some(false),
        Code::UserNamespaces,
        Level::Broken,
        "`kernel.unprivileged_userns_clone` is 0",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        |facts| rootless(facts).namespaces.restricted = true,
        Code::UserNamespaces,
        Level::Broken,
        "AppArmor has no profile for podman",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    (
        |facts| rootless(facts).cgroups = Cgroups::Version1,
        Code::CgroupVersion,
        Level::Note,
        "control groups are of version 1",
        "command -v update-grub >/dev/null && sudo install -d /etc/default/grub.d && printf 'GRUB_CMDLINE_LINUX_DEFAULT=\"%s\"\\n' \
         '$GRUB_CMDLINE_LINUX_DEFAULT systemd.unified_cgroup_hierarchy=1' | sudo tee \
         /etc/default/grub.d/airpods.cfg && sudo update-grub && sudo reboot",
    ),
    (
        |facts| rootless(facts).cgroups = Cgroups::Delegated(vec!["memory".to_owned(), "pids".to_owned()]),
        Code::CgroupDelegation,
        Level::Note,
        "does not hand the controller `cpu` on to you",
        "sudo install -d /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory \
         pids\\n' | sudo tee /etc/systemd/system/user@.service.d/airpods.conf && sudo systemctl daemon-reload",
    ),
    (
        |facts| rootless(facts).cgroups = Cgroups::NoSession,
        Code::UserSession,
        Level::Note,
        "`alice` has no systemd session here",
        "sudo loginctl enable-linger alice",
    ),
    (
        |facts| rootless(facts).lingers = Some(false),
        Code::Linger,
        Level::Note,
        "your services end when you log out",
        "sudo loginctl enable-linger alice",
    ),
    (
        |facts| rootless(facts).tun = Tun::Missing,
        Code::TunDevice,
        Level::Broken,
        "/dev/net/tun is not there",
        "sudo modprobe tun",
    ),
    (
        |facts| rootless(facts).tun = Tun::Denied,
        Code::TunDevice,
        Level::Broken,
        "/dev/net/tun cannot be opened by you",
        "sudo chmod 666 /dev/net/tun",
    ),
    (
        |facts| {
            facts.gpu.descriptions.clear();
            facts.gpu.nvidia_driver = false;
        },
        Code::GpuDriver,
        Level::Note,
        "without its driver, so `ollama`, `comfyui` must do without",
        "sudo apt install nvidia-driver",
    ),
    (
        |facts| facts.gpu.descriptions.clear(),
        Code::GpuNotDescribed,
        Level::Note,
        "not described to containers (CDI)",
        DESCRIBE,
    ),
    (
        |facts| {
            facts.gpu.descriptions.clear();
            facts.gpu.toolkit = false;
            facts.gpu.device = GpuDevice::Device("nvidia.com/gpu=all".to_owned());
        },
        Code::GpuNotDescribed,
        Level::Broken,
        "not described to containers (CDI)",
        "sudo apt install nvidia-container-toolkit && \
         sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
    ),
    (
        |facts| facts.gpu.descriptions[0].missing = Some("/usr/lib/libcuda.so.550.54.14".into()),
        Code::GpuStale,
        Level::Broken,
        "/etc/cdi/nvidia.yaml describes the GPU with /usr/lib/libcuda.so.550.54.14, which is not there",
        DESCRIBE,
    ),
    (
        |facts| facts.gpu.device = GpuDevice::Device("/dev/dri".to_owned()),
        Code::GpuDevice,
        Level::Broken,
        "`runtime.gpu_device_flag` is /dev/dri, which is not there",
        "airpods config set runtime.gpu_device_flag auto",
    ),
    (
        |facts| storage(facts).free = Some(1 << 29),
        Code::StorageFull,
        Level::Broken,
        "512.00 MiB are free for images",
        "podman image prune",
    ),
    (
        |facts| storage(facts).free = Some(2 << 30),
        Code::StorageFull,
        Level::Note,
        "2.00 GiB are free for images in /home/alice/.local/share/containers/storage",
        "podman image prune",
    ),
    (
        |facts| storage(facts).over_network = true,
        Code::StorageNetwork,
        Level::Note,
        "on another machine's file system",
        "sudo install -d -o \"$USER\" /var/lib/containers-of-\"$USER\" && mkdir -p ~/.config/containers && (set -C && \
         printf '[storage]\\ndriver = \"overlay\"\\ngraphroot = \"/var/lib/containers-of-%s\"\\n' \"$USER\" > \
         ~/.config/containers/storage.conf)",
    ),
    (
        |facts| storage(facts).driver = "vfs".to_owned(),
        Code::StorageCopies,
        Level::Note,
        "storage driver is `vfs`",
        "sudo apt install fuse-overlayfs",
    ),
];

#[test]
fn a_machine_without_a_gpu_is_a_healthy_machine() {
    let mut facts = healthy();
    facts.gpu.descriptions.clear();
    (facts.gpu.nvidia_card, facts.gpu.nvidia_driver) = (false, false);
    assert_eq!(bad(&facts), []);
    facts.gpu.device = GpuDevice::Device("nvidia.com/gpu=all".to_owned());
    assert_eq!(bad(&facts)[0].code, Code::GpuDevice);
}

#[test]
fn a_gpu_that_no_service_wants_is_not_reported() {
    let mut facts = healthy();
    facts.gpu.descriptions.clear();
    facts.gpu.wanted_by.clear();
    assert_eq!(bad(&facts), []);
}

#[test]
fn only_the_controllers_that_limits_need_are_asked_for() {
    let mut facts = healthy();
    facts.needs.cpus = false;
    rootless(&mut facts).cgroups = Cgroups::Delegated(vec!["memory".to_owned(), "pids".to_owned()]);
    assert_eq!(bad(&facts), []);
}

#[test]
fn rootless_requirements_are_not_checked_for_rootful_podman() {
    let mut facts = healthy();
    facts.rootless = None;
    facts.programs.as_mut().unwrap().pasta = crate::doctor::Program::Missing;
    assert_eq!(bad(&facts), []);
}
