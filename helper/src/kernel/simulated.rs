//! The kernel's twin for tests: a table and links in memory, which a test changes as the world would.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use airpods_dbus::{Counters, Features, Foreign, Legacy};

use super::{Event, Events, Held, Kernel, KernelError, Link, Ruleset};

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
    table: Option<Ruleset>,
    owned: bool,
    counters: Counters,
    foreign: Option<Foreign>,
    /// How long it takes to read the rules of others, and how often they were read.
    reading: (Duration, usize),
    refusal: Option<Refusal>,
    applied: usize,
    watchers: Vec<(UnixStream, Arc<Mutex<Vec<Event>>>)>,
}

impl Simulated {
    /// A kernel with these links and no table.
    #[must_use]
    pub fn with_links(links: Vec<Link>) -> Self {
        Self(Arc::new(Mutex::new(World {
            links,
            table: None,
            owned: true,
            counters: Counters::default(),
            foreign: Some(Foreign { whole: true, iptables_legacy: Legacy::None, ..Foreign::default() }),
            reading: (Duration::ZERO, 0),
            refusal: None,
            applied: 0,
            watchers: Vec::new(),
        })))
    }

    /// Has the owner flag, as Linux does from 5.12 on, or not.
    pub fn set_owned(&self, owned: bool) {
        self.world().owned = owned;
    }

    /// Has these clamps of others, or none that can be read.
    pub fn set_foreign(&self, foreign: Option<Foreign>) {
        self.world().foreign = foreign;
    }

    /// Takes so long over the rules of others, as if there were many.
    pub fn set_reading_time(&self, time: Duration) {
        self.world().reading.0 = time;
    }

    /// How often the rules of others were read, as for each status.
    #[must_use]
    pub fn times_read(&self) -> usize {
        self.world().reading.1
    }

    /// Replaces the links, as if they came and went, and reports that.
    pub fn set_links(&self, links: Vec<Link>) {
        self.world().links = links;
        self.report(Event::Network);
    }

    /// Removes the table, as somebody else's `nft flush ruleset` would without the owner flag, and reports that.
    pub fn remove_table(&self) {
        self.world().table = None;
        self.report(Event::Rules { pid: 4711 });
    }

    /// Refuses every change from now on, or none.
    pub fn refuse(&self, refusal: Option<Refusal>) {
        self.world().refusal = refusal;
    }

    /// What the table holds.
    #[must_use]
    pub fn table(&self) -> Option<Ruleset> {
        self.world().table.clone()
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
        let text = |ruleset: &Ruleset| format!("table inet airpods {{ # {ruleset:?}\n}}\n");
        self.table.as_ref().map(|ruleset| Held {
            ruleset: ruleset.clone(),
            counters: self.counters,
            owned: self.owned,
            text: text(ruleset),
        })
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
    fn links(&mut self, routes_of: &dyn Fn(&Link) -> bool) -> Result<Vec<Link>, KernelError> {
        let links = self.world().links.clone();
        let told = |link: Link| Link { carries_route: link.carries_route && routes_of(&link), ..link };
        Ok(links.into_iter().map(told).collect())
    }

    fn apply(&mut self, wanted: &Ruleset) -> Result<Option<Held>, KernelError> {
        let mut world = self.world();
        if let Some(refusal) = world.refusal.filter(|refusal| *refusal != Refusal::Unreadable) {
            return Err(refusal.error());
        }
        world.table = Some(wanted.clone()).filter(|ruleset| !ruleset.is_empty());
        world.applied += 1;
        match world.refusal.take() {
            Some(unreadable) => Err(unreadable.error()),
            None => Ok(world.held()),
        }
    }

    fn held(&mut self) -> Result<Option<Held>, KernelError> {
        Ok(self.world().held())
    }

    fn foreign(&mut self) -> Result<Foreign, KernelError> {
        let (time, foreign) = {
            let mut world = self.world();
            world.reading.1 += 1;
            (world.reading.0, world.foreign.clone())
        };
        if !time.is_zero() {
            thread::sleep(time);
        }
        foreign.ok_or_else(|| Refusal::NotPermitted.error())
    }

    fn features(&mut self) -> Features {
        Features { owner: self.world().owned }
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
