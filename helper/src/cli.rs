//! The command line, the way down from root, and what the process tells whoever started it.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use airpods_dbus::names::HELPER_USER;
use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;
use zbus::{Address, Connection};
use zruntime::SharedRuntime;
use zruntime::signal::{Signal, Signals};

use crate::after_stop;
use crate::authority::{Authority, Polkit};
use crate::bus::BusError;
use crate::daemon::systemd::Systemd;
use crate::daemon::{Daemon, DaemonError, Ending};
use crate::kernel::netlink::Netlink;
use crate::kernel::unsupported::Unsupported;
use crate::kernel::{Kernel, KernelError};
use crate::log::{Line, Log};
use crate::privilege::{self, Ids, PrivilegeError};
use crate::state::{Places, StateError};

/// How long the helper stays on the bus while nothing is clamped and nobody calls.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the last lines of the log may take.
const LAST_LINES: Duration = Duration::from_secs(1);

const HELP: &str = "\
Keeps the nftables table `inet airpods` as callers on the system bus ask for, as far as polkit allows it.

Usage: airpods-helper
       airpods-helper after-stop

The service manager or the bus starts it. It needs to be started as root, or as its own user with CAP_NET_ADMIN; it keeps
CAP_NET_ADMIN and nothing else. With `after-stop`, which is for ExecStopPost= of its unit, it removes the table if the
service was stopped, and leaves it if the service is restarted.

Options:
  -h, --help     Print help
  -V, --version  Print version

Example:
  busctl call org.airpods.Helper1 /org/airpods/Helper1 org.airpods.Helper1 ClampOn 'sa{sv}' wg0 0

Exit codes:
   0  stopped, or left because nothing was clamped
   1  failed
   2  wrong usage
  10  refused to run with more rights than CAP_NET_ADMIN
  11  CAP_NET_ADMIN is missing, or not valid for this network namespace
  12  the user `airpods-helper` is missing, or the helper was started as somebody else
  13  there is no system bus, or it does not let the helper in
  14  another helper is running
  15  the connection to the bus was lost
  16  the kernel cannot be watched
";

/// What the process is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invocation {
    Serve,
    AfterStop,
    Print(&'static str),
}

impl Invocation {
    /// Reads the arguments; `None` if they are none that there are. No argument changes what is allowed.
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut arguments = arguments.into_iter();
        let Some(first) = arguments.next() else { return Some(Self::Serve) };
        match first.to_str()? {
            _ if arguments.next().is_some() => None,
            "after-stop" => Some(Self::AfterStop),
            "-h" | "--help" => Some(Self::Print(HELP)),
            "-V" | "--version" => Some(Self::Print(concat!("airpods-helper ", env!("CARGO_PKG_VERSION"), "\n"))),
            _ => None,
        }
    }
}

/// Why the process ends, in the number that whoever started it sees.
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
}

/// Why the helper does not run, or no longer.
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

/// Runs the helper.
#[must_use]
pub fn main() -> ExitCode {
    let run = match Invocation::parse(std::env::args_os().skip(1)) {
        Some(Invocation::Serve) => serve,
        Some(Invocation::AfterStop) => see_to_the_table,
        Some(Invocation::Print(text)) => {
            // Nobody reads it if it cannot be written.
            drop(std::io::stdout().write_all(text.as_bytes()));
            return ExitCode::SUCCESS;
        }
        None => {
            drop(std::io::stderr().write_all(b"error: no such argument\nhint: airpods-helper --help\n"));
            return ExitCode::from(Exit::Usage as u8);
        }
    };
    ignore_signals();
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let log = Log::open();
    let exit = match run(&log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let exit = error.exit();
            let line = Line::error("failed").with("cause", &error).with("exit", exit as u8);
            log.write(match error.hint() {
                Some(hint) => line.with("hint", hint),
                None => line,
            });
            ExitCode::from(exit as u8)
        }
    };
    log.flush(LAST_LINES);
    exit
}

/// Signals that mean nothing here and would end the process: `systemctl kill -s HUP` is no stop.
fn ignore_signals() {
    let mut ignored = SigSet::empty();
    for signal in [Number::SIGHUP, Number::SIGPIPE, Number::SIGUSR1, Number::SIGUSR2, Number::SIGALRM] {
        ignored.add(signal);
    }
    // Blocked for every thread that starts from here. It fails for no valid set.
    let _ = ignored.thread_block();
}

fn serve(log: &Log) -> Result<(), HelperError> {
    let places = Places::of_the_system();
    give_up_root(&places)?;
    // Not before: a process with threads cannot give up root.
    log.write_in_the_background()?;
    let kernel = open_kernel(log)?;
    // zruntime's own `block_on`: zbus finds its runtime there and needs no thread of its own, whichever features the
    // rest of the workspace switches on in zbus.
    let ending = zruntime::block_on(stay(kernel, places, log.clone()))?;
    log.write(Line::info("ended").with("cause", if ending == Ending::Unused { "unused" } else { "stopped" }));
    Ok(())
}

fn see_to_the_table(log: &Log) -> Result<(), HelperError> {
    let places = Places::of_the_system();
    give_up_root(&places)?;
    let mut kernel = Netlink::open()?;
    let runtime = zruntime::block_on(async { SharedRuntime::current() })?;
    Ok(after_stop::run(&runtime, &mut kernel, &places, log)?)
}

async fn stay(kernel: Box<dyn Kernel>, places: Places, log: Log) -> Result<Ending, HelperError> {
    let runtime = SharedRuntime::current()?;
    // Taken over before the name is: a signal that comes early is not lost.
    let mut signals = Signals::new(&runtime, [Signal::Terminate, Signal::Interrupt])?;
    let stop = async move {
        // If signals cannot be waited for any more, stopping is all that is left to do.
        drop(signals.recv().await);
    };
    let daemon =
        Daemon { runtime: runtime.clone(), kernel, places, log, patience: PATIENCE, manager: Box::new(Systemd) };
    let polkit =
        |connection: &Connection| -> Box<dyn Authority> { Box::new(Polkit::over(connection.clone(), runtime)) };
    let bus = Address::system().map_err(|error| DaemonError::from(BusError::Unreachable(error)))?;
    Ok(daemon.run(&bus, polkit, stop).await?)
}

/// From here on the process is the helper's user with one capability, for good.
fn give_up_root(places: &Places) -> Result<(), HelperError> {
    let helper = Ids::of(HELPER_USER)?;
    if geteuid().is_root() {
        places.make_for(helper.uid, helper.gid)?;
    }
    Ok(privilege::confine(helper)?)
}

fn open_kernel(log: &Log) -> Result<Box<dyn Kernel>, HelperError> {
    match Netlink::open() {
        Ok(netlink) => Ok(Box::new(netlink)),
        Err(KernelError::Unsupported { piece }) => {
            log.write(Line::error("kernel-unsupported").with("missing", &piece));
            Ok(Box::new(Unsupported { piece }))
        }
        Err(error) => Err(error.into()),
    }
}

impl HelperError {
    fn exit(&self) -> Exit {
        match self {
            Self::Privilege(error) => match error {
                PrivilegeError::TooMany(_) | PrivilegeError::Threads(_) => Exit::TooManyRights,
                PrivilegeError::TooFew(_) | PrivilegeError::Refused { .. } => Exit::NotPermitted,
                PrivilegeError::NoUser(_) | PrivilegeError::UserIsRoot(_) | PrivilegeError::WrongUser(_) => {
                    Exit::WrongUser
                }
                PrivilegeError::Unreadable(_) => Exit::Failed,
            },
            Self::Daemon(error) => match error {
                DaemonError::Bus(BusError::Unreachable(_) | BusError::NameRefused(_)) => Exit::NoBus,
                DaemonError::Bus(BusError::NameTaken) => Exit::NameTaken,
                DaemonError::BusLost => Exit::BusLost,
                DaemonError::Events(KernelError::NotPermitted) => Exit::NotPermitted,
                DaemonError::Events(_) | DaemonError::Wait(_) => Exit::Kernel,
            },
            Self::Kernel(KernelError::NotPermitted) => Exit::NotPermitted,
            Self::Kernel(_) => Exit::Kernel,
            Self::Runtime(_) | Self::State(_) => Exit::Failed,
        }
    }

    /// The kernel is asked only by a process that has been seen to hold `CAP_NET_ADMIN`; if it refuses, the network belongs to
    /// another user namespace.
    fn has_the_right_elsewhere(&self) -> bool {
        use KernelError::NotPermitted;
        matches!(self, Self::Kernel(NotPermitted) | Self::Daemon(DaemonError::Events(NotPermitted)))
    }

    fn hint(&self) -> Option<&'static str> {
        match self.exit() {
            Exit::TooManyRights => Some("the unit needs CapabilityBoundingSet=CAP_NET_ADMIN and NoNewPrivileges=yes"),
            Exit::NotPermitted if self.has_the_right_elsewhere() => Some(
                "CAP_NET_ADMIN is there, but not over this network namespace: a user namespace needs a network namespace of its own",
            ),
            Exit::NotPermitted => Some("the unit, or the container, has to give it CAP_NET_ADMIN"),
            Exit::WrongUser => {
                Some("make the user with `systemd-sysusers`, and let the bus or systemd start the helper")
            }
            Exit::NoBus => Some("is dbus-daemon running, and the bus policy of airpods installed?"),
            Exit::NameTaken => Some("one helper is enough"),
            Exit::Failed | Exit::Usage | Exit::BusLost | Exit::Kernel => None,
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
        ] {
            let number = format!("{:>4}  ", exit as u8);
            assert!(HELP.lines().any(|line| line.starts_with(&number)), "{exit:?}");
        }
    }

    #[test]
    fn rights_decide_the_exit_code() {
        let exit = |error: PrivilegeError| HelperError::from(error).exit();
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
        assert!(missing.hint().unwrap().contains("the container, has to give it"));
        for error in elsewhere {
            assert_eq!(error.exit(), missing.exit());
            assert!(error.hint().unwrap().contains("not over this network namespace"));
        }
        assert_eq!(HelperError::from(KernelError::ReadBack).hint(), None);
    }
}
