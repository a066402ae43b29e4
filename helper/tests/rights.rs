//! The rights of the program when it connects to the bus, as the kernel reports them. It runs in
//! its own mount and network namespaces, where the test defines the users.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use airpods_lab::Program;
use nix::sys::socket::{getsockopt, sockopt};
use tempfile::TempDir;

/// The helper's user, as in passwd(5).
const USER: &str = "airpods-helper:x:990:980::/nonexistent:/usr/sbin/nologin";

/// The unit's user and capabilities, as arguments of setpriv(1).
const AS_THE_UNIT: &str = "setpriv --reuid 990 --regid 980 --clear-groups --no-new-privs \
    --inh-caps -all,+net_admin --ambient-caps -all,+net_admin --bounding-set -all,+net_admin";

/// How long the program may take to reach the bus, or to end.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The running program, with a bus that never answers.
struct Started {
    program: Child,
    bus: UnixListener,
    _folder: TempDir,
}

impl Started {
    /// Starts the program where passwd(5) has only `user` beside root. `way` is the command in
    /// front that drops rights.
    fn new(user: &str, way: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("passwd"), format!("root:x:0:0:root:/root:/bin/sh\n{user}\n")).unwrap();
        // A copy, for a user without access to the build folder.
        fs::copy(Program::Helper.path().unwrap(), path("program")).unwrap();
        let bus = UnixListener::bind(path("bus")).unwrap();
        bus.set_nonblocking(true).unwrap();
        for (name, mode) in [(".", 0o755), ("passwd", 0o644), ("program", 0o755), ("bus", 0o777)] {
            fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        }
        let inside = format!(
            "mount --bind passwd /etc/passwd; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib
            export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$PWD/bus; exec {way} $PWD/program"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "setpriv", "--pdeathsig", "KILL", "sh", "-euc", &inside]);
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Self { program: command.spawn().unwrap(), bus, _folder: folder }
    }

    /// The rights of each thread once the program has connected to the bus: the lines of
    /// `/proc/PID/status` that list them.
    fn rights_on_the_bus(&mut self) -> Vec<Vec<String>> {
        let begun = Instant::now();
        let stream = loop {
            if let Ok((stream, _)) = self.bus.accept() {
                break stream;
            }
            assert!(self.program.try_wait().unwrap().is_none(), "it has ended: {}", self.ended().1);
            assert!(begun.elapsed() < TIMEOUT, "it does not reach the bus");
            thread::sleep(Duration::from_millis(2));
        };
        let pid = getsockopt(&stream, sockopt::PeerCredentials).unwrap().pid();
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let status = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap());
        let names = ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"];
        let is_named = |line: &&str| line.split_once(':').is_some_and(|(name, _)| names.contains(&name));
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        status.map(|status| status.lines().filter(is_named).map(words).collect()).collect()
    }

    /// Waits for the program's end. Returns the exit code and its output.
    fn ended(&mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.program.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < TIMEOUT, "it does not end");
            thread::sleep(Duration::from_millis(2));
        };
        let mut said = String::new();
        std::io::Read::read_to_string(&mut self.program.stderr.take().unwrap(), &mut said).unwrap();
        (status.code(), said)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // The program may have ended already.
        drop(self.program.kill());
        drop(self.program.wait());
    }
}

fn one_right_and_nothing_else() -> Vec<String> {
    let (net_admin, nothing) = ("0000000000001000", "0000000000000000");
    let lines = ["Uid: 990 990 990 990", "Gid: 980 980 980 980", "Groups:"].map(str::to_owned);
    let sets = [("Inh", nothing), ("Prm", net_admin), ("Eff", net_admin), ("Bnd", net_admin), ("Amb", nothing)];
    let sets = sets.map(|(name, set)| format!("Cap{name}: {set}"));
    lines.into_iter().chain(sets).chain(["NoNewPrivs: 1".to_owned()]).collect()
}

#[test]
fn before_it_connects_to_the_bus_the_helper_has_one_capability_however_it_was_started() {
    for way in ["", AS_THE_UNIT] {
        let threads = Started::new(USER, way).rights_on_the_bus();
        assert!(!threads.is_empty());
        for rights in threads {
            assert_eq!(rights, one_right_and_nothing_else(), "{way}");
        }
    }
}

#[test]
fn the_program_does_not_run_as_root_by_another_name_or_with_rights_that_it_cannot_lay_down() {
    let given = |from: &str, to: &str| AS_THE_UNIT.replace(from, to);
    for (user, way, code, told) in [
        ("", String::new(), 12, "there is no user `airpods-helper`"),
        ("airpods-helper:x:0:980::/:/bin/sh", String::new(), 12, "has the user or group number 0"),
        ("airpods-helper:x:990:0::/:/bin/sh", String::new(), 12, "has the user or group number 0"),
        (USER, given("990", "991"), 12, "started as user 991"),
        (USER, given("net_admin", "net_admin,+net_raw"), 10, "more rights than CAP_NET_ADMIN: the bounding set"),
        (USER, given("--clear-groups", "--groups 0"), 10, "more rights than CAP_NET_ADMIN: supplementary groups"),
        (USER, given(",+net_admin", ""), 11, "no CAP_NET_ADMIN in the permitted set"),
        (USER, "setpriv --bounding-set -net_admin".to_owned(), 11, "no CAP_NET_ADMIN in the permitted set"),
        (USER, "setpriv --bounding-set -setpcap".to_owned(), 11, "cannot drop capabilities from the bounding set"),
    ] {
        let (ended, said) = Started::new(user, &way).ended();
        assert_eq!(ended, Some(code), "{user} {way}: {said}");
        assert!(said.contains(told), "{user} {way}: {said}");
    }
}
