//! A host behind a path:
//!
//! ```text
//!   sandbox (the host)              the path            "internet"
//!   wg0 198.51.100.2 ========== up →  ← down ========== inet0 192.0.2.1, .2, .3 …: a server each
//! ```
//!
//! IPv6 has the same shape. All addresses are of the documentation ranges (RFC 5737, RFC 3849). wg0
//! is a TUN link, which airpods treats as a VPN's.

use super::servers::{CERTIFICATES, certificates, haproxy, hosts, nginx};
use super::worker::Worker;
use super::{End, Path, Rules, Server, quic, user_tcp};
use crate::background::Background;
use crate::capture::Family;
use crate::error::{Doing, Result};
use crate::place::Place;
use crate::programs::Program;
use crate::sandbox::{Sandbox, User};

/// A host, a path, and an internet. The host has the command `airpods`, and the names of all
/// servers.
#[derive(Debug)]
pub struct PathWorld {
    /// Servers that are threads of the test.
    workers: Vec<Worker>,
    servers: Vec<Background>,
    path: Path,
    internet: User,
    // Dropped last, because the others run in it.
    sandbox: Sandbox,
}

/// The host's link into the path.
pub const LINK: &str = "wg0";
/// Its MTU in bytes, WireGuard's usual one over IPv6.
pub const LINK_MTU: u16 = 1420;
/// The MTU of the internet's link.
const FAR_MTU: u16 = 1500;
/// The internet's link into the path.
const FAR: &str = "inet0";
/// The link of the user-space stack.
const USER: &str = "user0";
const PROBE: &str = "/usr/local/bin/lab-probe";

impl PathWorld {
    /// A host and an internet with a path between. No server runs yet.
    ///
    /// # Errors
    /// When a program is not built, or a command fails; the command is in the message.
    pub fn new(rules: Rules, seed: u64) -> Result<Self> {
        Self::with_path(rules, seed, Path::between)
    }

    /// The same with a TAP link as `wg0`, like OpenVPN's with `dev tap`.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub fn behind_tap(rules: Rules, seed: u64) -> Result<Self> {
        Self::with_path(rules, seed, Path::behind_tap)
    }

    fn with_path(rules: Rules, seed: u64, path: fn(&End<'_>, &End<'_>, Rules, u64) -> Result<Path>) -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let internet = sandbox.add_netns("internet")?;
        let near = End { network: &sandbox, link: LINK, mtu: LINK_MTU };
        let far = End { network: &internet, link: FAR, mtu: FAR_MTU };
        let path = path(&near, &far, rules, seed)?;
        sandbox.sh(&format!(
            "ip addr add 198.51.100.2/24 dev {LINK}
             ip addr add 2001:db8:7::2/64 dev {LINK} nodad
             ip link set {LINK} arp off up
             ip route add default dev {LINK}
             ip -6 route add default dev {LINK}"
        ))?;
        let in_kernel = Server::ALL.into_iter().filter(|server| *server != Server::UserTcp);
        let addresses = in_kernel.fold(String::new(), |lines, server| {
            let (v4, v6) = (server.v4(), server.v6());
            format!("{lines}ip addr add {v4}/32 dev {FAR}; ip addr add {v6}/128 dev {FAR} nodad\n")
        });
        internet.sh(&format!(
            "{addresses}
             ip link set {FAR} up
             ip route add default dev {FAR}
             ip -6 route add default dev {FAR}
             sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"
        ))?;
        sandbox.write_file("/etc/hosts", hosts())?;
        sandbox.install(Program::Client, "/usr/bin/airpods")?;
        Ok(Self { workers: Vec::new(), servers: Vec::new(), path, internet, sandbox })
    }

    /// Starts a server, which the host knows by this name.
    ///
    /// # Errors
    /// Those of [`Self::serve`].
    pub fn serve_as(&mut self, server: Server, name: &str) -> Result<()> {
        self.serve(server)?;
        self.sandbox.sh(&format!("echo '{} {name}' >> /etc/hosts", server.address(Family::V4))).map(drop)
    }

    /// Starts a server. Those that share a program are started together.
    ///
    /// # Errors
    /// When its program is not installed or does not get ready.
    pub fn serve(&mut self, server: Server) -> Result<()> {
        match server {
            Server::Nobody => Ok(()),
            Server::UserTcp => {
                let end = End { network: &self.internet, link: USER, mtu: FAR_MTU };
                let (v4, v6) = (server.v4(), server.v6());
                self.workers.push(user_tcp::serve(&end, v4, v6)?);
                let routes = format!("ip route add {v4} dev {USER}; ip -6 route add {v6} dev {USER}");
                self.internet.sh(&format!("ip link set {USER} up; {routes}")).map(drop)
            }
            Server::Rustls => {
                self.sandbox.install(Program::Probe, PROBE)?;
                let mut command = self.internet.command(PROBE);
                command.args(["serve-https", "443", "--ca-out", "/tmp/ca.pem", "--name", "registry.example"]);
                let (probe, _listening) = Background::start_ready(&mut command, &self.sandbox.log_path("rustls"))?;
                self.servers.push(probe);
                Ok(())
            }
            Server::Nginx => self.start("nginx -c /etc/lab/nginx.conf", "nginx.conf", &nginx()),
            _ => self.start("haproxy -D -f /etc/lab/haproxy.cfg -p /run/haproxy.pid", "haproxy.cfg", &haproxy()),
        }
    }

    /// Lets a server's addresses answer QUIC, too.
    ///
    /// # Errors
    /// When its port is taken.
    pub fn serve_quic(&mut self, server: Server) -> Result<()> {
        let addresses = [Family::V4, Family::V6].map(|family| server.address(family));
        self.workers.push(quic::serve(&self.internet, addresses)?);
        Ok(())
    }

    /// Starts a daemon that moves to the background once it listens, and ends with the sandbox.
    fn start(&self, line: &str, file: &str, configuration: &str) -> Result<()> {
        let folder = certificates()?;
        for name in ["rsa.pem", "ecdsa.pem", "tiny.pem"] {
            let chain = std::fs::read(folder.join(name)).doing(|| format!("read `{name}`"))?;
            self.sandbox.write_file(&format!("{CERTIFICATES}/{name}"), chain)?;
        }
        self.sandbox.write_file(&format!("{CERTIFICATES}/{file}"), configuration)?;
        self.internet.sh(&format!("{line} </dev/null >/var/log/lab/{file}.log 2>&1")).map(drop)
    }

    /// The host.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The network of the servers.
    #[must_use]
    pub fn internet(&self) -> &User {
        &self.internet
    }

    /// The path between the host and the internet.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
