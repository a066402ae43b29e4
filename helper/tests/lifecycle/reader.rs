//! Somebody who looks at the table about a thousand times a second, and is told of every change besides: between two looks
//! there is a moment that nobody sees.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use airpods_helper::kernel::netlink::Netlink;
use airpods_helper::kernel::{Held, Kernel};
use airpods_lab::{Announced, Sandbox};
use nix::sched::{CloneFlags, setns};

/// The observations of a reader.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How often it was looked.
    pub(crate) looks: u32,
    /// For how long.
    pub(crate) lasted: Duration,
    /// The changes to the table that the kernel announced, in the words of `nft monitor`. A table that goes with its owner's socket
    /// is not among them; that it is made anew is.
    pub(crate) announced: Vec<String>,
    /// Every different set of links; `None` is no table.
    pub(crate) states: Vec<Option<Vec<String>>>,
    /// The longest time between two looks that saw the link; a gap in the rules is no longer than this.
    pub(crate) longest_between: Duration,
    /// Counted handshakes, whenever they were fewer than before.
    pub(crate) counters_lost: usize,
}

impl Seen {
    /// Whether every look saw a table with this link in it.
    pub(crate) fn always_had(&self, link: &str) -> bool {
        self.states.iter().all(|state| state.as_ref().is_some_and(|links| links.iter().any(|held| held == link)))
    }

    /// Whether it looked often enough to see what lasts: a look takes about a millisecond, and the rest is for a machine that has
    /// much else to do.
    pub(crate) fn looked_often(&self) -> bool {
        self.looks > 0 && self.lasted / self.looks < Duration::from_millis(100)
    }
}

pub(crate) struct Reader {
    announced: Announced,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Reader {
    /// Starts looking, for a table that holds `link`.
    pub(crate) fn start(sandbox: &Sandbox, link: &'static str) -> Self {
        let announced = Announced::listen(sandbox).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mut kernel) = (Arc::clone(&stop), kernel_of(sandbox));
        let thread = thread::spawn(move || {
            let (mut seen, begun) = (Seen::default(), Instant::now());
            let (mut last, mut counted) = (begun, 0);
            while !stopped.load(Ordering::Relaxed) {
                let held = kernel.held().unwrap();
                seen.looks += 1;
                let links = held.as_ref().map(links);
                if links.as_ref().is_some_and(|links| links.iter().any(|held| held == link)) {
                    seen.longest_between = seen.longest_between.max(last.elapsed());
                    last = Instant::now();
                }
                let counters = held.map(|held| held.counters).unwrap_or_default();
                let now = counters.ipv4_out + counters.ipv4_in + counters.ipv6_out + counters.ipv6_in;
                seen.counters_lost += usize::from(now < counted);
                counted = now;
                if !seen.states.contains(&links) {
                    seen.states.push(links);
                }
                thread::sleep(Duration::from_millis(1));
            }
            seen.lasted = begun.elapsed();
            seen
        });
        Self { announced, stop, thread }
    }

    pub(crate) fn stop(self, sandbox: &Sandbox) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.join().unwrap();
        assert!(seen.looked_often(), "{seen:?}");
        Seen { announced: self.announced.of(sandbox, "inet airpods").unwrap(), ..seen }
    }
}

/// The names that the rules act on.
pub(crate) fn links(held: &Held) -> Vec<String> {
    held.ruleset.route.iter().chain(held.ruleset.fixed.keys()).map(ToString::to_string).collect()
}

/// Another view of the sandbox's kernel than the helper's, opened on a thread that goes there and ends.
pub(crate) fn kernel_of(sandbox: &Sandbox) -> Netlink {
    let network = File::open(format!("/proc/{}/ns/net", sandbox.init())).unwrap();
    let opened = thread::spawn(move || {
        setns(network, CloneFlags::CLONE_NEWNET).unwrap();
        Netlink::open().unwrap()
    });
    opened.join().unwrap()
}
