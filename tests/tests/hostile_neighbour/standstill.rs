//! A bus that stops reading for a while.

use airpods_lab::{BusDaemon, Place, on_both_buses};

use crate::host::{Host, clamp_on};

/// The number of changes. Their announcements do not fit into a socket buffer.
const CHANGES: usize = 4000;

on_both_buses! {
    fn links_are_clamped_while_the_bus_stands_still(bus: BusDaemon) {
        let mut host = Host::new(bus);
        host.change(&clamp_on(""));
        let program = if bus == BusDaemon::DbusDaemon { "dbus-daemon" } else { "dbus-broker" };
        host.sandbox.sh(&format!("kill -STOP $(pgrep -x {program})")).unwrap();
        let flap = format!("yes 'link set wg0 down\nlink set wg0 up\naddr replace 10.8.0.1/24 dev wg0' | head -n {CHANGES}");
        host.sandbox.sh(&format!("{flap} | ip -batch - ; sleep 1")).unwrap();
        host.assert_new_link_is_clamped("while the bus stands still");
        host.assert_stayed_small("while the bus stands still");
        host.sandbox.sh(&format!("kill -CONT $(pgrep -x {program})")).unwrap();
        host.assert_same_helper_serves("the bus's standstill");
    }
}
