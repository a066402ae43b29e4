//! The emulator's process: starts it, and ends it together with the test.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::setsid;

use super::inside::{Deadline, socket};
use super::qmp::Qmp;
use super::wire::{PORT, PORTS};
use crate::error::{Doing, Error, Result};
use crate::place::tail;
use crate::programs::Program;

/// The files that a machine starts from, and the use of its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    /// The disk, in qemu's own format.
    pub(super) disk: PathBuf,
    /// The laboratory's static program, which the machine finds on a disk of its own.
    pub(super) probe: PathBuf,
    /// The saved memory; the machine boots when there is none.
    pub(super) memory: Option<PathBuf>,
    /// Whether writes to the disk are kept.
    pub(super) keep: bool,
}

/// qemu's fixed arguments: no other device and no network, so nothing outside is reached. There are
/// two processors because many faults need a race.
const MACHINE: &str = "-machine q35,hpet=off -accel tcg,thread=multi -cpu max -smp 2 -m 1536 -no-user-config -nodefaults \
    -vga std -display none -nic none -rtc base=utc -serial file:console.log -qmp unix:qmp,server=on,wait=off \
    -device virtio-serial-pci,max_ports=31";

/// The kernel's command line: its messages go to the console, and it reboots after a panic.
const KERNEL: &str =
    "root=/dev/vda rw console=ttyS0 quiet systemd.show_status=0 audit=0 mitigations=off panic=1 net.ifnames=0";

impl Start {
    /// The settings that are the same for every machine. A saved memory depends on them.
    pub(super) fn fixed() -> impl std::hash::Hash {
        (MACHINE, KERNEL, PORTS)
    }

    /// The emulator's arguments. It runs in the machine's folder, and paths are relative to that
    /// because a socket's path must be short.
    fn arguments(&self) -> Vec<String> {
        let mut words: Vec<String> = MACHINE.split_whitespace().map(str::to_owned).collect();
        let mut add = |name: &str, value: String| words.extend([format!("-{name}"), value]);
        let path = |path: &Path| path.display().to_string();
        add("kernel", path(&self.kernel));
        add("initrd", path(&self.initrd));
        add("append", KERNEL.to_owned());
        let snapshot = if self.keep { "off" } else { "on" };
        let disk = format!("file={},if=none,id=root,format=qcow2,cache=unsafe,snapshot={snapshot}", path(&self.disk));
        add("drive", disk);
        add("device", "virtio-blk-pci,drive=root".into());
        add("drive", format!("file={},if=none,id=probe,format=raw,read-only=on", path(&self.probe)));
        add("device", "virtio-blk-pci,drive=probe,serial=probe".into());
        for number in 0..PORTS {
            let file = socket(Path::new(""), number);
            add("chardev", format!("socket,id=port{number},path={},server=on,wait=off", path(&file)));
            add("device", format!("virtserialport,chardev=port{number},name={PORT}{number}"));
        }
        if let Some(memory) = &self.memory {
            add("incoming", format!("exec:cat '{}'", path(memory)));
        }
        words
    }
}

/// A running emulator. It ends with this value, and with this process.
#[derive(Debug)]
pub(super) struct Emulator {
    supervisor: Child,
    folder: PathBuf,
}

/// First word of the supervisor's line when the emulator's folder is made; its path follows.
const READY: &str = "ready";

/// The file that marks that the emulator has ended.
const ENDED: &str = "ended";

impl Emulator {
    /// Starts it. When this returns, a saved machine runs again, and any other begins to boot.
    pub(super) fn start(start: &Start) -> Result<Self> {
        let lab = Program::Lab.path()?;
        let mut supervisor = Command::new(&lab)
            .args(["machine-supervisor", "--"])
            .args(start.arguments())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .doing(|| format!("start `{}`", lab.display()))?;
        let mut line = String::new();
        if let Some(out) = supervisor.stdout.take() {
            BufReader::new(out).read_line(&mut line).doing(|| "hear from the machine's supervisor".into())?;
        }
        let folder = PathBuf::from(line.trim().strip_prefix(READY).unwrap_or_default().trim());
        let emulator = Self { supervisor, folder };
        let control = emulator.control()?;
        if start.memory.is_some() {
            control.resume()?;
        }
        Ok(emulator)
    }

    /// Where its sockets and its console are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its control socket.
    pub(super) fn control(&self) -> Result<Qmp> {
        let socket = self.folder.join("qmp");
        let deadline = Deadline::after(Duration::from_secs(30));
        // The socket file exists before qemu listens on it.
        loop {
            match Qmp::open(&socket) {
                Ok(control) => return Ok(control),
                Err(error) if deadline.passed() || self.ended() => {
                    return Err(Error::NotReady { what: error.to_string(), reason: self.output() });
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn ended(&self) -> bool {
        !self.folder.is_dir() || self.folder.join(ENDED).exists()
    }

    /// The machine's output on its console, and the emulator's on its standard error.
    pub(super) fn output(&self) -> String {
        let read = |name: &str| {
            let bytes = fs::read(self.folder.join(name)).unwrap_or_default();
            format!("--- {name}\n{}\n", tail(&String::from_utf8_lossy(&bytes)))
        };
        read("qemu.log") + &read("console.log")
    }

    /// Writes the machine's memory to a file and ends the machine.
    pub(super) fn save(&self, memory: &Path) -> Result<()> {
        self.control()?.save(memory)?;
        // Wait for the end of the emulator: only then is its disk complete.
        let deadline = Deadline::after(Duration::from_secs(60));
        while !self.ended() {
            if deadline.passed() {
                return Err(Error::NotReady { what: "the end of qemu-system-x86_64".into(), reason: self.output() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}

/// The process between a test and its emulator. It waits for the end of standard input or of the
/// emulator, ends the emulator, and removes its files. The emulator dies with it.
///
/// # Errors
/// When the emulator cannot be started.
pub fn supervisor(arguments: &[String]) -> Result<()> {
    // Leaves the terminal's session: Ctrl-C is for the test.
    let _ = setsid();
    sweep_stale_folders();
    let folder = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir(&folder).doing(|| format!("make `{}`", folder.display()))?;
    let outcome = run_emulator(&folder, arguments);
    let _ = fs::remove_dir_all(&folder);
    outcome
}

/// A machine's folder is named after its supervisor.
const PREFIX: &str = "airpods-machine-";

/// Removes the folders of supervisors that were themselves killed.
fn sweep_stale_folders() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let supervisor = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if supervisor.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn run_emulator(folder: &Path, arguments: &[String]) -> Result<()> {
    let log = fs::File::create(folder.join("qemu.log")).doing(|| "make the emulator's log".into())?;
    let mut emulator = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
        .args(arguments)
        .current_dir(folder)
        // qemu puts the disk writes of a throw-away machine into $TMPDIR, by default /var/tmp. A
        // /tmp in memory would be too small.
        .env_remove("TMPDIR")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .doing(|| "start setpriv".into())?;
    println!("{READY} {}", folder.display());
    let _ = std::io::stdout().flush();
    let (over, is_over) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = over.send(());
    });
    while is_over.recv_timeout(Duration::from_millis(20)).is_err() {
        if emulator.try_wait().doing(|| "watch the emulator".into())?.is_some() {
            // The test reads the logs first and then closes the pipe.
            let _ = fs::write(folder.join(ENDED), "");
            let _ = is_over.recv();
            break;
        }
    }
    let _ = emulator.kill();
    let _ = emulator.wait();
    Ok(())
}
