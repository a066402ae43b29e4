//! What the kernel's errno means for whoever asked.

use std::io;

use nix::errno::Errno;

use crate::kernel::KernelError;
use crate::kernel::table::encode::Batch;

/// A batch was refused at the message with this sequence number.
pub(super) fn of_batch(batch: &Batch, sequence: u32, errno: Errno) -> KernelError {
    let step = batch.step(sequence);
    match (errno, step) {
        (Errno::EPERM | Errno::EACCES, _) => KernelError::NotPermitted,
        // The batch as a whole: there is no `nf_tables` (`nfnetlink_rcv_batch`).
        (Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT, None) => nf_tables(),
        // One thing that is to be made: the kernel does not know its type (`nft_expr_type_get` and the like).
        (Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::ENOENT, Some(step)) if step.makes => {
            KernelError::Unsupported { piece: format!("nf_tables support for the {}", step.what) }
        }
        _ => KernelError::Refused {
            step: step.map_or_else(|| "the whole batch".to_owned(), |step| step.what.clone()),
            source: io::Error::from(errno),
        },
    }
}

/// A question about the table was refused, and not because there is none.
pub(super) fn of_question(errno: Errno) -> KernelError {
    match errno {
        Errno::EPERM | Errno::EACCES => KernelError::NotPermitted,
        // `nfnetlink_rcv_msg` knows no subsystem of that number.
        Errno::EINVAL | Errno::EOPNOTSUPP => nf_tables(),
        other => KernelError::Netlink { doing: "reading the table", source: other.into() },
    }
}

fn nf_tables() -> KernelError {
    KernelError::Unsupported { piece: "nf_tables (CONFIG_NF_TABLES)".to_owned() }
}
