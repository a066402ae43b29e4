//! The programs beside podman that make a container's network.

use super::{Code, Finding};
use crate::podman::{NetworkBackend, Version};
use crate::way::Outlet;

/// What there is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a program")]
pub struct Parts {
    /// `netavark`, in podman's own folders, with its version where it tells it.
    pub netavark: Option<Option<Version>>,
    /// `aardvark-dns`, there as well.
    pub aardvark: bool,
    /// `pasta`.
    pub pasta: bool,
    /// `slirp4netns`.
    pub slirp4netns: bool,
    /// `iptables`.
    pub iptables: bool,
    /// `nft`.
    pub nft: bool,
    /// The kernel loads modules, and has none for the version that runs.
    pub modules_gone: bool,
}

/// The first version of netavark that can do without iptables.
///
/// Source: netavark's release notes, 1.10.0: "Added a new nftables firewall driver".
const NETAVARK_WITH_NFT: Version = Version { major: 1, minor: 10 };

/// Judges the programs. `version` is podman's, `backend` what it says about its networks.
pub(super) fn judge(
    parts: &Parts,
    version: Option<Version>,
    rootless: bool,
    backend: Option<&NetworkBackend>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(netavark(parts, backend));
    findings.extend(firewall(parts));
    findings.extend(modules(parts));
    if rootless {
        findings.extend(version.and_then(|version| rootless_network(parts, version, backend)));
    }
    findings
}

fn netavark(parts: &Parts, backend: Option<&NetworkBackend>) -> Option<Finding> {
    if backend.is_some_and(|backend| backend.name == "cni") {
        return Some(Finding::broken(
            Code::Netavark,
            "podman makes its networks with CNI, where services do not find each other by name",
            "sudo apt install netavark aardvark-dns && sudo install -d /etc/containers/containers.conf.d && \
             printf '[network]\\nnetwork_backend = \"netavark\"\\n' | \
             sudo tee /etc/containers/containers.conf.d/netavark.conf",
        ));
    }
    if parts.netavark.is_none() {
        let cause = "netavark is not installed, which makes the containers' network";
        return Some(Finding::broken(Code::Netavark, cause, "sudo apt install netavark"));
    }
    (!parts.aardvark).then(|| {
        Finding::broken(
            Code::Aardvark,
            "aardvark-dns is not installed, without which services do not find each other by name",
            "sudo apt install aardvark-dns",
        )
    })
}

fn firewall(parts: &Parts) -> Option<Finding> {
    let version = parts.netavark.flatten()?;
    let (needs, has) = if version < NETAVARK_WITH_NFT {
        ("iptables", parts.iptables)
    } else {
        ("nftables", parts.nft || parts.iptables)
    };
    (!has).then(|| {
        let cause = format!("netavark {version} needs `{needs}` to publish ports, and it is not installed");
        Finding::broken(Code::FirewallProgram, cause, format!("sudo apt install {needs}"))
    })
}

fn modules(parts: &Parts) -> Option<Finding> {
    parts.modules_gone.then(|| {
        Finding::broken(
            Code::KernelModules,
            "the modules of the running kernel are gone, as after an upgrade: it can load none for containers",
            "sudo reboot",
        )
    })
}

fn rootless_network(parts: &Parts, version: Version, backend: Option<&NetworkBackend>) -> Option<Finding> {
    let configured = backend.and_then(|backend| backend.rootless_program.as_deref());
    let default = Outlet::of_version(version).as_str();
    let (program, there, package) = match configured.unwrap_or(default) {
        "pasta" => ("pasta", parts.pasta, "passt"),
        _ => ("slirp4netns", parts.slirp4netns, "slirp4netns"),
    };
    (!there).then(|| {
        let cause = format!("`{program}` is not installed, through which rootless containers reach the network");
        Finding::broken(Code::RootlessNetwork, cause, format!("sudo apt install {package}"))
    })
}
