//! Services after a reboot: `airpods doctor` names the commands that bring them back, and they
//! work.

use airpods_lab::client::ALONE;
use airpods_lab::machine::{IMAGE, Login, User};
use airpods_lab::{Image, Machine, Place};
use serde_json::Value;

use crate::cures::{cure_of, run};
use crate::host::eventually;
use crate::launch::{Launcher, service};
use crate::on_both;

/// A network that is there after each boot: without a route, pasta does not start.
const NETWORK: &str = "[Unit]
Before=network.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link add lan0 type dummy
ExecStart=ip address add 192.0.2.10/24 dev lan0
ExecStart=ip link set lan0 up
ExecStart=ip route add default via 192.0.2.53
[Install]
WantedBy=multi-user.target
";

/// The findings of `airpods doctor` about a reboot, each with its cure.
fn about_a_reboot(place: &impl Place) -> Vec<(&'static str, String)> {
    ["boot", "linger"].into_iter().filter_map(|code| Some((code, cure_of(place, code)?))).collect()
}

/// Runs the cures.
fn cure(place: &impl Place, root: &User, found: &[(&str, String)]) {
    for (_, cure) in found {
        run(place, root, cure);
    }
}

fn runs(place: &impl Place, service: &str) -> bool {
    let printed = place.sh("airpods status --json || true").unwrap_or_default();
    let Ok(status) = serde_json::from_str::<Value>(&printed) else { return false };
    let mut all = status["services"].as_array().into_iter().flatten();
    all.any(|found| found["service"] == service && found["status"] == "running")
}

on_both! {
    fn services_come_back_after_a_reboot_once_doctors_cures_are_run(suite: Suite) {
        let machine = Machine::stocked(suite).unwrap();
        let root = machine.as_user("root");
        Image::serving(IMAGE, 80).import(&root).unwrap();
        let config = format!("{ALONE}{}", service("whole", 7101, ""));
        machine.write_file("/root/.config/airpods/config.toml", config).unwrap();
        let alice = Launcher::new(&machine, &format!("{ALONE}{}", service("own", 7001, "")));
        // The laboratory masks the machine's unit already.
        let units = "~/.config/systemd/user";
        alice.sh(&format!("mkdir -p {units}; ln -s /dev/null {units}/podman-restart.service"));
        for place in [&root, &alice.alice] {
            place.sh("airpods start").unwrap();
            cure(place, &root, &about_a_reboot(place));
            assert_eq!(about_a_reboot(place), [], "something is left to do");
        }
        machine.write_file("/etc/systemd/system/lab-network.service", NETWORK).unwrap();
        machine.sh("systemctl enable lab-network.service; sync").unwrap();
        machine.reboot().unwrap();
        eventually("root's service is back", || runs(&root, "whole"));
        eventually("the service of a lingering user is back", || runs(&alice.alice, "own"));

        // Without lingering it does not come back before a login, and doctor has the command.
        machine.sh("loginctl disable-linger alice; sync").unwrap();
        machine.reboot().unwrap();
        eventually("root's service is back again", || runs(&root, "whole"));
        machine.sh("systemctl is-system-running --wait || true").unwrap();
        assert_eq!(machine.sh("systemctl is-active user@1000.service || true").unwrap(), "inactive");
        assert_eq!(machine.sh("pgrep -u alice -a lab-probe || true").unwrap(), "");
        let session = machine.login("alice", Login::Remote);
        let found = about_a_reboot(&session);
        assert_eq!(found, [("linger", "sudo loginctl enable-linger alice".to_owned())]);
        cure(&session, &root, &found);
        eventually("the service is back once lingering is on", || runs(&alice.alice, "own"));
    }
}
