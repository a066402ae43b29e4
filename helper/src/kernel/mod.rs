//! The kernel, behind one narrow trait: the links, kernel events, and one nftables table.
//!
//! `clamp` decides; this module reads and applies, in three layers. `wire` handles netlink's bytes,
//! `table` has the table as values and as messages, and `netlink` talks to the kernel. No layer
//! depends on one above it. The folder `doubles` has a simulated kernel for tests.

pub mod netlink;
pub mod table;
mod wire;

use std::io;
use std::os::fd::AsFd;

use airpods_dbus::{Error, ErrorKind, LinkKind, LinkName, Unclampable};
use nix::errno::Errno;

use table::encode::Step;

pub use table::{Ruleset, TableState};

/// One network link as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The link's name.
    pub name: LinkName,
    /// The kind of the link; [`LinkKind::is_vpn`] interprets it.
    pub kind: LinkKind,
    /// The link's MTU in bytes.
    pub mtu: u32,
    /// Whether `IFF_UP` is set.
    pub up: bool,
    /// The routes through it.
    pub routes: Routes,
}

/// The routes through a link; the default if they were not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Whether any table has a route to elsewhere through the link: unicast, but not to the host
    /// itself, to link-local or to multicast addresses. The route that comes with an address for
    /// its own network counts.
    pub any: bool,
    /// The smallest MTU in bytes that one of these routes sets (`RTAX_MTU`).
    pub mtu: Option<u32>,
}

/// The links of the network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Links whose names a rule can contain.
    pub named: Vec<Link>,
    /// VPN links whose names a rule cannot contain.
    pub unclampable: Vec<Unclampable>,
}

/// The outcome of a change of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The table's former content; `None` if there was none.
    pub before: Option<TableState>,
    /// The table's new content; `None` if there is none.
    pub after: Option<TableState>,
}

/// Something that may change the desired rules or the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link, an address, a route or a routing rule came, went or changed.
    Network,
    /// Another program's transaction touched a table `inet airpods`.
    Rules {
        /// The process that made the change, from `NFTA_GEN_PROC_PID`; 0 if unknown.
        pid: u32,
        /// The name of that process, from `NFTA_GEN_PROC_NAME`: the process may have ended by the
        /// time somebody looks its number up. Empty if unknown. The process chooses it, so it can
        /// contain anything.
        program: String,
    },
    /// The kernel dropped events because they were not read in time, so anything may have changed.
    Overrun,
}

/// A stream of [`Event`]s. The descriptor is readable when there are some.
pub trait Events: AsFd + Send {
    /// Takes all pending events without waiting.
    ///
    /// # Errors
    /// [`KernelError::Netlink`] if the socket fails. An overrun is an [`Event`], not an error.
    fn drain(&mut self) -> Result<Vec<Event>, KernelError>;
}

/// The kernel, as the helper needs it. Methods wait only for the kernel's own answers.
pub trait Kernel: Send {
    /// All links. Routes are read only for links that `routes_of` selects, because there may be
    /// tens of thousands of routes.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel cannot be asked.
    fn links(&mut self, routes_of: &dyn Fn(&Link) -> bool) -> Result<Links, KernelError>;

    /// Looks up one link by its name, without its routes.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel cannot be asked.
    fn link(&mut self, name: &LinkName) -> Result<Option<Link>, KernelError>;

    /// Makes the table hold exactly `wanted`; removes it if `wanted` is empty.
    ///
    /// If the table has the right structure, elements are added and removed. Otherwise one
    /// transaction replaces the whole table.
    ///
    /// # Errors
    /// [`KernelError`]; after [`KernelError::Refused`] and the like the table is as it was before.
    /// Lost acknowledgements are no error if the table reads back as wanted.
    fn apply(&mut self, wanted: &Ruleset) -> Result<Applied, KernelError>;

    /// The table's content; `None` if there is none.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel cannot be asked.
    fn read_table(&mut self) -> Result<Option<TableState>, KernelError>;

    /// Subscribes to events. Every change after this call is reported.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel cannot be asked.
    fn events(&mut self) -> Result<Box<dyn Events>, KernelError>;
}

/// Why a request to the kernel failed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel refused the batch at the message `step`, such as `rule in chain clamp`.
    #[error("the kernel refused the rules at `{step}`: {source}")]
    Refused {
        /// The part of the batch that was refused.
        step: String,
        /// The kernel's errno.
        source: io::Error,
    },
    /// The table has the owner flag, and another process's socket owns it.
    #[error("the table `inet airpods` belongs to another process, which is still running")]
    Conflict,
    /// The kernel has no `nf_tables`, or not the expression `piece`.
    #[error("this kernel has no {piece}")]
    Unsupported {
        /// The missing piece, such as `nf_tables`.
        piece: String,
    },
    /// The process lacks `CAP_NET_ADMIN` over its network namespace.
    #[error("the kernel does not let this process change rules: it needs CAP_NET_ADMIN in its network namespace")]
    NotPermitted,
    /// The kernel reported no error, but the table that was read back is not the wanted one.
    #[error("the kernel holds other rules than were asked for")]
    ReadBack,
    /// The netlink exchange failed while `doing`.
    #[error("netlink failed while {doing}: {source}")]
    Netlink {
        /// The operation, such as `listing links`.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl KernelError {
    /// The error for a batch that was refused at a step, or as a whole.
    fn of_batch(step: Option<&Step>, errno: Errno) -> Self {
        match (errno, step) {
            (Errno::EPERM | Errno::EACCES, _) => Self::NotPermitted,
            // The kernel has no `nf_tables` (`nfnetlink_rcv_batch`).
            (Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT, None) => Self::no_nf_tables(),
            // The step creates something of a type that the kernel does not have
            // (`nft_expr_type_get` and the like).
            (Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::ENOENT, Some(step)) if step.makes => {
                Self::Unsupported { piece: format!("nf_tables support for the {}", step.what) }
            }
            _ => Self::Refused {
                step: step.map_or_else(|| "the whole batch".to_owned(), |step| step.what.clone()),
                source: errno.into(),
            },
        }
    }

    /// The error for a refused read of the table. The caller handles `ENOENT`: then there is none.
    fn of_question(source: io::Error) -> Self {
        match source.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EPERM | Errno::EACCES) => Self::NotPermitted,
            // `nfnetlink_rcv_msg` answers this if the subsystem of nf_tables is not registered.
            Some(Errno::EINVAL | Errno::EOPNOTSUPP) => Self::no_nf_tables(),
            _ => Self::Netlink { doing: "reading the table", source },
        }
    }

    fn no_nf_tables() -> Self {
        Self::Unsupported { piece: "nf_tables (CONFIG_NF_TABLES)".to_owned() }
    }

    /// Whether the kernel refused the table for a reason that an immediate retry does not change.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Unsupported { .. } | Self::NotPermitted | Self::Conflict)
    }
}

impl From<KernelError> for Error {
    fn from(error: KernelError) -> Self {
        let kind = match &error {
            KernelError::Refused { .. } | KernelError::ReadBack => ErrorKind::ApplyFailed,
            KernelError::Conflict => ErrorKind::TableConflict,
            KernelError::Unsupported { .. } => ErrorKind::KernelUnsupported,
            KernelError::NotPermitted => ErrorKind::NotPermitted,
            KernelError::Netlink { .. } => ErrorKind::NetlinkFailed,
        };
        kind.because(error.to_string())
    }
}
