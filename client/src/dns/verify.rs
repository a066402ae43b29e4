//! Whether names are resolved for containers, and what is wrong where they are not.

use std::net::IpAddr;

use futures_util::future::join_all;

use super::ask::{Asked, ask_inside};
use super::{Reply, ask};
use crate::config::DnsServers;
use crate::egress::Egress;
use crate::podman::Podman;

/// The facts learnt.
#[derive(Clone, Debug, Default)]
struct Facts<'a> {
    /// The answers within a container's network; `None` where it may not be entered.
    inside: Option<Vec<Asked>>,
    /// The answers of the servers that were given, asked by the host.
    outside: Vec<Asked>,
    /// The link that the host's traffic leaves by.
    egress: Option<&'a Egress>,
    /// The servers were found by auto.
    auto: bool,
}

/// Asks from within the network of a container that runs, and where no answer comes also from the host. What is wrong
/// is answered as one sentence with its cure.
pub async fn verify(
    podman: &impl Podman,
    container: &str,
    servers: &[IpAddr],
    configured: &DnsServers,
    egress: Option<&Egress>,
) -> Option<String> {
    let pid = podman.inspect_container(container).await.ok()?.pid?;
    let mut facts = Facts { egress, auto: *configured == DnsServers::Auto, ..Facts::default() };
    facts.inside = ask_inside(pid).await.ok();
    if facts.inside.as_deref().is_some_and(is_answered) {
        return None;
    }
    facts.outside = ask_all(servers).await;
    judge(&facts)
}

/// Asks these servers, all at once, as the host does.
pub async fn ask_all(servers: &[IpAddr]) -> Vec<Asked> {
    let asked = servers.iter().map(|server| {
        let server = *server;
        async move {
            // Asking blocks; a question that cannot be put is no answer.
            let reply = tokio::task::spawn_blocking(move || ask(server)).await.unwrap_or(Reply::Silent);
            Asked { server, reply }
        }
    });
    join_all(asked).await
}

fn is_answered(asked: &[Asked]) -> bool {
    asked.iter().any(|asked| asked.reply == Reply::Answered)
}

fn judge(facts: &Facts<'_>) -> Option<String> {
    if facts.inside.as_deref().is_some_and(is_answered) {
        return None;
    }
    let failed: Vec<&Asked> = facts.outside.iter().filter(|asked| asked.reply != Reply::Answered).collect();
    match failed.first() {
        // One server that answers is enough, but podman asks the first one first.
        Some(first) if !is_answered(&facts.outside) || facts.inside.is_some() => Some(refusal(facts, first)),
        _ if facts.inside.is_some() => Some(
            "names are not resolved in the containers, though the name servers answer the host: a firewall of the host may \
             stand between; `airpods start --reset-network` makes the network anew"
                .to_owned(),
        ),
        _ => None,
    }
}

fn refusal(facts: &Facts<'_>, asked: &Asked) -> String {
    let server = asked.server;
    let what = match &asked.reply {
        Reply::Rejected(why) => format!("questions to the name server {server} are rejected on the way ({why})"),
        Reply::Failed(code) => format!("the name server {server} refuses to answer ({code})"),
        Reply::Silent | Reply::Answered => format!("the name server {server} does not answer"),
    };
    let vpn = facts.egress.filter(|egress| egress.kind.is_vpn());
    let cause = match vpn {
        Some(egress) => format!(
            ", so containers cannot resolve names: a VPN such as the one behind `{}` may let nobody ask other name servers than its own",
            egress.link
        ),
        None => ", so containers cannot resolve names".to_owned(),
    };
    let cure = if facts.auto {
        "; when the host's own servers have changed, `airpods start` takes the new ones"
    } else {
        "; `airpods config set runtime.network.dns_servers auto` and then `airpods start` takes the host's own"
    };
    format!("{what}{cause}{cure}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use airpods_dbus::LinkKind;

    use super::*;

    fn asked(server: &str, reply: Reply) -> Asked {
        Asked { server: server.parse().unwrap(), reply }
    }

    fn rejected() -> Reply {
        Reply::Rejected("Connection refused (os error 111)".to_owned())
    }

    fn wg0() -> Egress {
        let kind = LinkKind { info_kind: "wireguard".to_owned(), tun_type: None, hardware: 65534 };
        Egress { link: "wg0".to_owned(), index: 9, kind, mtu: 1380 }
    }

    #[test]
    fn an_answer_within_the_network_is_all_it_takes() {
        let inside = Some(vec![asked("10.89.0.1", Reply::Answered)]);
        assert_eq!(judge(&Facts { inside, outside: vec![asked("1.1.1.1", rejected())], ..Facts::default() }), None);
    }

    #[test]
    fn a_vpn_that_rejects_other_servers_is_named_with_the_cure() {
        let egress = wg0();
        let facts = Facts {
            inside: Some(vec![asked("10.89.0.1", Reply::Failed("ServerFailure".to_owned()))]),
            outside: vec![asked("1.1.1.1", rejected())],
            egress: Some(&egress),
            auto: false,
        };
        let told = judge(&facts).unwrap();
        for part in ["1.1.1.1", "are rejected", "`wg0`", "other name servers than its own", "dns_servers auto"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let told = judge(&Facts { auto: true, ..facts }).unwrap();
        assert!(!told.contains("config set") && told.contains("`airpods start` takes the new ones"), "{told}");
    }

    #[test]
    fn without_a_vpn_none_is_blamed() {
        let outside = vec![asked("192.0.2.1", Reply::Silent)];
        let told = judge(&Facts { outside, ..Facts::default() }).unwrap();
        assert!(told.starts_with("the name server 192.0.2.1 does not answer") && !told.contains("VPN"), "{told}");
    }

    #[test]
    fn servers_that_answer_the_host_only_are_told_apart() {
        let facts = Facts {
            inside: Some(vec![asked("10.89.0.1", Reply::Silent)]),
            outside: vec![asked("10.64.0.1", Reply::Answered)],
            ..Facts::default()
        };
        assert!(judge(&facts).unwrap().contains("answer the host"));
    }

    #[test]
    fn where_the_network_may_not_be_entered_a_server_that_answers_the_host_is_believed() {
        let outside = vec![asked("10.64.0.1", Reply::Silent), asked("10.64.0.2", Reply::Answered)];
        assert_eq!(judge(&Facts { outside, ..Facts::default() }), None);
    }
}
