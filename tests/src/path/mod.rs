//! A path between two network namespaces, in user space: netem for kernels without it.
//!
//! Each end is a TUN link; the client's may be a TAP link instead. The kernel gives a TUN single
//! packets as on a wire, never the aggregates of segmentation offload. So a size limit is exact.
//! [`judge`], which is pure, decides about each packet; the loop only reads and writes.

mod judge;
mod link;
mod packet;
mod quic;
mod rules;
mod servers;
mod user_tcp;
mod worker;
mod world;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sched::{CloneFlags, setns};
use nix::sys::time::TimeSpec;

pub use judge::{Counts, Event};
pub use rules::{
    Bottleneck, Direction, DirectionRules, Fall, NameFilter, Padding, Policer, Refusal, Report, Router, Rules,
};
pub use servers::Server;
pub use world::{LINK, LINK_MTU, PathWorld};

use crate::error::{Doing, Result};
use crate::place::Network;
use judge::{Deliveries, Delivery, Judge};
use link::Link;
use worker::Worker;

/// A running path. Its links and the packets under way vanish with the value, and with the process
/// however that ends.
#[derive(Debug)]
pub struct Path {
    judge: Arc<Mutex<Judge>>,
    _worker: Worker,
}

/// One end of a path: a link that is to be made.
#[derive(Debug)]
pub struct End<'a> {
    /// The network namespace.
    pub network: &'a dyn Network,
    /// The link's name.
    pub link: &'a str,
    /// The link's MTU in bytes.
    pub mtu: u16,
}

impl Path {
    /// Makes both links and begins to carry packets. The links are down and have no addresses.
    /// `seed` determines all random decisions.
    ///
    /// # Errors
    /// When a namespace is gone, a name is taken, or /dev/net/tun is missing.
    pub fn between(client: &End, server: &End, rules: Rules, seed: u64) -> Result<Self> {
        Self::carrying([Link::tun(client)?, Link::tun(server)?], rules, seed)
    }

    /// The same with a TAP link for the client. The path answers no ARP, so the link needs `arp
    /// off`.
    ///
    /// # Errors
    /// Those of [`Self::between`].
    pub fn behind_tap(client: &End, server: &End, rules: Rules, seed: u64) -> Result<Self> {
        Self::carrying([Link::tap(client)?, Link::tun(server)?], rules, seed)
    }

    fn carrying(ends: [Link; 2], rules: Rules, seed: u64) -> Result<Self> {
        let judge = Arc::new(Mutex::new(Judge::new(rules, seed)));
        let shared = Arc::clone(&judge);
        let worker = Worker::start("path", move |stopped| carry(&ends, &shared, stopped))?;
        Ok(Self { judge, _worker: worker })
    }

    /// Changes the rules while packets are under way.
    pub fn change(&self, change: impl FnOnce(&mut Rules)) {
        lock(&self.judge).change(change);
    }

    /// The path's counts so far, by direction and event.
    #[must_use]
    pub fn counts(&self) -> Counts {
        lock(&self.judge).counts().clone()
    }

    /// How often something has happened.
    #[must_use]
    pub fn count(&self, direction: Direction, event: Event) -> u64 {
        lock(&self.judge).counts().get(&(direction, event)).copied().unwrap_or_default()
    }
}

fn lock(judge: &Mutex<Judge>) -> MutexGuard<'_, Judge> {
    judge.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` on a thread that has entered a network namespace, so that its sockets are in there.
///
/// # Errors
/// When the namespace is gone, and the error of `work`.
///
/// # Panics
/// When the work does.
pub fn in_network<T: Send + 'static>(
    network: &dyn Network,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let path = network.namespace();
    let file = File::open(&path).doing(|| format!("open `{}`", path.display()))?;
    let enter = move || {
        setns(file, CloneFlags::CLONE_NEWNET).doing(|| "enter a network namespace (it needs root)".into())?;
        work()
    };
    let thread = std::thread::Builder::new().spawn(enter).doing(|| "start a thread".into())?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The time at which a packet is due, its number, its destination end, and its bytes. The number
/// keeps packets due at the same time in order.
type Scheduled = (Duration, u64, usize, Vec<u8>);

/// Packets that are under way, the next one first.
#[derive(Debug, Default)]
struct UnderWay {
    packets: BinaryHeap<Reverse<Scheduled>>,
    number: u64,
}

impl UnderWay {
    fn add(&mut self, end: usize, delivery: Option<Delivery>) {
        if let Some((due, bytes)) = delivery {
            self.number += 1;
            self.packets.push(Reverse((due, self.number, end, bytes)));
        }
    }

    /// The next packet that is due, and the end that it goes to.
    fn due(&mut self, now: Duration) -> Option<(usize, Vec<u8>)> {
        self.packets.peek().filter(|Reverse((due, ..))| *due <= now)?;
        self.packets.pop().map(|Reverse((_, _, end, bytes))| (end, bytes))
    }

    /// The time until the next packet is due.
    fn time_to_next(&self, now: Duration) -> Option<Duration> {
        self.packets.peek().map(|Reverse((due, ..))| due.saturating_sub(now))
    }
}

/// Carries packets between two ends, the client's and the server's, until the pipe is closed.
fn carry(ends: &[Link; 2], judge: &Mutex<Judge>, stopped: &OwnedFd) {
    let start = Instant::now();
    let mut under_way = UnderWay::default();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        while let Some((end, bytes)) = under_way.due(start.elapsed()) {
            // A link that is down accepts no packet. The packet is lost, as on a real link.
            let _ = ends[end].send(&bytes);
        }
        let mut polled =
            [ends[0].as_fd(), ends[1].as_fd(), stopped.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let timeout = under_way.time_to_next(start.elapsed()).map(TimeSpec::from_duration);
        let _ = ppoll(&mut polled, timeout, None);
        let [up, down, end] = polled.map(|fd| fd.any().unwrap_or(false));
        if end {
            return;
        }
        for (from, direction) in [(0, Direction::Up), (1, Direction::Down)] {
            if [up, down][from] {
                read(&ends[from], &mut buffer, |bytes| {
                    let Deliveries { forward, back } = lock(judge).judge(bytes, direction, start.elapsed());
                    under_way.add(1 - from, forward);
                    under_way.add(from, back);
                });
            }
        }
    }
}

/// Reads the waiting packets, at most `TURN` of them, so that the other direction has its turn.
fn read(end: &Link, buffer: &mut [u8], mut take: impl FnMut(&[u8])) {
    const TURN: usize = 64;
    for _ in 0..TURN {
        match end.recv(buffer) {
            Ok(packet) => take(packet),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
