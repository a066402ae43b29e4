//! The errors that a user sees, from the bus and from the command.

use std::time::{Duration, Instant};

use airpods_lab::Place;

use crate::host::{Answer, Host};

#[test]
fn the_command_prints_the_errors_bus_name() {
    let deny = "polkit.addRule(function(action, subject) {
        if (subject.user == 'bob') return polkit.Result.NO;
    });";
    let host = Host::with_rules(&[("10-bob", deny)]);
    host.sandbox.sh("ip link add br0 type bridge; ip link set br0 up").unwrap();
    let check = |user: &str, link: &str, code: i32, name: &str| {
        let Answer(on_the_bus) = host.call(user, &["ClampOn", "sa{sv}", link, "0"]);
        assert_eq!(on_the_bus.as_deref().unwrap_err().rsplit_once('.').unwrap().1, name);
        let (ended, told) = host.airpods(user, &format!("on {link}"));
        assert_eq!(ended, code, "{told}");
        assert!(told.contains(&format!("({name})\nhint: ")), "{told}");
    };
    check("alice", "wg0", 4, "InteractiveAuthorizationRequired");
    check("bob", "wg0", 4, "AccessDenied");
    check("alice", "br0", 7, "NotVpnLink");
    check("root", "br0", 7, "NotVpnLink");
    host.sandbox.stop_polkit().unwrap();
    check("alice", "wg0", 6, "AuthUnavailable");
}

#[test]
fn only_the_helper_may_own_the_bus_name() {
    let host = Host::without_polkit();
    let bus = ["--system", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"];
    let own = |user: &str| {
        let mut busctl = host.sandbox.as_user(user).command("busctl");
        Answer::of(busctl.args(bus).args(["RequestName", "su", "org.airpods.Helper1", "0"]))
    };
    for user in ["alice", "admin", "daemon", "root"] {
        assert_eq!(own(user), Answer::standard("AccessDenied"), "{user}");
    }
    // DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER
    assert_eq!(own("airpods-helper").0.as_deref(), Ok("u 1"));
}

#[test]
fn a_helper_that_refuses_to_start_is_reported_long_before_the_bus_timeout() {
    let host = Host::new();
    host.sandbox.sh("sed -i /^airpods-helper:/d /etc/passwd").unwrap();
    for words in ["on wg0", "status"] {
        let start = Instant::now();
        let (ended, told) = host.airpods("alice", words);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        assert_eq!(ended, 3, "{told}");
        assert!(told.starts_with("error: the helper `airpods-helper` could not be started: "), "{told}");
    }
    assert!(host.log().contains("there is no user `airpods-helper`"));
}
