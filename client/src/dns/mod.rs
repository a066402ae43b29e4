//! The name servers of the host, which of them containers get (`runtime.network.dns_servers =
//! "auto"`), and whether the containers' name servers answer.
//!
//! Auto takes the servers of the link that the host's traffic leaves by. Behind a VPN these are the
//! VPN's own, which know its internal names, and are often the only ones that the VPN lets through.
//! If no server is found, there is none: a public server never replaces the host's.
//!
//! The choice is pure: it turns the host's knowledge into the servers for containers. Two readers
//! stand below it. One reads resolv.conf(5), which lists the servers for programs of the host. The
//! other queries systemd-resolved over the system bus (org.freedesktop.resolve1(5)), without
//! starting it.
//!
//! Afterwards [`verify`] asks from within a container's network ([`ask`](mod@ask)). If that fails,
//! it also asks from the host, to tell a fault of the server from one of the network.

pub mod ask;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use zbus::Connection;
use zbus::proxy::CacheProperties;
use zbus::wire::OwnedObjectPath;

pub use ask::{Asked, Reply, ask, ask_all, verify};

use crate::egress::EgressLinks;
use crate::error::Report;
use crate::file::{self, Links, Owner};
use crate::system_bus;

/// Auto found no server that a container can ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoServers {
    /// The host uses a server on its own loopback, which containers cannot reach.
    #[error("`runtime.network.dns_servers` is \"auto\", and the host asks {0}, which containers cannot reach")]
    Loopback(IpAddr),
    /// The host has no name server.
    #[error("`runtime.network.dns_servers` is \"auto\", and the host has no name server")]
    None,
}

impl Report for NoServers {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Loopback(_) => {
                "name servers that containers can reach: `airpods config set runtime.network.dns_servers '[\"ADDRESS\"]'`; \
                 `'[]'` leaves names to podman, which asks for the host where it can"
            }
            Self::None => "connect the host to a network first, or name servers in `runtime.network.dns_servers`",
        }))
    }
}

/// The host's own servers, which podman uses for containers without configured ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostServers {
    /// The servers, in order. A loopback address is a server on the host, which podman asks from
    /// the host.
    pub servers: Vec<IpAddr>,
    /// The file that lists them.
    pub file: &'static str,
}

/// Reads the host's own servers.
#[must_use]
pub fn host_servers() -> HostServers {
    without_stub(read_resolv_conf(), read_uplinks())
}

/// Asks the servers that the host's own programs use, including systemd-resolved's stub.
pub async fn ask_as_host() -> Vec<Asked> {
    ask_all(&read_resolv_conf().servers).await
}

/// The current servers for auto. `leaving` has the links that the host's traffic leaves by; with
/// `ipv6`, containers have IPv6.
///
/// # Errors
/// [`NoServers`]
pub async fn servers(leaving: Option<&EgressLinks>, ipv6: bool) -> Result<Vec<IpAddr>, NoServers> {
    let egress = leaving.into_iter().flat_map(EgressLinks::links).map(|egress| egress.index).collect();
    let conf = read_resolv_conf();
    let resolved = if conf.is_for_resolved() { read_resolved().await } else { None };
    choose(&Sources { egress, conf, uplinks: read_uplinks(), resolved }, ipv6)
}

/// The host's knowledge of name servers.
#[derive(Clone, Debug, Default)]
struct Sources {
    /// The links that traffic to the internet leaves by, by index, IPv4's first.
    egress: Vec<i32>,
    /// `/etc/resolv.conf`.
    conf: ResolvConf,
    /// The servers that systemd-resolved lists for all links together.
    uplinks: Vec<IpAddr>,
    /// systemd-resolved's servers for each link; `None` if it does not run, or programs do not use
    /// it.
    resolved: Option<Resolved>,
}

/// The report of systemd-resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Resolved {
    /// The links that have servers.
    links: Vec<LinkServers>,
    /// Servers that belong to no link.
    global: Vec<IpAddr>,
}

/// A link's servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LinkServers {
    /// The link's index.
    link: i32,
    /// Its servers, in order.
    servers: Vec<IpAddr>,
    /// It claims every name (the routing domain `~.`), before all links that do not.
    takes_all: bool,
    /// It is asked for names that no link claims (`DefaultRoute`).
    default_route: bool,
}

/// The servers for containers, in the order of [`Resolved::candidates`], then of resolv.conf.
fn choose(sources: &Sources, ipv6: bool) -> Result<Vec<IpAddr>, NoServers> {
    let of_resolved = sources.resolved.iter().flat_map(|resolved| resolved.candidates(&sources.egress));
    // If resolv.conf names the stub, the servers behind the stub are in systemd-resolved's own
    // file.
    let uplinks = sources.conf.is_for_resolved().then(|| sources.uplinks.clone());
    let candidates = of_resolved.chain([sources.conf.servers.clone()]).chain(uplinks);
    let chosen = candidates.map(|servers| usable(&servers, ipv6)).find(|servers| !servers.is_empty());
    chosen.ok_or_else(|| match sources.conf.servers.iter().find(|server| server.is_loopback()) {
        Some(server) => NoServers::Loopback(*server),
        None => NoServers::None,
    })
}

/// The host's own servers, by their files. Containers cannot reach systemd-resolved's stub, so the
/// servers behind it replace it: podman itself reads the other file then (`libnetwork/resolvconf`
/// of containers/common).
fn without_stub(conf: ResolvConf, uplinks: Vec<IpAddr>) -> HostServers {
    if conf.is_stub_alone() && !uplinks.is_empty() {
        HostServers { servers: uplinks, file: UPLINKS }
    } else {
        HostServers { servers: conf.servers, file: RESOLV_CONF }
    }
}

impl Resolved {
    /// The possible lists, the best first. The servers of the link that traffic leaves by come
    /// first, then those of links that claim every name. Then follow those of links that are asked
    /// by default, and those of no link. systemd-resolved has the same order, but without the
    /// first. The first two differ only if a link claims every name while traffic leaves by
    /// another.
    fn candidates(&self, egress: &[i32]) -> Vec<Vec<IpAddr>> {
        let of = |chosen: &dyn Fn(&LinkServers) -> bool| {
            let links = self.links.iter().filter(|link| chosen(link));
            links.flat_map(|link| link.servers.iter().copied()).collect::<Vec<_>>()
        };
        let mut lists: Vec<Vec<IpAddr>> = egress.iter().map(|index| of(&|link| link.link == *index)).collect();
        lists.push(of(&|link| link.takes_all));
        lists.push(of(&|link| link.default_route));
        lists.push(self.global.clone());
        lists
    }
}

/// The servers that a container can ask: none on the host's loopback, and none that is valid on one
/// link only. IPv6 servers are included only if containers have IPv6, or if there are no others.
fn usable(servers: &[IpAddr], ipv6: bool) -> Vec<IpAddr> {
    let reachable = |server: &&IpAddr| {
        let of_a_link = matches!(server, IpAddr::V6(address) if address.is_unicast_link_local());
        !server.is_loopback() && !server.is_unspecified() && !server.is_multicast() && !of_a_link
    };
    let mut usable: Vec<IpAddr> = Vec::new();
    for server in servers.iter().filter(reachable) {
        if !usable.contains(server) {
            usable.push(*server);
        }
    }
    if !ipv6 && usable.iter().any(IpAddr::is_ipv4) {
        usable.retain(IpAddr::is_ipv4);
    }
    usable
}

/// The file that every program reads.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The folder in which systemd-resolved keeps its variants of resolv.conf
/// (systemd-resolved.service(8)).
const RESOLVED_FOLDER: &str = "/run/systemd/resolve";

/// The variant with the servers themselves, of all links together.
const UPLINKS: &str = "/run/systemd/resolve/resolv.conf";

/// The loopback addresses on which systemd-resolved's stub listens.
const STUBS: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 54))];

/// The content of resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ResolvConf {
    /// Its servers, in order.
    servers: Vec<IpAddr>,
    /// It is a symbolic link to one of systemd-resolved's variants.
    by_resolved: bool,
}

impl ResolvConf {
    /// Whether programs use systemd-resolved by it, or it lists systemd-resolved's servers.
    fn is_for_resolved(&self) -> bool {
        self.by_resolved || self.servers.iter().any(|server| STUBS.contains(server))
    }

    /// Whether it names only systemd-resolved's stub.
    fn is_stub_alone(&self) -> bool {
        !self.servers.is_empty() && self.servers.iter().all(|server| STUBS.contains(server))
    }
}

fn read_resolv_conf() -> ResolvConf {
    let by_resolved = fs::canonicalize(RESOLV_CONF).is_ok_and(|file| file.starts_with(Path::new(RESOLVED_FOLDER)));
    // A missing file names no server.
    ResolvConf { servers: parse_resolv_conf(&text(RESOLV_CONF)), by_resolved }
}

/// The servers of all links together, in case systemd-resolved does not report those of each link.
fn read_uplinks() -> Vec<IpAddr> {
    parse_resolv_conf(&text(UPLINKS))
}

/// The text of a file; empty if it is missing or no plain file.
fn text(path: &str) -> String {
    file::read(Path::new(path), Links::Followed, Owner::Any).unwrap_or_default()
}

/// The servers in the text of such a file. A value that is no address is skipped, as resolvers do.
/// So is an address with a link (`fe80::1%eth0`): it means nothing in a container.
fn parse_resolv_conf(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    };
    text.lines().filter_map(server).collect()
}

/// systemd-resolved's name on the bus.
const RESOLVED: &str = "org.freedesktop.resolve1";

/// Time limit for its answers, which take 2 ms.
const RESOLVED_LIMIT: Duration = Duration::from_secs(2);

/// The routing domain of a link that claims every name.
const EVERY_NAME: &str = ".";

#[zbus::proxy(
    interface = "org.freedesktop.resolve1.Manager",
    default_service = "org.freedesktop.resolve1",
    default_path = "/org/freedesktop/resolve1"
)]
trait Manager {
    /// The object of a link, by index.
    fn get_link(&self, link: i32) -> zbus::Result<OwnedObjectPath>;

    /// Every server: link (0 for none), address family, address.
    #[zbus(property, name = "DNS")]
    fn dns(&self) -> zbus::Result<Vec<(i32, i32, Vec<u8>)>>;

    /// Every domain: link (0 for none), name, whether it only routes.
    #[zbus(property)]
    fn domains(&self) -> zbus::Result<Vec<(i32, String, bool)>>;
}

#[zbus::proxy(interface = "org.freedesktop.resolve1.Link", default_service = "org.freedesktop.resolve1")]
trait Link {
    /// Whether the link is asked for names that no link claims.
    #[zbus(property)]
    fn default_route(&self) -> zbus::Result<bool>;
}

/// Queries systemd-resolved; `None` if it does not run or does not answer.
async fn read_resolved() -> Option<Resolved> {
    tokio::time::timeout(RESOLVED_LIMIT, async {
        let bus = system_bus::connect().await.ok()?;
        ask_resolved(&bus).await.ok().flatten()
    })
    .await
    .ok()
    .flatten()
}

async fn ask_resolved(bus: &Connection) -> zbus::Result<Option<Resolved>> {
    let names = zbus::fdo::DBusProxy::builder(bus).cache_properties(CacheProperties::No).build().await?;
    if !names.name_has_owner(RESOLVED.try_into()?).await? {
        return Ok(None);
    }
    let manager = ManagerProxy::builder(bus).cache_properties(CacheProperties::No).build().await?;
    let (servers, domains) = futures_util::future::try_join(manager.dns(), manager.domains()).await?;
    let mut by_link: BTreeMap<i32, Vec<IpAddr>> = BTreeMap::new();
    for (link, _, bytes) in servers {
        by_link.entry(link).or_default().extend(address(&bytes));
    }
    let global = by_link.remove(&0).unwrap_or_default();
    let takes_all = |index: i32| domains.iter().any(|(link, name, _)| *link == index && name == EVERY_NAME);
    let links = by_link.into_iter().map(|(link, servers)| {
        let manager = &manager;
        async move {
            // A link that has disappeared meanwhile gets no default route.
            let default_route = default_route(bus, manager, link).await.unwrap_or(false);
            LinkServers { link, servers, takes_all: takes_all(link), default_route }
        }
    });
    Ok(Some(Resolved { links: join_all(links).await, global }))
}

async fn default_route(bus: &Connection, manager: &ManagerProxy<'_>, link: i32) -> zbus::Result<bool> {
    let path = manager.get_link(link).await?;
    LinkProxy::builder(bus).path(path).cache_properties(CacheProperties::No).build().await?.default_route().await
}

/// An address of four or sixteen bytes.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

/// Property: the servers that are read from a resolv.conf(5) are in the text, in their order,
/// whatever lies between them. An address from systemd-resolved is valid exactly if it has four or
/// sixteen bytes.
#[cfg(any(test, fuzzing))]
#[allow(clippy::panic, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a panic reports a finding")]
pub fn name_servers(bytes: &[u8]) {
    let octets = address(bytes).map(|address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    });
    assert_eq!(octets.as_deref(), matches!(bytes.len(), 4 | 16).then_some(bytes));

    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let servers = parse_resolv_conf(text);
    let rest = servers.iter().try_fold(text, |rest, server| {
        let mut words = rest.split_whitespace();
        let word = words.find(|word| word.parse() == Ok(*server))?;
        Some(&rest[word.as_ptr().addr() - rest.as_ptr().addr() + word.len()..])
    });
    assert!(rest.is_some(), "{servers:?}");
    let plain: Vec<String> = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    assert_eq!(parse_resolv_conf(&plain.concat()), servers);
}
