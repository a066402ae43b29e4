//! The name servers.

use super::{Case, bad, healthy};
use crate::dns::{Asked, Reply};
use crate::doctor::{Code, Facts, Level, Names};

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
        silent_inside,
        Code::DnsBlocked,
        Level::Broken,
        "containers cannot ask 10.64.0.1, and the host can",
        "airpods start --reset-network",
    ),
    (
        |facts| {
            silent_inside(facts);
            (names(facts).servers, names(facts).outside) = (Ok(Vec::new()), Vec::new());
        },
        Code::DnsRefused,
        Level::Broken,
        "the host's own name servers do not answer them",
        AUTO,
    ),
];

#[test]
fn before_anything_runs_the_hosts_own_servers_are_nothing_to_speak_of() {
    let mut facts = healthy();
    *names(&mut facts) = Names { servers: Ok(Vec::new()), inside: None, outside: Vec::new(), vpn: None };
    assert_eq!(bad(&facts), []);
}
