//! The effects of installing, upgrading and removing the packages. In a sandbox they are installed
//! without a service manager, as in a container or under another init.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use airpods_lab::{PACKAGES, Place, Sandbox, package, repository};

const USER: &str = "airpods-helper";

/// Installs the packages that [`bare_host`] has brought.
const INSTALL: &str = "dpkg --install /tmp/airpods-helper.deb /tmp/airpods.deb";

const CALL: &str = "busctl call org.airpods.Helper1 /org/airpods/Helper1 org.airpods.Helper1";

/// A host on which the packages were never installed.
fn bare_host() -> Sandbox {
    let sandbox = Sandbox::new().unwrap();
    sandbox.sh(&format!("userdel {USER}; umount /var/lib/{USER}; rm -rf /var/lib/{USER} /run/{USER}")).unwrap();
    for name in PACKAGES {
        fs::copy(package(name).unwrap(), sandbox.path(&format!("/tmp/{name}.deb"))).unwrap();
    }
    sandbox
}

/// Every path of a host that a package could change, without dpkg's own files and those that
/// removing the user rewrites.
fn paths(sandbox: &Sandbox) -> BTreeSet<String> {
    let listed = sandbox
        .sh("find /etc /home /opt /root /srv /usr /var -xdev -path /var/lib/dpkg -prune -o -path /var/cache -prune \
         -o -path /var/log -prune -o -print; find /run -path '*airpods*'");
    listed.unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn installing_starts_nothing_and_the_bus_starts_the_helper_for_the_first_caller() {
    let sandbox = bare_host();
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    sandbox.sh(INSTALL).unwrap();
    assert!(!sandbox.bus_name_has_owner("org.airpods.Helper1").unwrap());
    assert_eq!(sandbox.sh("pgrep --count airpods-helper || true").unwrap(), "0");
    assert_eq!(sandbox.sh("nft list ruleset").unwrap(), "");
    assert_eq!(sandbox.sh("airpods net clamp on wg0 && stat -c %U /proc/$(pgrep airpods-helper)").unwrap(), USER);
    assert!(sandbox.sh("nft list ruleset").unwrap().contains("table inet airpods"));
}

#[test]
fn removing_ends_the_helper_and_its_rules_and_purging_leaves_nothing() {
    let sandbox = bare_host();
    let before = paths(&sandbox);
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    sandbox.sh(&format!("{INSTALL} && airpods net clamp on wg0 --persist")).unwrap();
    let state = sandbox.path("/var/lib/airpods-helper/state.json");
    assert!(state.metadata().unwrap().uid() > 0, "it is the helper's");
    sandbox.sh("dpkg --remove airpods-helper").unwrap();
    assert_eq!(sandbox.sh("nft list ruleset; pgrep airpods-helper || true").unwrap(), "");
    assert!(state.exists(), "what was to be kept is kept until the purge");
    sandbox.sh("dpkg --purge airpods airpods-helper").unwrap();
    assert_eq!(sandbox.sh(&format!("grep --no-filename {USER} /etc/passwd /etc/group || true")).unwrap(), "");
    let left: Vec<_> = paths(&sandbox).difference(&before).filter(|path| path.contains("airpods")).cloned().collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn the_autopkgtest_succeeds_with_the_packages_installed() {
    let sandbox = bare_host();
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    sandbox.sh(INSTALL).unwrap();
    let script = fs::read_to_string(repository().join("helper/debian/tests/bus")).unwrap();
    let printed = sandbox.sh(&script).unwrap();
    assert!(printed.contains(concat!("airpods ", env!("CARGO_PKG_VERSION"))), "{printed}");
}

#[test]
fn an_upgrade_keeps_the_helper_that_runs_and_what_was_asked_of_it() {
    let sandbox = bare_host();
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    sandbox.sh(&format!("{INSTALL} && airpods net clamp on wg0")).unwrap();
    sandbox.sh(INSTALL).unwrap();
    assert!(sandbox.sh("airpods net clamp status").unwrap().contains("wg0"));
    assert!(sandbox.sh("nft list ruleset").unwrap().contains("wg0"));
}

#[test]
fn the_helper_alone_serves_callers_who_have_no_airpods() {
    let sandbox = bare_host();
    sandbox.start_bus().unwrap();
    sandbox.start_polkit().unwrap();
    sandbox.sh("dpkg --install /tmp/airpods-helper.deb").unwrap();
    assert!(sandbox.sh("command -v airpods").is_err(), "the premise");
    assert_eq!(sandbox.sh(&format!("{CALL} ClampOn 'sa{{sv}}' wg0 0")).unwrap(), "b true");
    assert!(sandbox.sh("nft list ruleset").unwrap().contains("table inet airpods"));
}

#[test]
fn the_command_alone_works_and_reports_the_missing_helper() {
    let sandbox = bare_host();
    sandbox.start_bus().unwrap();
    let before = paths(&sandbox);
    sandbox.sh("dpkg --install /tmp/airpods.deb").unwrap();
    assert!(sandbox.sh("airpods config show").unwrap().contains("ollama"));
    let output = sandbox.sh("airpods net clamp status 2>&1 || echo code=$?").unwrap();
    assert!(output.contains("not installed") && output.contains("code="), "{output}");
    sandbox.sh("dpkg --purge airpods").unwrap();
    let left: Vec<_> = paths(&sandbox).difference(&before).filter(|path| path.contains("airpods")).cloned().collect();
    assert_eq!(left, Vec::<String>::new());
}
