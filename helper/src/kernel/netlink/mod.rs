//! The real kernel: `nf_tables` and rtnetlink over two sockets that live as long as the helper.

mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod links;
mod refusal;
mod socket;

use std::io;

use airpods_dbus::LinkName;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;

use super::table::NAME;
use super::table::encode::{Batch, encode};
use super::table::layout::WITH_FIXED;
use super::table::plan::change;
use super::table::readback::{Answers, Found, found};
use super::{Applied, Events, Held, Kernel, KernelError, Link, Links, Ruleset};
use events::Monitor;
use socket::{Received, Request, Socket};

/// The kernel of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    /// The socket for the table. It stays open: closing one after a change waits for the kernel.
    rules: Socket,
    /// The socket for links and routes.
    network: Socket,
}

impl Netlink {
    /// Opens the sockets; nothing is asked or changed yet.
    ///
    /// # Errors
    /// [`KernelError::Unsupported`] if the kernel has no netfilter netlink, or [`KernelError::Netlink`].
    pub fn open() -> Result<Self, KernelError> {
        let rules = Socket::open(SockProtocol::NetlinkNetFilter, 0).map_err(opening)?;
        let network = Socket::open(SockProtocol::NetlinkRoute, 0).map_err(opening)?;
        Ok(Self { rules, network })
    }

    /// Sends a batch and gathers the first refusal, by sequence number. Acknowledgements that got lost are not
    /// missed: whether the batch did what it should is read back.
    fn transact(&mut self, batch: &[u8]) -> Result<Option<(u32, Errno)>, KernelError> {
        let netlink = |source| KernelError::Netlink { doing: "changing the rules", source };
        self.rules.drain().map_err(netlink)?;
        self.rules.send([batch]).map_err(netlink)?;
        let mut refused: Option<(u32, Errno)> = None;
        loop {
            match self.rules.receive().map_err(netlink)? {
                Received::Datagram(length) => {
                    for message in self.rules.received(length) {
                        let message = message.map_err(netlink)?;
                        let Some(errno) = message.errno().filter(|errno| *errno != 0) else { continue };
                        // One message may make those behind it fail: the first one is the cause.
                        if refused.is_none_or(|(sequence, _)| message.sequence < sequence) {
                            refused = Some((message.sequence, Errno::from_raw(errno)));
                        }
                    }
                }
                Received::Overrun => log::debug!("some of the kernel's acknowledgements got lost"),
                Received::Nothing => return Ok(refused),
            }
        }
    }

    /// Makes a change in one transaction.
    fn commit(&mut self, batch: &Batch) -> Result<(), KernelError> {
        let Some((sequence, errno)) = self.transact(batch.bytes())? else { return Ok(()) };
        if errno == Errno::EPERM && self.found()?.is_some_and(|found| found.owner.is_some()) {
            return Err(KernelError::Conflict);
        }
        Err(refusal::of_batch(batch, sequence, errno))
    }

    /// The table of our name, if there is one.
    fn found(&mut self) -> Result<Option<Found>, KernelError> {
        let chains = WITH_FIXED.chains.iter().map(|chain| question(libc::NFT_MSG_GETCHAIN, &[NAME, chain.name]));
        let sets = WITH_FIXED.sets.iter().map(|set| question(libc::NFT_MSG_GETSET, &[NAME, set.name()]));
        let table = std::iter::once(question(libc::NFT_MSG_GETTABLE, &[NAME]));
        let mut replies =
            self.rules.ask(&table.chain(chains).chain(sets).collect::<Vec<_>>()).map_err(reading)?.into_iter();

        let mut answers = Answers::default();
        match replies.next() {
            Some(Ok(table)) => answers.table = table,
            Some(Err(Errno::ENOENT)) | None => return Ok(None),
            Some(Err(errno)) => return Err(refusal::of_question(errno)),
        }
        answers.chains = replies.by_ref().take(WITH_FIXED.chains.len()).flatten().collect();
        answers.sets = replies.flatten().collect();
        answers.rules = self.all(libc::NFT_MSG_GETRULE, &[NAME])?;
        for set in WITH_FIXED.sets.iter().take(answers.sets.len()) {
            answers.elements.extend(self.all(libc::NFT_MSG_GETSETELEM, &[NAME, set.name()])?);
        }
        Ok(Some(found(&answers)))
    }

    /// Everything of a kind; nothing if what is asked about is gone.
    fn all(&mut self, kind: i32, names: &[&str]) -> Result<Vec<Vec<u8>>, KernelError> {
        match self.rules.dump(&question(kind, names)).map_err(reading)? {
            Ok(answer) => Ok(answer),
            Err(Errno::ENOENT) => Ok(Vec::new()),
            Err(errno) => Err(refusal::of_question(errno)),
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
        let before = found.as_ref().map(Found::held);
        for _ in 0..APPLY_ATTEMPTS {
            let Some(batch) = encode(&change(found.as_ref(), wanted)) else {
                return Ok(Applied { before, after: found.map(|found| found.held()) });
            };
            let done = self.commit(&batch);
            let now = self.found()?;
            match done {
                // Somebody came in between: what was to be done is not what has to be done.
                Err(_) if !same_table(found.as_ref(), now.as_ref()) => {}
                Err(refused) => return Err(refused),
                Ok(()) => {}
            }
            found = now;
        }
        // The last attempt may have been the one that did it.
        match encode(&change(found.as_ref(), wanted)) {
            None => Ok(Applied { before, after: found.map(|found| found.held()) }),
            Some(_) => Err(KernelError::ReadBack),
        }
    }

    fn held(&mut self) -> Result<Option<Held>, KernelError> {
        Ok(self.found()?.map(|found| found.held()))
    }

    fn events(&mut self) -> Result<Box<dyn Events>, KernelError> {
        match Monitor::open(self.rules.port()) {
            Ok(events) => Ok(Box::new(events)),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(KernelError::NotPermitted),
            Err(source) => Err(KernelError::Netlink { doing: "starting to watch for changes", source }),
        }
    }
}

/// How often a change is tried when another program changes the table in between.
const APPLY_ATTEMPTS: u32 = 3;

/// Whether a table is as it was, counters aside.
fn same_table(before: Option<&Found>, after: Option<&Found>) -> bool {
    let shape = |found: &Found| (found.flags, found.owner, found.ours.as_ref().map(|ours| ours.ruleset.clone()));
    before.map(shape) == after.map(shape)
}

/// A message type of `nf_tables`.
fn subsystem(kind: i32) -> u16 {
    u16::try_from(libc::NFNL_SUBSYS_NFTABLES << 8 | kind).unwrap_or_default()
}

/// A question about things in the family inet, by their names as attributes 1, 2 …
///
/// Chains alone have their name in attribute 3 (`NFTA_CHAIN_NAME`).
fn question(kind: i32, names: &[&str]) -> Request {
    let mut body = vec![u8::try_from(libc::NFPROTO_INET).unwrap_or_default(), 0, 0, 0];
    let attributes: &[u16] = if kind == libc::NFT_MSG_GETCHAIN { &[1, 3] } else { &[1, 2] };
    for (attribute, name) in attributes.iter().zip(names) {
        let length = u16::try_from(4 + name.len() + 1).unwrap_or_default();
        body.extend(length.to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(name.as_bytes());
        body.resize((body.len() + 1).next_multiple_of(4), 0);
    }
    Request { kind: subsystem(kind), body }
}

fn reading(source: io::Error) -> KernelError {
    KernelError::Netlink { doing: "reading the table", source }
}

fn opening(source: io::Error) -> KernelError {
    match source.raw_os_error() {
        Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => {
            KernelError::Unsupported { piece: "netfilter netlink (CONFIG_NETFILTER_NETLINK)".to_owned() }
        }
        _ => KernelError::Netlink { doing: "opening a socket", source },
    }
}

#[cfg(test)]
mod tests;
