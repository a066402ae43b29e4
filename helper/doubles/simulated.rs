//! The kernel's twin for tests: a table and links in memory, which a test changes as the world would.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use airpods_dbus::{Counters, LinkName, Unclampable};

use crate::kernel::{Applied, Event, Events, Held, Kernel, KernelError, Link, Links, Routes, Ruleset};

/// A kernel in memory. Clones share one world, so that a test keeps one in its hand.
#[derive(Clone)]
pub struct Simulated(Arc<Mutex<World>>);

/// How a simulated kernel refuses to change its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The batch is refused with `EINVAL`.
    Refused,
    /// The table belongs to somebody else.
    Conflict,
    /// There is no `nf_tables`.
    Unsupported,
    /// There is no right to change anything.
    NotPermitted,
    /// One change is made, and cannot be read back; those after it can.
    Unreadable,
}

struct World {
    links: Vec<Link>,
    unclampable: Vec<Unclampable>,
    table: Option<Table>,
    counters: Counters,
    /// How long it takes to read the table, and how often that was done.
    reading: (Duration, usize),
    /// How often routes were read.
    route_reads: usize,
    /// Whether reading fails.
    is_unreadable: bool,
    refusal: Option<Refusal>,
    applied: usize,
    watchers: Vec<(UnixStream, Arc<Mutex<Vec<Event>>>)>,
}

#[derive(Clone, PartialEq, Eq)]
enum Table {
    Ours(Ruleset),
    /// One that somebody else made.
    Foreign,
}

impl Simulated {
    /// A kernel with these links and no table.
    #[must_use]
    pub fn with_links(links: Vec<Link>) -> Self {
        Self(Arc::new(Mutex::new(World {
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

    /// Has these VPN links that no rule can name.
    pub fn set_unclampable(&self, unclampable: Vec<Unclampable>) {
        self.world().unclampable = unclampable;
        self.report(Event::Network);
    }

    /// Takes so long over each look at the table.
    pub fn set_reading_time(&self, time: Duration) {
        self.world().reading.0 = time;
    }

    /// Cannot be read from now on, or can.
    pub fn set_unreadable(&self, is_unreadable: bool) {
        self.world().is_unreadable = is_unreadable;
    }

    /// How often the table was read.
    #[must_use]
    pub fn times_read(&self) -> usize {
        self.world().reading.1
    }

    /// How often routes were read.
    #[must_use]
    pub fn times_routes_read(&self) -> usize {
        self.world().route_reads
    }

    /// Has a table of our name that somebody else made, and reports that.
    pub fn set_foreign_table(&self) {
        self.world().table = Some(Table::Foreign);
        self.report(Event::Rules { pid: 4711 });
    }

    /// Whether the table is one that somebody else made.
    #[must_use]
    pub fn has_foreign_table(&self) -> bool {
        self.world().table == Some(Table::Foreign)
    }

    /// Replaces the links, as if they came and went, and reports that.
    pub fn set_links(&self, links: Vec<Link>) {
        self.world().links = links;
        self.report(Event::Network);
    }

    /// Removes the table, as somebody else's `nft flush ruleset` would, and reports that.
    pub fn remove_table(&self) {
        self.world().table = None;
        self.report(Event::Rules { pid: 4711 });
    }

    /// Refuses every change from now on, or none.
    pub fn refuse(&self, refusal: Option<Refusal>) {
        self.world().refusal = refusal;
    }

    /// The content of the table, if it is ours.
    #[must_use]
    pub fn table(&self) -> Option<Ruleset> {
        match &self.world().table {
            Some(Table::Ours(ruleset)) => Some(ruleset.clone()),
            Some(Table::Foreign) | None => None,
        }
    }

    /// How often the table was changed.
    #[must_use]
    pub fn times_applied(&self) -> usize {
        self.world().applied
    }

    /// Reports an event to every watcher.
    pub fn report(&self, event: Event) {
        for (bell, events) in &mut self.world().watchers {
            locked(events).push(event);
            // A full pipe has been rung already, and a closed one has nobody at its end.
            drop(bell.write(&[0]));
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        locked(&self.0)
    }
}

impl World {
    fn held(&self) -> Option<Held> {
        self.table.as_ref().map(|table| match table {
            Table::Ours(ruleset) => Held { ruleset: ruleset.clone(), counters: self.counters, is_ours: true },
            Table::Foreign => Held::default(),
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
        let mut world = self.world();
        world.readable()?;
        let links = world.links.clone();
        world.route_reads += links.iter().filter(|link| routes_of(link)).count();
        let told = |link: Link| Link { routes: if routes_of(&link) { link.routes } else { Routes::default() }, ..link };
        Ok(Links { named: links.into_iter().map(told).collect(), unclampable: world.unclampable.clone() })
    }

    fn link(&mut self, name: &LinkName) -> Result<Option<Link>, KernelError> {
        let world = self.world();
        world.readable()?;
        let found = world.links.iter().find(|link| link.name == *name).cloned();
        Ok(found.map(|link| Link { routes: Routes::default(), ..link }))
    }

    fn apply(&mut self, wanted: &Ruleset) -> Result<Applied, KernelError> {
        let mut world = self.world();
        if let Some(refusal) = world.refusal.filter(|refusal| *refusal != Refusal::Unreadable) {
            return Err(refusal.error());
        }
        let before = world.held();
        world.table = Some(Table::Ours(wanted.clone())).filter(|_| !wanted.is_empty());
        world.applied += 1;
        match world.refusal.take() {
            Some(unreadable) => Err(unreadable.error()),
            None => Ok(Applied { before, after: world.held() }),
        }
    }

    fn held(&mut self) -> Result<Option<Held>, KernelError> {
        let (time, held) = {
            let mut world = self.world();
            world.readable()?;
            world.reading.1 += 1;
            (world.reading.0, world.held())
        };
        if !time.is_zero() {
            thread::sleep(time);
        }
        Ok(held)
    }

    fn events(&mut self) -> Result<Box<dyn Events>, KernelError> {
        let failed = |source| KernelError::Netlink { doing: "watching", source };
        let (here, there) = UnixStream::pair().map_err(failed)?;
        for end in [&here, &there] {
            end.set_nonblocking(true).map_err(failed)?;
        }
        let events = Arc::default();
        self.world().watchers.push((there, Arc::clone(&events)));
        Ok(Box::new(Bell { rung: here, events }))
    }
}

struct Bell {
    rung: UnixStream,
    events: Arc<Mutex<Vec<Event>>>,
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.rung.as_fd()
    }
}

impl Events for Bell {
    fn drain(&mut self) -> Result<Vec<Event>, KernelError> {
        while self.rung.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        Ok(std::mem::take(&mut *locked(&self.events)))
    }
}

/// A test that panics while it holds the lock has failed already; the others go on.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
