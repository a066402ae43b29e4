//! A network namespace with the helper's kernel side.

use airpods_dbus::{LinkName, PathMtu};
use airpods_helper::kernel::netlink::Netlink;
use airpods_helper::kernel::{Events, Kernel, Ruleset, TableState};
use airpods_lab::{Netns, Place};

/// A network namespace, and the helper's view of it.
pub(crate) struct Host {
    pub(crate) net: Netns,
    pub(crate) kernel: Netlink,
}

impl Host {
    pub(crate) fn new() -> Self {
        let net = Netns::new().unwrap();
        let kernel = another_helper(&net);
        Self { net, kernel }
    }

    /// A host, and the events that its helper gets.
    pub(crate) fn watching() -> (Self, Box<dyn Events>) {
        let host = Self::new();
        let mut kernel = host.kernel;
        let (kernel, watch) = host.net.run(move || {
            let watch = kernel.events().unwrap();
            (kernel, watch)
        });
        (Self { net: host.net, kernel }, watch)
    }

    /// The events that another helper would get.
    pub(crate) fn foreign_watch(&self) -> Box<dyn Events> {
        self.net.run(|| Netlink::open().unwrap().events().unwrap())
    }

    /// Applies a ruleset that is not empty.
    pub(crate) fn apply(&mut self, ruleset: &Ruleset) -> TableState {
        self.kernel.apply(ruleset).unwrap().after.expect("a table")
    }

    /// The table as nft lists it.
    pub(crate) fn listed(&self) -> String {
        self.net.sh("nft list table inet airpods").unwrap()
    }

    /// The tables other than ours, as nft lists them with handles and counters.
    pub(crate) fn others(&self) -> String {
        let tables = self.net.sh("nft list tables").unwrap();
        let others = tables.lines().filter(|line| *line != "table inet airpods");
        others.map(|table| self.net.sh(&format!("nft -a list {table}")).unwrap()).collect()
    }
}

/// Another helper's kernel side in the same namespace.
pub(crate) fn another_helper(net: &Netns) -> Netlink {
    net.run(Netlink::open).unwrap()
}

/// A ruleset of links clamped to the route MTU, and links with a fixed path MTU.
pub(crate) fn ruleset(route: &[&str], fixed: &[(&str, u32)]) -> Ruleset {
    Ruleset {
        route: route.iter().map(|name| LinkName::parse(name).unwrap()).collect(),
        fixed: fixed.iter().map(|(name, mtu)| (LinkName::parse(name).unwrap(), PathMtu::new(*mtu).unwrap())).collect(),
    }
}
