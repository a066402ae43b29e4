//! The programs beside podman that set up a container's network: whether they are installed and
//! start. Each is started briefly, so that no process of it stays.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, Command};
use tokio::time::timeout;

use super::{Code, Finding};
use crate::home;
use crate::podman::{NetworkBackend, RootlessBackend, Version};

/// The programs that were found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a program")]
pub struct Programs {
    /// `netavark`, in podman's own folders, with its version if it reports one.
    pub netavark: Option<Option<Version>>,
    /// `aardvark-dns`, in the same folders.
    pub aardvark: bool,
    /// `pasta`.
    pub pasta: Program,
    /// `slirp4netns`.
    pub slirp4netns: Program,
    /// `iptables`.
    pub iptables: bool,
    /// `nft`.
    pub nft: bool,
    /// The kernel loads modules, but those of its version are gone.
    pub modules_gone: bool,
}

/// A program, and the result of starting it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// It is not there.
    Missing,
    /// It is there and starts.
    Works,
    /// It exists but cannot even print its version; carries its last output.
    Broken(String),
    /// It starts, but could not set up a network for a command; carries its last output.
    CannotSetUpNetwork(String),
    /// It exists but had not ended after this many seconds.
    Late(u64),
}

/// The first version of netavark that works without iptables.
///
/// Source: netavark's release notes, 1.10.0: "Added a new nftables firewall driver".
const NETAVARK_WITH_NFT: Version = Version { major: 1, minor: 10 };

/// Judges the programs. `backend` is podman's report about its networks, `rootless` the program for
/// rootless networks, if podman is rootless. `explained` is true if another finding already
/// prevents users from setting up networks.
pub(super) fn judge(
    programs: &Programs,
    backend: Option<&NetworkBackend>,
    rootless: Option<RootlessBackend>,
    explained: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(netavark(programs, backend));
    findings.extend(firewall(programs));
    findings.extend(modules(programs));
    findings.extend(rootless.and_then(|rootless| rootless_network(programs, rootless, explained)));
    findings
}

fn netavark(programs: &Programs, backend: Option<&NetworkBackend>) -> Option<Finding> {
    if backend.is_some_and(|backend| backend.name == "cni") {
        return Some(Finding::broken(
            Code::Netavark,
            "podman makes its networks with CNI, where services do not find each other by name",
            "sudo apt install netavark aardvark-dns && sudo install -d /etc/containers/containers.conf.d && \
             printf '[network]\\nnetwork_backend = \"netavark\"\\n' | \
             sudo tee /etc/containers/containers.conf.d/netavark.conf",
        ));
    }
    if programs.netavark.is_none() {
        let cause = "netavark is not installed, which makes the containers' network";
        return Some(Finding::broken(Code::Netavark, cause, "sudo apt install netavark"));
    }
    (!programs.aardvark).then(|| {
        Finding::broken(
            Code::Aardvark,
            "aardvark-dns is not installed, without which services do not find each other by name",
            "sudo apt install aardvark-dns",
        )
    })
}

fn firewall(programs: &Programs) -> Option<Finding> {
    let version = programs.netavark.flatten()?;
    let (needs, has) = if version < NETAVARK_WITH_NFT {
        ("iptables", programs.iptables)
    } else {
        ("nftables", programs.nft || programs.iptables)
    };
    (!has).then(|| {
        let cause = format!("netavark {version} needs `{needs}` to publish ports, and it is not installed");
        Finding::broken(Code::FirewallProgram, cause, format!("sudo apt install {needs}"))
    })
}

fn modules(programs: &Programs) -> Option<Finding> {
    programs.modules_gone.then(|| {
        Finding::broken(
            Code::KernelModules,
            "the modules of the running kernel are gone, as after an upgrade: it can load none for containers",
            "sudo reboot",
        )
    })
}

fn rootless_network(programs: &Programs, rootless: RootlessBackend, explained: bool) -> Option<Finding> {
    let name = rootless.as_str();
    let (program, package) = match rootless {
        RootlessBackend::Pasta => (&programs.pasta, "passt"),
        RootlessBackend::Slirp4netns => (&programs.slirp4netns, "slirp4netns"),
    };
    let purpose = "through which rootless containers reach the network";
    match program {
        Program::Works => None,
        Program::Missing => {
            let cause = format!("`{name}` is not installed, {purpose}");
            Some(Finding::broken(Code::RootlessNetwork, cause, format!("sudo apt install {package}")))
        }
        Program::Broken(why) => {
            let cause = format!("`{name}` does not start, {purpose}: {why}");
            Some(Finding::broken(Code::RootlessNetwork, cause, cure(name, package, why)))
        }
        Program::CannotSetUpNetwork(_) if explained => None,
        // Only a note: podman prepares a namespace for the program, so less may be forbidden than
        // in this trial.
        Program::CannotSetUpNetwork(why) => {
            let cause = format!("`{name}` makes no network when it is tried, {purpose}: {why}");
            Some(Finding::note(Code::RootlessNetwork, cause, cure(name, package, why)))
        }
        Program::Late(seconds) => {
            Some(Finding::not_known(&format!("`{name}` starts"), &format!("it had not ended after {seconds} s")))
        }
    }
}

/// Reinstalling replaces a damaged file; if something was forbidden, the kernel's log names the
/// rule.
fn cure(name: &str, package: &str, why: &str) -> String {
    if ["Permission denied", "Operation not permitted"].iter().any(|refusal| why.contains(refusal)) {
        format!("sudo journalctl --dmesg --grep 'denied.*{name}'")
    } else {
        format!("sudo apt install --reinstall {package}")
    }
}

/// Where podman looks for its own programs (`helper_binaries_dir`, containers.conf(5)).
const FOLDERS: [&str; 4] =
    ["/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman"];

/// Folders of programs for root, which many users do not have in their search path; podman looks
/// there.
const ROOTS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The arguments of pasta(1) as podman uses them, but for a command in namespaces of its own that
/// end with it. Nothing of the host leads in, and nothing changes outside.
const TRIAL_ARGUMENTS: &[&str] =
    &["--config-net", "--quiet", "--no-map-gw", "-t", "none", "-u", "none", "-T", "none", "-U", "none", "--", "true"];

/// The file of a program, by the search path, or by its path if it has one.
pub(in crate::doctor) fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|file| file.is_file());
    }
    home::find(program).or_else(|| home::find_in(program, ROOTS))
}

/// Looks for the programs beside podman. With `trial`, pasta also sets up a network once.
pub(super) async fn read(trial: bool) -> Programs {
    let own = |program: &str| home::find_in(program, FOLDERS);
    // podman also looks for these in the search path (containers.conf(5)).
    let either = |program: &str| own(program).or_else(|| find(program));
    let (pasta, slirp4netns) = (either("pasta"), either("slirp4netns"));
    let trial = if trial { TRIAL_ARGUMENTS } else { &[] };
    let (pasta, slirp4netns) = tokio::join!(started(pasta.as_deref(), trial), started(slirp4netns.as_deref(), &[]));
    Programs {
        netavark: own("netavark").map(|file| version(&file)),
        aardvark: own("aardvark-dns").is_some(),
        pasta,
        slirp4netns,
        iptables: find("iptables").is_some(),
        nft: find("nft").is_some(),
        modules_gone: modules_gone(),
    }
}

/// Starts a program to print its version, and then with the arguments of `trial`, if there are any.
async fn started(file: Option<&Path>, trial: &[&str]) -> Program {
    let Some(file) = file else { return Program::Missing };
    match run(file, &["--version"]).await {
        End::Failure(why) => return Program::Broken(why),
        End::Late => return Program::Late(LIMIT.as_secs()),
        End::Success if trial.is_empty() => return Program::Works,
        End::Success => {}
    }
    match run(file, trial).await {
        End::Success => Program::Works,
        End::Failure(why) => Program::CannotSetUpNetwork(why),
        End::Late => Program::Late(LIMIT.as_secs()),
    }
}

/// The version of netavark: `netavark version` prints JSON with `"version": "1.4.0"`.
fn version(netavark: &Path) -> Option<Version> {
    let output =
        std::process::Command::new(netavark).arg("version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    Version::parse(answer.get("version")?.as_str()?)
}

/// Whether the running kernel's modules are gone, as after its upgrade. A kernel that loads any has
/// `/proc/modules`.
fn modules_gone() -> bool {
    let Ok(system) = nix::sys::utsname::uname() else { return false };
    let folder = Path::new("/lib/modules");
    Path::new("/proc/modules").exists() && folder.exists() && !folder.join(system.release()).exists()
}

/// Time limit for printing a version or setting up a network: both take some milliseconds.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// Upper bound on the output that is read, in bytes: a program that cannot start prints little.
const MAX_OUTPUT: u64 = 16 << 10;

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It ended successfully.
    Success,
    /// It could not be started, or failed; carries its last output.
    Failure(String),
    /// It had not ended in time.
    Late,
}

/// Runs a program to its end, or kills it. Its process group is killed in any case: pasta leaves a
/// command waiting if it could not set up its network.
pub(super) async fn run(program: &Path, arguments: &[impl AsRef<OsStr>]) -> End {
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return End::Failure(error.to_string()),
    };
    let group = Group::of(child.id());
    let stderr = child.stderr.take();
    // stderr is read afterwards. A program that fills the pipe blocks, and then counts as late.
    let Ok(ended) = timeout(LIMIT, child.wait()).await else { return End::Late };
    // First the group is killed: a process of it that holds stderr open would delay the end of the
    // output.
    drop(group);
    match ended {
        Ok(status) if status.success() => End::Success,
        Ok(status) => End::Failure(last_output_line(stderr, status).await),
        Err(error) => End::Failure(error.to_string()),
    }
}

/// The last line of the output, or the exit status. Time is limited: a process outside the group
/// may hold the pipe.
async fn last_output_line(stderr: Option<ChildStderr>, status: ExitStatus) -> String {
    let mut output = Vec::new();
    if let Some(stderr) = stderr {
        let _: Result<io::Result<usize>, _> = timeout(LIMIT, stderr.take(MAX_OUTPUT).read_to_end(&mut output)).await;
    }
    let output = String::from_utf8_lossy(&output);
    let last = output.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.map_or_else(|| format!("it ended with {status}"), str::to_owned)
}

/// A process group. Dropping it kills every process in it, even if Ctrl-C ends the command
/// meanwhile.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: Option<u32>) -> Self {
        Self(leader.and_then(|leader| i32::try_from(leader).ok()).map(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // The error of an empty group is expected.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    use super::*;

    /// A shell script. Another process writes it: a process that another test starts meanwhile
    /// could inherit a file that is open for writing here, and running the script would fail
    /// (`ETXTBSY`).
    fn program(folder: &Path, script: &str) -> PathBuf {
        let file = folder.join("program");
        let write = "printf '#!/bin/sh\n%s\n' \"$2\" > \"$1\"; chmod 755 \"$1\"";
        let status =
            std::process::Command::new("sh").args(["-c", write, "sh"]).arg(&file).arg(script).status().unwrap();
        assert!(status.success());
        file
    }

    #[tokio::test]
    async fn a_program_that_is_there_and_cannot_do_its_work_is_not_able() {
        let folder = tempfile::tempdir().unwrap();
        let fails = "echo 'error while loading shared libraries: libc.so.9' >&2; exit 127";
        let no_tun = "[ \"$1\" = --version ] || { echo 'Failed to open tun socket in namespace' >&2; exit 1; }";
        for (script, trial, expected) in [
            ("exit 0", TRIAL_ARGUMENTS, Program::Works),
            ("exit 0", &[], Program::Works),
            (fails, TRIAL_ARGUMENTS, Program::Broken("error while loading shared libraries: libc.so.9".to_owned())),
            (no_tun, TRIAL_ARGUMENTS, Program::CannotSetUpNetwork("Failed to open tun socket in namespace".to_owned())),
            (no_tun, &[], Program::Works),
            ("sleep 600", &[], Program::Late(2)),
        ] {
            let file = program(folder.path(), script);
            assert_eq!(started(Some(&file), trial).await, expected, "{script}");
        }
        std::fs::set_permissions(folder.path().join("program"), std::fs::Permissions::from_mode(0o644)).unwrap();
        let denied = Program::Broken("Permission denied (os error 13)".to_owned());
        assert_eq!(started(Some(&folder.path().join("program")), TRIAL_ARGUMENTS).await, denied);
        assert_eq!(started(None, TRIAL_ARGUMENTS).await, Program::Missing);
    }

    async fn sh(script: &str) -> End {
        run(Path::new("/bin/sh"), &["-c", script]).await
    }

    /// Whether a process runs; one that has ended may not have been reaped yet.
    fn runs(pid: &str) -> bool {
        let line = fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        !line.is_empty()
    }

    #[tokio::test]
    async fn the_last_output_of_a_program_that_cannot_start_is_reported() {
        let library = "error while loading shared libraries: libslirp.so.0: cannot open shared object file";
        assert_eq!(
            sh(&format!("echo first >&2; echo '{library}' >&2; echo >&2; exit 127")).await,
            End::Failure(library.into())
        );
        assert_eq!(sh("exit 3").await, End::Failure("it ended with exit status: 3".into()));
        assert_eq!(sh("kill -ABRT $$").await, End::Failure("it ended with signal: 6 (SIGABRT)".into()));
        assert_eq!(sh("echo said >&2").await, End::Success);
        let none = run(Path::new("/no/such/program"), &["--version"]).await;
        assert_eq!(none, End::Failure("No such file or directory (os error 2)".into()));
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_what_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let begun = Instant::now();
        let end = sh(&format!("sleep 600 & echo $! > {}; wait", file.display())).await;
        assert_eq!(end, End::Late);
        assert!(begun.elapsed() < LIMIT * 5, "{:?}", begun.elapsed());
        let pid = fs::read_to_string(&file).unwrap();
        airpods_lab::eventually("the end of what it started", || !runs(&pid));
    }

    #[tokio::test]
    async fn children_of_a_program_are_killed_and_their_output_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let begun = Instant::now();
        let end = sh(&format!("sleep 600 & echo $! > {}; echo 'no tun' >&2; exit 1", file.display())).await;
        assert_eq!(end, End::Failure("no tun".into()));
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        let pid = fs::read_to_string(&file).unwrap();
        airpods_lab::eventually("the end of what it left", || !runs(&pid));
    }

    #[tokio::test]
    async fn a_program_that_never_stops_talking_fills_no_memory() {
        assert_eq!(sh("while :; do echo more >&2; done").await, End::Late);
    }
}
