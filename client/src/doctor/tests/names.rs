//! The name servers.

use super::{Case, bad, healthy};
use crate::dns::{Asked, Reply};
use crate::doctor::{Code, Facts, Level, Names, Origin, judge};

pub(super) fn asked(server: &str, reply: Reply) -> Asked {
    Asked { server: server.parse().unwrap(), reply }
}

fn names(facts: &mut Facts) -> &mut Names {
    facts.names.as_mut().unwrap()
}

fn rejected() -> Reply {
    Reply::Rejected("Connection refused (os error 111)".to_owned())
}

fn silent_inside(facts: &mut Facts) {
    names(facts).inside = Some(vec![asked("10.89.0.1", Reply::Silent)]);
}

const AUTO: &str = "airpods config set runtime.network.dns_servers auto && airpods start --yes";

pub(super) const CASES: &[Case] = &[
    (
        |facts| names(facts).servers = Err("the host asks 127.0.0.1, which containers cannot reach".to_owned()),
        Code::DnsNone,
        Level::Broken,
        "the host asks 127.0.0.1",
        "airpods config set runtime.network.dns_servers '[]'",
    ),
    (
        |facts| {
            silent_inside(facts);
            names(facts).outside = vec![asked("1.1.1.1", rejected())];
            names(facts).vpn = Some("wg0".to_owned());
        },
        Code::DnsRefused,
        Level::Broken,
        "questions to the name server 1.1.1.1 are rejected (Connection refused (os error 111)): the VPN behind `wg0`",
        AUTO,
    ),
    (
        |facts| {
            names(facts).inside = None;
            names(facts).outside = vec![asked("1.1.1.1", Reply::Failed("Refused".to_owned()))];
        },
        Code::DnsRefused,
        Level::Broken,
        "the name server 1.1.1.1 refuses to answer (Refused)",
        AUTO,
    ),
    (
        |facts| {
            silent_inside(facts);
            names(facts).outside = vec![asked("10.64.0.1", Reply::Silent)];
        },
        Code::DnsSilent,
        Level::Broken,
        "the name server 10.64.0.1 does not answer",
        AUTO,
    ),
    (
        |facts| {
            silent_inside(facts);
            auto_is_silent(facts);
            names(facts).own = vec![asked("127.0.0.53", Reply::Answered)];
        },
        Code::DnsSilent,
        Level::Broken,
        "the name server 10.64.0.1 does not answer, and 127.0.0.53 answers, which the host's own programs ask",
        "airpods config set runtime.network.dns_servers '[]' && airpods start --yes",
    ),
    (
        |facts| {
            silent_inside(facts);
            auto_is_silent(facts);
        },
        Code::DnsSilent,
        Level::Broken,
        "10.64.0.1 does not answer, and the host itself resolves no names: the VPN behind `wg0` may need to reconnect",
        "cat /etc/resolv.conf",
    ),
    (
        |facts| {
            auto_is_silent(facts);
            names(facts).inside = None;
            names(facts).outside = vec![asked("192.168.1.1", rejected())];
            names(facts).vpn = None;
        },
        Code::DnsRefused,
        Level::Broken,
        "the name server 192.168.1.1 are rejected (Connection refused (os error 111)), and the host itself resolves no names",
        "cat /etc/resolv.conf",
    ),
    (
        |facts| {
            silent_inside(facts);
            names(facts).origin = Origin::Auto;
            names(facts).given = Some(vec!["192.168.1.1".parse().unwrap()]);
        },
        Code::DnsRefused,
        Level::Broken,
        "containers cannot resolve names: they were made to ask 192.168.1.1, and by now it would be 10.64.0.1 (`runtime.network.dns_servers` is \"auto\")",
        "airpods start --yes",
    ),
    (
        |facts| {
            silent_inside(facts);
            names(facts).given = Some(Vec::new());
        },
        Code::DnsRefused,
        Level::Broken,
        "they were made to ask the host's own name servers, and by now it would be 10.64.0.1 (`runtime.network.dns_servers`)",
        "airpods start --yes",
    ),
    (
        silent_inside,
        Code::DnsBlocked,
        Level::Broken,
        "containers cannot ask 10.64.0.1, and the host can",
        "airpods start --reset-network",
    ),
    (
        |facts| {
            silent_inside(facts);
            hosts_own(facts, &["192.168.1.1"]);
        },
        Code::DnsRefused,
        Level::Broken,
        "the host's own name servers (192.168.1.1, in /etc/resolv.conf) do not answer them",
        AUTO,
    ),
    (
        |facts| {
            silent_inside(facts);
            hosts_own(facts, &[]);
        },
        Code::DnsNone,
        Level::Broken,
        "containers cannot resolve names: the host names no name server in /etc/resolv.conf",
        "airpods config edit",
    ),
    (
        |facts| {
            hosts_own(facts, &[]);
            names(facts).inside = None;
        },
        Code::NotKnown,
        Level::Note,
        "the host names no name server in /etc/resolv.conf",
        "",
    ),
];

/// `auto` is set, and its servers are silent.
fn auto_is_silent(facts: &mut Facts) {
    let names = names(facts);
    names.origin = Origin::Auto;
    names.outside = vec![asked("10.64.0.1", Reply::Silent)];
    names.own = vec![asked("127.0.0.53", Reply::Failed("ServerFailure".to_owned()))];
}

/// No server is configured, so podman uses the host's own.
fn hosts_own(facts: &mut Facts, servers: &[&str]) {
    let names = names(facts);
    names.servers = Ok(servers.iter().map(|server| server.parse().unwrap()).collect());
    (names.origin, names.outside) = (Origin::Host("/etc/resolv.conf"), Vec::new());
    names.given = Some(Vec::new());
}

/// The finding that names the containers' servers.
#[track_caller]
fn asked_of(facts: &Facts) -> String {
    let fine = judge(facts).into_iter().filter(|finding| finding.level == Level::Ok);
    let lines: Vec<_> = fine.filter(|finding| finding.cause.starts_with("names ")).collect();
    let [line] = lines.as_slice() else { panic!("{lines:#?}") };
    line.cause.clone()
}

#[test]
fn the_used_name_servers_are_reported_from_any_source_and_before_a_start() {
    let mut facts = healthy();
    assert_eq!(asked_of(&facts), "names are asked of 10.64.0.1 (`runtime.network.dns_servers`)");
    names(&mut facts).origin = Origin::Auto;
    assert_eq!(asked_of(&facts), "names are asked of 10.64.0.1 (`runtime.network.dns_servers` is \"auto\")");
    hosts_own(&mut facts, &["192.168.1.1", "fd00::1"]);
    let own = "the host's own name servers (192.168.1.1, fd00::1, in /etc/resolv.conf)";
    assert_eq!(asked_of(&facts), format!("names are asked of {own}"));
    names(&mut facts).inside = None;
    assert_eq!(asked_of(&facts), format!("names will be asked of {own}"));
    hosts_own(&mut facts, &[]);
    names(&mut facts).inside = Some(vec![asked("10.89.0.1", Reply::Answered)]);
    assert_eq!(
        asked_of(&facts),
        "names are asked of podman's choice: the host names no name server in /etc/resolv.conf"
    );
    assert_eq!(bad(&facts), []);
}

#[test]
fn current_and_future_name_servers_of_containers_are_distinguished() {
    let mut facts = healthy();
    names(&mut facts).given = Some(vec!["192.168.1.1".parse().unwrap()]);
    names(&mut facts).origin = Origin::Auto;
    assert_eq!(
        asked_of(&facts),
        "names are asked of 192.168.1.1, and after the next `airpods start` of 10.64.0.1 (`runtime.network.dns_servers` is \"auto\")"
    );
    assert_eq!(bad(&facts), []);
}
