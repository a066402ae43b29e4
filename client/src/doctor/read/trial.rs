//! Starting a program once, to see whether it starts: for a moment, and so that nothing of it stays.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, Command};
use tokio::time::timeout;

/// How long a program may take to say its version, or to make a network: both take some milliseconds.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// How much of what it says is read; what counts comes last, and a program that cannot start says little.
const SAID: u64 = 16 << 10;

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It ended well.
    Well,
    /// It could not be started, or ended otherwise; its last words.
    Badly(String),
    /// It had not ended in time.
    Late,
}

/// Runs a program to its end, or kills it. Whatever it has started itself is killed in any case: pasta, for one, leaves the command
/// waiting for which it could make no network.
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
        Err(error) => return End::Badly(error.to_string()),
    };
    let group = Group::of(child.id());
    let stderr = child.stderr.take();
    // More than the pipe holds is not waited for either.
    let Ok(ended) = timeout(LIMIT, child.wait()).await else { return End::Late };
    drop(group);
    match ended {
        Ok(status) if status.success() => End::Well,
        Ok(status) => End::Badly(last_words(stderr, status).await),
        Err(error) => End::Badly(error.to_string()),
    }
}

/// The last line of what was said, or how it ended. Somebody who has left the group may hold the other end still.
async fn last_words(stderr: Option<ChildStderr>, status: ExitStatus) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = stderr {
        let _: Result<io::Result<usize>, _> = timeout(LIMIT, stderr.take(SAID).read_to_end(&mut said)).await;
    }
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.map_or_else(|| format!("it ended with {status}"), str::to_owned)
}

/// A process group. Dropping it kills whoever is in it, also when Ctrl-C ends the command meanwhile.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: Option<u32>) -> Self {
        Self(leader.and_then(|leader| i32::try_from(leader).ok()).map(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It fails where nobody is left, which is how it should be.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::time::Instant;

    use super::*;

    async fn sh(script: &str) -> End {
        run(Path::new("/bin/sh"), &["-c", script]).await
    }

    /// Whether a process runs; one that has ended may not have been reaped yet.
    fn runs(pid: &str) -> bool {
        let line = fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        !line.is_empty()
    }

    #[tokio::test]
    async fn the_last_words_of_a_program_that_cannot_start_are_told() {
        let library = "error while loading shared libraries: libslirp.so.0: cannot open shared object file";
        assert_eq!(
            sh(&format!("echo first >&2; echo '{library}' >&2; echo >&2; exit 127")).await,
            End::Badly(library.into())
        );
        assert_eq!(sh("exit 3").await, End::Badly("it ended with exit status: 3".into()));
        assert_eq!(sh("kill -ABRT $$").await, End::Badly("it ended with signal: 6 (SIGABRT)".into()));
        assert_eq!(sh("echo said >&2").await, End::Well);
        let none = run(Path::new("/no/such/program"), &["--version"]).await;
        assert_eq!(none, End::Badly("No such file or directory (os error 2)".into()));
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
    async fn what_a_program_leaves_behind_is_killed_and_its_words_are_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let begun = Instant::now();
        let end = sh(&format!("sleep 600 & echo $! > {}; echo 'no tun' >&2; exit 1", file.display())).await;
        assert_eq!(end, End::Badly("no tun".into()));
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        let pid = fs::read_to_string(&file).unwrap();
        airpods_lab::eventually("the end of what it left", || !runs(&pid));
    }

    #[tokio::test]
    async fn a_program_that_never_stops_talking_fills_no_memory() {
        assert_eq!(sh("while :; do echo more >&2; done").await, End::Late);
    }
}
