//! The laboratory's agent in a whole machine: runs the commands that arrive on the machine's serial
//! ports.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use airpods_lab::machine::wire::{self, Frame, PORT, PORTS, Request};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::Result;

/// How often to look at a port whose other end is closed. poll always reports such a port as ready
/// (`POLLHUP`, and `POLLIN` for the end of the file), so it cannot wait for a caller.
const LOOK: Duration = Duration::from_millis(20);

/// How long the other end must be closed before the caller counts as gone. The kernel may report
/// that an earlier caller left when the next one's request has already arrived.
const GONE: Duration = Duration::from_secs(3);

/// How long to wait for the output of a command that has ended. A process that it started may hold
/// the pipe open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves every port until the machine goes down.
pub(crate) fn serve() -> Result<()> {
    let (mut idle, mut known) = (Vec::new(), BTreeSet::new());
    let (done, returned) = mpsc::channel();
    loop {
        // The kernel may still be adding ports.
        if known.len() < PORTS {
            let found: BTreeSet<PathBuf> = ports().difference(&known).cloned().collect();
            idle.extend(found.iter().map(Port::open).collect::<io::Result<Vec<_>>>()?);
            known.extend(found);
        }
        let (asked, quiet): (Vec<Port>, Vec<Port>) = idle.into_iter().partition(Port::is_asked);
        idle = quiet;
        for port in asked {
            let done = done.clone();
            thread::spawn(move || {
                // An error means that the caller left early, so there is nobody to report it to.
                let _ = session(&port);
                let _ = done.send(port);
            });
        }
        idle.extend(returned.try_iter());
        thread::sleep(LOOK);
    }
}

fn ports() -> BTreeSet<PathBuf> {
    let found = std::fs::read_dir("/dev/virtio-ports").into_iter().flatten().flatten();
    found.filter(|entry| entry.file_name().to_string_lossy().starts_with(PORT)).map(|entry| entry.path()).collect()
}

/// One serial port. Reading ends when the other side leaves.
#[derive(Clone)]
struct Port {
    file: Arc<File>,
    writing: Arc<Mutex<()>>,
    over: Arc<AtomicBool>,
}

impl Port {
    fn open(path: &PathBuf) -> io::Result<Self> {
        let file = File::options().read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        Ok(Self { file: Arc::new(file), writing: Arc::default(), over: Arc::default() })
    }

    /// The same port for a new session.
    fn fresh(&self) -> Self {
        Self { over: Arc::default(), ..self.clone() }
    }

    fn is_asked(&self) -> bool {
        self.state(PollFlags::POLLIN, Duration::ZERO) == PollFlags::POLLIN
    }

    fn state(&self, wanted: PollFlags, limit: Duration) -> PollFlags {
        let mut fds = [PollFd::new(self.file.as_fd(), wanted)];
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut fds, limit);
        fds[0].revents().unwrap_or(PollFlags::empty())
    }

    /// Waits until the port can be used for `wanted`. A write that has begun is finished.
    fn wait(&self, wanted: PollFlags) -> io::Result<()> {
        let mut last_held = Instant::now();
        loop {
            let state = self.state(wanted, Duration::from_millis(100));
            if state == wanted {
                return Ok(());
            }
            let over = wanted == PollFlags::POLLIN && self.over.load(Ordering::Relaxed);
            if over || last_held.elapsed() > GONE {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if state.contains(PollFlags::POLLHUP) {
                thread::sleep(LOOK);
            } else {
                last_held = Instant::now();
            }
        }
    }

    fn send(&self, frame: &Frame) -> io::Result<()> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.over.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        wire::send(&mut self.clone(), frame)
    }
}

impl Read for Port {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&*self.file).read(into) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                // There is no data yet, or no caller.
                Err(_) | Ok(0) => self.wait(PollFlags::POLLIN)?,
                other => return other,
            }
        }
    }
}

impl Write for Port {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        loop {
            match (&*self.file).write(from) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(PollFlags::POLLOUT)?,
                other => return other,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One command, from the request to its end.
fn session(end: &Port) -> io::Result<()> {
    let mut port = end.fresh();
    // Skip lines left over from a command that ended before it read all its input.
    let request = loop {
        if let Some(request) = Request::parse(&line(&port)?) {
            break request;
        }
    };
    port.write_all(format!("{}\n", request.word).as_bytes())?;
    let mut child = match start(&request) {
        Ok(child) => child,
        Err(error) => {
            let output = format!("error: cannot run `{}`: {error}\n", request.words.join(" "));
            port.send(&Frame::Error(output.into_bytes()))?;
            return port.send(&Frame::Exit(127));
        }
    };
    let group = Pid::from_raw(child.id().cast_signed());
    let input = child.stdin.take();
    let told = {
        let port = port.clone();
        thread::spawn(move || obey(port, group, input))
    };
    let outputs =
        [spawn_copy(child.stdout.take(), Frame::Output, &port), spawn_copy(child.stderr.take(), Frame::Error, &port)];
    let status = child.wait()?;
    let start = Instant::now();
    while outputs.iter().any(|copy| !copy.is_finished()) && start.elapsed() < LAST_WORDS {
        thread::sleep(Duration::from_millis(2));
    }
    port.over.store(true, Ordering::Relaxed);
    let _ = told.join();
    end.send(&Frame::Exit(code(status)))
}

fn line(port: &Port) -> io::Result<String> {
    let (mut line, mut byte, mut port) = (Vec::new(), [0], port.clone());
    while byte != *b"\n" {
        port.read_exact(&mut byte)?;
        line.extend(byte);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn start(request: &Request) -> io::Result<Child> {
    let mut words = request.words.iter();
    let mut command = match &request.user {
        None => Command::new(words.next().map_or("true", String::as_str)),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", user, "--init-groups", "--"]);
            command
        }
    };
    command.args(words).env_clear().envs(&request.environment).current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Passes the caller's input and signals on. If the caller leaves, the command is killed.
fn obey(mut port: Port, group: Pid, mut input: Option<ChildStdin>) {
    loop {
        match Frame::read(&mut port) {
            Ok(Frame::Input(data)) if data.is_empty() => input = None,
            Ok(Frame::Input(data)) => {
                // Ignore the error of a command that does not read its input.
                if let Some(pipe) = &mut input {
                    let _ = pipe.write_all(&data);
                }
            }
            Ok(Frame::Signal(number)) => {
                if let Ok(signal) = Signal::try_from(number) {
                    let _ = killpg(group, signal);
                }
            }
            Ok(_) => {}
            Err(_) => {
                if !port.over.load(Ordering::Relaxed) {
                    let _ = killpg(group, Signal::SIGKILL);
                }
                return;
            }
        }
    }
}

fn spawn_copy(
    from: Option<impl Read + Send + 'static>,
    as_frame: fn(Vec<u8>) -> Frame,
    port: &Port,
) -> thread::JoinHandle<()> {
    let port = port.clone();
    thread::spawn(move || {
        if let Some(from) = from {
            let _ = wire::copy(from, as_frame, |frame| port.send(frame));
        }
    })
}

fn code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}
