//! Whether containers can resolve names.

use std::net::IpAddr;

use super::{Code, Finding};
use crate::dns::{Asked, Reply};

/// The name servers, and what they answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The servers that containers' names are asked of. The error if `auto` finds none.
    pub servers: Result<Vec<IpAddr>, String>,
    /// What makes it these.
    pub origin: Origin,
    /// What was answered within a container's network; `None` where there is none to enter.
    pub inside: Option<Vec<Asked>>,
    /// What these servers answered the host; the host's own are not asked.
    pub outside: Vec<Asked>,
    /// The VPN that the host's traffic leaves by.
    pub vpn: Option<String>,
}

/// What makes some name servers those that containers' names are asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `runtime.network.dns_servers` lists them.
    Listed,
    /// It is `auto`.
    Auto,
    /// It is empty: they are the host's own, in this file.
    Host(&'static str),
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
        return vec![Finding::fine(format!("names are asked of {}", whom(servers, names.origin)))];
    }
    if let Some(first) = names.outside.first().filter(|_| !outside) {
        return vec![unanswered(first, names.vpn.as_deref())];
    }
    vec![match inside {
        Some(_) if outside => Finding::broken(
            Code::DnsBlocked,
            format!("containers cannot ask {}, and the host can: a firewall of the host stands between", list(servers)),
            "airpods start --reset-network",
        ),
        Some(_) if servers.is_empty() => Finding::broken(
            Code::DnsNone,
            format!("containers cannot resolve names: {}", none(names.origin)),
            "airpods config edit",
        ),
        Some(_) => Finding::broken(
            Code::DnsRefused,
            format!("containers cannot resolve names: {} do not answer them", whom(servers, names.origin)),
            AUTO,
        ),
        None if servers.is_empty() => Finding::not_known("containers can resolve names", &none(names.origin)),
        // Nobody was asked: there is no container yet, and podman will give it these.
        None => Finding::fine(format!("names will be asked of {}", whom(servers, names.origin))),
    }]
}

/// The servers and where they come from.
fn whom(servers: &[IpAddr], origin: Origin) -> String {
    let list = list(servers);
    match origin {
        Origin::Listed => format!("{list} (`runtime.network.dns_servers`)"),
        Origin::Auto => format!("{list} (`runtime.network.dns_servers` is \"auto\")"),
        Origin::Host(_) if servers.is_empty() => format!("podman's choice: {}", none(origin)),
        Origin::Host(file) => format!("the host's own name servers ({list}, in {file})"),
    }
}

fn list(servers: &[IpAddr]) -> String {
    servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why there is no server.
fn none(origin: Origin) -> String {
    match origin {
        Origin::Host(file) => format!("the host names no name server in {file}"),
        Origin::Listed | Origin::Auto => "`runtime.network.dns_servers` names no server".to_owned(),
    }
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
