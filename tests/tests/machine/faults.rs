//! Faults of the helper leave no moment without the rules. A reader dumps the table a thousand
//! times a second, if the machine is fast enough. The kernel announces every change, however slow
//! the machine is.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use airpods_lab::machine::PACKAGE_FILES;
use airpods_lab::{Machine, NftMonitor, Place, Suite};
use serde_json::Value;

use crate::host::{eventually, helper_pid, is_in_force, status, wireguard};
use crate::on_both;

/// A machine with a clamp in force.
pub(crate) fn clamped(suite: Suite) -> Machine {
    let machine = Machine::installed(suite).unwrap();
    wireguard(&machine, "wg0", 1380);
    machine.sh("airpods net clamp on wg0").unwrap();
    machine
}

/// The table's handle. A recreated table has another handle, so an equal one proves more than many
/// dumps.
pub(crate) fn handle(machine: &Machine) -> String {
    let listed = machine.sh("nft --handle list table inet airpods").unwrap();
    let (_, handle) = listed.lines().next().unwrap().split_once("# handle ").unwrap();
    handle.to_owned()
}

/// A reader of the table in the machine, with a listener for its announced changes.
pub(crate) struct Reader {
    announced: NftMonitor,
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Reader {
    /// Starts both. When this returns, the reader has seen the clamp.
    pub(crate) fn start(machine: &Machine) -> Self {
        let announced = NftMonitor::listen(machine).unwrap();
        let mut command = machine.root_user().command("lab-probe");
        command.args(["read-table", "wg0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("rules"));
        Self { announced, process, lines }
    }

    /// The number of gaps that the reader saw, its whole report, and the listener.
    pub(crate) fn gaps(mut self) -> (usize, Value, NftMonitor) {
        drop(self.process.stdin.take());
        let seen: Value = serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap();
        assert!(self.process.wait().unwrap().success());
        assert!(seen["rounds"].as_u64().unwrap() > 20, "it looked too seldom to see anything: {seen}");
        (seen["gaps"].as_array().unwrap().len(), seen, self.announced)
    }
}

/// Applies a fault to the helper, and checks that a reader sees no gap. Afterwards another helper
/// process keeps the same table.
fn assert_no_gap(machine: &Machine, fault: &str) {
    let (before, table) = (helper_pid(machine).unwrap(), handle(machine));
    let reader = Reader::start(machine);
    machine.sh(fault).unwrap();
    eventually("another helper", || helper_pid(machine).is_some_and(|pid| pid != before));
    // The answer shows that the new helper has checked the table and would have repaired it.
    machine.sh("airpods net clamp status").unwrap();
    assert!(is_in_force(machine, "wg0"));
    let (gaps, seen, announced) = reader.gaps();
    println!("the reader: {seen}");
    assert_eq!(gaps, 0, "{seen}");
    assert_eq!(announced.of(machine, "inet airpods").unwrap(), [""; 0], "between two looks either");
    assert_eq!(handle(machine), table, "the table is the same one");
}

on_both! {
    fn a_crash_leaves_no_moment_without_the_rules(suite: Suite) {
        let machine = clamped(suite);
        for _ in 0..3 {
            assert_no_gap(&machine, "systemctl kill --signal KILL airpods-helper");
        }
    }

    fn a_helper_that_hangs_is_ended_by_systemds_watchdog_and_restarted_without_a_gap_however_often(suite: Suite) {
        let machine = clamped(suite);
        // With the shipped `WatchdogSec=3min` systemd would notice the hang only after three
        // minutes, and its abort timeout would add to that.
        let impatient = "[Service]\nWatchdogSec=10s\nTimeoutAbortSec=2s\n";
        machine.write_file("/etc/systemd/system/airpods-helper.service.d/impatient.conf", impatient).unwrap();
        assert_no_gap(&machine, "systemctl daemon-reload; systemctl restart airpods-helper");
        assert_no_gap(&machine, "systemctl kill --signal STOP airpods-helper");
        let why = machine.sh("journalctl --unit airpods-helper.service --grep 'Watchdog timeout' --output cat").unwrap();
        assert!(why.contains("Watchdog timeout"), "{why}");
        // More restarts than systemd's default limit for a unit.
        for _ in 0..7 {
            let before = helper_pid(&machine).unwrap();
            machine.sh("systemctl kill --signal KILL airpods-helper").unwrap();
            eventually("another helper", || helper_pid(&machine).is_some_and(|pid| pid != before));
        }
        assert!(is_in_force(&machine, "wg0"));
        assert_eq!(status(&machine)["clamps"][0]["state"], "active");
    }

    fn a_restart_leaves_no_moment_without_the_rules(suite: Suite) {
        assert_no_gap(&clamped(suite), "systemctl restart airpods-helper");
    }

    fn an_upgrade_of_the_package_leaves_no_moment_without_the_rules(suite: Suite) {
        assert_no_gap(&clamped(suite), &format!("dpkg --install {PACKAGE_FILES}"));
    }

    fn a_reader_does_see_a_gap_where_there_is_one(suite: Suite) {
        let machine = clamped(suite);
        let (reader, table) = (Reader::start(&machine), handle(&machine));
        machine.sh("airpods net clamp off wg0; airpods net clamp on wg0").unwrap();
        let (gaps, seen, announced) = reader.gaps();
        assert_ne!(gaps, 0, "{seen}");
        let announced = announced.of(&machine, "inet airpods").unwrap();
        assert!(announced.iter().any(|change| change == "delete table inet airpods"), "{announced:?}");
        assert_ne!(handle(&machine), table);
    }
}
