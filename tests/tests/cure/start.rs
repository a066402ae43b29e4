//! The reactions of `start`, `status` and `doctor` to a path that is narrower than its link, for a
//! user of rootless podman.

use std::io::Read;
use std::process::Stdio;

use airpods_lab::path::{Direction, Event};
use airpods_lab::{Image, Place, Rules, client, terminal};
use serde_json::Value;

use crate::host::Host;

/// With the service's image in alice's storage.
fn stocked(rules: Rules) -> Host {
    stock(Host::behind(rules))
}

fn stock(host: Host) -> Host {
    Image::serving("registry.example/lab/model:1", 7001).import(&host.user).unwrap();
    // Adds the link by which the VPN's own packets leave, with its router.
    host.world
        .sandbox()
        .sh("ip link add eth0 type veth peer name router0 && ip link set router0 up && ip addr add 203.0.113.2/24 dev eth0 && ip link set eth0 up")
        .unwrap();
    enter_network(&host, "02:00:00:00:00:01");
    host
}

/// Moves the host into the network of a router with this MAC address. Every router has the same IP
/// address.
fn enter_network(host: &Host, card: &str) {
    let route = "ip route replace default via 203.0.113.1 dev eth0 metric 500";
    host.world
        .sandbox()
        .sh(&format!("ip neigh replace 203.0.113.1 lladdr {card} nud permanent dev eth0; {route}"))
        .unwrap();
}

/// The number of packets from the host that the path has counted.
fn sent(host: &Host) -> u64 {
    host.world.path().count(Direction::Up, Event::Passed) + host.world.path().count(Direction::Up, Event::TooBig)
}

/// Level, code, cause and cure of the doctor's finding with this code.
fn finding(host: &Host, code: &str) -> Option<[String; 4]> {
    let report: Value = host.airpods("doctor --json").json().unwrap();
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["code"] == code)
        .map(|f| ["level", "code", "cause", "cure"].map(|key| text(f, key)))
        .next()
}

#[test]
fn start_measures_once_in_a_network_offers_the_number_and_require_sets_it() {
    let host = stocked(Rules::narrow(1300, 1300));
    let [level, _, cause, cure] = finding(&host, "not-measured").expect("nothing was measured yet");
    assert_eq!((level.as_str(), cure.as_str()), ("note", "airpods net check"), "{cause}");
    let first = host.succeed("start");
    for part in [
        "note: the path behind the VPN `wg0` takes 1300 bytes, not the 1420 of the link (measured)",
        "large transfers of model hang",
        "hint: `airpods net clamp on wg0 --mtu 1300` cures that",
    ] {
        assert!(first.err.contains(part), "{part}: {}", first.err);
    }
    assert!(first.err.find("takes 1300 bytes") < first.err.find("started `model`"), "it came late: {}", first.err);
    assert_eq!(host.clamped_to(), None, "nobody was asked");
    let before = sent(&host);
    let second = host.succeed("start");
    assert!(second.err.contains("takes 1300 bytes"), "it is remembered: {}", second.err);
    assert!(sent(&host) - before < 20, "it was measured again");
    let [level, _, cause, cure] = finding(&host, "path-narrow").expect("it was measured");
    assert!(level == "broken" && cause.contains("takes 1300 bytes"), "{cause}");
    assert_eq!(cure, "airpods net clamp on wg0 --mtu auto");
    host.configure("mss_clamp = \"require\"");
    let third = host.succeed("start");
    assert!(third.err.contains("`wg0` is clamped to a path MTU of 1300"), "{}", third.err);
    assert_eq!(host.clamped_to(), Some(1300));
    assert!(host.download().completed());
    assert_eq!(finding(&host, "path-narrow"), None);
}

#[test]
fn a_tap_link_that_packets_leave_by_is_measured_and_clamped_by_its_name() {
    let host = stock(Host::behind_tap(Rules::narrow(1300, 1300)));
    let [level, _, cause, cure] = finding(&host, "not-measured").expect("nothing was measured yet");
    assert_eq!((level.as_str(), cure.as_str()), ("note", "airpods net check"), "{cause}");
    let check = host.airpods("net check --no-proof --json").json().unwrap();
    assert_eq!((&check["verdict"], &check["cure"]), (&"path-narrow".into(), &CLAMP_TAP.into()), "{check:#}");
    host.user.sh("rm -r ~/.local/state/airpods").unwrap();
    let output = host.succeed("start").err;
    for part in [
        "note: the path behind the tap link `wg0` takes 1300 bytes, not the 1420 of the link (measured)",
        &format!("hint: `{CLAMP_TAP}` cures that"),
    ] {
        assert!(output.contains(part), "{part}: {output}");
    }
    let [level, .., cure] = finding(&host, "path-narrow").expect("it was measured");
    assert_eq!((level.as_str(), cure.as_str()), ("broken", "airpods net clamp on wg0 --mtu auto --any-link"));
    assert_eq!(host.clamped_to(), None);
    let output = host.succeed("start --yes").err;
    assert!(output.contains("`wg0` is clamped to a path MTU of 1300"), "{output}");
    assert_eq!(host.clamped_to(), Some(1300));
    assert!(host.download().completed());
    assert_eq!(finding(&host, "path-narrow"), None);
}

const CLAMP_TAP: &str = "airpods net clamp on wg0 --mtu 1300 --any-link";

#[test]
fn with_measure_false_a_start_sends_nothing_and_reports_the_path_as_unknown() {
    let host = stocked(Rules::narrow(1300, 1300));
    host.configure("measure = false");
    let before = sent(&host);
    let output = host.succeed("start");
    assert!(sent(&host) - before < 20, "something was measured");
    assert!(!output.err.contains("takes 1300"), "{}", output.err);
    assert!(output.err.contains("unless the path is narrower"), "{}", output.err);
}

#[test]
fn on_a_good_path_a_start_offers_nothing_and_reports_the_measurement_only_with_verbose() {
    let host = stocked(Rules::default());
    let is_reported = |words: &str| host.succeed(words).err.contains("no clamp is needed (measured");
    let output = host.succeed("start --verbose");
    assert!(output.err.contains("no clamp is needed (measured just now: fine)"), "{}", output.err);
    assert!(is_reported("start --dry-run --verbose") && !is_reported("start --dry-run"));
    assert_eq!(finding(&host, "not-measured"), None);
}

#[test]
fn on_another_network_start_status_and_doctor_say_that_the_value_was_measured_elsewhere() {
    let host = stocked(Rules::narrow(1300, 1300));
    host.succeed("start --no-wait");
    host.succeed("net clamp on wg0 --mtu auto");
    let elsewhere = "`wg0` is clamped to 1300 bytes, which was measured on another network";
    let told = |words: &str| host.airpods(words).err.contains(elsewhere);
    assert!(!told("start") && !told("status") && finding(&host, "not-measured").is_none());
    enter_network(&host, "02:00:00:00:00:02");
    assert!(told("status") && told("start"));
    assert_eq!(host.succeed("status --json").json().unwrap()["services"][0]["path"]["measured_elsewhere"], true);
    let [.., cause, cure] = finding(&host, "not-measured").unwrap();
    assert!(cause.contains(elsewhere), "{cause}");
    host.succeed(cure.strip_prefix("airpods ").unwrap());
    assert!(!told("status") && finding(&host, "not-measured").is_none());
    enter_network(&host, "02:00:00:00:00:01");
    assert!(!told("status"), "back home, it is the value of this network");
}

#[test]
fn ctrl_c_while_a_start_measures_ends_it_and_starts_nothing() {
    let host = stocked(Rules::narrow(1300, 1300));
    // With this setting `start` waits for the end of the measurement before it starts anything.
    host.configure("mss_clamp = \"require\"");
    // The server no longer answers, so the check runs for seconds.
    host.world.internet().sh("ip link set inet0 down").unwrap();
    let mut start = host.command("start").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(start.try_wait().unwrap().is_none(), "the premise: it still measures");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(start.id().cast_signed()), nix::sys::signal::Signal::SIGINT)
        .unwrap();
    assert_eq!(start.wait().unwrap().code(), Some(130));
    assert_eq!(host.user.sh("podman ps -aq").unwrap(), "");
}

#[test]
fn on_a_narrow_path_the_offer_comes_before_a_service_runs_and_ctrl_c_there_leaves_nothing() {
    let host = stocked(Rules::narrow(1300, 1300));
    let before = inventory(&host);
    let at_the_offer = |keys: &str| {
        let mut running = String::new();
        let answer = || {
            running = host.user.sh("podman ps -q").unwrap();
            keys.to_owned()
        };
        let line = format!("trap : INT; {}", client::line("start"));
        let screen = terminal::once_shown(&host.user, &line, "[y/N]", answer).unwrap();
        assert_eq!(running, "", "a service runs already: {screen}");
        screen
    };
    let interrupted = at_the_offer("\u{3}");
    assert!(interrupted.contains("code=130"), "{interrupted}");
    assert_eq!(inventory(&host), before, "{interrupted}");
    let confirmed = at_the_offer("y\n");
    assert!(confirmed.contains("code=0") && confirmed.contains("`model` answers"), "{confirmed}");
    assert_eq!(confirmed.matches("[y/N]").count(), 1, "{confirmed}");
    assert_eq!(host.clamped_to(), Some(1300));
}

/// podman's containers, networks and volumes.
fn inventory(host: &Host) -> String {
    let list = "podman ps -a --format '{{.Names}}'; podman network ls --format '{{.Name}}'; podman volume ls -q";
    host.user.sh(list).unwrap()
}

/// Running services stay up while the command waits for the measurement. If it is interrupted, it
/// reports that they run.
#[test]
fn ctrl_c_while_a_start_waits_for_its_measurement_reports_running_services() {
    let host = stocked(Rules::narrow(1300, 1300));
    host.configure("measure = false");
    host.succeed("start");
    host.configure("");
    // The kernel accepts connections, but the stopped server stays silent: the check runs for more
    // than 7 s.
    host.world.sandbox().sh("pkill -STOP -f 'serve-http[s]'").unwrap();
    let mut start = host.command("start").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert!(start.try_wait().unwrap().is_none(), "the premise: it still measures");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(start.id().cast_signed()), nix::sys::signal::Signal::SIGINT)
        .unwrap();
    let mut text = String::new();
    start.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(start.wait().unwrap().code(), Some(130), "{text}");
    assert!(text.contains("`model` is running already"), "{text}");
    assert_eq!(host.user.sh("podman ps --format {{.Names}}").unwrap(), "model-0");
}
