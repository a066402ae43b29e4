//! What systemd does with a unit of `Type=notify` and `FileDescriptorStoreMax=1`, as far as the helper can tell.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use airpods_lab::{Place, Sandbox};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::private_bus::PATIENCE;

const SOCKET: &str = "/run/notify";
const HELPER: &str = "/usr/libexec/airpods-helper";

/// The unit, which outlives its processes.
pub(crate) struct Unit {
    notices: UnixDatagram,
    has_store: bool,
    /// The one descriptor kept, and whether errors on it are watched for.
    kept: Option<(OwnedFd, bool)>,
    /// What was said since the last start, one line for each assignment.
    pub(crate) said: Vec<String>,
    process: Option<Process>,
}

struct Process {
    /// The way into the sandbox.
    child: Child,
    pid: Pid,
}

impl Unit {
    /// A unit that is not running. Without a store it has `FileDescriptorStoreMax=0`.
    pub(crate) fn new(sandbox: &Sandbox, has_store: bool) -> Self {
        let path = sandbox.path(SOCKET);
        let notices = UnixDatagram::bind(&path).unwrap();
        notices.set_nonblocking(true).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self { notices, has_store, kept: None, said: Vec::new(), process: None }
    }

    /// Starts the helper with what is kept, and returns at once.
    pub(crate) fn spawn(&mut self, sandbox: &Sandbox) {
        let kept = self.kept.as_ref().map(|(kept, _)| kept.try_clone().unwrap());
        let listen = match &kept {
            Some(_) => "exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_FDNAMES=table LISTEN_PID=$$",
            None => ":",
        };
        self.spawn_with(sandbox, listen, kept);
    }

    /// Starts the helper from a shell line that hands descriptors over, of which `input` is number 0.
    pub(crate) fn spawn_with(&mut self, sandbox: &Sandbox, listen: &str, input: Option<OwnedFd>) {
        assert!(self.process.is_none());
        self.said.clear();
        let log = fs::File::options().append(true).create(true).open(sandbox.log_path("helper")).unwrap();
        let child = sandbox
            .command("bash")
            .args(["--norc", "-euc", &format!("{listen}; exec {HELPER}")])
            .env("NOTIFY_SOCKET", SOCKET)
            .env("RUNTIME_DIRECTORY", "/run/airpods-helper")
            .stdin(input.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let pid = until("the helper's process", || {
            let text = fs::read_to_string(&children).unwrap();
            text.split_whitespace().next().map(|pid| Pid::from_raw(pid.parse().unwrap()))
        });
        self.process = Some(Process { child, pid });
    }

    /// Waits until the helper says that it is ready.
    pub(crate) fn ready(&mut self) {
        until("READY=1", || {
            self.hear();
            self.has_said("READY=1").then_some(())
        });
    }

    pub(crate) fn start(&mut self, sandbox: &Sandbox) {
        self.spawn(sandbox);
        self.ready();
    }

    pub(crate) fn has_said(&self, line: &str) -> bool {
        self.said.iter().any(|said| said == line)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.process.as_ref().unwrap().pid, signal).unwrap();
    }

    /// Waits for the process' end, with what it kept still kept.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = until("the helper's end", || {
            // As systemd, which hears everything that a process said before it looks whether it has ended.
            self.hear();
            self.process.as_mut().unwrap().child.try_wait().unwrap()
        });
        self.hear();
        self.process = None;
        status
    }

    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended();
    }

    /// `systemctl restart`, or a package upgrade.
    pub(crate) fn restart(&mut self, sandbox: &Sandbox) {
        self.signal(Signal::SIGTERM);
        assert!(self.ended().success());
        self.start(sandbox);
    }

    /// `systemctl stop`: what is kept is closed, and the runtime folder removed.
    pub(crate) fn stop(&mut self, sandbox: &Sandbox) {
        self.signal(Signal::SIGTERM);
        assert!(self.ended().success());
        self.kept = None;
        sandbox.sh("rm -r /run/airpods-helper").unwrap();
    }

    pub(crate) fn keeps_something(&mut self) -> bool {
        self.hear();
        self.kept.is_some()
    }

    /// Takes in what was said.
    fn hear(&mut self) {
        let mut text = [0; 4096];
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut passed = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let Ok(message) = recvmsg(&self.notices, &mut [IoSliceMut::new(&mut text)], &mut passed, flags) else {
                break;
            };
            let descriptors = passed.drain().flat_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
                _ => Vec::new(),
            });
            let lines: Vec<String> =
                std::str::from_utf8(&text[..message.bytes]).unwrap().lines().map(str::to_owned).collect();
            self.store(&lines, descriptors.collect());
            self.said.extend(lines);
        }
        // As systemd, which drops a descriptor with an error pending.
        if self.kept.as_ref().is_some_and(|(kept, is_watched)| *is_watched && has_failed(kept)) {
            self.kept = None;
        }
    }

    fn store(&mut self, lines: &[String], descriptors: Vec<OwnedFd>) {
        let says = |line: &str| lines.iter().any(|said| said == line);
        if says("FDSTOREREMOVE=1") && says("FDNAME=table") {
            self.kept = None;
        }
        if says("FDSTORE=1") && self.has_store && self.kept.is_none() {
            self.kept = descriptors.into_iter().next().map(|descriptor| (descriptor, !says("FDPOLL=0")));
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // The sandbox ends the helper; this is its way in.
        if let Some(mut process) = self.process.take() {
            let _ = kill(process.pid, Signal::SIGKILL);
            drop(process.child.wait());
        }
    }
}

fn has_failed(descriptor: &OwnedFd) -> bool {
    use std::os::fd::AsFd;
    let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).unwrap() > 0
}

/// Waits for a value.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_micros(500));
    }
}
