//! Whether containers can resolve names.

use std::net::IpAddr;

use super::{Code, Finding};
use crate::config::{Config, DnsServers, NetworkMode};
use crate::dns::{self, Asked, Reply};
use crate::egress::{EgressLinks, Facts};

/// The name servers, and what they answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The servers that containers use. The error if `auto` finds none.
    pub servers: Result<Vec<IpAddr>, String>,
    /// The origin of these servers.
    pub origin: Origin,
    /// The servers that a running container was created with, empty for the host's own; `None` if
    /// no container runs.
    pub given: Option<Vec<IpAddr>>,
    /// The answers from within a container's network; `None` if there is none to enter.
    pub inside: Option<Vec<Asked>>,
    /// The answers of the configured servers to the host; the host's own servers are not asked.
    pub outside: Vec<Asked>,
    /// With `auto`: the answers of the servers that the host's own programs use.
    pub own: Vec<Asked>,
    /// The VPN that the host's traffic leaves by.
    pub vpn: Option<String>,
}

/// The origin of the name servers that containers use.
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
const HOSTS: &str = "airpods config set runtime.network.dns_servers '[]' && airpods start --yes";

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
    let (inside, outside) = (names.inside.as_deref().map(is_answered), is_answered(&names.outside));
    if inside == Some(true) || (inside.is_none() && outside) {
        return vec![fine(names, servers)];
    }
    if let Some(first) = names.outside.first().filter(|_| !outside) {
        return vec![unanswered(first, names)];
    }
    vec![match inside {
        Some(_) => cut_off(names, servers, outside),
        None if servers.is_empty() => Finding::not_known("containers can resolve names", &none(names.origin)),
        // No server was asked: no container runs yet, and podman will give it these.
        None => Finding::fine(format!("names will be asked of {}", servers_text(servers, names.origin))),
    }]
}

fn is_answered(asked: &[Asked]) -> bool {
    asked.iter().any(|asked| asked.reply == Reply::Answered)
}

fn fine(names: &Names, servers: &[IpAddr]) -> Finding {
    let servers_text = servers_text(servers, names.origin);
    Finding::fine(match outdated(names, servers) {
        Some(given) => format!("names are asked of {given}, and after the next `airpods start` of {servers_text}"),
        None => format!("names are asked of {servers_text}"),
    })
}

/// The servers that the containers were created with, if `start` would use others now: containers
/// keep theirs.
fn outdated(names: &Names, servers: &[IpAddr]) -> Option<String> {
    let given = names.given.as_deref()?;
    let wanted = if matches!(names.origin, Origin::Host(_)) { &[] } else { servers };
    (given != wanted).then(|| if given.is_empty() { "the host's own name servers".to_owned() } else { list(given) })
}

/// The finding if no server answers the containers. The configured servers, if they were asked,
/// answer the host.
fn cut_off(names: &Names, servers: &[IpAddr], outside: bool) -> Finding {
    let servers_text = servers_text(servers, names.origin);
    if let Some(given) = outdated(names, servers) {
        let cause = format!(
            "containers cannot resolve names: they were made to ask {given}, and by now it would be {servers_text}"
        );
        return Finding::broken(Code::DnsRefused, cause, "airpods start --yes");
    }
    if outside {
        let list = list(servers);
        let cause = format!("containers cannot ask {list}, and the host can: a firewall of the host stands between");
        return Finding::broken(Code::DnsBlocked, cause, "airpods start --reset-network");
    }
    if servers.is_empty() {
        let cause = format!("containers cannot resolve names: {}", none(names.origin));
        return Finding::broken(Code::DnsNone, cause, "airpods config edit");
    }
    let cause = format!("containers cannot resolve names: {servers_text} do not answer them");
    Finding::broken(Code::DnsRefused, cause, AUTO)
}

/// The finding if no server answers the host. It names the first one, which podman asks first.
fn unanswered(asked: &Asked, names: &Names) -> Finding {
    let server = asked.server;
    let (code, what) = match &asked.reply {
        Reply::Rejected(why) => {
            (Code::DnsRefused, format!("questions to the name server {server} are rejected ({why})"))
        }
        Reply::Failed(why) => (Code::DnsRefused, format!("the name server {server} refuses to answer ({why})")),
        Reply::Silent | Reply::Answered => (Code::DnsSilent, format!("the name server {server} does not answer")),
    };
    if names.origin == Origin::Auto {
        return unanswered_by_auto(code, &what, names);
    }
    let cause = match &names.vpn {
        Some(link) => format!("{what}: the VPN behind `{link}` may let nobody ask other name servers than its own"),
        None => what,
    };
    Finding::broken(code, cause, AUTO)
}

/// The finding if `auto` is already set. Setting it, or replacing the containers, is no cure: they
/// would get the same servers. The host's own name servers are the only alternative, if one of them
/// answers.
fn unanswered_by_auto(code: Code, what: &str, names: &Names) -> Finding {
    if let Some(own) = names.own.iter().find(|own| own.reply == Reply::Answered) {
        let cause = format!("{what}, and {} answers, which the host's own programs ask", own.server);
        return Finding::broken(code, cause, HOSTS);
    }
    let vpn = names.vpn.as_ref().map(|link| format!(": the VPN behind `{link}` may need to reconnect"));
    let cause = format!("{what}, and the host itself resolves no names{}", vpn.unwrap_or_default());
    Finding::broken(code, cause, "cat /etc/resolv.conf")
}

/// The servers and where they come from.
fn servers_text(servers: &[IpAddr], origin: Origin) -> String {
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

/// The servers that containers get; empty for the host's own.
pub(super) async fn servers(config: &Config) -> Result<Vec<IpAddr>, String> {
    let network = &config.runtime.network;
    match &network.dns_servers {
        DnsServers::List(servers) => Ok(servers.clone()),
        DnsServers::Auto => {
            let found = dns::servers(EgressLinks::of_host().as_ref(), network.ipv6).await;
            found.map_err(|error| error.to_string())
        }
    }
}

/// A running container on the services' network.
pub(super) struct RunningContainer {
    /// The pid of its first process.
    pub(super) pid: u32,
    /// The servers that it was created with.
    pub(super) servers: Vec<IpAddr>,
}

/// Asks the name servers. `running` stands for all containers, since they share the network.
/// Returns `None` if no service is on the network, or if it is `internal`. Without a route to the
/// internet no server is asked.
pub(super) async fn read(
    config: &Config,
    configured: Result<Vec<IpAddr>, String>,
    running: Option<RunningContainer>,
    survey: &Facts,
) -> Option<Names> {
    let wanted = config.enabled().any(|(_, service)| service.network_mode == NetworkMode::Pod);
    if !wanted || survey.network.internal {
        return None;
    }
    let (pid, given) = running.map(|running| (running.pid, running.servers)).unzip();
    let (servers, origin) = effective(config, configured.clone());
    let unasked = Names { servers, origin, given, inside: None, outside: Vec::new(), own: Vec::new(), vpn: None };
    let Some(egress) = survey.from_host.as_ref().and_then(|leaving| leaving.links().next()) else {
        // Without a route it is expected that `auto` finds no server, so that is not reported.
        return Some(unasked).filter(|names| names.servers.as_ref().is_ok_and(|servers| !servers.is_empty()));
    };
    let inside = async {
        match pid {
            Some(pid) => dns::ask::ask_inside(pid).await.ok(),
            None => None,
        }
    };
    let own = async { if origin == Origin::Auto { dns::ask_as_host().await } else { Vec::new() } };
    let outside = dns::ask_all(configured.as_deref().unwrap_or_default());
    let (inside, outside, own) = tokio::join!(inside, outside, own);
    let vpn = egress.kind.is_vpn().then(|| egress.link.clone());
    Some(Names { inside, outside, own, vpn, ..unasked })
}

/// The servers that result from the configuration.
fn effective(config: &Config, configured: Result<Vec<IpAddr>, String>) -> (Result<Vec<IpAddr>, String>, Origin) {
    match &config.runtime.network.dns_servers {
        DnsServers::Auto => (configured, Origin::Auto),
        DnsServers::List(servers) if servers.is_empty() => {
            let own = dns::host_servers();
            (Ok(own.servers), Origin::Host(own.file))
        }
        DnsServers::List(_) => (configured, Origin::Listed),
    }
}
