//! root with another user's environment, as after `su` or `sudo -E`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use airpods_dbus::ClampOptions;
use airpods_lab::{Background, Place, Sandbox, eventually};

use crate::machine::Machine;
use crate::unit::Unit;

/// alice's folders as file systems of their own, on which every read of a file or a folder changes
/// its time of access. The files are those that the helper and D-Bus could look for.
const FOLDERS: &str = "for folder in /home/alice /run/user/1000; do
        mkdir -p $folder
        mount -t tmpfs -o strictatime,mode=700,uid=1000,gid=1000 tmpfs $folder
        mkdir -p $folder/airpods-helper $folder/.config/airpods $folder/.dbus-keyrings
        echo '{' | tee $folder/state.json $folder/airpods-helper/state.json >$folder/.config/airpods/config.toml
        cp /etc/passwd $folder/passwd
        chown -R alice:alice $folder
        find $folder -depth -exec touch -d @1000 {} +
    done";

/// The parts of alice's environment that root has.
const ENVIRONMENT: &str = "export HOME=/home/alice USER=alice LOGNAME=alice TMPDIR=/home/alice \
    XDG_RUNTIME_DIR=/run/user/1000 XDG_CONFIG_HOME=/home/alice/.config XDG_STATE_HOME=/home/alice \
    XDG_DATA_HOME=/home/alice DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus; cd /home/alice";

/// The owner and the times of each path below alice's folders.
fn listed(sandbox: &Sandbox, paths: &[String]) -> BTreeMap<String, String> {
    let stat = sandbox.sh(&format!("stat --format '%n %U %X %Y' {}", paths.join(" "))).unwrap();
    stat.lines().filter_map(|line| line.split_once(' ')).map(|(path, rest)| (path.into(), rest.into())).collect()
}

#[test]
fn root_with_another_users_environment_reads_and_writes_nothing_of_theirs() {
    let mut machine = Machine::new();
    machine.sandbox.sh(FOLDERS).unwrap();
    let find = "find /home/alice /run/user/1000 -depth";
    let paths: Vec<String> = machine.sandbox.sh(find).unwrap().lines().map(str::to_owned).collect();
    assert!(paths.len() > 12, "{paths:?}");
    // The search has read the folders.
    machine.sandbox.sh(&format!("touch -d @1000 {}", paths.join(" "))).unwrap();
    let before = listed(&machine.sandbox, &paths);
    machine.unit.spawn_with(&machine.sandbox, ENVIRONMENT);
    machine.unit.ready();
    let client = machine.client();
    assert_eq!(client.on_with("wg0", ClampOptions { persist: true, ..ClampOptions::default() }), Ok(true));
    assert_eq!(client.on_link(""), Ok(true));
    assert_eq!(machine.clamped(), Some(vec!["wg0".to_owned()]));
    machine.unit.kill();
    assert_eq!(listed(&machine.sandbox, &paths), before, "it was read or changed");
    assert_eq!(machine.sandbox.sh(find).unwrap().lines().collect::<Vec<_>>(), paths, "it was added to");
    machine.sandbox.sh("cat /home/alice/state.json").unwrap();
    assert_ne!(listed(&machine.sandbox, &paths), before, "the premise: a read is noticed");
}

/// A bus that alice runs. It lets everybody do everything.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/alice/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow eavesdrop="true"/>
  </policy>
</busconfig>"#;

#[test]
fn a_bus_of_another_user_is_not_believed_about_who_calls() {
    let mut machine = Machine::new();
    machine.sandbox.write_file("/run/alice/bus.conf", BUS).unwrap();
    machine.sandbox.sh("chown -R alice:alice /run/alice").unwrap();
    let mut daemon = machine.sandbox.as_user("alice").command("dbus-daemon");
    daemon.args(["--nofork", "--nopidfile", "--nosyslog", "--config-file=/run/alice/bus.conf"]);
    let _daemon = Background::start(&mut daemon, &machine.sandbox.log_path("alice")).unwrap();
    let address = "unix:path=/run/alice/bus";
    let status = format!("busctl --address={address} status org.freedesktop.DBus");
    eventually("alice's bus answers root", || machine.sandbox.sh(&status).is_ok());
    let mut helper = machine.sandbox.command("timeout");
    helper.args(["60", "/usr/libexec/airpods-helper"]).env("DBUS_SYSTEM_BUS_ADDRESS", address);
    let ended = helper.output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(17), "{told}");
    assert!(told.contains("user 1000 listens on `unix:path=/run/alice/bus`"), "{told}");
    assert_eq!(machine.clamped(), None);
    let began = Instant::now();
    machine.unit.spawn_with(&machine.sandbox, &format!("export DBUS_SYSTEM_BUS_ADDRESS={address}"));
    assert_eq!(machine.unit.ended().code(), Some(17), "under systemd too");
    assert!(began.elapsed() < Duration::from_secs(5), "and it does not wait for another bus");
    Unit::after_stop(&machine.sandbox, "exit-code", "17");
    assert_eq!(machine.clamped(), None);
    machine.unit.start(&machine.sandbox);
    assert_eq!(machine.client().on_link("wg0"), Ok(true), "and root's bus is served");
}
