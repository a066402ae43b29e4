//! The programs beside podman that make a container's network.

use super::{Code, Finding};
use crate::egress::RootlessBackend;
use crate::podman::{NetworkBackend, Version};

/// The present state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a program")]
pub struct Parts {
    /// `netavark`, in podman's own folders, with its version where it tells it.
    pub netavark: Option<Option<Version>>,
    /// `aardvark-dns`, there as well.
    pub aardvark: bool,
    /// `pasta`.
    pub pasta: Program,
    /// `slirp4netns`.
    pub slirp4netns: Program,
    /// `iptables`.
    pub iptables: bool,
    /// `nft`.
    pub nft: bool,
    /// The kernel loads modules, and has none for the version that runs.
    pub modules_gone: bool,
}

/// A program, and what came of starting it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// It is not there.
    Missing,
    /// It is there and starts.
    Able,
    /// It is there and cannot be started, not even to say its version; its last words.
    Broken(String),
    /// It starts, and could not make a network for a command of its own; its last words.
    Powerless(String),
    /// It is there and had not ended after this many seconds.
    Late(u64),
}

/// The first version of netavark that can do without iptables.
///
/// Source: netavark's release notes, 1.10.0: "Added a new nftables firewall driver".
const NETAVARK_WITH_NFT: Version = Version { major: 1, minor: 10 };

/// Judges the programs. `backend` is what podman says about its networks, `rootless` what its rootless containers reach the network
/// through, if they are; `explained` is true if something else that was found keeps users from making networks.
pub(super) fn judge(
    parts: &Parts,
    backend: Option<&NetworkBackend>,
    rootless: Option<RootlessBackend>,
    explained: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(netavark(parts, backend));
    findings.extend(firewall(parts));
    findings.extend(modules(parts));
    findings.extend(rootless.and_then(|rootless| rootless_network(parts, rootless, explained)));
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

fn rootless_network(parts: &Parts, rootless: RootlessBackend, explained: bool) -> Option<Finding> {
    let name = rootless.as_str();
    let (program, package) = match rootless {
        RootlessBackend::Pasta => (&parts.pasta, "passt"),
        RootlessBackend::Slirp4netns => (&parts.slirp4netns, "slirp4netns"),
    };
    let purpose = "through which rootless containers reach the network";
    match program {
        Program::Able => None,
        Program::Missing => {
            let cause = format!("`{name}` is not installed, {purpose}");
            Some(Finding::broken(Code::RootlessNetwork, cause, format!("sudo apt install {package}")))
        }
        Program::Broken(why) => {
            let cause = format!("`{name}` does not start, {purpose}: {why}");
            Some(Finding::broken(Code::RootlessNetwork, cause, cure(name, package, why)))
        }
        Program::Powerless(_) if explained => None,
        // podman's own network is made for it beforehand, so that there may be less that it is not let.
        Program::Powerless(why) => {
            let cause = format!("`{name}` makes no network when it is tried, {purpose}: {why}");
            Some(Finding::note(Code::RootlessNetwork, cause, cure(name, package, why)))
        }
        Program::Late(seconds) => {
            Some(Finding::not_known(&format!("`{name}` starts"), &format!("it had not ended after {seconds} s")))
        }
    }
}

/// A file that is damaged is written anew; who forbids something has it in the kernel's log.
fn cure(name: &str, package: &str, why: &str) -> String {
    if ["Permission denied", "Operation not permitted"].iter().any(|refusal| why.contains(refusal)) {
        format!("sudo journalctl --dmesg --grep 'denied.*{name}'")
    } else {
        format!("sudo apt install --reinstall {package}")
    }
}
