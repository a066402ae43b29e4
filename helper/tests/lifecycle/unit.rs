//! A unit of `Type=notify` with `ExecStopPost=`. It runs the helper like systemd does, as far as
//! the helper can tell.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use airpods_lab::{Place, Sandbox};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::private_bus::TIMEOUT;
use crate::systemd::Job;

const SOCKET: &str = "/run/notify";
const HELPER: &str = "/usr/libexec/airpods-helper";

/// The unit, which outlives its processes.
pub(crate) struct Unit {
    notices: UnixDatagram,
    /// The job that systemd has for it.
    pub(crate) job: Job,
    /// The notices since the last start, one line for each assignment.
    pub(crate) received: Vec<String>,
    process: Option<Process>,
}

struct Process {
    /// The process that entered the sandbox and runs the helper in it.
    child: Child,
    pid: Pid,
}

impl Unit {
    /// A unit that is not running.
    pub(crate) fn new(sandbox: &Sandbox, job: Job) -> Self {
        let path = sandbox.path(SOCKET);
        let notices = UnixDatagram::bind(&path).unwrap();
        notices.set_nonblocking(true).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self { notices, job, received: Vec::new(), process: None }
    }

    /// Starts the helper, and returns at once.
    pub(crate) fn spawn(&mut self, sandbox: &Sandbox) {
        self.spawn_with(sandbox, ":");
    }

    /// Starts the helper from a shell line.
    pub(crate) fn spawn_with(&mut self, sandbox: &Sandbox, line: &str) {
        assert!(self.process.is_none());
        self.received.clear();
        let log = fs::File::options().append(true).create(true).open(sandbox.log_path("helper")).unwrap();
        let child = sandbox
            .command("bash")
            .args(["--norc", "-euc", &format!("{line}; exec {HELPER}")])
            .env("NOTIFY_SOCKET", SOCKET)
            .env("RUNTIME_DIRECTORY", "/run/airpods-helper")
            .stdin(Stdio::null())
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

    /// Waits until the helper reports readiness.
    pub(crate) fn ready(&mut self) {
        until("READY=1", || {
            self.hear();
            self.has_received("READY=1").then_some(())
        });
    }

    pub(crate) fn start(&mut self, sandbox: &Sandbox) {
        self.spawn(sandbox);
        self.ready();
    }

    pub(crate) fn has_received(&self, line: &str) -> bool {
        self.received.iter().any(|one| one == line)
    }

    /// How many signs of life it has given since its start.
    pub(crate) fn signs(&mut self) -> usize {
        self.hear();
        self.received.iter().filter(|notice| *notice == "WATCHDOG=1").count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.process.as_ref().unwrap().pid, signal).unwrap();
    }

    /// Waits until the process has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = until("the helper's end", || {
            // Like systemd, this reads all notices of a process before it checks whether that has
            // ended.
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

    /// Crashes the helper, and runs `after-stop`; systemd would then restart it.
    pub(crate) fn crash(&mut self, sandbox: &Sandbox) {
        self.kill();
        Self::after_stop(sandbox, "signal", "KILL");
    }

    /// Runs the unit's `ExecStopPost=` with the environment that systemd sets for such an end.
    pub(crate) fn after_stop(sandbox: &Sandbox, result: &str, status: &str) {
        let log = fs::File::options().append(true).create(true).open(sandbox.log_path("helper")).unwrap();
        let mut command = sandbox.command(HELPER);
        command.arg("after-stop").env("SERVICE_RESULT", result).env("EXIT_STATUS", status);
        let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).status().unwrap();
        assert!(ended.success(), "{}", fs::read_to_string(sandbox.log_path("helper")).unwrap());
    }

    fn end_with(&mut self, sandbox: &Sandbox, job: &'static str) {
        *self.job.lock().unwrap() = Some(job);
        self.signal(Signal::SIGTERM);
        assert!(self.ended().success());
        Self::after_stop(sandbox, "success", "0");
        *self.job.lock().unwrap() = None;
    }

    /// `systemctl restart`, or a package upgrade.
    pub(crate) fn restart(&mut self, sandbox: &Sandbox) {
        self.end_with(sandbox, "restart");
        self.start(sandbox);
    }

    /// `systemctl stop`, after which systemd removes the runtime folder.
    pub(crate) fn stop(&mut self, sandbox: &Sandbox) {
        self.end_with(sandbox, "stop");
        sandbox.sh("rm -r /run/airpods-helper").unwrap();
    }

    /// Reads the pending notices.
    fn hear(&mut self) {
        let mut text = [0; 4096];
        while let Ok(length) = self.notices.recv(&mut text) {
            self.received.extend(std::str::from_utf8(&text[..length]).unwrap().lines().map(str::to_owned));
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // The sandbox ends the helper itself; this ends the process that entered it.
        if let Some(mut process) = self.process.take() {
            let _ = kill(process.pid, Signal::SIGKILL);
            drop(process.child.wait());
        }
    }
}

/// Waits for a value.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_micros(500));
    }
}
