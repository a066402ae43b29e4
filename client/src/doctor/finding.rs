//! A finding of `airpods doctor`: a cause in one line, and one command that cures it.

use std::fmt;

use serde::Serialize;

use crate::measure::verdict;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and could be better.
    Note,
    /// Something does not work because of it.
    Broken,
}

impl Level {
    /// The word that is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Broken => "broken",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $word:literal,)*) => {
        /// The kinds of finding. Their words are for scripts, and each has a section in `docs/troubleshooting.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $code,)*
            /// The verdict of a path measurement, in the words of `airpods net check`.
            Measured(verdict::Code),
        }

        impl Code {
            /// Every kind there is, but those of measurements.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The word that stands for it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $word,)*
                    Self::Measured(code) => code.as_str(),
                }
            }
        }
    };
}

codes! {
    /// It is as it should be; the line says what was looked at.
    Fine = "fine",
    /// Something could not be found out.
    NotKnown = "not-known",
    /// The configuration is wrong: every other command refuses it.
    ConfigurationWrong = "configuration-wrong",
    /// Something in the configuration has no effect.
    ConfigurationIneffective = "configuration-ineffective",
    /// A program of `dependencies.required` is missing.
    DependencyMissing = "dependency-missing",
    /// A program of `dependencies.optional` is missing.
    DependencyWanted = "dependency-wanted",
    /// There is no podman.
    PodmanMissing = "podman-missing",
    /// podman is too old.
    PodmanOld = "podman-old",
    /// The socket that was asked for by name is no use.
    PodmanSocket = "podman-socket",
    /// `podman system service` does not start.
    PodmanService = "podman-service",
    /// The user has no range of ids for containers.
    SubordinateIds = "subordinate-ids",
    /// `newuidmap` or `newgidmap` is missing, or may not do its work.
    IdMappers = "id-mappers",
    /// The kernel does not let ordinary users make user namespaces.
    UserNamespaces = "user-namespaces",
    /// Control groups of version 1: limits of rootless containers do not hold.
    CgroupVersion = "cgroup-version",
    /// A controller that a limit needs is not delegated to the user.
    CgroupDelegation = "cgroup-delegation",
    /// The user has no systemd of their own.
    UserSession = "user-session",
    /// Services end with the user's last session.
    Linger = "linger",
    /// A path or a device of the host that a service needs is not there, or a file where a folder is meant.
    PathMissing = "path-missing",
    /// podman starts a container no more in the state that it was left in, or a pod.
    StateImproper = "state-improper",
    /// A service asks a program of the host that listens for the host alone.
    HostLoopback = "host-loopback",
    /// A secret that a service is given is not there.
    SecretMissing = "secret-missing",
    /// Services do not come back after a reboot.
    Boot = "boot",
    /// `/dev/net/tun` is not there, or not for this user.
    TunDevice = "tun-device",
    /// pasta or slirp4netns, whichever this podman needs, is missing or does not start.
    RootlessNetwork = "rootless-network",
    /// netavark is missing, or podman uses its old networks.
    Netavark = "netavark",
    /// aardvark-dns is missing.
    Aardvark = "aardvark-dns",
    /// netavark has no program to make its firewall rules with.
    FirewallProgram = "firewall-program",
    /// The running kernel's modules are gone.
    KernelModules = "kernel-modules",
    /// There is no system bus.
    BusMissing = "bus-missing",
    /// The helper is not installed.
    HelperMissing = "helper-missing",
    /// The helper is installed and does not come up.
    HelperFailed = "helper-failed",
    /// polkit is not there to be asked.
    PolkitMissing = "polkit-missing",
    /// The helper's polkit policy is not installed.
    PolkitPolicy = "polkit-policy",
    /// polkit does not let this user clamp.
    HelperDenied = "helper-denied",
    /// Another program keeps removing the helper's rules.
    HelperContested = "helper-contested",
    /// The kernel refuses the helper's rules.
    HelperRefused = "helper-refused",
    /// A VPN link has a name that no rule can hold.
    LinkUnclampable = "link-unclampable",
    /// The network's subnet is used elsewhere on the host, by a VPN for example.
    SubnetClash = "subnet-clash",
    /// A port that a service wants is taken.
    PortInUse = "port-in-use",
    /// A port that only root may listen on.
    PortPrivileged = "port-privileged",
    /// A name that airpods needs is taken by somebody else's network, pod or container.
    NameTaken = "name-taken",
    /// The network exists with other settings than those configured.
    NetworkDiffers = "network-differs",
    /// The services' packets do not fit through the link that they leave by, and nobody clamps.
    MtuBlackHole = "mtu-black-hole",
    /// No route leads to the internet.
    NoRoute = "no-route",
    /// The host forwards nothing for the services' network.
    NotForwarded = "not-forwarded",
    /// `dns_servers = "auto"` finds no server that containers can ask.
    DnsNone = "dns-none",
    /// The name servers that containers are given, or something on the way, refuse to answer.
    DnsRefused = "dns-refused",
    /// They do not answer.
    DnsSilent = "dns-silent",
    /// They answer the host and not the containers.
    DnsBlocked = "dns-blocked",
    /// There is a GPU without a driver.
    GpuDriver = "gpu-driver",
    /// There is a GPU that is not described to containers.
    GpuNotDescribed = "gpu-not-described",
    /// The description of the GPU names what is not there.
    GpuStale = "gpu-stale",
    /// The device that is configured as the GPU is not there.
    GpuDevice = "gpu-device",
    /// There is no room for images.
    StorageFull = "storage-full",
    /// Images lie on a file system of another machine.
    StorageNetwork = "storage-network",
    /// Each layer of an image is a whole copy.
    StorageCopies = "storage-copies",
    /// A service has ended by itself.
    ServiceDead = "service-dead",
    /// A service is started again and again.
    ServiceRestarting = "service-restarting",
    /// A service runs and does not answer.
    ServiceSilent = "service-silent",
    /// A service has met its limit of processes.
    PidsReached = "pids-reached",
    /// The kernel gives a service fewer processes than it should have.
    PidsLow = "pids-low",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Its kind.
    pub code: Code,
    /// One line, which names the cause.
    pub cause: String,
    /// One command line that cures it; none for what is fine, or not known.
    pub cure: Option<String>,
}

impl Finding {
    /// Something is as it should be.
    pub(super) fn fine(says: impl Into<String>) -> Self {
        Self { level: Level::Ok, code: Code::Fine, cause: says.into(), cure: None }
    }

    /// Something works, and could be better.
    pub(super) fn note(code: Code, cause: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Note, ..Self::broken(code, cause, cure) }
    }

    /// Something does not work.
    pub(super) fn broken(code: Code, cause: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Broken, code, cause: cause.into(), cure: Some(cure.into()) }
    }

    /// Something could not be found out; `why` says so.
    pub(super) fn not_known(what: &str, why: &str) -> Self {
        let cause = format!("could not determine whether {what}: {why}");
        Self { level: Level::Note, code: Code::NotKnown, cause, cure: None }
    }
}
