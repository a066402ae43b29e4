//! A namespace with the helper's kernel side in it.

use airpods_dbus::{LinkName, PathMtu};
use airpods_helper::kernel::netlink::Netlink;
use airpods_helper::kernel::{Held, Kernel, Ruleset};
use airpods_lab::{Netns, Place};

/// A network namespace, and the helper's view of it.
pub(crate) struct Host {
    pub(crate) net: Netns,
    pub(crate) kernel: Netlink,
}

impl Host {
    pub(crate) fn new() -> Self {
        let net = Netns::new().unwrap();
        let kernel = Self::helper(&net);
        Self { net, kernel }
    }

    /// Another helper in the same namespace.
    pub(crate) fn helper(net: &Netns) -> Netlink {
        net.run(Netlink::open).unwrap()
    }

    pub(crate) fn apply(&mut self, ruleset: &Ruleset) -> Held {
        self.kernel.apply(ruleset).unwrap().unwrap()
    }

    /// The table as nft lists it.
    pub(crate) fn listed(&self) -> String {
        self.net.sh("nft list table inet airpods").unwrap()
    }

    /// Every ruleset, with handles and counters, as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.net.sh("nft -j list ruleset").unwrap()).unwrap()
    }
}

/// A ruleset of links on the route's MTU and links on a fixed one.
pub(crate) fn ruleset(route: &[&str], fixed: &[(&str, u32)]) -> Ruleset {
    Ruleset {
        route: route.iter().map(|name| LinkName::parse(name).unwrap()).collect(),
        fixed: fixed.iter().map(|(name, mtu)| (LinkName::parse(name).unwrap(), PathMtu::new(*mtu).unwrap())).collect(),
    }
}
