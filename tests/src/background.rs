//! Programs that run beside a test: servers, tcpdump, the bus, polkitd.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{Doing, Error, Result};
use crate::place::{command_line, tail};
use crate::wait::TIMEOUT;

/// A running program that is killed when the value is dropped.
#[derive(Debug)]
pub struct Background {
    child: Child,
    line: String,
    log: PathBuf,
}

impl Background {
    /// Starts a program, both outputs going to the file `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        Self::start_with(command, Stdio::null(), log)
    }

    /// Starts a program with this standard input, both outputs going to the file `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_with(command: &mut Command, input: impl Into<Stdio>, log: &Path) -> Result<Self> {
        let line = command_line(command);
        let file = open_log(log)?;
        let copy = file.try_clone().doing(|| format!("share `{}`", log.display()))?;
        let child = command.stdin(input).stdout(copy).stderr(file).spawn().doing(|| format!("start `{line}`"))?;
        Ok(Self { child, line, log: log.to_owned() })
    }

    /// Starts a program that prints one line on standard output when it is ready, and waits for
    /// that line, for up to [`TIMEOUT`].
    ///
    /// # Errors
    /// When it cannot be started, ends, or stays silent; its standard error is in the message.
    pub fn start_ready(command: &mut Command, log: &Path) -> Result<(Self, String)> {
        let line = command_line(command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(open_log(log)?)
            .spawn()
            .doing(|| format!("start `{line}`"))?;
        let (send, receive) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            let mut copy = open_log(log)?;
            std::thread::spawn(move || {
                let mut reader = BufReader::new(out);
                let mut first = String::new();
                let _ = reader.read_line(&mut first);
                let _ = send.send(first.trim().to_owned());
                let _ = std::io::copy(&mut reader, &mut copy);
            });
        }
        let running = Self { child, line, log: log.to_owned() };
        match receive.recv_timeout(TIMEOUT) {
            Ok(first) if !first.is_empty() => Ok((running, first)),
            _ => Err(Error::NotReady { what: format!("`{}`", running.line), reason: running.log_tail() }),
        }
    }

    /// The process id outside the sandbox: that of `airpods-lab enter`, which ends when the program
    /// ends.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for a condition while the program runs.
    ///
    /// # Errors
    /// When the program ends or the time passes first; the tail of its log is in the message.
    pub fn until(&mut self, what: &str, limit: Duration, ready: impl Fn() -> bool) -> Result<()> {
        let start = Instant::now();
        while !ready() {
            if self.ended().is_some() || start.elapsed() > limit {
                return Err(Error::NotReady { what: what.to_owned(), reason: self.log_tail() });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Sends it a signal. In a sandbox SIGKILL ends `airpods-lab enter`, and the program with it
    /// unless that has changed its user.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).doing(|| format!("signal `{}`", self.line))
    }

    /// Ends it: SIGTERM, then SIGKILL if it still runs after 10 s.
    pub fn stop(&mut self) {
        const GRACE: Duration = Duration::from_secs(10);
        let start = Instant::now();
        let _ = self.signal(Signal::SIGTERM);
        while self.ended().is_none() && start.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn log_tail(&self) -> String {
        tail(&std::fs::read_to_string(&self.log).unwrap_or_default())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}

fn open_log(log: &Path) -> Result<File> {
    File::options().create(true).append(true).open(log).doing(|| format!("open the log `{}`", log.display()))
}
