//! One throw-away network namespace, for tests that need a kernel but no host around it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Pid, gettid};

use crate::error::{Doing, Error, Result};
use crate::place::{Network, Place, run};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace that belongs to a parked thread of this process. It has no name and no
/// mount, so it vanishes with the value, and with the process however that ends.
#[derive(Debug)]
pub struct Netns {
    jobs: Option<Sender<Job>>,
    tid: Pid,
    thread: Option<JoinHandle<()>>,
}

impl Netns {
    /// A new namespace with `lo` up. Needs root (or a user namespace around the test).
    ///
    /// # Errors
    /// When the kernel refuses the namespace.
    pub fn new() -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (report, made) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .spawn(move || {
                let tid = unshare(CloneFlags::CLONE_NEWNET).map(|()| gettid());
                let usable = tid.is_ok();
                let _ = report.send(tid);
                if usable {
                    for job in queue {
                        job();
                    }
                }
            })
            .doing(|| "start a thread".into())?;
        let tid = made
            .recv()
            .map_err(|_| Error::NotReady { what: "the namespace's thread".into(), reason: "it ended".into() })?
            .doing(|| "make a network namespace (it needs root)".into())?;
        let namespace = Self { jobs: Some(jobs), tid, thread: Some(thread) };
        namespace.sh("ip link set lo up")?;
        Ok(namespace)
    }

    /// Runs a closure on the namespace's thread: sockets it opens and programs it starts are in the
    /// namespace. A panic inside is resumed here. Threads that the closure starts are in the
    /// namespace too.
    ///
    /// # Panics
    /// When the closure does.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (send, receive) = mpsc::channel();
        let job: Job = Box::new(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let _ = send.send(result);
        });
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
        match receive.recv() {
            Ok(Ok(value)) => value,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(gone) => std::panic::resume_unwind(Box::new(gone)),
        }
    }

    /// The thread whose namespace it is, for `ip link set LINK netns TID`.
    #[must_use]
    pub fn tid(&self) -> Pid {
        self.tid
    }

    /// A pair of connected links, `here` in this namespace and `there` in the other one, both up.
    ///
    /// # Errors
    /// When a name is taken or not a link name.
    pub fn veth_to(&self, other: &Self, here: &str, there: &str) -> Result<()> {
        self.sh(&format!("ip link add {here} type veth peer name {there} netns {}", other.link_target()))?;
        self.sh(&format!("ip link set {here} up"))?;
        other.sh(&format!("ip link set {there} up"))?;
        Ok(())
    }

    /// A persistent tun link, up. By its kind it counts as a VPN link, though no program serves it.
    ///
    /// # Errors
    /// When the name is taken or /dev/net/tun is missing.
    pub fn add_tun(&self, name: &str, mtu: u16) -> Result<()> {
        self.sh(&format!("ip tuntap add mode tun name {name} && ip link set {name} mtu {mtu} up")).map(drop)
    }

    /// Loads an nftables ruleset.
    ///
    /// # Errors
    /// nft's error text.
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        run(self.command("nft").arg(ruleset)).map(drop)
    }
}

impl Place for Netns {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]);
        command.arg(format!("--net={}", self.namespace().display()));
        command.args(["--", program]);
        command
    }

    fn link_target(&self) -> String {
        self.tid.to_string()
    }
}

impl Network for Netns {
    fn namespace(&self) -> PathBuf {
        format!("/proc/{}/task/{}/ns/net", std::process::id(), self.tid).into()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
