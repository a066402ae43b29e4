//! A disk whose fsync does not return for a long time, as of a broken or an overloaded one.
//! strace(1) holds up the helper's fsync(2) of its state folder alone: `/run` is memory.

use std::thread;
use std::time::Duration;

use airpods_dbus::{ClampOptions, ClampState, Origin};
use airpods_lab::{Background, Place, Sandbox};
use nix::sys::signal::Signal;

use crate::machine::Machine;
use crate::private_bus::Client;
use crate::unit::until;

const KEPT: ClampOptions = ClampOptions { persist: true, mtu: None, any_link: false };

/// How long an fsync takes. The tests end it sooner, once they have seen all that happens before.
const FSYNC: Duration = Duration::from_secs(300);

/// The text that waits for its fsync.
const UNWRITTEN: &str = "/var/lib/airpods-helper/.state.json.new";

/// A disk that is slow until this is dropped.
struct SlowDisk {
    strace: Background,
}

impl SlowDisk {
    fn under(sandbox: &Sandbox) -> Self {
        let delay = format!("inject=fsync,fdatasync:delay_enter={}", FSYNC.as_micros());
        let mut strace = sandbox.command("sh");
        strace.args([
            "-euc",
            "exec strace -f -p $(pgrep -x airpods-helper) -e trace=fsync,fdatasync -e $1 -P $2 -P ${2%/*}",
        ]);
        strace.args(["sh", &delay, UNWRITTEN]);
        let log = sandbox.log_path("strace");
        let strace = Background::start(&mut strace, &log).unwrap();
        until("strace is attached", || std::fs::read_to_string(&log).ok()?.contains("attached").then_some(()));
        Self { strace }
    }

    fn is_waited_for(sandbox: &Sandbox) -> bool {
        sandbox.path(UNWRITTEN).exists()
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // strace lets go of the helper, and the fsync goes on at once.
        drop(self.strace.signal(Signal::SIGINT));
        self.strace.stop();
    }
}

/// A machine whose helper clamps every VPN link and keeps that. It gives a sign of life five times
/// a second.
fn keeping() -> Machine {
    let mut machine = Machine::new();
    machine.unit.spawn_with(&machine.sandbox, "export WATCHDOG_USEC=400000");
    machine.unit.ready();
    assert_eq!(machine.client().on_with("", KEPT), Ok(true));
    machine
}

fn add_link(machine: &Machine, link: &str, number: u32) {
    let add = format!("ip tuntap add mode tun name {link}; ip link set {link} up");
    machine.sandbox.sh(&format!("{add}; ip addr add 10.9.{number}.1/24 dev {link}")).unwrap();
}

/// Checks that a new link is clamped, and that reads, other changes and signs of life go on.
fn assert_goes_on(machine: &mut Machine, client: &Client, number: u32) {
    let link = format!("vpn{number}");
    add_link(machine, &link, number);
    until("the new link is clamped", || machine.clamped()?.contains(&link).then_some(()));
    let status = client.status();
    let clamp = status.clamps.iter().find(|clamp| clamp.link == link).expect(&link);
    assert_eq!(clamp.state, ClampState::Active);
    assert_eq!(client.on_link(&format!("other{number}")), Ok(true));
    let signs = machine.unit.signs();
    until("signs of life", || (machine.unit.signs() >= signs + 3).then_some(()));
}

#[test]
fn a_disk_that_writes_nothing_holds_up_the_change_that_is_to_be_kept_and_nothing_else() {
    let mut machine = keeping();
    let (client, patient) = (machine.client(), machine.client_within(FSYNC));
    let disk = SlowDisk::under(&machine.sandbox);
    let kept = thread::spawn(move || patient.on_with("wg0", KEPT));
    until("the change waits for the disk", || SlowDisk::is_waited_for(&machine.sandbox).then_some(()));
    assert_goes_on(&mut machine, &client, 1);
    assert!(!kept.is_finished() && SlowDisk::is_waited_for(&machine.sandbox), "the premise: nothing is written yet");
    let clamps = client.status().clamps;
    assert!(clamps.iter().all(|clamp| clamp.origin == Origin::Auto || clamp.link != "wg0"), "it is not made yet");
    drop(disk);
    assert_eq!(kept.join().unwrap(), Ok(true));
    let file = machine.sandbox.read_file("/var/lib/airpods-helper/state.json").unwrap();
    assert!(file.contains(r#""clamps":{"wg0""#), "{file}");
}

#[test]
fn a_disk_that_does_not_take_a_name_that_auto_learns_holds_up_no_link_and_no_call() {
    let mut machine = keeping();
    let client = machine.client();
    let disk = SlowDisk::under(&machine.sandbox);
    add_link(&machine, "vpn1", 1);
    until("the name waits for the disk", || SlowDisk::is_waited_for(&machine.sandbox).then_some(()));
    for number in 2..5 {
        assert_goes_on(&mut machine, &client, number);
    }
    assert!(SlowDisk::is_waited_for(&machine.sandbox), "the premise: nothing is written yet");
    drop(disk);
    let file = || machine.sandbox.read_file("/var/lib/airpods-helper/state.json").unwrap_or_default();
    until("every name is kept", || ["vpn1", "vpn4"].iter().all(|name| file().contains(name)).then_some(()));
}
