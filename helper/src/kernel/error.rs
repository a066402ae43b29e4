//! What the kernel may refuse.

use std::io;

use airpods_dbus::{Error, ErrorKind};
use nix::errno::Errno;

use super::table::encode::Step;

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
        /// What was being done, such as `listing links`.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl KernelError {
    /// A batch was refused at a step, or as a whole.
    pub(super) fn of_batch(step: Option<&Step>, errno: Errno) -> Self {
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
    pub(super) fn of_question(errno: Errno) -> Self {
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
