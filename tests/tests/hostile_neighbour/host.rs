//! A throw-away host with either bus, the released helper, and root as its client. The code of a
//! debug build alone takes more memory than a helper may have.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use airpods_dbus::names::{BUS_NAME, INTERFACE, OBJECT_PATH};
use airpods_lab::raw_bus::{Body, RawConnection, RawMessage, Received, bus_call, kind};
use airpods_lab::{Background, BusDaemon, Place, Sandbox, eventually_within};

pub(crate) const ROOT: u32 = 0;
pub(crate) const ALICE: u32 = 1000;
pub(crate) const BOB: u32 = 1001;

/// Upper bounds on the helper's resident memory in KiB: at its peak, and afterwards.
const PEAK: u64 = 32 * 1024;
const AFTER_FLOOD: u64 = 8 * 1024;

/// Time limits of the helper for an answer to root, and for clamping a new link. The machine's own
/// delay is measured too, and [`MACHINE`] times that delay is added. An answer passes the bus
/// several times, each time behind other messages.
const ANSWER: Duration = Duration::from_millis(250);
const CLAMP: Duration = Duration::from_millis(100);
const MACHINE: u32 = 4;

/// Time limit for the helper to release memory.
const MEMORY_RELEASE: Duration = Duration::from_secs(30);

/// Time limit of any wait before it counts as failed.
const TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) struct Host {
    pub(crate) sandbox: Sandbox,
    root: RawConnection,
    pid: String,
    /// The helper's resident memory after one answer, in KiB.
    small: u64,
    links: u32,
    _helper: Background,
}

impl Host {
    /// A host with polkitd, a VPN link, and another program's table.
    pub(crate) fn new(bus: BusDaemon) -> Self {
        let host = Self::prepared(bus, |_| ());
        host.sandbox.start_polkit().unwrap();
        host
    }

    /// The same without polkitd. `prepare` runs before the bus starts.
    pub(crate) fn prepared(bus: BusDaemon, prepare: impl FnOnce(&Sandbox)) -> Self {
        let sandbox = Sandbox::new().unwrap();
        sandbox.install_released_helper().unwrap();
        prepare(&sandbox);
        sandbox.start_bus_of(bus).unwrap();
        sandbox
            .sh("ip tuntap add mode tun name wg0; ip link set wg0 mtu 1380 up; ip addr add 10.8.0.1/24 dev wg0")
            .unwrap();
        sandbox.sh("nft 'table inet other { set seen { type ifname; }; chain c { tcp dport 25 drop; }; }'").unwrap();
        let helper = sandbox.start_helper().unwrap();
        let pid = sandbox.sh("pgrep -x airpods-helper").unwrap();
        let root = RawConnection::open(ROOT, &socket(&sandbox)).unwrap();
        let mut host = Self { sandbox, root, pid, small: 0, links: 0, _helper: helper };
        host.assert_same_helper_serves("its start");
        host.small = host.kibibytes("VmRSS");
        host
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.sandbox)
    }

    pub(crate) fn enter(&self, user: u32) -> RawConnection {
        RawConnection::open(user, &self.socket()).unwrap()
    }

    /// Calls as root and returns the answer.
    pub(crate) fn as_root(&mut self, call: &RawMessage) -> Received {
        self.root.call(call).unwrap_or_else(|error| panic!("root has no answer to {call:?}: {error}"))
    }

    /// Makes a change as root, which must succeed.
    #[track_caller]
    pub(crate) fn change(&mut self, call: &RawMessage) {
        let answer = self.as_root(call);
        assert_eq!((answer.kind, &answer.error), (kind::RETURN, &None), "{call:?}: {answer:?}");
    }

    /// Checks that the helper is still the same process, and answers.
    #[track_caller]
    pub(crate) fn assert_same_helper_serves(&mut self, after: &str) {
        let pid = self.sandbox.sh("pgrep -x airpods-helper || true").unwrap();
        assert_eq!(pid, self.pid, "the helper has ended after {after}");
        let answer = self.as_root(&helper_call("GetStatus"));
        assert_eq!(answer.kind, kind::RETURN, "root's status after {after}: {answer:?}");
    }

    /// A number of kibibytes from the helper's status in /proc.
    fn kibibytes(&self, field: &str) -> u64 {
        let status = self.sandbox.read_file(&format!("/proc/{}/status", self.pid)).expect("the helper has ended");
        let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("{field}: {status}"));
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Checks the helper's peak memory since the last check.
    #[track_caller]
    pub(crate) fn assert_stayed_small(&self, during: &str) {
        let peak = self.kibibytes("VmHWM");
        println!("{during}: at most {peak} KiB, {} in the beginning", self.small);
        assert!(peak <= PEAK, "{during}: the helper grew from {} to {peak} KiB", self.small);
        // "Reset the peak resident set size": proc_pid_clear_refs(5).
        fs::write(self.sandbox.path(&format!("/proc/{}/clear_refs", self.pid)), "5").unwrap();
    }

    /// Checks that the helper releases its memory.
    #[track_caller]
    pub(crate) fn assert_small_again(&self) {
        let start = Instant::now();
        loop {
            let held = self.kibibytes("VmRSS");
            if held <= AFTER_FLOOD {
                let own = self.kibibytes("RssAnon");
                println!(
                    "in the end: {held} KiB, {own} of them not the program's text, {} in the beginning",
                    self.small
                );
                return;
            }
            let own = self.kibibytes("RssAnon");
            assert!(
                start.elapsed() < MEMORY_RELEASE,
                "the helper grew from {} KiB and keeps {held} ({own} own)",
                self.small
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The helper's processor time.
    pub(crate) fn helper_time(&self) -> Duration {
        // "time spent on the cpu (in nanoseconds)": Documentation/scheduler/sched-stats.rst, for
        // the main thread.
        let spent = self.sandbox.read_file(&format!("/proc/{}/schedstat", self.pid)).expect("the helper has ended");
        Duration::from_nanos(spent.split_whitespace().next().unwrap().parse().unwrap())
    }

    /// How long root waits for the status, and each time also for an answer of the bus itself.
    pub(crate) fn answer_delays(&mut self, count: usize) -> Delays {
        let (mut helper, mut bus) = (Vec::new(), Vec::new());
        let start = Instant::now();
        while helper.len() < count && start.elapsed() < TIMEOUT {
            bus.push(self.delay(&bus_call("GetId")));
            helper.push(self.delay(&helper_call("GetStatus")));
        }
        Delays { helper, bus }
    }

    fn delay(&mut self, call: &RawMessage) -> Duration {
        let start = Instant::now();
        let answer = self.as_root(call);
        assert_eq!(answer.kind, kind::RETURN, "root is refused: {answer:?}");
        start.elapsed()
    }

    /// Checks that a new VPN link is clamped about as fast as a command can write its name into a
    /// set.
    #[track_caller]
    pub(crate) fn assert_new_link_is_clamped(&mut self, during: &str) {
        self.links += 1;
        let (link, other) = (format!("vpn{}", self.links), format!("oth{}", self.links));
        let make = |link: &str, number: u32| {
            format!(
                "ip tuntap add mode tun name {link}; ip link set {link} up; ip addr add 10.9.{number}.1/24 dev {link}"
            )
        };
        let mut machine = Duration::ZERO;
        let own = format!("{}; nft add element inet other seen '{{ {other} }}'", make(&other, 100 + self.links));
        for line in [own.as_str(), &make(&link, self.links)] {
            let start = Instant::now();
            self.sandbox.sh(line).unwrap();
            let (set, name) = if line == own { ("other seen", &other) } else { ("airpods links", &link) };
            eventually_within(TIMEOUT, &format!("`{name}` in the set `{set}`, {during},"), || {
                let elements = self.sandbox.sh(&format!("nft list set inet {set} 2>/dev/null || true")).unwrap();
                elements.contains(&format!("\"{name}\""))
            });
            if line == own {
                machine = start.elapsed();
            } else {
                let clamped = start.elapsed();
                println!("{during}: a new link clamped in {clamped:?}; a command does the same in {machine:?}");
                let limit = CLAMP + machine * MACHINE;
                assert!(clamped <= limit, "{during}: a new link was clamped after {clamped:?} of {limit:?}");
            }
        }
    }
}

fn socket(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("/run/dbus/system_bus_socket")
}

/// Waiting times in one situation: for the helper, and for the bus.
pub(crate) struct Delays {
    helper: Vec<Duration>,
    bus: Vec<Duration>,
}

impl Delays {
    /// Checks that there were answers, and prints their delays. It sets no limit: a bus delivers
    /// messages in order, so a call waits behind all earlier ones. That delay depends on the
    /// machine.
    #[track_caller]
    pub(crate) fn assert_answered(&self, during: &str) {
        assert!(!self.helper.is_empty(), "{during}: root has no answer");
        println!(
            "{during}: root's status p50 {:?} p99 {:?}, the bus's own answer p50 {:?} p99 {:?}, of {}",
            percentile(&self.helper, 50),
            percentile(&self.helper, 99),
            percentile(&self.bus, 50),
            percentile(&self.bus, 99),
            self.helper.len()
        );
    }

    /// Checks the 99th percentile against that without other callers.
    #[track_caller]
    pub(crate) fn assert_served_as(&self, alone: &Self, during: &str) {
        self.assert_answered(during);
        let (helper, bus) = (percentile(&self.helper, 99), percentile(&self.bus, 99));
        let limit = ANSWER + bus.max(percentile(&alone.helper, 99)) * MACHINE;
        assert!(helper <= limit, "{during}: root's status takes {helper:?} (p99) of {limit:?}");
    }
}

fn percentile(delays: &[Duration], percent: usize) -> Duration {
    let mut sorted = delays.to_vec();
    sorted.sort();
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// A call of the helper's own interface without arguments.
pub(crate) fn helper_call(member: &str) -> RawMessage {
    RawMessage::call(BUS_NAME, OBJECT_PATH, INTERFACE, member)
}

/// `ClampOn` without options.
pub(crate) fn clamp_on(link: &str) -> RawMessage {
    let mut body = Body::default();
    body.text(link);
    body.number(0);
    // The entries of a dictionary are aligned to 8 bytes, even if there are none.
    body.align(8);
    helper_call("ClampOn").with_body("sa{sv}", body.0)
}

/// `ClampOff`.
pub(crate) fn clamp_off(link: &str) -> RawMessage {
    let mut body = Body::default();
    body.text(link);
    helper_call("ClampOff").with_body("s", body.0)
}
