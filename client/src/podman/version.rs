//! podman's version, and what hangs on it.

use std::fmt;

/// podman's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 4 in 4.3.1.
    pub major: u32,
    /// 3 in 4.3.1.
    pub minor: u32,
}

impl Version {
    /// The oldest that this program is made for, and tested with.
    pub const OLDEST: Self = Self { major: 4, minor: 3 };

    /// Reads `4.3.1`, `5.0.0-rc1` and the like.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(['.', '-']);
        Some(Self { major: parts.next()?.parse().ok()?, minor: parts.next()?.parse().ok()? })
    }

    /// Whether a container's own DNS servers are asked *behind* the network's name service, so
    /// that aliases resolve as well. Before 4.4 podman writes them into resolv.conf in place of it.
    ///
    /// Source: podman commit 06241077cc (4.4), and measured with 4.3.1 and 5.4.2.
    #[must_use]
    pub fn forwards_dns_per_container(self) -> bool {
        self >= Self { major: 4, minor: 4 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
