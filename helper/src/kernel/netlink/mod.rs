//! The real kernel: `nf_tables` and rtnetlink over two sockets that live as long as the helper.

mod events;
#[cfg(any(test, feature = "fuzzing"))]
#[path = "../../../fuzzing/netlink.rs"]
pub(crate) mod fuzzing;
mod links;
mod routes;
mod socket;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

use airpods_dbus::LinkName;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;

use super::table::encode::{Batch, encode};
use super::table::layout::WITH_FIXED;
use super::table::readback::table_of;
use super::table::{NAME, change};
use super::wire::{Object, inet, nft_kind, nfta};
use super::{Applied, Events, Kernel, KernelError, Link, Links, Ruleset, TableState};
use events::Monitor;
use socket::Socket;

/// The kernel of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    /// The socket for the table; `None` if the kernel has no netfilter netlink. It stays open,
    /// because closing one after a change blocks in the kernel.
    rules: Option<Socket>,
    /// The socket for links and routes.
    network: Socket,
}

impl Netlink {
    /// Opens the sockets, and sends nothing yet. It also succeeds on a kernel without netfilter
    /// netlink: the helper starts, and callers get an error that names the missing piece.
    ///
    /// # Errors
    /// [`KernelError::Netlink`].
    pub fn open() -> Result<Self, KernelError> {
        let rules = match Socket::open(SockProtocol::NetlinkNetFilter, 0) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT)) => None,
            socket => Some(socket.map_err(failed("opening a socket"))?),
        };
        let network = Socket::open(SockProtocol::NetlinkRoute, 0).map_err(failed("opening a socket"))?;
        Ok(Self { rules, network })
    }

    fn rules(&mut self) -> Result<&mut Socket, KernelError> {
        let piece = "netfilter netlink (CONFIG_NETFILTER_NETLINK)";
        self.rules.as_mut().ok_or_else(|| KernelError::Unsupported { piece: piece.to_owned() })
    }

    /// Sends one transaction. Its first refusal is the error. Lost acknowledgements do no harm: the
    /// table is read back after the batch.
    fn commit(&mut self, batch: &Batch) -> Result<(), KernelError> {
        let mut refusals = BTreeMap::new();
        let done = self.rules()?.exchange(&batch.bytes, &mut |message| {
            refusals.extend(message.errno().filter(|errno| *errno != 0).map(|errno| (message.sequence, errno)));
            ControlFlow::Continue(())
        });
        done.map_err(failed("changing the rules"))?;
        // A refused message can make later ones fail, so the first refusal is the cause.
        match refusals.pop_first() {
            Some((sequence, errno)) => Err(KernelError::of_batch(batch.step(sequence), Errno::from_raw(errno))),
            None => Ok(()),
        }
    }

    /// The objects of a kind in our table, with these attributes as names; none if a name stands
    /// for nothing.
    fn objects(&mut self, kind: i32, names: &[(u16, &str)]) -> Result<Vec<Object>, KernelError> {
        let is_dump = matches!(kind, libc::NFT_MSG_GETRULE | libc::NFT_MSG_GETSETELEM);
        let flags = if is_dump { libc::NLM_F_DUMP } else { libc::NLM_F_ACK };
        match self.rules()?.ask(nft_kind(kind), flags, &inet(names)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
            answers => answers.map_err(KernelError::of_question),
        }
    }
}

impl Kernel for Netlink {
    fn links(&mut self, routes_of: &dyn Fn(&Link) -> bool) -> Result<Links, KernelError> {
        links::links(&mut self.network, routes_of).map_err(failed("listing links"))
    }

    fn link(&mut self, name: &LinkName) -> Result<Option<Link>, KernelError> {
        links::by_name(&mut self.network, name).map_err(failed("looking a link up"))
    }

    fn apply(&mut self, wanted: &Ruleset) -> Result<Applied, KernelError> {
        let before = self.read_table()?;
        let mut found = before.clone();
        let mut attempts = 0..APPLY_ATTEMPTS;
        while let Some(change) = change(found.as_ref(), wanted) {
            attempts.next().ok_or(KernelError::ReadBack)?;
            let done = self.commit(&encode(&change));
            let now = self.read_table()?;
            // A refusal counts only if the table is unchanged. Otherwise another program
            // interfered, so the loop computes the change again.
            if is_same_table(found.as_ref(), now.as_ref()) {
                let has_owner = now.as_ref().is_some_and(|table| table.owner.is_some());
                done.map_err(|error| match error {
                    KernelError::NotPermitted if has_owner => KernelError::Conflict,
                    error => error,
                })?;
            }
            found = now;
        }
        Ok(Applied { before, after: found })
    }

    fn read_table(&mut self) -> Result<Option<TableState>, KernelError> {
        // Attribute 1 names the table (`NFTA_TABLE_NAME` and the like).
        let table = (1, NAME);
        let mut answers = self.objects(libc::NFT_MSG_GETTABLE, &[table])?;
        if answers.is_empty() {
            return Ok(None);
        }
        for chain in WITH_FIXED.chains {
            answers.extend(self.objects(libc::NFT_MSG_GETCHAIN, &[table, (nfta::CHAIN_NAME, chain.name)])?);
        }
        for set in WITH_FIXED.sets {
            answers.extend(self.objects(libc::NFT_MSG_GETSET, &[table, (nfta::SET_NAME, set.name())])?);
            answers.extend(self.objects(libc::NFT_MSG_GETSETELEM, &[table, (nfta::SET_ELEM_LIST_SET, set.name())])?);
        }
        answers.extend(self.objects(libc::NFT_MSG_GETRULE, &[table])?);
        Ok(Some(table_of(&answers)))
    }

    fn events(&mut self) -> Result<Box<dyn Events>, KernelError> {
        match Monitor::open(self.rules()?.port) {
            Ok(events) => Ok(Box::new(events)),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(KernelError::NotPermitted),
            Err(error) => Err(failed("starting to watch for changes")(error)),
        }
    }
}

/// How often a change is attempted while another program changes the table.
const APPLY_ATTEMPTS: u32 = 3;

/// Whether two reads of a table are equal, counters aside.
fn is_same_table(before: Option<&TableState>, after: Option<&TableState>) -> bool {
    let shape = |table: &TableState| (table.is_ours, table.ruleset.clone(), table.owner);
    before.map(shape) == after.map(shape)
}

/// The error for a netlink exchange that failed while `doing`.
fn failed(doing: &'static str) -> impl Fn(io::Error) -> KernelError {
    move |source| KernelError::Netlink { doing, source }
}

#[cfg(test)]
mod tests;
