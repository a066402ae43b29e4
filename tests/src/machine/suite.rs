//! The Debian that a machine is made of, as values.

use std::fmt;

use crate::sandbox::people::{PASSWORD_HASH, PEOPLE};

/// A Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// Bookworm: Linux 6.1, systemd 252, polkit 122, podman 4.3.
    Debian12,
    /// Trixie: Linux 6.12, systemd 257, polkit 126, podman 5.4.
    Debian13,
}

impl Suite {
    /// Its name in the archive.
    #[must_use]
    pub fn codename(self) -> &'static str {
        match self {
            Self::Debian12 => "bookworm",
            Self::Debian13 => "trixie",
        }
    }

    /// The packages of a machine: a server with what airpods depends on and with its neighbours,
    /// without airpods.
    pub(super) fn packages() -> String {
        PACKAGES.split_whitespace().collect::<Vec<_>>().join(",")
    }

    /// The words for `customize.sh` after the root folder.
    pub(super) fn people() -> Vec<String> {
        let people = PEOPLE.iter().map(|person| format!("{}:{}:{}", person.name, person.uid, person.groups.join(",")));
        std::iter::once(PASSWORD_HASH.to_owned()).chain(people).collect()
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Debian12 => "debian-12",
            Self::Debian13 => "debian-13",
        })
    }
}

const PACKAGES: &str = "
    linux-image-cloud-amd64 systemd-sysv udev kmod
    dbus dbus-user-session libpam-systemd polkitd pkexec systemd-resolved
    libnftnl11 libmnl0
    iproute2 procps nftables iptables firewalld wireguard-tools
    podman crun catatonit netavark aardvark-dns passt slirp4netns uidmap
";

/// Paths that a machine never needs.
pub(super) const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*"];

/// The size of the disk. The file is sparse, so it takes only the room of its content.
pub(super) const DISK: &str = "4G";

/// The script that customises the tree.
pub(super) const CUSTOMIZE: &str = include_str!("customize.sh");

/// Everything that the image depends on. A change of the text makes a new image.
pub(super) fn recipe(suite: Suite) -> String {
    format!("{suite} {} {LEFT_OUT:?} {DISK} {:?} {CUSTOMIZE}", Suite::packages(), Suite::people())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_the_users_of_a_sandbox() {
        assert_eq!(Suite::people()[1..], ["alice:1000:", "bob:1001:", "admin:1002:sudo"]);
    }

    #[test]
    fn each_suite_has_a_recipe_of_its_own() {
        assert_ne!(recipe(Suite::Debian12), recipe(Suite::Debian13));
    }
}
