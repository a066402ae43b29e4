//! The entry point of the helper daemon: arguments, dropping root, exit codes. The rest is in the
//! library.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use airpods_dbus::names::HELPER_USER;
use airpods_helper::after_stop;
use airpods_helper::authority::{Authority, Polkit};
use airpods_helper::bus::{self, Service};
use airpods_helper::daemon::{Daemon, ServiceManager};
use airpods_helper::failure::{Exit, Failure};
use airpods_helper::kernel::netlink::Netlink;
use airpods_helper::log::{Line, Log};
use airpods_helper::privilege::{self, Ids};
use airpods_helper::reconcile::Reconciler;
use airpods_helper::state::StateDirs;
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
enum Task {
    Serve,
    AfterStop,
    Print(&'static str),
}

impl Task {
    /// Parses the arguments. No argument changes what the helper allows.
    fn parse(arguments: &[OsString]) -> Result<Self, Failure> {
        let words: Option<Vec<&str>> = arguments.iter().map(|argument| argument.to_str()).collect();
        match words.as_deref() {
            Some([]) => Ok(Self::Serve),
            Some(["after-stop"]) => Ok(Self::AfterStop),
            Some(["-h" | "--help"]) => Ok(Self::Print(HELP)),
            Some(["-V" | "--version"]) => Ok(Self::Print(VERSION)),
            _ => Err(Exit::Usage.because("no such argument")),
        }
    }
}

fn main() -> ExitCode {
    // These signals have no meaning here, and would end the process: `systemctl kill -s HUP` must
    // not stop the helper. Threads that start later inherit the mask. The call does not fail for a
    // valid set.
    let ignored = [Number::SIGHUP, Number::SIGPIPE, Number::SIGUSR1, Number::SIGUSR2, Number::SIGALRM];
    let _ = SigSet::from_iter(ignored).thread_block();
    // State files are for the helper's user alone.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let log = Log::open();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let code = match Task::parse(&arguments).and_then(|task| run(task, &log)) {
        Ok(()) => 0,
        Err(failure) => {
            let (code, hint) = failure.exit.code_and_hint();
            let line = Line::error("failed").with("cause", failure).with("exit", code);
            log.write(match hint {
                Some(hint) => line.with("hint", hint),
                None => line,
            });
            code
        }
    };
    log.flush(LAST_LINES);
    code.into()
}

/// Prints a text, or gives root up and then serves the bus or decides about the table.
fn run(task: Task, log: &Log) -> Result<(), Failure> {
    if let Task::Print(text) = task {
        // If stdout cannot be written, there is nobody to report that to.
        drop(std::io::stdout().write_all(text.as_bytes()));
        return Ok(());
    }
    let state_dirs = StateDirs::system();
    let helper = Ids::of(HELPER_USER)?;
    if geteuid().is_root() {
        state_dirs.create_for(helper.uid, helper.gid).map_err(|error| Exit::Failed.because(error))?;
    }
    privilege::confine(helper)?;
    // Only now: each thread has its own capabilities, so [`privilege::confine`] refuses a process
    // with more than one thread.
    log.write_in_the_background().map_err(not_started)?;
    let mut kernel = Netlink::open()?;
    // Uses zruntime's own `block_on`: zbus then finds its runtime and starts no thread of its own,
    // whichever zbus features the rest of the workspace enables.
    zruntime::block_on(async {
        let runtime = SharedRuntime::current().map_err(not_started)?;
        if task == Task::AfterStop {
            return Ok(after_stop::run(&runtime, &mut kernel, &state_dirs, log).await?);
        }
        let reconciler = Reconciler::new(Box::new(kernel), state_dirs, log.clone());
        serve(Service::new(reconciler, log.clone(), runtime.clone()), runtime).await?;
        log.write(Line::info("ended"));
        Ok(())
    })
}

async fn serve(service: Arc<Service>, runtime: SharedRuntime) -> Result<(), Failure> {
    // The handlers are installed before the bus name is taken, so an early signal is not lost.
    let mut signals = Signals::new(&runtime, [Signal::Terminate, Signal::Interrupt]).map_err(not_started)?;
    let stop = async move {
        // If waiting for signals fails, the helper stops: no later SIGTERM could reach it.
        drop(signals.recv().await);
    };
    let bus = Address::system().map_err(bus::unreachable)?;
    let daemon = Daemon::new(service, IDLE_TIMEOUT, ServiceManager::of_environment());
    let polkit =
        |connection: &Connection| -> Box<dyn Authority> { Box::new(Polkit::over(connection.clone(), runtime)) };
    daemon.run(&bus, polkit, stop).await.map(drop)
}

fn not_started(error: impl Display) -> Failure {
    Exit::Failed.because(format!("cannot start the runtime: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Task, Failure> {
        Task::parse(&arguments.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn there_is_no_argument_that_could_weaken_anything() {
        assert_eq!(parse(&[]), Ok(Task::Serve));
        assert_eq!(parse(&["after-stop"]), Ok(Task::AfterStop));
        assert!(matches!(parse(&["--help"]), Ok(Task::Print(text)) if text.contains("Example:")));
        assert!(matches!(parse(&["-V"]), Ok(Task::Print(text)) if text.contains(env!("CARGO_PKG_VERSION"))));
        for wrong in [&["--no-auth"][..], &["after-stop", "now"], &["--help", "x"], &["start"], &["", ""], &[""]] {
            assert_eq!(parse(wrong).unwrap_err().exit, Exit::Usage, "{wrong:?}");
        }
    }
}
