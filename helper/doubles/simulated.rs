//! A simulated kernel for tests: a table and links in memory, which a test changes as other
//! programs would.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use airpods_dbus::{Counters, LinkName, Unclampable};

use crate::kernel::{Applied, Event, Events, Kernel, KernelError, Link, Links, Routes, Ruleset, TableState};

/// A kernel in memory. Clones share its state, so a test can keep one and give another away.
#[derive(Clone)]
pub struct Simulated(Arc<Mutex<KernelState>>);

/// How a simulated kernel refuses a change of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The batch is refused with `EINVAL`.
    Refused,
    /// Another process owns the table.
    Conflict,
    /// There is no `nf_tables`.
    Unsupported,
    /// The process lacks `CAP_NET_ADMIN`.
    NotPermitted,
    /// The next change is made but cannot be read back; later ones can.
    Unreadable,
}

struct KernelState {
    links: Vec<Link>,
    unclampable: Vec<Unclampable>,
    table: Option<Table>,
    counters: Counters,
    /// How long a read of the table takes, and the number of reads.
    reading: (Duration, usize),
    /// How often routes were read.
    route_reads: usize,
    /// Whether every read fails.
    is_unreadable: bool,
    refusal: Option<Refusal>,
    applied: usize,
    watchers: Vec<(UnixStream, Arc<Mutex<Vec<Event>>>)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Table {
    Ours(Ruleset),
    /// A table that another program made.
    Foreign,
}

impl Simulated {
    /// A kernel with these links and no table.
    #[must_use]
    pub fn with_links(links: Vec<Link>) -> Self {
        Self(Arc::new(Mutex::new(KernelState {
            links,
            unclampable: Vec::new(),
            table: None,
            counters: Counters::default(),
            reading: (Duration::ZERO, 0),
            route_reads: 0,
            is_unreadable: false,
            refusal: None,
            applied: 0,
            watchers: Vec::new(),
        })))
    }

    /// Sets the VPN links that no rule can name, and reports [`Event::Network`].
    pub fn set_unclampable(&self, unclampable: Vec<Unclampable>) {
        self.state().unclampable = unclampable;
        self.report(&Event::Network);
    }

    /// Makes each read of the table take this long.
    pub fn set_reading_time(&self, time: Duration) {
        self.state().reading.0 = time;
    }

    /// Makes every read fail, or work again.
    pub fn set_unreadable(&self, is_unreadable: bool) {
        self.state().is_unreadable = is_unreadable;
    }

    /// The number of reads of the table.
    #[must_use]
    pub fn times_read(&self) -> usize {
        self.state().reading.1
    }

    /// How often routes were read.
    #[must_use]
    pub fn times_routes_read(&self) -> usize {
        self.state().route_reads
    }

    /// Replaces the table by a foreign one of the same name, and reports that.
    pub fn set_foreign_table(&self) {
        self.state().table = Some(Table::Foreign);
        self.report(&Event::Rules { pid: 4711, program: "nft".to_owned() });
    }

    /// Whether the table is a foreign one.
    #[must_use]
    pub fn has_foreign_table(&self) -> bool {
        self.state().table == Some(Table::Foreign)
    }

    /// Replaces the links, and reports [`Event::Network`].
    pub fn set_links(&self, links: Vec<Link>) {
        self.state().links = links;
        self.report(&Event::Network);
    }

    /// Removes the table, as another program's `nft flush ruleset` would, and reports that.
    pub fn remove_table(&self) {
        self.state().table = None;
        self.report(&Event::Rules { pid: 4711, program: "nft".to_owned() });
    }

    /// Makes every later change fail this way, or with `None` succeed again.
    pub fn refuse(&self, refusal: Option<Refusal>) {
        self.state().refusal = refusal;
    }

    /// The content of the table, if the helper made it.
    #[must_use]
    pub fn table(&self) -> Option<Ruleset> {
        match &self.state().table {
            Some(Table::Ours(ruleset)) => Some(ruleset.clone()),
            Some(Table::Foreign) | None => None,
        }
    }

    /// The number of changes of the table.
    #[must_use]
    pub fn times_applied(&self) -> usize {
        self.state().applied
    }

    /// Reports an event to every watcher.
    pub fn report(&self, event: &Event) {
        for (bell, events) in &mut self.state().watchers {
            locked(events).push(event.clone());
            // A full socket is readable already, and a closed one has no reader.
            drop(bell.write(&[0]));
        }
    }

    fn state(&self) -> MutexGuard<'_, KernelState> {
        locked(&self.0)
    }
}

impl KernelState {
    fn table_state(&self) -> Option<TableState> {
        self.table.as_ref().map(|table| match table {
            Table::Ours(ruleset) => {
                TableState { is_ours: true, ruleset: ruleset.clone(), counters: self.counters, owner: None }
            }
            Table::Foreign => TableState::default(),
        })
    }

    fn readable(&self) -> Result<(), KernelError> {
        if self.is_unreadable { Err(Refusal::Unreadable.error()) } else { Ok(()) }
    }
}

impl Refusal {
    fn error(self) -> KernelError {
        match self {
            Self::Refused => KernelError::Refused {
                step: "rule in chain clamp".to_owned(),
                source: io::Error::from_raw_os_error(nix::libc::EINVAL),
            },
            Self::Conflict => KernelError::Conflict,
            Self::Unsupported => KernelError::Unsupported { piece: "nf_tables".to_owned() },
            Self::NotPermitted => KernelError::NotPermitted,
            Self::Unreadable => KernelError::Netlink {
                doing: "reading the table",
                source: io::Error::from_raw_os_error(nix::libc::ENOBUFS),
            },
        }
    }
}

impl Kernel for Simulated {
    fn links(&mut self, routes_of: &dyn Fn(&Link) -> bool) -> Result<Links, KernelError> {
        let mut state = self.state();
        state.readable()?;
        let links = state.links.clone();
        state.route_reads += links.iter().filter(|link| routes_of(link)).count();
        let with_routes =
            |link: Link| Link { routes: if routes_of(&link) { link.routes } else { Routes::default() }, ..link };
        Ok(Links { named: links.into_iter().map(with_routes).collect(), unclampable: state.unclampable.clone() })
    }

    fn link(&mut self, name: &LinkName) -> Result<Option<Link>, KernelError> {
        let state = self.state();
        state.readable()?;
        let found = state.links.iter().find(|link| link.name == *name).cloned();
        Ok(found.map(|link| Link { routes: Routes::default(), ..link }))
    }

    fn apply(&mut self, wanted: &Ruleset) -> Result<Applied, KernelError> {
        let mut state = self.state();
        if let Some(refusal) = state.refusal.filter(|refusal| *refusal != Refusal::Unreadable) {
            return Err(refusal.error());
        }
        let before = state.table_state();
        state.table = Some(Table::Ours(wanted.clone())).filter(|_| !wanted.is_empty());
        state.applied += 1;
        match state.refusal.take() {
            Some(unreadable) => Err(unreadable.error()),
            None => Ok(Applied { before, after: state.table_state() }),
        }
    }

    fn read_table(&mut self) -> Result<Option<TableState>, KernelError> {
        let (time, table) = {
            let mut state = self.state();
            state.readable()?;
            state.reading.1 += 1;
            (state.reading.0, state.table_state())
        };
        if !time.is_zero() {
            thread::sleep(time);
        }
        Ok(table)
    }

    fn events(&mut self) -> Result<Box<dyn Events>, KernelError> {
        let failed = |source| KernelError::Netlink { doing: "watching", source };
        let (here, there) = UnixStream::pair().map_err(failed)?;
        for end in [&here, &there] {
            end.set_nonblocking(true).map_err(failed)?;
        }
        let events = Arc::default();
        self.state().watchers.push((there, Arc::clone(&events)));
        Ok(Box::new(EventSocket { wake: here, events }))
    }
}

struct EventSocket {
    wake: UnixStream,
    events: Arc<Mutex<Vec<Event>>>,
}

impl AsFd for EventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl Events for EventSocket {
    fn drain(&mut self) -> Result<Vec<Event>, KernelError> {
        while self.wake.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        Ok(std::mem::take(&mut *locked(&self.events)))
    }
}

/// Ignores poisoning: the test that panicked while it held the lock has failed already, and the
/// others go on.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
