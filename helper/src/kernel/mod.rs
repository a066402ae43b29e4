//! The kernel, behind one narrow trait: what links there are, when they change, and one nftables table.
//!
//! `clamp` decides; what is here reads and does. The real kernel is `netlink::Netlink`, its twin for
//! tests is `simulated::Simulated`.

mod error;
pub mod foreign;
pub mod netlink;
pub mod simulated;
pub mod table;
pub mod unsupported;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;

use airpods_dbus::{Counters, Features, Foreign, LinkKind, LinkName, PathMtu};

pub use error::KernelError;

/// One network link as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The link's name. Links whose name is no [`LinkName`] are not reported: nobody could ask for them.
    pub name: LinkName,
    /// `IFLA_INFO_KIND`, such as `wireguard`; what it means is the contract's to say.
    pub kind: LinkKind,
    /// The link's MTU in bytes.
    pub mtu: u32,
    /// Whether `IFF_UP` is set.
    pub up: bool,
    /// Whether a route of any table leads elsewhere through it: unicast, and not to the host itself, to link-local or to
    /// multicast addresses. The route that an address brings for its network counts. False where it was not asked.
    pub carries_route: bool,
}

/// What the table `inet airpods` is to hold. Two equal rulesets make the same rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Links clamped to the route's MTU (`rt mtu`): the elements of the set `links`.
    pub route: BTreeSet<LinkName>,
    /// Links clamped to a fixed path MTU: the elements of the maps `mss4` and `mss6`.
    pub fixed: BTreeMap<LinkName, PathMtu>,
}

impl Ruleset {
    /// Whether there is nothing to hold, so that there need be no table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.route.is_empty() && self.fixed.is_empty()
    }
}

/// What the kernel holds, read back from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The links the rules act on.
    pub ruleset: Ruleset,
    /// Handshake packets counted by the rules.
    pub counters: Counters,
    /// Whether the table carries the owner flag.
    pub owned: bool,
    /// The table as `nft list table inet airpods` prints it.
    pub text: String,
}

/// Something that may change what ought to be clamped, or that the table holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link, an address, a route or a routing rule came, went or changed.
    Network,
    /// Somebody else's transaction touched a table `inet airpods`.
    Rules {
        /// The process that did it, as the kernel reports it in `NFTA_GEN_PROC_PID`; 0 if unknown.
        pid: u32,
    },
    /// The kernel dropped events because they were not read in time: anything may have changed.
    Overrun,
}

/// A stream of [`Event`]s: readable when there are some.
pub trait Events: AsFd + Send {
    /// Takes every event that is there without waiting.
    ///
    /// # Errors
    /// [`KernelError::Netlink`] if the socket broke; an overrun is an [`Event`], no error.
    fn drain(&mut self) -> Result<Vec<Event>, KernelError>;
}

/// The kernel as the helper needs it. No method waits for anything but the kernel's own answer.
pub trait Kernel: Send {
    /// Every link there is. Whether it carries a route is found out for those that `routes_of` picks: there may be tens of
    /// thousands of routes to look through.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel cannot be asked.
    fn links(&mut self, routes_of: &dyn Fn(&Link) -> bool) -> Result<Vec<Link>, KernelError>;

    /// Makes the table hold exactly `wanted`, and no table at all if that is empty; then reads back.
    ///
    /// Within a table of the right structure elements are added and removed; anything else that is found there
    /// (a plain, orphaned, dormant or foreign-made table) is replaced as a whole in one transaction.
    ///
    /// # Errors
    /// [`KernelError`]; the table is then as it was before. Acknowledgements that got lost are no error if
    /// the read-back shows what was wanted.
    fn apply(&mut self, wanted: &Ruleset) -> Result<Option<Held>, KernelError>;

    /// What the table holds; `None` if there is none.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel cannot be asked.
    fn held(&mut self) -> Result<Option<Held>, KernelError>;

    /// The clamps that others have installed.
    ///
    /// # Errors
    /// [`KernelError`] if the rules cannot be read.
    fn foreign(&mut self) -> Result<Foreign, KernelError>;

    /// What the kernel offers; asked once.
    fn features(&mut self) -> Features;

    /// Starts watching. Every change after this call is reported.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel cannot be asked.
    fn events(&mut self) -> Result<Box<dyn Events>, KernelError>;
}
