//! The files that the package installs: their permissions, and their agreement with the contract.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use airpods_dbus::names;
use airpods_helper::authority::Action;
use airpods_helper::state::{FILE, StateDirs};
use airpods_lab::Program;
use nix::unistd::{AccessFlags, access};
use roxmltree::{Document, Node, ParsingOptions};

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap()
}

fn parsed(text: &str) -> Document<'_> {
    Document::parse_with_options(text, ParsingOptions { allow_dtd: true, ..ParsingOptions::default() }).unwrap()
}

fn elements<'a>(document: &'a Document<'_>, name: &'a str) -> impl Iterator<Item = Node<'a, 'a>> {
    document.descendants().filter(move |node| node.has_tag_name(name))
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> &'a str {
    node.descendants().find(|node| node.has_tag_name(name)).and_then(|node| node.text()).unwrap()
}

/// The value of `key=` in a unit or activation file. If there are several, the last one counts, as
/// for most keys in systemd.
fn value<'a>(file: &'a str, key: &str) -> &'a str {
    file.lines().rev().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn every_method_has_an_entry_in_the_action_table() {
    let xml = text("dbus/org.airpods.Helper1.xml");
    let document = parsed(&xml);
    let mut methods: Vec<_> = elements(&document, "method").map(|node| node.attribute("name").unwrap()).collect();
    let mut table: Vec<_> = Action::OF_METHODS.iter().map(|(method, _)| *method).collect();
    methods.sort_unstable();
    table.sort_unstable();
    assert_eq!(methods, table);
    let reads = Action::OF_METHODS.iter().filter(|(_, action)| action.is_none()).map(|(method, _)| *method);
    assert_eq!(reads.collect::<Vec<_>>(), ["GetStatus"], "nothing else goes without asking");
}

#[test]
fn the_policy_has_every_action_with_its_defaults_owner_and_details() {
    let policy = text("polkit/org.airpods.helper1.policy");
    let document = parsed(&policy);
    let actions: Vec<_> = elements(&document, "action").collect();
    let all = &["interface", "operation", "mtu", "persist", "kept-now"][..];
    let three = &["interface", "operation", "kept-now"][..];
    assert_eq!(actions.len(), 4);
    for (id, active, details) in [
        (names::ACTION_CLAMP_ON, "auth_admin_keep", all),
        (names::ACTION_CLAMP_ANY_LINK, "auth_admin", all),
        (names::ACTION_CLAMP_OFF, "auth_admin_keep", three),
        (names::ACTION_RESET, "auth_admin", three),
    ] {
        let action = *actions.iter().find(|action| action.attribute("id") == Some(id)).expect(id);
        assert_eq!(child(action, "allow_any"), "auth_admin");
        assert_eq!(child(action, "allow_inactive"), "auth_admin");
        assert_eq!(child(action, "allow_active"), active);
        assert_eq!(child(action, "annotate"), format!("unix-user:{}", names::HELPER_USER));
        for detail in details {
            assert!(child(action, "message").contains(&format!("$({detail})")), "{id}: {detail}");
        }
    }
}

#[test]
fn the_policy_is_valid_against_polkits_own_definition() {
    let definition = "/usr/share/polkit-1/policyconfig-1.dtd";
    assert!(fs::exists(definition).unwrap(), "Debian's polkitd or libpolkit-gobject-1-dev has it");
    let checked = Command::new("xmllint")
        .args(["--nonet", "--noout", "--dtdvalid", definition])
        .arg(path("polkit/org.airpods.helper1.policy"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn the_bus_policy_allows_only_one_destination_at_a_time() {
    let policy = text("dbus/org.airpods.Helper1.conf");
    let document = parsed(&policy);
    assert_eq!(elements(&document, "deny").count(), 0, "a deny would reach others' services");
    for policy in elements(&document, "policy") {
        let allowed: Vec<_> = policy.children().filter(Node::is_element).collect();
        assert!(!allowed.is_empty() && policy.attribute("at_console").is_none() && policy.attribute("group").is_none());
        for allow in allowed {
            let mut keys: Vec<_> = allow.attributes().map(|attribute| attribute.name()).collect();
            keys.sort_unstable();
            assert!(allow.attributes().all(|attribute| attribute.value() != "*"));
            if let Some(user) = policy.attribute("user") {
                assert_eq!(user, names::HELPER_USER);
                assert_eq!((keys, allow.attribute("own")), (vec!["own"], Some(names::BUS_NAME)));
            } else {
                assert_eq!(policy.attribute("context"), Some("default"));
                assert_eq!(keys, ["send_destination", "send_interface"]);
                assert_eq!(allow.attribute("send_destination"), Some(names::BUS_NAME));
            }
        }
    }
}

#[test]
fn the_activation_file_the_unit_and_the_contract_agree() {
    let activation = text("dbus/org.airpods.Helper1.service");
    let unit = text("dbus/airpods-helper.service");
    assert_eq!(value(&activation, "Name"), names::BUS_NAME);
    assert_eq!(value(&activation, "User"), "root");
    assert_eq!(value(&activation, "Exec"), value(&unit, "ExecStart"));
    assert_eq!(value(&activation, "SystemdService"), "airpods-helper.service");
    assert_eq!(value(&unit, "User"), names::HELPER_USER);
    for set in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        assert_eq!(value(&unit, set), "CAP_NET_ADMIN");
    }
    assert_eq!(value(&unit, "NoNewPrivileges"), "yes");
    assert_eq!(value(&unit, "Type"), "notify");
    assert_eq!(value(&unit, "ExecStopPost"), format!("{} after-stop", value(&unit, "ExecStart")));
    let state_dirs = StateDirs::system();
    assert_eq!(state_dirs.runtime, PathBuf::from("/run").join(value(&unit, "RuntimeDirectory")));
    assert_eq!(state_dirs.persistent, PathBuf::from("/var/lib").join(value(&unit, "StateDirectory")));
    let restore = text("dbus/airpods-restore.service");
    assert_eq!(PathBuf::from(value(&restore, "ConditionPathExists")), state_dirs.persistent.join(FILE));
    assert!(text("dbus/airpods.sysusers").lines().any(|line| line.starts_with(&format!("u {} ", names::HELPER_USER))));
}

#[test]
fn the_units_are_ones_that_systemd_understands() {
    // `systemd-analyze verify` complains about missing programs; any other complaint is a defect.
    for unit in ["dbus/airpods-helper.service", "dbus/airpods-restore.service"] {
        let said = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(path(unit)).output().unwrap();
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        let about_us: Vec<_> =
            said.lines().filter(|line| line.contains("airpods") && !line.contains("is not executable")).collect();
        assert!(about_us.is_empty(), "{said}");
    }
}

/// The ordering cycles that systemd would break by dropping jobs. The network comes up before
/// sysinit.target, as on Debian with cloud-init and ifupdown. `restore` is the unit that restores
/// the clamps.
fn given_up_in_a_boot(restore: &str) -> String {
    let folder = tempfile::TempDir::new().unwrap();
    let write = |file: &str, text: &str| {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let oneshot =
        |unit: &str| format!("[Unit]\nDefaultDependencies=no\n{unit}\n[Service]\nType=oneshot\nExecStart=true\n");
    write("networking.service", &oneshot("After=local-fs.target network-pre.target\nBefore=network.target"));
    write("cloud-init.service", &oneshot("After=networking.service\nBefore=sysinit.target network-online.target"));
    write("dbus.socket", "[Socket]\nListenStream=/run/dbus/system_bus_socket\n[Install]\n");
    write("dbus.service", "[Service]\nExecStart=true\n");
    write("airpods-helper.service", &text("dbus/airpods-helper.service"));
    write("airpods-restore.service", restore);
    let wants = "networking.service cloud-init.service airpods-helper.service airpods-restore.service dbus.socket";
    write("multi-user.target.d/wants.conf", &format!("[Unit]\nWants={wants}\n"));
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "multi-user.target"])
        .env("SYSTEMD_UNIT_PATH", format!("{}:/usr/lib/systemd/system", folder.path().display()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    said.lines().filter(|line| line.contains("cycle")).collect::<Vec<_>>().join("\n")
}

#[test]
fn persistent_clamps_are_there_before_the_network_without_an_ordering_cycle() {
    for unit in ["dbus/airpods-helper.service", "dbus/airpods-restore.service"] {
        let unit = text(unit);
        assert_eq!((value(&unit, "Wants"), value(&unit, "DefaultDependencies")), ("network-pre.target", "no"));
        assert!(value(&unit, "Before").split(' ').any(|before| before == "network-pre.target"));
    }
    let restore = text("dbus/airpods-restore.service");
    assert_eq!(given_up_in_a_boot(&restore), "");
    // The same with the ordering that firewalld has, to show that this test can see a cycle.
    let waiting = restore.replace("DefaultDependencies=no", "After=dbus.socket");
    assert!(given_up_in_a_boot(&waiting).contains("ordering cycle"));
}

/// A checkout in which everything is built that `make install` installs. Its files are empty.
fn built() -> tempfile::TempDir {
    let folder = tempfile::TempDir::new().unwrap();
    let built = folder.path().join("target/release/programs");
    fs::create_dir_all(&built).unwrap();
    for program in ["airpods", "airpods-helper"] {
        fs::write(built.join(program), "").unwrap();
    }
    let target = folder.path().join("target");
    fs::create_dir(target.join("manual")).unwrap();
    for program in ["airpods", "airpods-helper"] {
        fs::create_dir_all(target.join("licences").join(program)).unwrap();
        fs::write(target.join("licences").join(program).join("crates.txt"), "").unwrap();
    }
    for page in ["manual/airpods.1", "manual/airpods.toml.5"] {
        fs::write(target.join(page), "").unwrap();
    }
    for completion in ["airpods", "airpods.fish", "_airpods"] {
        fs::write(target.join("manual").join(completion), "").unwrap();
    }
    for name in ["dbus", "polkit", "docs", "helper", "README.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        std::os::unix::fs::symlink(path(name), folder.path().join(name)).unwrap();
    }
    folder
}

#[test]
fn installed_files_name_existing_programs_and_are_restored_at_boot() {
    let folder = built();
    for prefix in ["/usr", "/usr/local"] {
        let to = folder.path().join("to").join(&prefix[1..]);
        let installed = Command::new("make")
            .arg("--file")
            .arg(path("Makefile"))
            .args(["install", &format!("DESTDIR={}", to.display()), &format!("PREFIX={prefix}")])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let units = to.join("usr/lib/systemd/system");
        for (file, key) in [
            (units.join("airpods-helper.service"), "ExecStart"),
            (to.join("usr/share/dbus-1/system-services/org.airpods.Helper1.service"), "Exec"),
        ] {
            let program = value(&fs::read_to_string(&file).unwrap(), key).to_owned();
            assert_eq!(program, format!("{prefix}/libexec/airpods-helper"), "{}", file.display());
            assert!(to.join(&program[1..]).is_file(), "{program}");
        }
        // Applies the preset and the unit's [Install] section as systemd does.
        let mut enabled = Command::new("systemctl");
        enabled.arg("--root").arg(&to).args(["preset", "airpods-restore.service"]);
        assert!(enabled.stderr(std::process::Stdio::null()).status().unwrap().success());
        let link = to.join("etc/systemd/system/multi-user.target.wants/airpods-restore.service");
        assert!(link.is_symlink(), "nothing starts it at boot");
        assert!(!units.join("multi-user.target.wants").exists(), "an administrator can disable it");
        // /usr is the only prefix that D-Bus, polkit and sysusers all search, so these files are
        // there even if the prefix is another one.
        for file in [
            "share/dbus-1/system.d/org.airpods.Helper1.conf",
            "share/polkit-1/actions/org.airpods.helper1.policy",
            "lib/sysusers.d/airpods.conf",
        ] {
            assert!(to.join("usr").join(file).is_file(), "{file}");
        }
    }
}

/// `make` without root's right to write everywhere.
fn make_without_override(closed: &Path) -> Command {
    if access(closed, AccessFlags::W_OK).is_err() {
        return Command::new("make");
    }
    let mut make = Command::new("setpriv");
    make.args(["--bounding-set=-dac_override", "--inh-caps=-dac_override", "make"]);
    make
}

#[test]
fn where_a_folder_cannot_be_written_nothing_is_installed_at_all() {
    let folder = built();
    for (target, closed) in [
        ("install", "usr/libexec"),
        ("install", "usr/lib"),
        ("install", "zsh"),
        ("install-helper", "usr/libexec"),
        ("install-helper", "usr/share"),
        ("install-client", "usr"),
        ("install-client", "zsh"),
        ("install-client install-helper", "usr/libexec"),
        ("install-client install-helper", "zsh"),
        ("install-helper install-client", "zsh"),
    ] {
        let to = tempfile::TempDir::new().unwrap();
        let root = to.path().display();
        let closed = to.path().join(closed);
        fs::create_dir_all(&closed).unwrap();
        fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
        let refused = make_without_override(&closed)
            .args(["--jobs", "--file"])
            .arg(path("Makefile"))
            .args(target.split(' '))
            .args([&format!("DESTDIR={root}"), "ZSHDIR=/zsh"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{target} {}", closed.display());
        let cause = format!("make install: {} cannot be written, so nothing was installed\n", closed.display());
        assert!(said.contains(&cause) && said.contains("hint: be root"), "{target} {}: {said}", closed.display());
        let files = Command::new("find").arg(to.path()).args(["-type", "f"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&files.stdout), "", "{target} {}", closed.display());
    }
}

#[test]
fn the_program_that_ships_is_built_without_doubles_and_fuzz_entries() {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let built = airpods_lab::build_record(profile, "airpods-helper").unwrap();
    let records = built.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let ours: Vec<_> = records
        .filter(|record| record["target"]["name"].as_str().is_some_and(|name| name.starts_with("airpods")))
        .collect();
    assert!(ours.len() >= 3, "the contract, the library and the program: {ours:?}");
    for part in ours {
        assert_eq!(part["features"], serde_json::json!([]), "{part}");
    }
}

#[test]
fn the_binary_answers_without_a_bus_and_has_nothing_to_weaken() {
    let run = |argument: &str| {
        let mut command = Command::new(Program::Helper.path().unwrap());
        command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent").arg(argument).output().unwrap()
    };
    let version = run("--version");
    assert!(version.status.success());
    assert_eq!(version.stdout, format!("airpods-helper {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
    let help = run("--help");
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("Exit codes:"), "{help}");
    let options: Vec<_> = help.split_whitespace().filter(|word| word.starts_with("--")).collect();
    assert_eq!(options, ["--help", "--version"]);
    assert_eq!(run("--no-auth").status.code(), Some(2));
}

#[test]
fn the_binary_refuses_to_run_as_an_ordinary_user() {
    use std::os::unix::process::CommandExt;
    // A copy that an ordinary user can execute: the build folder may be closed to them.
    let folder = tempfile::TempDir::new().unwrap();
    let copy = folder.path().join("airpods-helper");
    fs::copy(Program::Helper.path().unwrap(), &copy).unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let refused = Command::new(copy)
        .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(12), "{said}");
    assert!(said.starts_with("level=error event=failed"), "{said}");
}
