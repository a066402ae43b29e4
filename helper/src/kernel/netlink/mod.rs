//! The real kernel: `nf_tables` and rtnetlink over two sockets that live as long as the helper.

mod events;
#[cfg(any(test, feature = "fuzzing"))]
#[path = "../../../fuzzing/netlink.rs"]
pub(crate) mod fuzzing;
mod links;
mod routes;
mod socket;

use std::io;
use std::ops::ControlFlow;

use airpods_dbus::LinkName;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;

use super::table::encode::{Batch, encode};
use super::table::layout::WITH_FIXED;
use super::table::readback::{Answers, FoundTable, found};
use super::table::{NAME, change};
use super::wire::attribute;
use super::{Applied, Events, Kernel, KernelError, Link, Links, Ruleset, TableState};
use events::Monitor;
use socket::{Request, Socket};

/// The kernel of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    /// The socket for the table, or the piece that the kernel lacks. It stays open, because closing
    /// one after a change blocks in the kernel.
    rules: Result<Socket, String>,
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
        let opening = |source| KernelError::Netlink { doing: "opening a socket", source };
        let rules = match Socket::open(SockProtocol::NetlinkNetFilter, 0) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT)) => {
                Err("netfilter netlink (CONFIG_NETFILTER_NETLINK)".to_owned())
            }
            socket => Ok(socket.map_err(opening)?),
        };
        Ok(Self { rules, network: Socket::open(SockProtocol::NetlinkRoute, 0).map_err(opening)? })
    }

    fn rules(&mut self) -> Result<&mut Socket, KernelError> {
        self.rules.as_mut().map_err(|piece| KernelError::Unsupported { piece: piece.clone() })
    }

    /// Sends a batch and returns its first refusal, by sequence number. Lost acknowledgements do no
    /// harm: the table is read back after the batch.
    fn transact(&mut self, batch: &[u8]) -> Result<Option<(u32, Errno)>, KernelError> {
        let netlink = |source| KernelError::Netlink { doing: "changing the rules", source };
        let rules = self.rules()?;
        // Answers left from an earlier failure must not be taken for this batch's.
        rules.drain().map_err(netlink)?;
        rules.send(batch).map_err(netlink)?;
        let mut refused: Option<(u32, Errno)> = None;
        rules
            .take(&mut |message| {
                if let Some(errno) = message.errno().filter(|errno| *errno != 0) {
                    // A refused message can make later ones fail, so the first refusal is the
                    // cause.
                    if refused.is_none_or(|(sequence, _)| message.sequence < sequence) {
                        refused = Some((message.sequence, Errno::from_raw(errno)));
                    }
                }
                ControlFlow::Continue(())
            })
            .map_err(netlink)?;
        Ok(refused)
    }

    /// Sends one transaction, and turns a refusal into an error.
    fn commit(&mut self, batch: &Batch) -> Result<(), KernelError> {
        let Some((sequence, errno)) = self.transact(batch.bytes())? else { return Ok(()) };
        if errno == Errno::EPERM && self.found()?.is_some_and(|found| found.owner.is_some()) {
            return Err(KernelError::Conflict);
        }
        Err(KernelError::of_batch(batch.step(sequence), errno))
    }

    /// The table of our name, if there is one.
    fn found(&mut self) -> Result<Option<FoundTable>, KernelError> {
        let chains = WITH_FIXED.chains.iter().map(|chain| question(libc::NFT_MSG_GETCHAIN, &[NAME, chain.name]));
        let sets = WITH_FIXED.sets.iter().map(|set| question(libc::NFT_MSG_GETSET, &[NAME, set.name()]));
        let table = std::iter::once(question(libc::NFT_MSG_GETTABLE, &[NAME]));
        let questions: Vec<_> = table.chain(chains).chain(sets).collect();
        let mut replies = self.rules()?.ask(&questions).map_err(read_error)?.into_iter();

        let mut answers = Answers::default();
        match replies.next() {
            Some(Ok(table)) => answers.table = table,
            Some(Err(Errno::ENOENT)) | None => return Ok(None),
            Some(Err(errno)) => return Err(KernelError::of_question(errno)),
        }
        answers.chains = replies.by_ref().take(WITH_FIXED.chains.len()).flatten().collect();
        answers.sets = replies.flatten().collect();
        answers.rules = self.all(libc::NFT_MSG_GETRULE, &[NAME])?;
        for set in WITH_FIXED.sets.iter().take(answers.sets.len()) {
            answers.elements.extend(self.all(libc::NFT_MSG_GETSETELEM, &[NAME, set.name()])?);
        }
        Ok(Some(found(&answers)))
    }

    /// Dumps all objects of a kind; empty if their table or set is gone.
    fn all(&mut self, kind: i32, names: &[&str]) -> Result<Vec<Vec<u8>>, KernelError> {
        match self.rules()?.dump(&question(kind, names)).map_err(read_error)? {
            Ok(answer) => Ok(answer),
            Err(Errno::ENOENT) => Ok(Vec::new()),
            Err(errno) => Err(KernelError::of_question(errno)),
        }
    }
}

impl Kernel for Netlink {
    fn links(&mut self, routes_of: &dyn Fn(&Link) -> bool) -> Result<Links, KernelError> {
        links::links(&mut self.network, routes_of)
            .map_err(|source| KernelError::Netlink { doing: "listing links", source })
    }

    fn link(&mut self, name: &LinkName) -> Result<Option<Link>, KernelError> {
        links::by_name(&mut self.network, name)
            .map_err(|source| KernelError::Netlink { doing: "looking a link up", source })
    }

    fn apply(&mut self, wanted: &Ruleset) -> Result<Applied, KernelError> {
        let mut found = self.found()?;
        let before = found.as_ref().map(FoundTable::state);
        let mut attempts = 0..APPLY_ATTEMPTS;
        while let Some(batch) = encode(&change(found.as_ref(), wanted)) {
            attempts.next().ok_or(KernelError::ReadBack)?;
            let done = self.commit(&batch);
            let now = self.found()?;
            // A refusal counts only if the table is unchanged. Otherwise another program
            // interfered, so the loop computes the change again.
            if let Err(refused) = done
                && is_same_table(found.as_ref(), now.as_ref())
            {
                return Err(refused);
            }
            found = now;
        }
        Ok(Applied { before, after: found.map(|found| found.state()) })
    }

    fn read_table(&mut self) -> Result<Option<TableState>, KernelError> {
        Ok(self.found()?.map(|found| found.state()))
    }

    fn events(&mut self) -> Result<Box<dyn Events>, KernelError> {
        match Monitor::open(self.rules()?.port()) {
            Ok(events) => Ok(Box::new(events)),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(KernelError::NotPermitted),
            Err(source) => Err(KernelError::Netlink { doing: "starting to watch for changes", source }),
        }
    }
}

/// How often a change is attempted while another program changes the table.
const APPLY_ATTEMPTS: u32 = 3;

/// Whether two reads of a table are equal, counters aside.
fn is_same_table(before: Option<&FoundTable>, after: Option<&FoundTable>) -> bool {
    let shape = |found: &FoundTable| (found.flags, found.owner, found.ours.as_ref().map(|ours| ours.ruleset.clone()));
    before.map(shape) == after.map(shape)
}

/// A request about objects of the family inet, named by the attributes 1, 2 …
///
/// Only chains have their name in attribute 3 (`NFTA_CHAIN_NAME`).
fn question(kind: i32, names: &[&str]) -> Request {
    let mut body = vec![u8::try_from(libc::NFPROTO_INET).unwrap_or_default(), 0, 0, 0];
    let attributes: [u16; 2] = if kind == libc::NFT_MSG_GETCHAIN { [1, 3] } else { [1, 2] };
    for (number, name) in attributes.into_iter().zip(names) {
        body.extend(attribute(number, format!("{name}\0").as_bytes()));
    }
    Request { kind: u16::try_from(libc::NFNL_SUBSYS_NFTABLES << 8 | kind).unwrap_or_default(), body }
}

fn read_error(source: io::Error) -> KernelError {
    KernelError::Netlink { doing: "reading the table", source }
}

#[cfg(test)]
mod tests;
