//! A stand-in for systemd-resolved on the system bus of a sandbox, which has no systemd. It serves
//! the objects that list the servers of each link. Nothing listens on port 53.

use std::net::IpAddr;

use zbus::wire::OwnedObjectPath;

use super::Result;

const NAME: &str = "org.freedesktop.resolve1";
const ROOT: &str = "/org/freedesktop/resolve1";

/// A link's servers.
#[derive(Clone, Debug)]
pub(crate) struct LinkServers {
    index: i32,
    servers: Vec<IpAddr>,
    scope: DomainScope,
}

/// The names that a link's servers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DomainScope {
    /// The link's own domains.
    Own,
    /// The link's own domains, and names that no link claims.
    Rest,
    /// All names.
    All,
}

/// Parses `INDEX=ADDRESS[,ADDRESS…]`. A final `!` marks a link that is asked for its own names
/// only, and `~` one that wants every name.
pub(crate) fn parse(text: &str) -> std::result::Result<LinkServers, String> {
    let (index, rest) = text.split_once('=').ok_or("expected INDEX=ADDRESS")?;
    let (servers, scope) = match (rest.strip_suffix('!'), rest.strip_suffix('~')) {
        (Some(servers), _) => (servers, DomainScope::Own),
        (_, Some(servers)) => (servers, DomainScope::All),
        _ => (rest, DomainScope::Rest),
    };
    let servers = servers.split(',').map(str::parse).collect::<std::result::Result<_, _>>();
    Ok(LinkServers {
        index: index.parse().map_err(|_| format!("`{index}` is no index"))?,
        servers: servers.map_err(|_| format!("`{rest}` are no addresses"))?,
        scope,
    })
}

struct Manager(Vec<LinkServers>);

fn link_path(index: i32) -> String {
    format!("{ROOT}/link/{index}")
}

#[zbus::interface(name = "org.freedesktop.resolve1.Manager")]
impl Manager {
    fn get_link(&self, index: i32) -> zbus::fdo::Result<OwnedObjectPath> {
        let known = self.0.iter().any(|link| link.index == index);
        let unknown = || zbus::fdo::Error::InvalidArgs(format!("no link {index}"));
        known.then(|| OwnedObjectPath::try_from(link_path(index)).ok()).flatten().ok_or_else(unknown)
    }

    #[zbus(property, name = "DNS")]
    fn dns(&self) -> Vec<(i32, i32, Vec<u8>)> {
        let of = |link: &LinkServers| {
            let index = link.index;
            link.servers.clone().into_iter().map(move |server| match server {
                IpAddr::V4(address) => (index, 2, address.octets().to_vec()),
                IpAddr::V6(address) => (index, 10, address.octets().to_vec()),
            })
        };
        self.0.iter().flat_map(of).collect()
    }

    #[zbus(property)]
    fn domains(&self) -> Vec<(i32, String, bool)> {
        let wanting = self.0.iter().filter(|link| link.scope == DomainScope::All);
        wanting.map(|link| (link.index, ".".to_owned(), true)).collect()
    }
}

struct Link(bool);

#[zbus::interface(name = "org.freedesktop.resolve1.Link")]
impl Link {
    #[zbus(property)]
    fn default_route(&self) -> bool {
        self.0
    }
}

/// Answers until it is killed.
pub(crate) fn serve(links: Vec<LinkServers>) -> Result<()> {
    zruntime::block_on(async {
        let mut builder = zbus::connection::Builder::system();
        for link in &links {
            builder = builder.serve_at(link_path(link.index), Link(link.scope == DomainScope::Rest));
        }
        let _connection = builder.serve_at(ROOT, Manager(links)).name(NAME).build().await?;
        println!("ready");
        std::future::pending().await
    })
}
