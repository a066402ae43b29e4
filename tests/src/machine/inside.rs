//! A process of the laboratory that stands for a command inside a machine. It passes on input,
//! output, signals and the exit code.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};

use super::wire::{self, Frame, PORTS, Request};
use crate::error::{Doing, Error, Result};

/// The exit code for a command that ran too long, the same as timeout(1)'s.
const TIMED_OUT: u8 = 124;

/// A command for a machine.
#[derive(Debug)]
pub struct RemoteCommand {
    /// The folder of the sockets of the machine's ports.
    pub folder: PathBuf,
    /// The user; root when `None`.
    pub user: Option<String>,
    /// Time limit, after which the command is killed.
    pub limit: Duration,
    /// The program and its arguments.
    pub words: Vec<String>,
}

/// The socket of a port, below the machine's folder.
pub(super) fn socket(folder: &Path, port: usize) -> PathBuf {
    folder.join(format!("port.{port}"))
}

/// The file that marks a port as taken.
fn claim(folder: &Path, port: usize) -> PathBuf {
    folder.join(format!("claim.{port}"))
}

/// Frees every port after a reboot of the machine.
pub(super) fn forget_claims(folder: &Path) {
    for port in 0..PORTS {
        let _ = fs::remove_file(claim(folder, port));
    }
}

/// Runs a command in a machine and ends with its exit code. The command gets this process's
/// environment. If this process is killed, so is the command.
///
/// # Errors
/// When the machine is gone, or too many commands are running in it.
pub fn run(command: &RemoteCommand) -> Result<ExitCode> {
    set_pdeathsig(Signal::SIGKILL).doing(|| "tie the command to the test".into())?;
    let mut signals = SigSet::from(Signal::SIGTERM);
    signals.extend([Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block().doing(|| "block signals".into())?;
    exit_after_limit(command);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let request = Request {
        word: format!("{} {}", std::process::id(), since.as_nanos()),
        words: command.words.clone(),
        environment: std::env::vars().collect(),
        user: command.user.clone(),
    };
    let port = Port::take(&command.folder)?;
    let code = port.converse(&request, signals).doing(|| "speak with the machine (it is gone)".into())?;
    port.give_back();
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn exit_after_limit(command: &RemoteCommand) {
    let (limit, line) = (command.limit, command.words.join(" "));
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        eprintln!("error: `{line}` did not end in {} s", limit.as_secs());
        std::process::exit(TIMED_OUT.into());
    });
}

/// A port claimed for one command. If its user is killed, it is not reused, because unread data may
/// be left in it.
struct Port {
    stream: UnixStream,
    claim: PathBuf,
}

impl Port {
    fn take(folder: &Path) -> Result<Self> {
        for number in 0..PORTS {
            let claim = claim(folder, number);
            if File::options().write(true).create_new(true).open(&claim).is_ok() {
                let path = socket(folder, number);
                let stream = UnixStream::connect(&path).doing(|| format!("open the port `{}`", path.display()))?;
                return Ok(Self { stream, claim });
            }
        }
        let reason = format!("all its {PORTS} ports are taken, or it has ended");
        Err(Error::NotReady { what: "the machine".into(), reason })
    }

    fn give_back(self) {
        let _ = fs::remove_file(self.claim);
    }

    fn converse(&self, request: &Request, signals: SigSet) -> io::Result<i32> {
        let writing = Arc::new(Mutex::new(self.stream.try_clone()?));
        let send = move |frame: &Frame| {
            let mut stream = writing.lock().unwrap_or_else(PoisonError::into_inner);
            wire::send(&mut *stream, frame)
        };
        // The first line end terminates any input that an earlier command left unread.
        (&self.stream).write_all(format!("\n{}", request.line()).as_bytes())?;
        let mut answer = BufReader::new(self.stream.try_clone()?);
        skip_until(&mut answer, &request.word)?;
        let tell = send.clone();
        std::thread::spawn(move || {
            if wire::copy(io::stdin(), Frame::Input, &tell).is_ok() {
                let _ = tell(&Frame::Input(Vec::new()));
            }
        });
        std::thread::spawn(move || {
            while let Ok(signal) = signals.wait() {
                let _ = send(&Frame::Signal(signal as i32));
            }
        });
        loop {
            match Frame::read(&mut answer)? {
                Frame::Output(data) => write_on(io::stdout(), &data),
                Frame::Error(data) => write_on(io::stderr(), &data),
                Frame::Exit(code) => return Ok(code),
                Frame::Input(_) | Frame::Signal(_) => {}
            }
        }
    }
}

/// Write errors are ignored: a reader that has left does not end the command.
fn write_on(mut to: impl Write, data: &[u8]) {
    let _ = to.write_all(data).and_then(|()| to.flush());
}

fn skip_until(answer: &mut impl BufRead, word: &str) -> io::Result<()> {
    let wanted = format!("{word}\n").into_bytes();
    let mut seen = Vec::new();
    while !seen.ends_with(&wanted) {
        let mut byte = [0];
        answer.read_exact(&mut byte)?;
        seen.extend(byte);
    }
    Ok(())
}

/// How long something has been waited for, and whether that is too long.
#[derive(Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    pub(super) fn passed(&self) -> bool {
        Instant::now() > self.0
    }
}
