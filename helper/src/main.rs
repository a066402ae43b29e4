//! The entry point of the helper daemon: arguments, dropping root, exit codes. The rest is in the
//! library.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use airpods_dbus::names::HELPER_USER;
use airpods_helper::after_stop;
use airpods_helper::authority::{Authority, Polkit};
use airpods_helper::bus::BusError;
use airpods_helper::daemon::systemd::Systemd;
use airpods_helper::daemon::{Daemon, DaemonError, ExitReason};
use airpods_helper::kernel::KernelError;
use airpods_helper::kernel::netlink::Netlink;
use airpods_helper::log::{Line, Log};
use airpods_helper::privilege::{self, Ids, PrivilegeError};
use airpods_helper::state::{StateDirs, StateError};
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;
use zbus::{Address, Connection};
use zruntime::SharedRuntime;
use zruntime::signal::{Signal, Signals};

/// How long the helper stays on the bus while nothing is clamped and no call arrives.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Time limit for writing the last log lines.
const LAST_LINES: Duration = Duration::from_secs(1);

const HELP: &str = include_str!("../help.txt");
const VERSION: &str = concat!("airpods-helper ", env!("CARGO_PKG_VERSION"), "\n");

/// The task of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invocation {
    Serve,
    AfterStop,
    Print(&'static str),
}

impl Invocation {
    /// Parses the arguments; `None` if they are unknown. No argument changes what the helper
    /// allows.
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut arguments = arguments.into_iter();
        let first = arguments.next();
        match first.as_deref().map(|first| first.to_str().unwrap_or_default()) {
            _ if arguments.next().is_some() => None,
            None => Some(Self::Serve),
            Some("after-stop") => Some(Self::AfterStop),
            Some("-h" | "--help") => Some(Self::Print(HELP)),
            Some("-V" | "--version") => Some(Self::Print(VERSION)),
            Some(_) => None,
        }
    }
}

/// The exit codes, as `--help` documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    Failed = 1,
    Usage = 2,
    TooManyRights = 10,
    NotPermitted = 11,
    WrongUser = 12,
    NoBus = 13,
    NameTaken = 14,
    BusLost = 15,
    Kernel = 16,
    ForeignBus = 17,
}

/// Why the helper did not start, or ended with a failure.
#[derive(Debug, thiserror::Error)]
enum HelperError {
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    #[error("cannot open the kernel: {0}")]
    Kernel(#[from] KernelError),
    #[error("cannot start the runtime: {0}")]
    Runtime(#[from] std::io::Error),
    #[error(transparent)]
    State(#[from] StateError),
}

fn main() -> ExitCode {
    let run = match Invocation::parse(std::env::args_os().skip(1)) {
        Some(Invocation::Serve) => serve,
        Some(Invocation::AfterStop) => run_after_stop,
        Some(Invocation::Print(text)) => {
            // If stdout cannot be written, there is nobody to report that to.
            drop(std::io::stdout().write_all(text.as_bytes()));
            return ExitCode::SUCCESS;
        }
        None => {
            drop(std::io::stderr().write_all(b"error: no such argument\nhint: airpods-helper --help\n"));
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    ignore_signals();
    // State files are for the helper's user alone.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let log = Log::open();
    let exit = match run(&log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (exit, hint) = error.exit();
            let line = Line::error("failed").with("cause", &error).with("exit", exit as u8);
            log.write(match hint {
                Some(hint) => line.with("hint", hint),
                None => line,
            });
            ExitCode::from(exit as u8)
        }
    };
    log.flush(LAST_LINES);
    exit
}

/// Blocks signals that have no meaning here and would end the process: `systemctl kill -s HUP` must
/// not stop the helper.
fn ignore_signals() {
    let mut ignored = SigSet::empty();
    for signal in [Number::SIGHUP, Number::SIGPIPE, Number::SIGUSR1, Number::SIGUSR2, Number::SIGALRM] {
        ignored.add(signal);
    }
    // Threads that start later inherit the mask. The call does not fail for a valid set.
    let _ = ignored.thread_block();
}

fn serve(log: &Log) -> Result<(), HelperError> {
    let state_dirs = StateDirs::system();
    give_up_root(&state_dirs)?;
    // Only now: each thread has its own capabilities, so [`privilege::confine`] refuses a process
    // with more than one thread.
    log.write_in_the_background()?;
    let kernel = Netlink::open()?;
    // Uses zruntime's own `block_on`: zbus then finds its runtime and starts no thread of its own,
    // whichever zbus features the rest of the workspace enables.
    let reason = zruntime::block_on(run_daemon(kernel, state_dirs, log.clone()))?;
    log.write(Line::info("ended").with("cause", if reason == ExitReason::Unused { "unused" } else { "stopped" }));
    Ok(())
}

fn run_after_stop(log: &Log) -> Result<(), HelperError> {
    let state_dirs = StateDirs::system();
    give_up_root(&state_dirs)?;
    let mut kernel = Netlink::open()?;
    let runtime = zruntime::block_on(async { SharedRuntime::current() })?;
    Ok(after_stop::run(&runtime, &mut kernel, &state_dirs, log)?)
}

async fn run_daemon(kernel: Netlink, state_dirs: StateDirs, log: Log) -> Result<ExitReason, HelperError> {
    let runtime = SharedRuntime::current()?;
    // The handlers are installed before the bus name is taken, so an early signal is not lost.
    let mut signals = Signals::new(&runtime, [Signal::Terminate, Signal::Interrupt])?;
    let stop = async move {
        // If waiting for signals fails, the helper stops: no later SIGTERM could reach it.
        drop(signals.recv().await);
    };
    let (kernel, service_manager) = (Box::new(kernel), Box::new(Systemd));
    let daemon =
        Daemon { runtime: runtime.clone(), kernel, state_dirs, log, idle_timeout: IDLE_TIMEOUT, service_manager };
    let polkit =
        |connection: &Connection| -> Box<dyn Authority> { Box::new(Polkit::over(connection.clone(), runtime)) };
    let bus = Address::system().map_err(|error| DaemonError::from(BusError::Unreachable(error)))?;
    Ok(daemon.run(&bus, polkit, stop).await?)
}

/// Makes the process the helper's user with `CAP_NET_ADMIN` alone; it cannot get root back.
fn give_up_root(state_dirs: &StateDirs) -> Result<(), HelperError> {
    let helper = Ids::of(HELPER_USER)?;
    if geteuid().is_root() {
        state_dirs.create_for(helper.uid, helper.gid)?;
    }
    Ok(privilege::confine(helper)?)
}

impl HelperError {
    /// The exit code, and a hint for the administrator.
    fn exit(&self) -> (Exit, Option<&'static str>) {
        use KernelError::NotPermitted;
        use PrivilegeError as Wrong;
        match self {
            Self::Privilege(Wrong::TooMany(_) | Wrong::Threads(_)) => (
                Exit::TooManyRights,
                Some("the unit needs CapabilityBoundingSet=CAP_NET_ADMIN and NoNewPrivileges=yes"),
            ),
            Self::Privilege(Wrong::TooFew(_) | Wrong::Refused { .. }) => {
                (Exit::NotPermitted, Some("the unit, or the container, has to give it CAP_NET_ADMIN"))
            }
            // `confine` has verified `CAP_NET_ADMIN`, so the kernel's refusal means that it does
            // not cover this namespace.
            Self::Kernel(NotPermitted) | Self::Daemon(DaemonError::Events(NotPermitted)) => (
                Exit::NotPermitted,
                Some(
                    "CAP_NET_ADMIN is there, but not over this network namespace: a user namespace needs a network namespace of its own",
                ),
            ),
            Self::Privilege(Wrong::NoUser(_) | Wrong::UserIsRoot(_) | Wrong::WrongUser(_)) => (
                Exit::WrongUser,
                Some("make the user with `systemd-sysusers`, and let the bus or systemd start the helper"),
            ),
            Self::Daemon(DaemonError::Bus(BusError::NameTaken)) => (Exit::NameTaken, Some("one helper is enough")),
            Self::Daemon(DaemonError::Bus(BusError::Foreign { .. })) => {
                (Exit::ForeignBus, Some("unset DBUS_SYSTEM_BUS_ADDRESS, or let it lead to a bus of root"))
            }
            Self::Daemon(DaemonError::Bus(_)) => {
                (Exit::NoBus, Some("is dbus-daemon running, and the bus policy of airpods installed?"))
            }
            Self::Daemon(DaemonError::BusLost) => (Exit::BusLost, None),
            Self::Daemon(_) | Self::Kernel(_) => (Exit::Kernel, None),
            Self::Privilege(Wrong::Unreadable(_)) | Self::Runtime(_) | Self::State(_) => (Exit::Failed, None),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(arguments: &[&str]) -> Option<Invocation> {
        Invocation::parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn there_is_no_argument_that_could_weaken_anything() {
        assert_eq!(parse(&[]), Some(Invocation::Serve));
        assert_eq!(parse(&["after-stop"]), Some(Invocation::AfterStop));
        assert!(matches!(parse(&["--help"]), Some(Invocation::Print(text)) if text.contains("Example:")));
        assert!(matches!(parse(&["-V"]), Some(Invocation::Print(text)) if text.contains(env!("CARGO_PKG_VERSION"))));
        for wrong in [&["--no-auth"][..], &["after-stop", "now"], &["--help", "x"], &["start"], &["", ""], &[""]] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn every_exit_code_is_documented() {
        for exit in [
            Exit::Failed,
            Exit::Usage,
            Exit::TooManyRights,
            Exit::NotPermitted,
            Exit::WrongUser,
            Exit::NoBus,
            Exit::NameTaken,
            Exit::BusLost,
            Exit::Kernel,
            Exit::ForeignBus,
        ] {
            let number = format!("{:>4}  ", exit as u8);
            assert!(HELP.lines().any(|line| line.starts_with(&number)), "{exit:?}");
        }
    }

    #[test]
    fn rights_decide_the_exit_code() {
        let exit = |error: PrivilegeError| HelperError::from(error).exit().0;
        assert_eq!(exit(PrivilegeError::TooMany("the bounding set")), Exit::TooManyRights);
        assert_eq!(exit(PrivilegeError::TooFew("effective")), Exit::NotPermitted);
        assert_eq!(exit(PrivilegeError::NoUser(HELPER_USER.to_owned())), Exit::WrongUser);
    }

    #[test]
    fn a_right_that_is_missing_and_one_over_another_network_have_one_exit_code_and_different_hints() {
        let missing = HelperError::from(PrivilegeError::TooFew("permitted"));
        let elsewhere = [
            HelperError::from(KernelError::NotPermitted),
            HelperError::from(DaemonError::Events(KernelError::NotPermitted)),
        ];
        assert!(missing.exit().1.unwrap().contains("the container, has to give it"));
        for error in elsewhere {
            assert_eq!(error.exit().0, missing.exit().0);
            assert!(error.exit().1.unwrap().contains("not over this network namespace"));
        }
        assert_eq!(HelperError::from(KernelError::ReadBack).exit().1, None);
    }
}
