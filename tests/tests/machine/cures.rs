//! Cures of `airpods doctor` that change files of the machine, on machines where others have
//! changed them, too.

use airpods_lab::machine::User;
use airpods_lab::{Machine, Place};
use serde_json::Value;

use crate::launch::{ALONE, Launcher, service};
use crate::on_both;

/// The cure of a finding of `airpods doctor`.
pub(crate) fn cure_of(place: &impl Place, code: &str) -> Option<String> {
    let printed = place.sh("airpods doctor --json || true").unwrap();
    let report: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    let mut findings = report["findings"].as_array().unwrap().iter();
    let cure = findings.find(|finding| finding["code"] == code)?["cure"].as_str();
    Some(cure.unwrap_or_default().to_owned())
}

/// Runs a cure. The machine has no `sudo`, so `root` does what it would do.
pub(crate) fn run(place: &impl Place, root: &User, cure: &str) {
    for command in cure.split(" && ") {
        let done = if command.contains("sudo ") { root.sh(&command.replace("sudo ", "")) } else { place.sh(command) };
        done.unwrap_or_else(|error| panic!("{cure}: {command}: {error}"));
    }
}

on_both! {
    fn a_controller_is_delegated_beside_what_an_administrator_has_set(suite: Suite) {
        let machine = Machine::stocked(suite).unwrap();
        let root = machine.as_user("root");
        let admins = "/etc/systemd/system/user@.service.d/50-admin.conf";
        let text = "[Service]\nDelegate=\nDelegate=pids memory\nNice=3\n";
        machine.write_file(admins, text).unwrap();
        let restart = "systemctl daemon-reload; systemctl restart user@1000.service";
        machine.sh(restart).unwrap();
        let limited = service("own", 7001, "resources = { cpus = 0.5 }");
        let alice = Launcher::new(&machine, &format!("{ALONE}{limited}"));
        let cure = cure_of(&alice.alice, "cgroup-delegation").expect("a finding");
        run(&alice.alice, &root, &cure);
        machine.sh(restart).unwrap();
        assert_eq!(cure_of(&alice.alice, "cgroup-delegation"), None);
        assert_eq!(machine.sh(&format!("cat {admins}; systemctl show user@1000.service --property Nice")).unwrap(), format!("{text}Nice=3"));
        alice.sh("airpods start");
        assert_eq!(alice.cgroup("own-0", "cpu.max"), "50000 100000");
    }

    fn missing_ids_are_added_beside_those_of_others_and_containers_of_others_run_on(suite: Suite) {
        let machine = Machine::stocked(suite).unwrap();
        let root = machine.as_user("root");
        let alice = Launcher::new(&machine, &format!("{ALONE}{}", service("own", 7001, "")));
        alice.sh("airpods start");
        let ids = "sort /etc/subuid; echo; sort /etc/subgid";
        machine.sh("loginctl enable-linger bob; systemctl start user@1001.service").unwrap();
        let bob = machine.as_lingering("bob");
        machine.sh("sed -i /^bob:/d /etc/subuid /etc/subgid").unwrap();
        let others = machine.sh(ids).unwrap();
        let cure = cure_of(&bob, "subordinate-ids").expect("a finding");
        run(&bob, &root, &cure);
        assert_eq!(cure_of(&bob, "subordinate-ids"), None);
        assert_eq!(bob.sh("podman unshare awk '{ sum += $3 } END { print sum }' /proc/self/uid_map").unwrap(), "65537");
        assert_eq!(machine.sh(&format!("{{ {ids}; }} | grep -v ^bob:")).unwrap(), others);
        // Nobody else has any of bob's ids.
        let taken = "awk -F: '{ for (id = $2; id < $2 + $3; id++) if (seen[id]++) exit 1 }' ";
        machine.sh(&format!("{taken} /etc/subuid; {taken} /etc/subgid")).unwrap();
        assert!(alice.is_healthy("own"));
    }
}
