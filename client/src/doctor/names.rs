//! Whether containers can resolve names.

use std::net::IpAddr;

use super::{Code, Finding};
use crate::dns::{Asked, Reply};

/// The name servers, and what they answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The servers that containers are given; none are the host's own. The error if `auto` finds none.
    pub servers: Result<Vec<IpAddr>, String>,
    /// What was answered within a container's network; `None` where there is none to enter.
    pub inside: Option<Vec<Asked>>,
    /// What these servers answered the host.
    pub outside: Vec<Asked>,
    /// The VPN that the host's traffic leaves by.
    pub vpn: Option<String>,
}

const AUTO: &str = "airpods config set runtime.network.dns_servers auto && airpods start --yes";

/// Judges the answers.
pub(super) fn judge(names: &Names) -> Vec<Finding> {
    let servers = match &names.servers {
        Ok(servers) => servers,
        Err(why) => {
            return vec![Finding::broken(
                Code::DnsNone,
                why.as_str(),
                "airpods config set runtime.network.dns_servers '[]'",
            )];
        }
    };
    let answered = |asked: &[Asked]| asked.iter().any(|asked| asked.reply == Reply::Answered);
    let (inside, outside) = (names.inside.as_deref().map(answered), answered(&names.outside));
    if inside == Some(true) || (inside.is_none() && outside) {
        return vec![Finding::fine(format!("names are asked of {}", whom(servers)))];
    }
    if let Some(first) = names.outside.first().filter(|_| !outside) {
        return vec![unanswered(first, names.vpn.as_deref())];
    }
    match inside {
        Some(_) if outside => vec![Finding::broken(
            Code::DnsBlocked,
            format!("containers cannot ask {}, and the host can: a firewall of the host stands between", whom(servers)),
            "airpods start --reset-network",
        )],
        Some(_) => vec![Finding::broken(
            Code::DnsRefused,
            "containers cannot resolve names: the host's own name servers do not answer them",
            AUTO,
        )],
        // Nobody was asked: there is no container yet, and podman will give it the host's servers.
        None => Vec::new(),
    }
}

fn whom(servers: &[IpAddr]) -> String {
    if servers.is_empty() {
        return "the host's own name servers".to_owned();
    }
    servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// None of the servers answers the host; the first is the one that podman asks first.
fn unanswered(asked: &Asked, vpn: Option<&str>) -> Finding {
    let server = asked.server;
    let (code, what) = match &asked.reply {
        Reply::Rejected(why) => {
            (Code::DnsRefused, format!("questions to the name server {server} are rejected ({why})"))
        }
        Reply::Failed(why) => (Code::DnsRefused, format!("the name server {server} refuses to answer ({why})")),
        Reply::Silent | Reply::Answered => (Code::DnsSilent, format!("the name server {server} does not answer")),
    };
    let cause = match vpn {
        Some(link) => format!("{what}: the VPN behind `{link}` may let nobody ask other name servers than its own"),
        None => what,
    };
    Finding::broken(code, cause, AUTO)
}
