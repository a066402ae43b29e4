//! The real kernel: `nf_tables` and rtnetlink over two sockets that live as long as the helper.

pub(super) mod attribute;
mod events;
mod foreign;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod links;
pub(super) mod message;
mod refusal;
mod socket;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use airpods_dbus::{Features, Foreign};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;

use super::table::NAME;
use super::table::encode::{Batch, encode, owner_probe};
use super::table::layout::WITH_FIXED;
use super::table::plan::change;
use super::table::readback::{Answers, Found, found};
use super::{Events, Held, Kernel, KernelError, Link, Ruleset};
use events::Monitor;
use foreign::Reader;
use socket::{Received, Request, Socket};

/// The kernel of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Netlink {
    /// The socket that owns the table: with its last descriptor the kernel removes the table.
    rules: Socket,
    /// The socket for links and routes.
    network: Socket,
    /// Everybody's rules.
    reader: Reader,
    /// Whether the kernel knows the owner flag, once that has been asked.
    owner: Option<bool>,
}

impl Netlink {
    /// Opens the sockets; nothing is asked or changed yet.
    ///
    /// # Errors
    /// [`KernelError::Unsupported`] if the kernel has no netfilter netlink, or [`KernelError::Netlink`].
    pub fn open() -> Result<Self, KernelError> {
        Self::over(Socket::open(SockProtocol::NetlinkNetFilter, 0).map_err(opening)?)
    }

    /// Like [`Self::open`] with a netfilter socket, and the table it owns, that was kept while the helper was away.
    ///
    /// # Errors
    /// As for [`Self::open`], and [`KernelError::Netlink`] if it is anything but a bound netfilter socket. It is closed then.
    pub fn adopt(socket: OwnedFd) -> Result<Self, KernelError> {
        let adopted = Socket::adopt(socket);
        Self::over(adopted.map_err(|source| KernelError::Netlink { doing: "taking over a socket", source })?)
    }

    fn over(rules: Socket) -> Result<Self, KernelError> {
        let network = Socket::open(SockProtocol::NetlinkRoute, 0).map_err(opening)?;
        let reader = Reader::open().map_err(opening)?;
        Ok(Self { rules, network, reader, owner: None })
    }

    /// The socket that owns the table. A duplicate of it, wherever it is kept, keeps the table.
    #[must_use]
    pub fn owning_socket(&self) -> BorrowedFd<'_> {
        self.rules.as_fd()
    }

    /// The port that a table of ours is owned by; `None` where the kernel has no owner flag.
    fn owner(&mut self) -> Result<Option<u32>, KernelError> {
        let owner = match self.owner {
            Some(known) => known,
            None => self.probe_owner()?,
        };
        self.owner = Some(owner);
        Ok(owner.then(|| self.rules.port()))
    }

    /// Lets the kernel check a table with the owner flag, without making it.
    fn probe_owner(&mut self) -> Result<bool, KernelError> {
        let probe = owner_probe();
        match self.transact(probe.rehearsal())? {
            None => Ok(true),
            // Linux before 5.12 says EINVAL to a flag that it does not know (`nf_tables_newtable`).
            Some((_, Errno::EINVAL | Errno::EOPNOTSUPP)) => Ok(false),
            Some((sequence, errno)) => Err(refusal::of_batch(&probe, sequence, errno)),
        }
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
        if errno == Errno::EPERM
            && self.found()?.is_some_and(|found| found.owner.is_some_and(|by| by != self.rules.port()))
        {
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
    fn links(&mut self, routes_of: &dyn Fn(&Link) -> bool) -> Result<Vec<Link>, KernelError> {
        links::links(&mut self.network, routes_of)
            .map_err(|source| KernelError::Netlink { doing: "listing links", source })
    }

    fn apply(&mut self, wanted: &Ruleset) -> Result<Option<Held>, KernelError> {
        let owner = self.owner()?;
        let mut found = self.found()?;
        for _ in 0..APPLY_ATTEMPTS {
            let Some(batch) = encode(&change(found.as_ref(), wanted, owner), owner.is_some()) else {
                return Ok(found.map(|found| found.held()));
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
        Err(KernelError::ReadBack)
    }

    fn held(&mut self) -> Result<Option<Held>, KernelError> {
        Ok(self.found()?.map(|found| found.held()))
    }

    fn foreign(&mut self) -> Result<Foreign, KernelError> {
        let reading = |source| KernelError::Netlink { doing: "reading the rules of others", source };
        self.reader.read().map_err(reading)?.map_err(refusal::of_question)
    }

    fn features(&mut self) -> Features {
        Features { owner: self.owner().is_ok_and(|owner| owner.is_some()) }
    }

    fn events(&mut self) -> Result<Box<dyn Events>, KernelError> {
        match Monitor::open(self.rules.port()) {
            Ok(events) => Ok(Box::new(events)),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Err(KernelError::NotPermitted),
            Err(source) => Err(KernelError::Netlink { doing: "starting to watch for changes", source }),
        }
    }
}

/// How often a change is tried when the table turns out not to be what it was. Nobody can touch a table that we own.
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
