//! State files that the helper did not write, and folders where it cannot write.

use airpods_dbus::{ClampOptions, ErrorKind, names};
use airpods_lab::Place;

use crate::machine::Machine;
use crate::private_bus::kind;
use crate::unit::until;

const KEPT: ClampOptions = ClampOptions { persist: true, mtu: None, any_link: false };

#[test]
fn a_foreign_state_file_is_logged_ignored_and_replaced_by_the_next_change() {
    for (what, spoil) in [
        ("root's", "chown root:root state.json; chmod 600 state.json"),
        ("nobody may read it", "chmod 0 state.json"),
        ("others may write to it", "chmod 666 state.json"),
        ("cut", "truncate -s 20 state.json"),
        ("garbage", "head -c 5000 /dev/urandom > state.json"),
        ("a fifo", "rm state.json; mkfifo state.json"),
    ] {
        let mut machine = Machine::clamping();
        machine.unit.kill();
        machine.sandbox.sh(&format!("cd /run/airpods-helper; {spoil}")).unwrap();
        machine.unit.start(&machine.sandbox);
        // The log is written on a separate thread, so the line may come later.
        until(what, || machine.log().contains("event=state-ignored").then_some(()));
        assert_eq!(machine.clamped(), None, "{what}: it starts with nothing");
        assert_eq!(machine.client().on_link("wg0"), Ok(true), "{what}");
        machine.unit.kill();
        machine.unit.start(&machine.sandbox);
        assert_eq!(machine.clamped(), Some(vec!["wg0".to_owned()]), "{what}: what it wrote is read again");
    }
}

#[test]
fn where_nothing_can_be_kept_a_clamp_that_is_to_be_kept_is_refused_and_others_are_made() {
    let mut machine = Machine::clamping();
    machine.sandbox.sh("chown root:root /var/lib/airpods-helper; chmod 755 /var/lib/airpods-helper").unwrap();
    let client = machine.client();
    assert_eq!(kind(client.on_with("wg1", KEPT)), ErrorKind::ApplyFailed);
    assert_eq!(machine.clamped(), Some(vec!["wg0".to_owned()]));
    assert_eq!(client.on_link("wg1"), Ok(true));
}

#[test]
fn a_change_that_is_refused_as_it_cannot_be_kept_is_not_there_after_a_reboot_either() {
    let mut machine = Machine::clamping();
    let client = machine.client();
    assert_eq!(client.on_with("wg0", KEPT), Ok(true));
    // With mode 300 the helper can write and remove files there, but not open the folder for an
    // fsync.
    machine.sandbox.sh("chmod 300 /var/lib/airpods-helper").unwrap();
    assert_eq!(kind(client.on_with("wg1", KEPT)), ErrorKind::ApplyFailed);
    assert_eq!(kind(client.reset()), ErrorKind::ApplyFailed);
    assert_eq!(machine.clamped(), Some(vec!["wg0".to_owned()]));
    machine.unit.kill();
    machine.sandbox.sh("chmod 700 /var/lib/airpods-helper; rm /run/airpods-helper/state.json").unwrap();
    machine.unit.start(&machine.sandbox);
    assert_eq!(machine.clamped(), Some(vec!["wg0".to_owned()]));
}

#[test]
fn a_machine_that_has_no_id_yet_is_an_error_for_those_who_ask_and_nothing_else() {
    let machine = Machine::clamping();
    let ask = || {
        let peer = [names::BUS_NAME, names::OBJECT_PATH, "org.freedesktop.DBus.Peer", "GetMachineId"];
        machine.sandbox.busctl(&[&["call"], &peer[..]].concat()).map_err(|error| format!("{error:?}"))
    };
    machine.sandbox.write_file("/etc/machine-id", "0123456789abcdef0123456789abcdef\n").unwrap();
    assert_eq!(ask(), Ok(r#"s "0123456789abcdef0123456789abcdef""#.to_owned()));
    for without in ["echo uninitialized >/etc/machine-id", ": >/etc/machine-id", "rm /etc/machine-id"] {
        machine.sandbox.sh(without).unwrap();
        assert!(ask().unwrap_err().contains("the machine has no id"), "{without}");
    }
    assert_eq!(machine.client().on_link("wg0"), Ok(false));
}
