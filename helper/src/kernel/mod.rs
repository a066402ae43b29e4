//! The kernel, behind one narrow trait: what links there are, when they change, and one nftables table.
//!
//! `clamp` decides; what is here reads and does, in three layers: `wire` is netlink's bytes, `table` is the table as values and
//! as messages, and `netlink` talks to the kernel. Nothing looks upwards. A twin for tests is in the folder `doubles`.

pub mod netlink;
pub mod table;
mod wire;

use std::io;
use std::os::fd::AsFd;

use airpods_dbus::{Error, ErrorKind, LinkKind, LinkName, Unclampable};
use nix::errno::Errno;

use table::encode::Step;

pub use table::{Held, Ruleset};

/// One network link as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The link's name.
    pub name: LinkName,
    /// `IFLA_INFO_KIND`, such as `wireguard`; what it means is the contract's to say.
    pub kind: LinkKind,
    /// The link's MTU in bytes.
    pub mtu: u32,
    /// Whether `IFF_UP` is set.
    pub up: bool,
    /// The data of its routes.
    pub routes: Routes,
}

/// The routes through a link. At its default where they were not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// Whether a route of any table leads elsewhere through it: unicast, and not to the host itself, to link-local or to
    /// multicast addresses. The route that an address brings for its network counts.
    pub any: bool,
    /// The smallest MTU in bytes that one of them sets (`RTAX_MTU`).
    pub mtu: Option<u32>,
}

/// The links there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Those that can be clamped, as far as their names go.
    pub named: Vec<Link>,
    /// VPN links whose names cannot be put into a rule.
    pub unclampable: Vec<Unclampable>,
}

/// The outcome of a change of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The table's former content; `None` if there was none.
    pub before: Option<Held>,
    /// Its present content.
    pub after: Option<Held>,
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
    /// Every link there is. Its routes are read for those that `routes_of` picks: there may be tens of thousands to look
    /// through.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel cannot be asked.
    fn links(&mut self, routes_of: &dyn Fn(&Link) -> bool) -> Result<Links, KernelError>;

    /// One link by its name, without its routes: a single look-up.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel cannot be asked.
    fn link(&mut self, name: &LinkName) -> Result<Option<Link>, KernelError>;

    /// Makes the table hold exactly `wanted`, and no table at all if that is empty.
    ///
    /// Within a table of the right structure elements are added and removed; anything else that is found there is replaced
    /// as a whole in one transaction.
    ///
    /// # Errors
    /// [`KernelError`]; after [`KernelError::Refused`] and the like the table is as it was before. Acknowledgements that got
    /// lost are no error if the read-back shows what was wanted.
    fn apply(&mut self, wanted: &Ruleset) -> Result<Applied, KernelError>;

    /// The table's content; `None` if there is none.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel cannot be asked.
    fn held(&mut self) -> Result<Option<Held>, KernelError>;

    /// Starts watching. Every change after this call is reported.
    ///
    /// # Errors
    /// [`KernelError`] if the kernel cannot be asked.
    fn events(&mut self) -> Result<Box<dyn Events>, KernelError>;
}

/// Why the kernel did not do, or not tell, what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The batch was refused; `step` names the message that was, such as `rule in chain clamp`.
    #[error("the kernel refused the rules at `{step}`: {source}")]
    Refused {
        /// The part of the batch that was refused.
        step: String,
        /// The kernel's errno.
        source: io::Error,
    },
    /// The table carries the owner flag and belongs to another process' socket.
    #[error("the table `inet airpods` belongs to another process, which is still running")]
    Conflict,
    /// The kernel has no `nf_tables`, or not the expression `piece`.
    #[error("this kernel has no {piece}")]
    Unsupported {
        /// The missing piece, such as `nf_tables`.
        piece: String,
    },
    /// No `CAP_NET_ADMIN` over the network namespace.
    #[error("the kernel does not let this process change rules: it needs CAP_NET_ADMIN in its network namespace")]
    NotPermitted,
    /// Everything was sent and acknowledged, yet the table read back is not what was asked for.
    #[error("the kernel holds other rules than were asked for")]
    ReadBack,
    /// The netlink conversation failed while `doing`.
    #[error("netlink failed while {doing}: {source}")]
    Netlink {
        /// The operation, such as `listing links`.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl KernelError {
    /// A batch was refused at a step, or as a whole.
    fn of_batch(step: Option<&Step>, errno: Errno) -> Self {
        match (errno, step) {
            (Errno::EPERM | Errno::EACCES, _) => Self::NotPermitted,
            // There is no `nf_tables` (`nfnetlink_rcv_batch`).
            (Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT, None) => Self::no_nf_tables(),
            // One thing that is to be made: the kernel does not know its type (`nft_expr_type_get` and the like).
            (Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::ENOENT, Some(step)) if step.makes => {
                Self::Unsupported { piece: format!("nf_tables support for the {}", step.what) }
            }
            _ => Self::Refused {
                step: step.map_or_else(|| "the whole batch".to_owned(), |step| step.what.clone()),
                source: errno.into(),
            },
        }
    }

    /// A question about the table was refused, and not because there is none.
    fn of_question(errno: Errno) -> Self {
        match errno {
            Errno::EPERM | Errno::EACCES => Self::NotPermitted,
            // `nfnetlink_rcv_msg` knows no subsystem of that number.
            Errno::EINVAL | Errno::EOPNOTSUPP => Self::no_nf_tables(),
            other => Self::Netlink { doing: "reading the table", source: other.into() },
        }
    }

    fn no_nf_tables() -> Self {
        Self::Unsupported { piece: "nf_tables (CONFIG_NF_TABLES)".to_owned() }
    }

    /// Whether the kernel has said no to a table, for a cause that does not pass by asking again at once.
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
