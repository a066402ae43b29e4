//! What systemd-resolved knows, over the system bus (org.freedesktop.resolve1(5)). It is not started for this: what is not
//! running is asked by nobody.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use zbus::Connection;
use zbus::proxy::CacheProperties;
use zbus::wire::OwnedObjectPath;

use super::choose::{LinkServers, Resolved};

/// Its name on the bus.
const NAME: &str = "org.freedesktop.resolve1";

/// How long it may take; it takes 2 ms.
const LIMIT: Duration = Duration::from_secs(2);

/// The routing domain of a link that wants every name.
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
    /// Whether it is asked for names that no link wants.
    #[zbus(property)]
    fn default_route(&self) -> zbus::Result<bool>;
}

/// Asks; `None` if it is not there or does not answer.
pub(super) async fn read() -> Option<Resolved> {
    tokio::time::timeout(LIMIT, ask()).await.ok()?.ok().flatten()
}

async fn ask() -> zbus::Result<Option<Resolved>> {
    let bus = Connection::system().await?;
    let names = zbus::fdo::DBusProxy::builder(&bus).cache_properties(CacheProperties::No).build().await?;
    if !names.name_has_owner(NAME.try_into()?).await? {
        return Ok(None);
    }
    let manager = ManagerProxy::builder(&bus).cache_properties(CacheProperties::No).build().await?;
    let (servers, domains) = futures_util::future::try_join(manager.dns(), manager.domains()).await?;
    let mut by_link: BTreeMap<i32, Vec<IpAddr>> = BTreeMap::new();
    for (link, _, bytes) in servers {
        by_link.entry(link).or_default().extend(address(&bytes));
    }
    let global = by_link.remove(&0).unwrap_or_default();
    let takes_all = |index: i32| domains.iter().any(|(link, name, _)| *link == index && name == EVERY_NAME);
    let links = by_link.into_iter().map(|(link, servers)| {
        let (bus, manager) = (&bus, &manager);
        async move {
            // A link that has gone meanwhile is asked by nobody.
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

/// Four bytes or sixteen.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}
