//! A finding of `airpods doctor`: a cause in one line, and one command that cures it.

use std::fmt;

use serde::Serialize;

use crate::measure::verdict;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but could be better.
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
        /// The kinds of finding. Scripts use their codes, and each has a section in
        /// `docs/troubleshooting.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])* $code,)*
            /// The verdict of a path measurement, in the words of `airpods net check`.
            Measured(verdict::Code),
        }

        impl Code {
            /// Every kind, except those of measurements.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The code as a word.
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
    /// Nothing is wrong; the line says what was checked.
    Fine = "fine",
    /// Something could not be determined.
    NotKnown = "not-known",
    /// The configuration is wrong: every other command refuses it.
    ConfigurationWrong = "configuration-wrong",
    /// Something in the configuration has no effect.
    ConfigurationIneffective = "configuration-ineffective",
    /// A program of `dependencies.required` is missing.
    DependencyMissing = "dependency-missing",
    /// A program of `dependencies.optional` is missing.
    DependencyWanted = "dependency-wanted",
    /// podman is not installed.
    PodmanMissing = "podman-missing",
    /// podman is too old.
    PodmanOld = "podman-old",
    /// The socket that the configuration or a variable names cannot be used.
    PodmanSocket = "podman-socket",
    /// `podman system service` does not start.
    PodmanService = "podman-service",
    /// The user has no range of ids for containers.
    SubordinateIds = "subordinate-ids",
    /// `newuidmap` or `newgidmap` is missing, or lacks its privilege.
    IdMappers = "id-mappers",
    /// The kernel does not let ordinary users create user namespaces.
    UserNamespaces = "user-namespaces",
    /// Control groups are of version 1: limits of rootless containers are not enforced.
    CgroupVersion = "cgroup-version",
    /// A controller that a limit needs is not delegated to the user.
    CgroupDelegation = "cgroup-delegation",
    /// The user has no systemd instance.
    UserSession = "user-session",
    /// Services end with the user's last session.
    Linger = "linger",
    /// A path or a device of the host that a service needs does not exist, or is a file instead of
    /// a folder.
    PathMissing = "path-missing",
    /// podman cannot start a container, or anything in a pod, in its present state.
    StateImproper = "state-improper",
    /// A service contacts a program of the host that listens on the loopback only.
    HostLoopback = "host-loopback",
    /// A service's secret does not exist or cannot be used.
    SecretMissing = "secret-missing",
    /// Services do not come back after a reboot.
    Boot = "boot",
    /// `/dev/net/tun` does not exist, or this user may not open it.
    TunDevice = "tun-device",
    /// pasta or slirp4netns, whichever this podman needs, is missing or does not start.
    RootlessNetwork = "rootless-network",
    /// netavark is missing, or podman uses CNI for its networks.
    Netavark = "netavark",
    /// aardvark-dns is missing.
    Aardvark = "aardvark-dns",
    /// netavark lacks the program that sets its firewall rules.
    FirewallProgram = "firewall-program",
    /// The running kernel's modules are gone.
    KernelModules = "kernel-modules",
    /// There is no system bus.
    BusMissing = "bus-missing",
    /// The helper is not installed.
    HelperMissing = "helper-missing",
    /// The helper is installed but does not start or answer.
    HelperFailed = "helper-failed",
    /// polkit does not run.
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
    /// A name that airpods needs is taken by a foreign network, pod or container.
    NameTaken = "name-taken",
    /// The network exists with other settings than those configured.
    NetworkDiffers = "network-differs",
    /// The services' packets do not fit through the link that they leave by, and are not clamped.
    MtuBlackHole = "mtu-black-hole",
    /// No route leads to the internet.
    NoRoute = "no-route",
    /// The host forwards nothing for the services' network.
    NotForwarded = "not-forwarded",
    /// `dns_servers = "auto"` finds no server that containers can ask.
    DnsNone = "dns-none",
    /// The containers' name servers, or something on the way, refuse to answer.
    DnsRefused = "dns-refused",
    /// The containers' name servers do not answer.
    DnsSilent = "dns-silent",
    /// The name servers answer the host but not the containers.
    DnsBlocked = "dns-blocked",
    /// There is a GPU without a driver.
    GpuDriver = "gpu-driver",
    /// There is a GPU that is not described to containers.
    GpuNotDescribed = "gpu-not-described",
    /// The description of the GPU names a path that does not exist.
    GpuStale = "gpu-stale",
    /// The device that is configured as the GPU does not exist.
    GpuDevice = "gpu-device",
    /// There is no room for images.
    StorageFull = "storage-full",
    /// Images lie on a network file system.
    StorageNetwork = "storage-network",
    /// The storage driver copies each layer of an image.
    StorageCopies = "storage-copies",
    /// A service has ended with an error.
    ServiceDead = "service-dead",
    /// A service restarts again and again.
    ServiceRestarting = "service-restarting",
    /// A service runs but does not answer.
    ServiceSilent = "service-silent",
    /// A service has reached its limit of processes.
    PidsReached = "pids-reached",
    /// The kernel allows a service fewer processes than configured.
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

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How serious it is.
    pub level: Level,
    /// Its kind.
    pub code: Code,
    /// One line, which names the cause.
    pub cause: String,
    /// One command line that cures it; `None` if nothing is wrong, or it is unknown.
    pub cure: Option<String>,
}

impl Finding {
    /// A finding that something is as it should be.
    pub(super) fn fine(text: impl Into<String>) -> Self {
        Self { level: Level::Ok, code: Code::Fine, cause: text.into(), cure: None }
    }

    /// A finding that something works but could be better.
    pub(super) fn note(code: Code, cause: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Note, ..Self::broken(code, cause, cure) }
    }

    /// A finding that something does not work.
    pub(super) fn broken(code: Code, cause: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { level: Level::Broken, code, cause: cause.into(), cure: Some(cure.into()) }
    }

    /// The finding for a user who is root or not. Root's cure has no `sudo`, which many servers
    /// lack.
    pub(super) fn for_user(self, root: bool) -> Self {
        let cure = self.cure.map(|cure| if root { cure.replace("sudo ", "") } else { cure });
        Self { cure, ..self }
    }

    /// A finding that something could not be determined, and why.
    pub(super) fn not_known(what: &str, why: &str) -> Self {
        let cause = format!("could not determine whether {what}: {why}");
        Self { level: Level::Note, code: Code::NotKnown, cause, cure: None }
    }
}
