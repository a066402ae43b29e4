//! Reads the table about a thousand times a second. It also subscribes to the kernel's
//! announcements, which cover the moments between two reads.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use airpods_helper::kernel::netlink::Netlink;
use airpods_helper::kernel::{Kernel, TableState};
use airpods_lab::{NftMonitor, Sandbox};
use nix::sched::{CloneFlags, setns};

/// The observations of a reader.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    /// The number of reads.
    pub(crate) looks: u32,
    /// The duration of all reads.
    pub(crate) lasted: Duration,
    /// The changes of the table that the kernel announced, as `nft monitor` prints them. The kernel
    /// does not announce the removal of a table with its owner's socket, but it announces that the
    /// table is created again.
    pub(crate) announced: Vec<String>,
    /// Every different set of links; `None` is no table.
    pub(crate) states: Vec<Option<Vec<String>>>,
    /// The longest time between two reads that saw the link, an upper bound on a gap in the rules.
    pub(crate) longest_between: Duration,
    /// How often the counter of handshakes was lower than before.
    pub(crate) counters_lost: usize,
}

impl Observations {
    /// Whether every read saw a table with this link.
    pub(crate) fn always_had(&self, link: &str) -> bool {
        self.states.iter().all(|state| state.as_ref().is_some_and(|links| links.iter().any(|held| held == link)))
    }

    /// Whether it read often enough to see lasting states. A read takes about a millisecond; the
    /// limit leaves room for a busy machine.
    pub(crate) fn looked_often(&self) -> bool {
        self.looks > 0 && self.lasted / self.looks < Duration::from_millis(100)
    }
}

pub(crate) struct Reader {
    announced: NftMonitor,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Observations>,
}

impl Reader {
    /// Starts reading. `link` is the link that the table should have.
    pub(crate) fn start(sandbox: &Sandbox, link: &'static str) -> Self {
        let announced = NftMonitor::listen(sandbox).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mut kernel) = (Arc::clone(&stop), kernel_of(sandbox));
        let thread = thread::spawn(move || {
            let (mut seen, begun) = (Observations::default(), Instant::now());
            let (mut last, mut counted) = (begun, 0);
            while !stopped.load(Ordering::Relaxed) {
                let held = kernel.read_table().unwrap();
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

    pub(crate) fn stop(self, sandbox: &Sandbox) -> Observations {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.join().unwrap();
        assert!(seen.looked_often(), "{seen:?}");
        Observations { announced: self.announced.of(sandbox, "inet airpods").unwrap(), ..seen }
    }
}

/// The names that the rules act on.
pub(crate) fn links(held: &TableState) -> Vec<String> {
    held.ruleset.route.iter().chain(held.ruleset.fixed.keys()).map(ToString::to_string).collect()
}

/// A kernel side in the sandbox's namespace, beside the helper's. A thread enters the namespace,
/// opens it, and ends.
pub(crate) fn kernel_of(sandbox: &Sandbox) -> Netlink {
    let network = File::open(format!("/proc/{}/ns/net", sandbox.init())).unwrap();
    let opened = thread::spawn(move || {
        setns(network, CloneFlags::CLONE_NEWNET).unwrap();
        Netlink::open().unwrap()
    });
    opened.join().unwrap()
}
