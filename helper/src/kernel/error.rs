//! What the kernel may refuse.

use std::io;

use airpods_dbus::{Error, ErrorKind};

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
